"""Boards whose members are connected to several processes. Called within turns, but for what is done beside them.

Who is on a board is kept in a hash: the Socket.IO id of each, and its process. A process that has somebody on a board hears
its channel, and compares with the hash whatever has changed here (`SharedBoards.look_at`), or elsewhere when it is told so:
one comparison for each board at a time, again and again until nothing has changed meanwhile. So whoever is first in the
hash is first on the board. What a process that has died has left there is taken out by those who miss it.

What is drawn is published, and kept nowhere. While Redis is away each process has its boards for itself, and compares again
when that is over.
"""

import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple

import msgspec

from hazoom_ws.cluster.news import News
from hazoom_ws.cluster.processes import RunBeside
from hazoom_ws.errors import HazoomError, LogUnavailable
from hazoom_ws.live.boards import Boards
from hazoom_ws.message_log.peers import Heard, Peers

logger = logging.getLogger(__name__)

_CHANGED, _SAID, _FOLLOWED = b"board-changed", b"board-said", b"board-followed"
_KEY = "{hazoom}:board:"
_KEPT_S = 86_400  # a hash that nobody has touched for so long is forgotten
_TOUCHED_INTERVAL_S = 21_600.0
_RETRY_INTERVAL_S = 2.0
_VOLATILE_LIMIT_BYTES = 1_048_576  # while more waits to be published, cursors are left out
_pack = msgspec.msgpack.Encoder().encode
_unpack_said = msgspec.msgpack.Decoder(tuple[str, tuple[bytes, ...], bool]).decode
_unpack_followed = msgspec.msgpack.Decoder(tuple[str, str, bool, bool]).decode


class _Board:
    """A board that is compared.

    ``told`` are those of here who are in the hash, ``left`` those who may be, and ``gone`` those whom the dead have left
    there. ``announced``: who knows who else is there.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.told: set[str] = set()
        self.left: set[str] = set()
        self.gone: set[str] = set()
        self.announced: set[str] = set()
        self.is_known = self.is_comparing = self.has_changed = self.has_failed = False
        self.compared_at_s = 0.0


class _Step(NamedTuple):
    """What is done beside turns: who is here, who of them comes into the hash, and who goes."""

    here: list[str]
    added: list[str]
    removed: list[str]
    is_first: bool


class SharedBoards:
    """The `OtherProcesses` of the boards of one process."""

    def __init__(
        self,
        boards: Boards,
        peers: Peers,
        news: News,
        *,
        run_beside: RunBeside,
        refuse: Callable[[str, HazoomError], None],
        wake: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        """``refuse(sid, error)`` tells a client why it is not on a board. ``wake`` is called when
        `run_due` has something to do later."""
        self._boards = boards
        self._peers = peers
        self._run_beside = run_beside
        self._refuse = refuse
        self._wake = wake
        self._clock = clock
        self._compared: dict[str, _Board] = {}
        boards.others = self
        news.on[_CHANGED] = lambda heard: self._compare(heard.channel.removeprefix(_channel("")))
        news.on[_SAID] = self._hear_said
        news.on[_FOLLOWED] = self._hear_followed
        peers.on_back.append(self._on_back)

    # What `Boards` says

    def look_at(self, board: str) -> None:
        """See `OtherProcesses`."""
        if board not in self._compared:
            self._compared[board] = _Board(board)
            self._wake()
        self._compare(board)

    def say(self, board: str, processes: Collection[str], arguments: tuple[Any, ...], *, is_volatile: bool) -> None:
        """See `OtherProcesses`."""
        compared = self._compared.get(board)
        if compared is not None and compared.is_known and not processes:
            return
        if is_volatile and self._peers.queued_bytes > _VOLATILE_LIMIT_BYTES:
            return
        data = _pack((board, arguments, is_volatile))
        channels = [_channel(board)] if compared is not None else [f"process:{process}" for process in processes]
        for channel in channels:
            self._peers.publish(channel, _SAID, data)

    def tell_followed(self, process: str, followed: str, follower: str, *, is_begin: bool, is_gone: bool) -> None:
        """See `OtherProcesses`."""
        self._peers.publish(f"process:{process}", _FOLLOWED, _pack((followed, follower, is_begin, is_gone)))

    # What others say

    def _hear_said(self, heard: Heard) -> None:
        board, arguments, is_volatile = _unpack_said(heard.data)
        self._boards.hear(board, arguments, is_volatile=is_volatile)

    def _hear_followed(self, heard: Heard) -> None:
        followed, follower, is_begin, is_gone = _unpack_followed(heard.data)
        self._boards.note_follower(followed, follower, heard.process if is_begin else None, is_gone=is_gone)

    def _on_back(self) -> None:
        for board, compared in list(self._compared.items()):
            compared.told.clear()  # others may have taken it for dead
            self._compare(board)
        self._boards.tell_followed_again()

    def lose(self, process: str) -> None:
        """Let those be gone who were connected to a process that has ended."""
        for board, compared in list(self._compared.items()):
            gone = self._boards.of_process(board, process)
            if gone:
                compared.gone.update(gone)
                self._compare(board)
        self._boards.lose(process)

    # Comparing

    def run_due(self) -> float | None:
        """Compare again what could not be compared, and touch hashes now and then; return the seconds until then."""
        now_s = self._clock()
        for board, compared in list(self._compared.items()):
            if now_s - compared.compared_at_s >= _TOUCHED_INTERVAL_S:
                compared.told.clear()
                self._compare(board)
            elif compared.has_failed:
                self._compare(board)
        return _RETRY_INTERVAL_S if self._compared else None

    def _compare(self, board: str) -> None:
        """Compare a board with its hash beside turns, after the comparison that goes on."""
        compared = self._compared.get(board)
        if compared is None:
            return
        compared.has_changed = True
        if compared.is_comparing:
            return
        compared.has_changed = False
        compared.is_comparing = True
        here = self._boards.here(board)
        added = [sid for sid in here if sid not in compared.told]
        compared.left.update(added)
        removed = [*compared.left.difference(here), *compared.gone]
        step = _Step(here, added, removed, is_first=not compared.is_known)
        self._run_beside(partial(self._do, board, step), partial(self._on_compared, compared, step))

    def _do(self, board: str, step: _Step) -> dict[str, str]:
        """Bring a hash up to date; return who else is on the board, and connected to which process. Beside turns."""
        peers, key = self._peers, _KEY + board
        if step.here and step.is_first:
            peers.follow([_channel(board)])
        commands: list[tuple[Any, ...]] = []
        if step.removed:
            commands.append(("HDEL", key, *step.removed))
        if step.added:
            commands.append(("HSET", key, *(part for sid in step.added for part in (sid, peers.name))))
        commands += [("EXPIRE", key, _KEPT_S), ("HGETALL", key)]
        found = {sid.decode(): process.decode() for sid, process in peers.ask(*commands)[-1].items()}
        there = {sid: process for sid, process in found.items() if process != peers.name}
        if not step.here:
            peers.unfollow([_channel(board)])
        elif step.is_first and there:
            alive = peers.alive()
            dead = [sid for sid, process in there.items() if process not in alive]
            if dead:
                peers.ask(("HDEL", key, *dead))
            there = {sid: process for sid, process in there.items() if process in alive}
        return there

    def _on_compared(
        self, compared: _Board, step: _Step, there: dict[str, str] | None, error: BaseException | None
    ) -> None:
        board = compared.name
        compared.is_comparing = False
        compared.compared_at_s = self._clock()
        compared.has_failed = there is None
        if there is not None:
            compared.told, compared.left = set(step.here), set(step.here)
            compared.gone.difference_update(step.removed)
            compared.is_known = bool(step.here)
            self._take(compared, step, there)
        elif not isinstance(error, LogUnavailable):
            logger.error("board %.64r was not compared with what others say of it", board, exc_info=error)
        self._announce(compared, step.here)
        if compared.has_changed:
            self._compare(board)
        elif there is not None and not step.here:
            del self._compared[board]

    def _take(self, compared: _Board, step: _Step, there: dict[str, str]) -> None:
        """Let a board have who is elsewhere, and others compare it if this has changed something."""
        if step.added or step.removed:
            self._peers.publish(_channel(compared.name), _CHANGED, b"")
        if there:
            there = {sid: process for sid, process in there.items() if sid not in compared.gone}
        self._boards.note_elsewhere(compared.name, there, is_first=not compared.announced)

    def _announce(self, compared: _Board, here: list[str]) -> None:
        """Tell who has come who else is there, or why it cannot be."""
        compared.announced.intersection_update(here)
        for sid in here:
            if sid not in compared.announced:
                compared.announced.add(sid)
                refusal = self._boards.announce(sid, compared.name)
                if refusal is not None:
                    self._refuse(sid, refusal)
                    compared.has_changed = True


def _channel(board: str) -> str:
    return f"board:{board}"
