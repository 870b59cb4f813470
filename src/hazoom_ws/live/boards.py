"""Boards of Excalidraw: who is on which, and what goes to whom. Its contents are encrypted end to end, and not looked at.

As the room server of Excalidraw does it, but that only who is on a board says anything to it. A client that follows another
one is in a room of its own for that, ``follow@`` and the other one's id, to which only that one says something.

Other processes
    Where several share a log, who is on a board may be connected to any of them. Each process knows its own clients, and
    for the boards they are on those of the others (`Boards.note_elsewhere`). Who joins is told who is there, and the others
    of it, when that is known (`Boards.announce`). Whom a client follows may be elsewhere, too: the process of that one
    keeps who follows it.

Plain bookkeeping, called within turns. Source: https://github.com/excalidraw/excalidraw-room, src/index.ts.
"""

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from hazoom_ws.errors import BadPayload, BoardIsFull, HazoomError, NotInRoom, TooManyRooms

BOARD_ID_LIMIT_CHARS = 128
MEMBERS_LIMIT_COUNT = (
    200  # each who comes or goes is told to all with the ids of all: twice as many cost four times as much
)
_FOLLOW = "follow@"
_SAID = "client-broadcast"


class Send(Protocol):
    """Sends an event to clients. ``is_volatile``: who reads too slowly need not get it."""

    def __call__(
        self, sids: Collection[str], event: str, arguments: tuple[Any, ...], *, is_volatile: bool = False
    ) -> None: ...


class OtherProcesses(Protocol):
    """The processes that others on the same boards are connected to. Called within turns; nothing waits."""

    def look_at(self, board: str) -> None:
        """Tell them who is on a board here, which has changed, and find out who is there."""

    def say(self, board: str, processes: Collection[str], arguments: tuple[Any, ...], *, is_volatile: bool) -> None:
        """Pass on what is said to a board, or to those who follow somebody: these ``processes`` know of it."""

    def tell_followed(self, process: str, followed: str, follower: str, *, is_begin: bool, is_gone: bool) -> None:
        """Tell the process of who is followed who follows it, or follows it no more, maybe as it ``is_gone``."""


class Boards:
    """All boards of one application. Clients go by their Socket.IO ids."""

    def __init__(self, send: Send, *, boards_limit_count: int) -> None:
        """``boards_limit_count``: of one client. ``others`` may be set, where there are other processes."""
        self.others: OtherProcesses | None = None
        self._send = send
        self._boards_limit_count = boards_limit_count
        self._elsewhere: dict[str, dict[str, str]] = {}  # of each board who is connected to another process, and to which
        self._members: dict[str, dict[str, None]] = {}
        self._boards_of: dict[str, dict[str, None]] = {}  # of each client that is here

    @property
    def is_empty(self) -> bool:
        """Whether nobody is here."""
        return not (self._boards_of or self._members or self._elsewhere)

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
        if self.others is None:
            self.announce(sid, name)
        else:
            self.others.look_at(name)

    def announce(self, sid: str, name: str) -> HazoomError | None:
        """Tell a client that has joined who is there, and those of it; return what refuses it if there are too many."""
        if name not in self._boards_of.get(sid, ()):
            return None  # it has left
        members = self._all(name)
        if len(members) > MEMBERS_LIMIT_COUNT:
            self._remove(sid, name)
            return BoardIsFull(MEMBERS_LIMIT_COUNT)
        if len(members) > 1:
            self._send([member for member in self._members[name] if member != sid], "new-user", (sid,))
        else:
            self._send([sid], "first-in-room", ())
        self._send(list(self._members[name]), "room-user-change", (members,))
        return None

    def recipients(self, sid: str, board: object) -> list[str]:
        """Return who gets what a client says to a board, of those here. Raises `BadPayload`, `NotInRoom`."""
        name = _checked(board)
        if name not in self._boards_of[sid] and name != _FOLLOW + sid:
            raise NotInRoom(name)
        return [member for member in self._members.get(name, ()) if member != sid]

    def say(self, board: str, recipients: Collection[str], arguments: tuple[Any, ...], *, is_volatile: bool) -> None:
        """Send what a client says to a board to its ``recipients``, and to those elsewhere."""
        self._send(recipients, _SAID, arguments, is_volatile=is_volatile)
        if self.others is not None:
            processes = set(self._elsewhere.get(board, {}).values())
            self.others.say(board, processes, arguments, is_volatile=is_volatile)

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
        self._tell_followed(followed, sid, is_begin=is_begin, is_gone=False)

    def _tell_followed(self, followed: str, sid: str, *, is_begin: bool, is_gone: bool) -> None:
        """Tell who is followed that a client follows it, or does so no more, maybe as it ``is_gone``."""
        process = None if followed in self._boards_of else self._process_of(followed)
        if process is None:
            self._tell_of_followers(followed, is_gone=is_gone)
        elif self.others is not None:
            self.others.tell_followed(process, followed, sid, is_begin=is_begin, is_gone=is_gone)

    def _tell_of_followers(self, followed: str, *, is_gone: bool) -> None:
        followers = self._all(_FOLLOW + followed)
        if not is_gone:
            self._send([followed], "user-follow-room-change", (followers,))
        elif not followers:
            self._send([followed], "broadcast-unfollow", ())

    def leave(self, sid: str) -> None:
        """Take a client from all boards; the others are told."""
        # Whom it follows first: where that one is, is known by the boards that they share.
        for name in sorted(self._boards_of.get(sid, ()), key=lambda name: not name.startswith(_FOLLOW)):
            self._remove(sid, name)
            if name.startswith(_FOLLOW):
                self._tell_followed(name.removeprefix(_FOLLOW), sid, is_begin=False, is_gone=True)
                continue
            self._tell_of_members(name)
            if self.others is not None:
                self.others.look_at(name)
        self._boards_of.pop(sid, None)
        self._elsewhere.pop(_FOLLOW + sid, None)

    # Other processes

    def here(self, name: str) -> list[str]:
        """Return who is on a board and connected to this process."""
        return list(self._members.get(name, ()))

    def of_process(self, name: str, process: str) -> list[str]:
        """Return who is on a board and connected to another process."""
        return [sid for sid, other in self._elsewhere.get(name, {}).items() if other == process]

    def note_elsewhere(self, name: str, there: Mapping[str, str], *, is_first: bool = False) -> None:
        """Note who is on a board and connected to which other process, and tell those here what has changed in that.

        ``is_first``: nobody here knows yet who is there.
        """
        before = self._elsewhere.get(name, {})
        if before == there or name not in self._members:
            return
        self._elsewhere[name] = dict(there)
        if not is_first:
            for sid in there:
                if sid not in before:
                    self._send(self.here(name), "new-user", (sid,))
            self._tell_of_members(name)

    def note_follower(self, followed: str, follower: str, process: str | None, *, is_gone: bool) -> None:
        """Note that a client of another process follows one that is here, or with None that it does so no more."""
        if followed not in self._boards_of:
            return
        there = self._elsewhere.setdefault(_FOLLOW + followed, {})
        if process is not None and len(there) < MEMBERS_LIMIT_COUNT:
            there[follower] = process
        else:
            there.pop(follower, None)
        self._tell_of_followers(followed, is_gone=is_gone)
        if not there:
            del self._elsewhere[_FOLLOW + followed]

    def hear(self, name: str, arguments: tuple[Any, ...], *, is_volatile: bool) -> None:
        """Send what is said to a board elsewhere to those who are here."""
        self._send(self.here(name), _SAID, arguments, is_volatile=is_volatile)

    def lose(self, process: str) -> None:
        """Let those be gone who are connected to a process that has died."""
        for name, there in list(self._elsewhere.items()):
            gone = self.of_process(name, process)
            if name.startswith(_FOLLOW):
                for sid in gone:
                    self.note_follower(name.removeprefix(_FOLLOW), sid, None, is_gone=True)
            elif gone:
                self.note_elsewhere(name, {sid: other for sid, other in there.items() if other != process})

    def tell_followed_again(self) -> None:
        """Tell other processes again whom of theirs those here follow: what they were told may be lost."""
        for name, members in self._members.items():
            followed = name.removeprefix(_FOLLOW)
            if name.startswith(_FOLLOW) and followed not in self._boards_of:
                for sid in members:
                    self._tell_followed(followed, sid, is_begin=True, is_gone=False)

    def _process_of(self, sid: str) -> str | None:
        return next((there[sid] for there in self._elsewhere.values() if sid in there), None)

    def _all(self, name: str) -> list[str]:
        return [*self._members.get(name, ()), *self._elsewhere.get(name, ())]

    def _tell_of_members(self, name: str) -> None:
        here = self.here(name)
        if here:
            self._send(here, "room-user-change", (self._all(name),))

    def _share_a_board(self, sid: str, other: str) -> bool:
        return any(other in self._members[name] or other in self._elsewhere.get(name, ()) for name in self._boards_of[sid])

    def _add(self, sid: str, name: str) -> None:
        if len(self._boards_of[sid]) >= self._boards_limit_count:
            raise TooManyRooms(self._boards_limit_count)
        if len(self._members.get(name, ())) + len(self._elsewhere.get(name, ())) >= MEMBERS_LIMIT_COUNT:
            raise BoardIsFull(MEMBERS_LIMIT_COUNT)
        self._boards_of[sid][name] = None
        self._members.setdefault(name, {})[sid] = None

    def _remove(self, sid: str, name: str) -> None:
        del self._boards_of[sid][name]
        del self._members[name][sid]
        if not self._members[name]:
            del self._members[name]
            self._elsewhere.pop(name, None)


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
