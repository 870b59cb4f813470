"""Boards of Excalidraw: who is on which, and what goes to whom."""

from collections.abc import Collection
from typing import Any

import pytest

from hazoom_ws.errors import BadPayload, BoardIsFull, NotInRoom, TooManyRooms
from hazoom_ws.live.boards import MEMBERS_LIMIT_COUNT, Boards


class Server:
    """Boards, and what was sent since it was asked last."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, tuple[Any, ...]]] = []
        self.boards = Boards(self.send, boards_limit_count=3)

    def send(self, sids: Collection[str], event: str, arguments: tuple[Any, ...]) -> None:
        self.sent += [(sid, event, arguments) for sid in sids]

    def take(self) -> list[tuple[str, str, tuple[Any, ...]]]:
        sent, self.sent = self.sent, []
        return sent

    def on_board(self, *sids: str) -> None:
        for sid in sids:
            self.boards.enter(sid)
            self.boards.join(sid, "b")
        self.take()


def follow(sid: str, action: str = "FOLLOW") -> dict[str, Any]:
    return {"userToFollow": {"socketId": sid, "username": "x"}, "action": action}


@pytest.fixture
def server() -> Server:
    return Server()


def test_who_joins_is_told_and_told_of(server: Server) -> None:
    server.boards.enter("ann")
    server.boards.join("ann", "b")
    assert server.take() == [
        ("ann", "init-room", ()),
        ("ann", "first-in-room", ()),
        ("ann", "room-user-change", (["ann"],)),
    ]
    server.boards.enter("bob")
    server.boards.join("bob", "b")
    assert server.take()[1:] == [
        ("ann", "new-user", ("bob",)),
        ("ann", "room-user-change", (["ann", "bob"],)),
        ("bob", "room-user-change", (["ann", "bob"],)),
    ]
    server.boards.join("bob", "b")
    assert server.take() == [], "joining twice is one membership"
    server.boards.leave("bob")
    assert server.take() == [("ann", "room-user-change", (["ann"],))]
    server.boards.leave("ann")
    assert server.boards.is_empty


def test_only_who_is_on_a_board_says_something_to_the_others_there(server: Server) -> None:
    server.on_board("ann", "bob")
    server.boards.enter("eve")
    assert server.boards.recipients("ann", "b") == ["bob"]
    with pytest.raises(NotInRoom):
        server.boards.recipients("eve", "b")
    with pytest.raises(NotInRoom):
        server.boards.recipients("eve", "follow@ann")


def test_who_follows_gets_what_the_followed_one_says_to_them(server: Server) -> None:
    server.on_board("ann", "bob")
    server.boards.enter("eve")
    server.take()
    server.boards.follow("bob", follow("ann"))
    assert server.take() == [("ann", "user-follow-room-change", (["bob"],))]
    assert server.boards.recipients("ann", "follow@ann") == ["bob"]
    server.boards.follow("eve", follow("ann"))
    assert server.take() == [], "who shares no board with another follows nobody"
    server.boards.follow("bob", follow("ann", "UNFOLLOW"))
    assert server.take() == [("ann", "user-follow-room-change", ([],))]
    server.boards.follow("bob", follow("ann"))
    server.take()
    server.boards.leave("bob")
    assert ("ann", "broadcast-unfollow", ()) in server.take()


@pytest.mark.parametrize("board", [None, "", 5, "x" * 129, "follow@ann"])
def test_what_is_no_board_is_refused(server: Server, board: object) -> None:
    server.boards.enter("ann")
    with pytest.raises(BadPayload):
        server.boards.join("ann", board)


@pytest.mark.parametrize("payload", [None, {}, {"userToFollow": {"socketId": "a"}}, follow("x" * 129), follow("a", "X")])
def test_what_is_no_following_is_refused(server: Server, payload: object) -> None:
    server.boards.enter("ann")
    with pytest.raises(BadPayload):
        server.boards.follow("ann", payload)


def test_a_client_is_on_so_many_boards_and_no_more(server: Server) -> None:
    server.boards.enter("ann")
    for number in range(3):
        server.boards.join("ann", str(number))
    with pytest.raises(TooManyRooms):
        server.boards.join("ann", "3")
    server.boards.leave("ann")
    assert server.boards.is_empty


def test_a_board_has_so_many_clients_and_one_more_is_refused_until_one_goes(server: Server) -> None:
    """Who comes is told to all with the ids of all: a thousand from one address made gigabytes of that."""
    server.on_board(*(f"client {number}" for number in range(MEMBERS_LIMIT_COUNT)))
    server.boards.enter("late")
    with pytest.raises(BoardIsFull, match="200") as refused:
        server.boards.join("late", "b")
    assert (refused.value.code, refused.value.retry) == ("rate_limited", True)
    server.boards.join("late", "another")
    server.boards.leave("client 7")
    server.boards.join("late", "b")
