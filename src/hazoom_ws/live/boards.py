"""Boards of Excalidraw: who is on which, and what goes to whom. Its contents are encrypted end to end, and not looked at.

As the room server of Excalidraw does it, but that only who is on a board says anything to it. A client that follows another
one is in a room of its own for that, ``follow@`` and the other one's id, to which only that one says something.

Plain bookkeeping, called within turns. Source: https://github.com/excalidraw/excalidraw-room, src/index.ts.
"""

from collections.abc import Callable, Collection
from typing import Any

from hazoom_ws.errors import BadPayload, BoardIsFull, NotInRoom, TooManyRooms

BOARD_ID_LIMIT_CHARS = 128
MEMBERS_LIMIT_COUNT = (
    200  # each who comes or goes is told to all with the ids of all: twice as many cost four times as much
)
_FOLLOW = "follow@"
Send = Callable[[Collection[str], str, tuple[Any, ...]], None]


class Boards:
    """All boards of one application. Clients go by their Socket.IO ids."""

    def __init__(self, send: Send, *, boards_limit_count: int) -> None:
        """``send(sids, event, arguments)`` sends an event to clients. ``boards_limit_count``: of one client."""
        self._send = send
        self._boards_limit_count = boards_limit_count
        self._members: dict[str, dict[str, None]] = {}
        self._boards_of: dict[str, dict[str, None]] = {}  # of each client that is here

    @property
    def is_empty(self) -> bool:
        """Whether nobody is here."""
        return not (self._boards_of or self._members)

    def enter(self, sid: str) -> None:
        """Let a client in, which may join boards from now on."""
        self._boards_of[sid] = {}
        self._send([sid], "init-room", ())

    def join(self, sid: str, board: object) -> None:
        """Put a client on a board, once. Raises `BadPayload`, `TooManyRooms`, `BoardIsFull`."""
        name = _checked(board)
        if name.startswith(_FOLLOW):
            raise BadPayload("room", "is somebody's who is followed: send user-follow")
        if name in self._boards_of[sid]:
            return
        self._add(sid, name)
        members = list(self._members[name])
        others = [member for member in members if member != sid]
        if others:
            self._send(others, "new-user", (sid,))
        else:
            self._send([sid], "first-in-room", ())
        self._send(members, "room-user-change", (members,))

    def recipients(self, sid: str, board: object) -> list[str]:
        """Return who gets what a client says to a board. Raises `BadPayload`, `NotInRoom`."""
        name = _checked(board)
        if name not in self._boards_of[sid] and name != _FOLLOW + sid:
            raise NotInRoom(name)
        return [member for member in self._members.get(name, ()) if member != sid]

    def follow(self, sid: str, payload: object) -> None:
        """Let a client follow another one that is on a board with it, or follow it no more.

        Raises `BadPayload`, `TooManyRooms`, `BoardIsFull`.
        """
        followed, is_begin = _followed(payload)
        name = _FOLLOW + followed
        if is_begin and name not in self._boards_of[sid] and self._share_a_board(sid, followed):
            self._add(sid, name)
        elif not is_begin and name in self._boards_of[sid]:
            self._remove(sid, name)
        else:
            return
        self._send([followed], "user-follow-room-change", (list(self._members.get(name, ())),))

    def leave(self, sid: str) -> None:
        """Take a client from all boards; the others are told."""
        for name in list(self._boards_of.get(sid, ())):
            self._remove(sid, name)
            members = list(self._members.get(name, ()))
            if not name.startswith(_FOLLOW):
                self._send(members, "room-user-change", (members,))
            elif not members:
                self._send([name.removeprefix(_FOLLOW)], "broadcast-unfollow", ())
        self._boards_of.pop(sid, None)

    def _share_a_board(self, sid: str, other: str) -> bool:
        return any(other in self._members[name] for name in self._boards_of[sid])

    def _add(self, sid: str, name: str) -> None:
        if len(self._boards_of[sid]) >= self._boards_limit_count:
            raise TooManyRooms(self._boards_limit_count)
        if len(self._members.get(name, ())) >= MEMBERS_LIMIT_COUNT:
            raise BoardIsFull(MEMBERS_LIMIT_COUNT)
        self._boards_of[sid][name] = None
        self._members.setdefault(name, {})[sid] = None

    def _remove(self, sid: str, name: str) -> None:
        del self._boards_of[sid][name]
        del self._members[name][sid]
        if not self._members[name]:
            del self._members[name]


def _checked(board: object) -> str:
    if not isinstance(board, str) or not board:
        raise BadPayload("room", "expected a string that is not empty")
    if len(board) > BOARD_ID_LIMIT_CHARS:
        raise BadPayload("room", f"{len(board)} characters, the limit is {BOARD_ID_LIMIT_CHARS}")
    return board


def _followed(payload: object) -> tuple[str, bool]:
    """Return whom somebody wants to follow, or, with False, to follow no more."""
    if isinstance(payload, dict) and payload.get("action") in ("FOLLOW", "UNFOLLOW"):
        user = payload.get("userToFollow")
        followed = user.get("socketId") if isinstance(user, dict) else None
        if isinstance(followed, str) and len(followed) <= BOARD_ID_LIMIT_CHARS:
            return followed, payload["action"] == "FOLLOW"
    raise BadPayload("payload", 'expected {userToFollow: {socketId}, action: "FOLLOW" or "UNFOLLOW"}')
