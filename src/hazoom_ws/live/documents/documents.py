"""Documents: who has which open, what they say, and when what is kept.

What is promised
    An update is kept in the message log before anybody else hears of it; one that could not be kept is shown to nobody, and
    all who have the document open are closed in the way that makes them come back and bring it again.
    What is new in an update is passed on in order, none of it left out. All is kept: an update that waits for another one
    stays as it is until that has come, and is passed on then.
    What takes long (reading a document, merging much, saying all of a large one) is done beside turns, and who says
    anything about that document meanwhile waits in order, and nobody else does.
    A document that nobody has open is not in memory.

Called within turns. What keeps documents: `hazoom_ws.message_log.documents`.
"""

from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from hazoom_ws.deadlines import Deadlines
from hazoom_ws.errors import TooLarge
from hazoom_ws.live.documents.awareness import Elsewhere, Entry, Told, decode, encode
from hazoom_ws.live.documents.errors import MalformedUpdate
from hazoom_ws.live.documents.keeping import Keeping, Opened, Peer
from hazoom_ws.live.documents.open_document import State
from hazoom_ws.live.documents.others import AGAIN, AWARENESS, CLOSED, HERE, OPENED, SNAPSHOT, Others
from hazoom_ws.live.documents.reading import RunBeside
from hazoom_ws.message_log.documents import Documents as Store
from hazoom_ws.message_log.documents import DocumentUpdate

SYNC_STEP_1, AWARENESS_UPDATE = "sync-step-1", "awareness-update"
MALFORMED_LIMIT_COUNT = 3
_WAITING_LIMIT_BYTES = 67_108_864  # of what is said while a document is read
_RETRY_INTERVAL_S = 1.0
_IDLE_LIMIT_COUNT = 100  # documents in memory that nobody has open


class Documents:
    """The documents of one application that somebody has open."""

    def __init__(
        self,
        store: Store,
        *,
        queue: Callable[[Callable[[], None]], None],
        send_all: Callable[[Collection[Any], str, bytes], None],
        run_beside: RunBeside,
        note: Callable[[str, str], None],
        wake: Callable[[], None],
        wake_idle: Callable[[], None],
        clock: Callable[[], float],
        update_limit_bytes: int,
        document_limit_bytes: int,
        idle_s: float,
        interval_s: float,
        others: Others | None = None,
    ) -> None:
        """``queue(send)`` lets that be sent in order, when what came before is kept.

        ``send_all(peers, event, argument)`` sends an event to many. ``run_beside(function, done)`` calls ``done(result,
        error)`` in a turn with what ``function`` returned or raised beside turns. ``note(what, detail)`` logs what clients
        do wrong, however often they do it. ``wake`` is called when there is something that `run_due` has to do later,
        ``wake_idle`` when there is for `let_go_idle`. ``idle_s``: how long a document stays in memory that nobody has open.
        ``interval_s``: between two awareness updates of one document. ``others``: where several processes share the store.
        """
        self._queue = queue
        self._send_all = send_all
        self._note = note
        self._wake = wake
        self._wake_idle = wake_idle
        self._clock = clock
        self._update_limit_bytes = update_limit_bytes
        self._keeping = Keeping(
            store,
            queue=queue,
            send_all=send_all,
            run_beside=run_beside,
            document_limit_bytes=document_limit_bytes,
            on_malformed=self._note_malformed,
            on_closed=self._on_closed,
            on_unread=self._on_unread,
            others=others,
        )
        self._others = others
        self._by_peer: dict[Any, Opened] = {}
        self._malformed: Counter[Any] = Counter()
        self._idle: Deadlines[Opened] = Deadlines(idle_s)
        self._unread: Deadlines[Opened] = Deadlines(_RETRY_INTERVAL_S)
        self._speaking: Deadlines[Opened] = Deadlines(interval_s)

    @property
    def open_count(self) -> int:
        """Documents in memory."""
        return len(self._keeping.open)

    @property
    def updates_total(self) -> int:
        """Updates of documents that were kept or are to be."""
        return self._keeping.updates_total

    @property
    def is_empty(self) -> bool:
        """Whether nobody has any open."""
        return not self._by_peer

    # Who comes and goes

    def enter(self, peer: Peer, name: str) -> Opened:
        """Let a client have the document of a name open. It is asked what it has, as soon as the document is read."""
        opened = self._keeping.opened(name)
        opened.peers[peer] = None
        self._by_peer[peer] = opened
        self._idle.stop(opened)
        if not opened.is_open:
            self._queue(peer.close)  # it comes back, when there is time
            return opened
        opened.do(partial(self._greet, opened, peer))
        return opened

    def leave(self, peer: Peer) -> None:
        """Take note that a client has gone; what it has said is kept all the same."""
        opened = self._by_peer.pop(peer, None)
        self._malformed.pop(peer, None)
        if opened is None:
            return
        del opened.peers[peer]
        self._tell_gone(opened, opened.awareness.leave(peer))
        self._run_if_due(opened)
        if not opened.peers and opened.is_open:
            self._idle.start(opened, self._clock())
            while len(self._idle) > _IDLE_LIMIT_COUNT and self._let_go(self._idle.pop_first()):
                pass
            self._wake_idle()

    # What clients say

    def sync_step_1(self, peer: Peer, state_vector: object, reply: Callable[[bytes], None]) -> None:
        """Call ``reply``, when that may be told, with an update that has what is here and not at the client."""
        opened = self._by_peer.get(peer)
        if opened is None:
            return
        if not isinstance(state_vector, bytes):
            self._note_malformed(peer, opened, "a state vector that is no bytes")
            return
        opened.do(partial(self._keeping.say_difference, opened, peer, state_vector, reply))

    def update(self, peer: Peer, update: object) -> None:
        """Merge an update of a client; keep what is new in it, and pass that on."""
        opened = self._by_peer.get(peer)
        if opened is None:
            return
        if not isinstance(update, bytes):
            self._note_malformed(peer, opened, "an update that is no bytes")
        elif len(update) > self._update_limit_bytes:
            self._queue(partial(peer.dismiss, TooLarge("update", self._update_limit_bytes, len(update), unit="bytes")))
        elif opened.jobs_bytes + len(update) > _WAITING_LIMIT_BYTES:
            self._queue(peer.close)  # it brings it again, when there is room
        else:
            opened.do(partial(self._keeping.merge, opened, peer, update), len(update))

    def awareness_update(self, peer: Peer, update: object) -> None:
        """Pass on what a client says of itself; what it says of others is an echo."""
        opened = self._by_peer.get(peer)
        if opened is None:
            return
        self._keeping.save_lost()  # here, as who has a document open says something at least each 15 s
        try:
            entries = decode(update if isinstance(update, bytes) else b"", only=opened.awareness.own_id(peer))
        except MalformedUpdate as error:
            self._note_malformed(peer, opened, str(error))
            return
        self._tell_gone(opened, opened.awareness.apply(peer, entries))
        self._run_if_due(opened)

    # What is written by us

    def keep(self, opened: Opened, update: bytes, writer: Peer) -> DocumentUpdate | None:
        """Keep an update that a writer of ours has made, and show it to all others: see `Keeping.keep`."""
        return self._keeping.keep(opened, update, writer)

    def say(self, writer: Peer, client_id: int, state: str) -> None:
        """Let others see where a writer of ours is; ``state`` is JSON."""
        opened = self._by_peer[writer]
        opened.awareness.put(writer, client_id, state)
        self._run_if_due(opened)

    # Time

    def run_due(self) -> float | None:
        """Send the awareness updates that are due; return the seconds until the next time."""
        now_s = self._clock()
        for opened, _ in self._speaking.pop_due(now_s):
            self._say_awareness(opened, now_s)
        return self._speaking.next_due_in_s(now_s)

    def let_go_idle(self) -> float | None:
        """Let go of the documents that nobody has had open for a while; return the seconds until the next time.

        Those that could not be read again are tried.
        """
        now_s = self._clock()
        for opened, _ in self._idle.pop_due(now_s):
            self._let_go(opened)
        for opened, _ in self._unread.pop_due(now_s):
            self._keeping.read(opened)
        due_in_s = (self._idle.next_due_in_s(now_s), self._unread.next_due_in_s(now_s))
        return min((each for each in due_in_s if each is not None), default=None)

    def _let_go(self, opened: Opened) -> bool:
        """Let go of a document that nobody has open, unless something is still to be done; return whether it has gone."""
        if opened.state is not State.READY or opened.unkept_count or opened.jobs:
            self._idle.start(opened, self._clock())
            return False
        self._keeping.close(opened)
        return True

    def close(self) -> None:
        """Let go of all documents: the application ends, and nobody is connected any more. Call it outside turns."""
        self._keeping.is_ending = True
        for opened in list(self._keeping.open.values()):
            self._keeping.close(opened)

    def _on_unread(self, opened: Opened) -> None:
        self._unread.start(opened, self._clock())
        self._wake_idle()

    def _on_closed(self, opened: Opened) -> None:
        self._idle.stop(opened)
        self._unread.stop(opened)
        self._speaking.stop(opened)

    def _greet(self, opened: Opened, peer: Peer) -> None:
        """Tell a client who is there, and ask it what it has."""
        if peer not in opened.peers:
            return
        state_vector = opened.document.state_vector()
        snapshot = opened.awareness.snapshot()

        def send() -> None:
            if peer in opened.peers and opened.is_open:
                if snapshot is not None:
                    peer.send(AWARENESS_UPDATE, snapshot)
                peer.ask(SYNC_STEP_1, state_vector, partial(self.update, peer))

        self._queue(send)

    # Awareness

    def _tell_gone(self, opened: Opened, told: Told[Any]) -> None:
        """Tell clients that their own ids have gone, so that they say again who they are."""
        elsewhere: list[Entry] = []
        for owner, entries in told.items():
            if isinstance(owner, Elsewhere):
                elsewhere += entries
            else:
                self._queue(partial(owner.send, AWARENESS_UPDATE, encode(entries)))
        if elsewhere:
            self._tell_others(opened, AGAIN, encode(elsewhere))

    def _run_if_due(self, opened: Opened) -> None:
        """Say what has changed, unless something was said a moment ago: then it is due soon."""
        if opened.is_open and opened.awareness.has_changed and self._speaking.due_at_s(opened) is None:
            self._say_awareness(opened, self._clock())

    def _say_awareness(self, opened: Opened, now_s: float) -> None:
        if not (opened.is_open and opened.awareness.has_changed):
            return
        update, speakers, ours = opened.awareness.take()
        others = [peer for peer in opened.peers if peer not in speakers]
        if others:
            self._queue(partial(self._send_all, others, AWARENESS_UPDATE, update))
        if ours and opened.others:
            self._queue(partial(self._tell_others, opened, AWARENESS, encode(ours)))
        self._speaking.start(opened, now_s)
        self._wake()

    # Other processes

    def hear_update(self, name: str, seq: int, update: bytes) -> None:
        """Merge an update that another process has kept."""
        self._keeping.hear(name, seq, update, _WAITING_LIMIT_BYTES)

    def hear(self, name: str, process: str, word: bytes, data: bytes) -> None:
        """Take note of what another process says about a document, as `others` has it."""
        opened = self._keeping.open.get(name)
        if opened is None or not opened.is_followed:
            return
        if word == SNAPSHOT:
            self._keeping.note_snapshot(opened, int(data))
            return
        if word == AGAIN:
            self._tell_gone(opened, opened.awareness.say_again(decode(data, limit_count=None)))
            return
        opened.unheard.discard(process)
        if word == CLOSED:
            opened.others.discard(process)
            self._tell_gone(opened, opened.awareness.lose(process))
        else:
            opened.others.add(process)
            entries = decode(data, limit_count=None)
            self._tell_gone(opened, opened.awareness.hear(process, entries, is_all=word != AWARENESS))
        if word == OPENED:
            self._tell_others(opened, HERE, opened.awareness.ours())
        self._run_if_due(opened)

    def hear_again(self) -> None:
        """Read all that is open again, and ask who else has it open: what others have said meanwhile may be lost."""
        self._keeping.read_again()
        for opened in self._keeping.open.values():
            if opened.is_read:
                opened.unheard = set(opened.others)
                self._tell_others(opened, OPENED, opened.awareness.ours())

    def lose(self, process: str) -> None:
        """Let the editors of a process be gone: it has died."""
        for name, opened in list(self._keeping.open.items()):
            if process in opened.others:
                self.hear(name, process, CLOSED, b"")

    def lose_unheard(self) -> None:
        """Let the editors be gone of processes that have not answered since `hear_again`: they have let go meanwhile."""
        for name, opened in list(self._keeping.open.items()):
            for process in list(opened.unheard):
                self.hear(name, process, CLOSED, b"")

    def _tell_others(self, opened: Opened, word: bytes, data: bytes) -> None:
        if self._others is not None and opened.is_open:
            self._others.tell(opened.name, word, data)

    # What cannot be

    def _note_malformed(self, peer: Peer, opened: Opened, why: str) -> None:
        self._malformed[peer] += 1
        self._note("a document's client has sent what cannot be read", f"{opened.name!r}, {why}")
        if self._malformed[peer] >= MALFORMED_LIMIT_COUNT:
            self._queue(peer.dismiss)
