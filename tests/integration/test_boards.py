"""Boards with the official client, which says what Excalidraw's own collaboration says."""

from collections.abc import Iterator

import pytest

from servers import Hazoom, OfficialClient, Socket, hazoom, unique, wait_until

MB = 1_048_576


@pytest.fixture(scope="module")
def server(async_mode: str) -> Iterator[Hazoom]:
    with hazoom(async_mode=async_mode) as server:
        yield server


def buffer(data: bytes) -> dict:
    return {"type": "Buffer", "data": list(data)}


def enter(client: OfficialClient, server: Hazoom, board: str, transport: str = "websocket") -> Socket:
    """Do as Excalidraw does: connect, wait for ``init-room``, join."""
    socket = client.try_to_connect(server.url, "/excalidraw", transports=[transport])
    socket.wait_for("init-room")
    socket.send("join-room", board)
    return socket


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_drawing_goes_to_the_others(server: Hazoom, client: OfficialClient, transport: str) -> None:
    board = unique("board")
    ann = enter(client, server, board, transport)
    ann.wait_for("first-in-room")
    bob = enter(client, server, board, transport)
    sid = bob.received("connect")[0]["sid"]
    assert ann.wait_for("new-user") == sid
    for number, event in enumerate(["server-broadcast", "server-volatile-broadcast"]):
        ann.send(event, board, buffer(bytes([number]) * 5000), buffer(b"initial vector"))
        assert bob.wait_for("client-broadcast") == buffer(bytes([number]) * 5000)
    bob.send("user-follow", {"userToFollow": {"socketId": ann.received("connect")[0]["sid"]}, "action": "FOLLOW"})
    assert ann.wait_for("user-follow-room-change") == [sid]
    bob.disconnect()
    ann.wait_for("broadcast-unfollow")
    wait_until(lambda: ann.received("room-user-change")[-1] == [ann.received("connect")[0]["sid"]], "only Ann is there")


def test_a_whole_drawing_of_three_megabytes_goes_to_who_comes(server: Hazoom, client: OfficialClient) -> None:
    board = unique("board")
    ann, bob = (enter(client, server, board) for _ in range(2))
    ann.wait_for("new-user")
    ann.send("server-broadcast", board, buffer(b"x" * 3 * MB), buffer(b"iv"))
    drawing = bob.wait_for("client-broadcast")
    assert len(drawing["data"]) == 3 * MB
    assert ann.received("disconnect") == []


def test_nobody_else_says_anything_to_a_board(server: Hazoom, client: OfficialClient) -> None:
    board = unique("board")
    ann, eve = enter(client, server, board), enter(client, server, unique("board"))
    eve.send("server-broadcast", board, buffer(b"forged"), buffer(b"iv"))
    assert eve.wait_for("error")["code"] == "not_in_room"
    ann.send("server-broadcast", board, "text", buffer(b"iv"))
    assert ann.wait_for("error")["code"] == "bad_payload"
    assert ann.received("client-broadcast") == []
    assert server.stats()["rooms"] == {}, "a board is no room"
