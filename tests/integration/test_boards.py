"""Boards with the official client, which says what Excalidraw's own collaboration says."""

from collections.abc import Iterator

import pytest
from websockets.frames import CloseCode, Opcode

from raw_client import frame, raw_client
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


@pytest.mark.parametrize("transports", [["websocket"], ["polling"]], ids=["websocket", "polling"])
def test_a_drawing_stays_whole_whatever_else_is_sent_to_its_reader(
    server: Hazoom, client: OfficialClient, transports: list[str]
) -> None:
    board, text = unique("board"), unique("said")
    reader = client.connect(server.url, transports=transports)  # the chat and a board over one connection
    on_board = reader.try_to_open_namespace("/excalidraw")
    on_board.wait_for("init-room")
    on_board.send("join-room", board)
    on_board.wait_for("first-in-room")
    artist, talker = enter(client, server, board), client.connect(server.url)
    on_board.wait_for("new-user")
    for number in range(80):
        talker.send("message", {"message": f"{text} {number}"})
        artist.send("server-broadcast", board, buffer(bytes([number]) * 3000), buffer(b"iv"))
    client.wait(lambda: len(on_board.received("client-broadcast")) == 80, "all of the drawing")
    assert on_board.received("client-broadcast") == [buffer(bytes([number]) * 3000) for number in range(80)]
    client.wait(lambda: len(reader.received("new_message")) == 80, "all that was said")
    assert [said["message"] for said in reader.received("new_message")] == [f"{text} {number}" for number in range(80)]
    assert reader.received("disconnect") == []


def test_a_part_over_the_limit_of_messages_is_for_a_board_that_one_has_entered(server: Hazoom) -> None:
    header = '452-/excalidraw,["server-broadcast","b",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
    parts = frame(Opcode.BINARY, bytes(MB)) + frame(Opcode.BINARY, b"iv")
    with raw_client(server) as stranger:
        stranger.send(header)
        stranger.send_bytes(parts)
        assert stranger.wait_until_closed() == CloseCode.MESSAGE_TOO_BIG
    with raw_client(server) as artist:
        artist.send("40/excalidraw,")
        for packet in ('42/excalidraw,["join-room","b"]', header):
            artist.send(packet)
        artist.send_bytes(parts)
        artist.send('42["message",{"message":"still here"}]')
        assert artist.receive_event("new_message")["message"] == "still here"
        artist.send_bytes(frame(Opcode.TEXT, b"4" + bytes(MB)))  # it was for those parts, and for nothing else
        assert artist.wait_until_closed() == CloseCode.MESSAGE_TOO_BIG


def test_header_and_parts_may_be_as_large_as_the_setting_and_not_larger(async_mode: str, client: OfficialClient) -> None:
    header = '452-/excalidraw,["server-broadcast","b",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
    limit_bytes = 2 * MB
    with hazoom(async_mode=async_mode, env={"HAZOOM_DOCUMENT_UPDATE_LIMIT_BYTES": str(limit_bytes)}) as server:
        reader = enter(client, server, "b")
        reader.wait_for("first-in-room")
        for more_bytes in (0, 1):
            with raw_client(server) as artist:
                artist.send("40/excalidraw,")
                artist.send('42/excalidraw,["join-room","b"]')
                artist.send(header)
                data_bytes = limit_bytes - (len(header) - 1) - 2 + more_bytes
                artist.send_bytes(frame(Opcode.BINARY, bytes(data_bytes)) + frame(Opcode.BINARY, b"iv"))
                if more_bytes:
                    assert artist.wait_until_closed() == CloseCode.PROTOCOL_ERROR
                else:
                    assert len(reader.wait_for("client-broadcast")["data"]) == data_bytes
        assert len(reader.received("client-broadcast")) == 1
