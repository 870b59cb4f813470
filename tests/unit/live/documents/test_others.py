"""Documents that are open in several processes, which write, hear, miss something and die whenever it is worst."""

import random
from collections import deque
from collections.abc import Callable, Collection
from itertools import count
from typing import Any

import pytest

from editors import MB, Peer
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.live.documents import keeping
from hazoom_ws.live.documents.document import Document
from hazoom_ws.live.documents.documents import Documents
from hazoom_ws.live.documents.open_document import State
from hazoom_ws.message_log.contract import number, revoke
from hazoom_ws.message_log.documents import DocumentUpdate, StoredDocument

NAME = "doc"


class Log:
    """What is kept of one document, by the rules of the scripts: one order, and snapshots up to a number."""

    def __init__(self) -> None:
        self.seq = 1000
        self.snapshot: tuple[int, bytes] | None = None
        self.updates: list[tuple[int, bytes]] = []
        self.processes: list[Process] = []

    def write(self, process: "Process", entries: list[DocumentUpdate]) -> list[int]:
        seqs = []
        for entry in entries:
            self.seq += 10
            self.updates.append((self.seq, entry.data))
            self.publish(process, (b"u", (self.seq, entry.data)))
            seqs.append(self.seq)
        return seqs

    def publish(self, process: "Process", said: tuple[bytes, Any]) -> None:
        for other in self.processes:
            if other is not process and other.is_following and not other.is_deaf:
                other.inbox.append((process.name, said))

    def save(self, snapshot: bytes, through: int) -> None:
        if self.snapshot is None or self.snapshot[0] <= through:
            self.snapshot = (through, snapshot)
            self.updates = [each for each in self.updates if each[0] > through]

    def read(self) -> StoredDocument | None:
        if self.snapshot is None and not self.updates:
            return None
        through, snapshot = self.snapshot or (0, None)
        return StoredDocument(snapshot, through, list(self.updates))

    def document(self) -> Document:
        document = Document()
        stored = self.read()
        if stored is not None:
            for data in [stored.snapshot or b"\0\0", *(data for _, data in stored.updates)]:
                document.merge(data)
        return document


class Process:
    """One process: its documents, which are a store's and `Others`' too. Each method is a moment of what it does."""

    def __init__(self, name: str, log: Log) -> None:
        self.name = name
        self.log = log
        self.losses_count = 0
        self.is_following = self.is_deaf = False
        self.inbox: deque[tuple[str, tuple[bytes, Any]]] = deque()
        self.threads: deque[tuple[Callable, Callable]] = deque()
        self.results: deque[Callable[[], None]] = deque()
        self.snapshots: deque[tuple[bytes, int]] = deque()
        self.pending: list[DocumentUpdate] = []
        self.written: tuple[list[DocumentUpdate], list[int], deque] | None = None  # is kept, and that is not known yet
        self.waiting: deque[Callable[[], None]] = deque()  # for what is pending
        self.shown: list[bytes] = []
        self.peers: list[Peer] = []
        self.entered_counts: dict[Peer, int] = {}
        self.saved_count = 0
        self.documents = Documents(
            self,
            queue=self.queue,
            send_all=self.send_all,
            run_beside=lambda function, done: self.threads.append((function, done)),
            note=lambda _what, _detail: None,
            wake=lambda: None,
            wake_idle=lambda: None,
            clock=count(1.0, 0.5).__next__,
            update_limit_bytes=MB,
            document_limit_bytes=MB,
            idle_s=0.0,
            interval_s=0.0,
            others=self,
        )
        log.processes.append(self)

    # As a store, and as `Others`

    def add_update(self, document: str, update: bytes) -> DocumentUpdate:
        if self.is_deaf:
            raise LogUnavailable("away")
        self.pending.append(DocumentUpdate(self.log.seq + 1 + len(self.pending), document, update))
        return self.pending[-1]

    def read(self, document: str) -> StoredDocument | None:
        if self.is_deaf:
            raise LogUnavailable("away")
        return self.log.read()

    def save_snapshot(self, document: str, snapshot: bytes, through: int) -> None:
        if not self.is_deaf:
            self.snapshots.append((snapshot, through))
            self.saved_count += 1

    def follow(self, document: str) -> None:
        if self.is_deaf:
            raise LogUnavailable("away")
        self.is_following = True

    def unfollow(self, document: str) -> None:
        self.is_following = False

    def tell(self, document: str, word: bytes, data: bytes) -> None:
        if not self.is_deaf:
            self.log.publish(self, (word, data))

    def queue(self, send: Callable[[], None]) -> None:
        if self.pending:
            self.waiting.append(send)
        elif self.written is not None:
            self.written[2].append(send)
        else:
            send()

    def send_all(self, peers: Collection[Peer], event: str, argument: bytes) -> None:
        for peer in peers:
            peer.send(event, argument)
            if event == "sync-update":
                self.shown.append(argument)

    # What it does

    def write(self) -> None:
        """Write what is pending; what comes of it is known when its end is heard."""
        if self.pending and self.written is None and not self.is_deaf:
            entries, self.pending = self.pending, []
            waiting, self.waiting = self.waiting, deque()
            self.written = (entries, self.log.write(self, entries), waiting)
            self.inbox.append((self.name, (b"end", None)))

    def hear(self) -> None:
        if not self.inbox:
            return
        process, (word, said) = self.inbox.popleft()
        if word == b"u":
            self.documents.hear_update(NAME, *said)
        elif word == b"end":
            self.end(is_kept=True)
        else:
            self.documents.hear(NAME, process, word, said)

    def end(self, *, is_kept: bool) -> None:
        assert self.written is not None
        entries, seqs, waiting = self.written
        self.written = None
        for entry, seq in zip(entries, seqs, strict=True):
            if is_kept:
                number(entry, seq, "")
            else:
                revoke(entry)
        while waiting:
            waiting.popleft()()

    def work(self) -> None:
        """Do what is to be done beside turns; `take` what comes of it later."""
        if self.threads:
            function, done = self.threads.popleft()
            try:
                result = function()
            except Exception as error:
                failure = error
                self.results.append(lambda: done(None, failure))
            else:
                self.results.append(lambda: done(result, None))

    def take(self) -> None:
        if self.results:
            self.results.popleft()()

    def tidy(self) -> None:
        if self.snapshots and not self.is_deaf:
            self.log.save(*self.snapshots.popleft())

    def lose_touch(self) -> None:
        """Be cut off: what was written last is kept, and nobody here knows."""
        if self.is_deaf:
            return
        self.is_deaf = True
        while self.inbox:  # up to where it was cut off, everything was heard
            if self.inbox[0][1][0] == b"end":
                break
            self.hear()
        self.inbox.clear()
        self.snapshots.clear()
        if self.written is not None:
            self.end(is_kept=False)
        for entry in self.pending:
            revoke(entry)
        self.pending.clear()
        while self.waiting:
            self.waiting.popleft()()

    def come_back(self) -> None:
        if self.is_deaf:
            self.is_deaf = False
            self.documents.hear_again()

    def let_go_idle(self) -> None:
        self.documents.let_go_idle()

    # Its clients

    def enter(self, peer: Peer) -> None:
        peer.scene = self  # type: ignore[assignment]
        self.peers.append(peer)
        self._enter(peer)

    def _enter(self, peer: Peer) -> None:
        """Let a client come, who answers what it is asked this time only."""
        peer.asked.clear()
        self.entered_counts[peer] = len(peer.events("sync-step-1")) + 1
        peer.enter(NAME)

    def care(self) -> None:
        """Let clients do what they do by themselves: answer, and come back."""
        for peer in self.peers:
            if peer.is_closed:
                self.documents.leave(peer)
                self._enter(peer)
            elif peer.asked:
                asked = [argument for event, argument in peer.got if event == "sync-step-1"]
                peer.asked.pop()(bytes(peer.doc.get_update(asked[-1])))
                peer.asked.clear()

    def has_answered(self, peer: Peer) -> bool:
        """Return whether all is here that a client has said before; else what it says now may wait for ever."""
        asked_count = len(peer.events("sync-step-1"))
        return not peer.is_closed and not peer.asked and asked_count == self.entered_counts[peer]

    def opened(self) -> list[Any]:
        return [opened for opened in self.documents._keeping.open.values() if opened.is_read]

    def is_busy(self) -> bool:
        doing = (self.inbox, self.threads, self.results, self.snapshots, self.pending, self.written, self.waiting)
        is_read_again = any(opened.state is State.LOADING for opened in self.opened())
        return is_read_again or any(doing) or any(peer.is_closed or peer.asked for peer in self.peers)

    def step(self) -> None:
        for move in (self.write, self.hear, self.work, self.take, self.tidy, self.care, self.let_go_idle):
            move()


def finish(processes: list[Process]) -> None:
    for process in processes:
        process.come_back()
    for _ in range(20_000):
        busy = [process for process in processes if process.is_busy()]
        if not busy:
            return
        for process in busy:
            process.step()
    raise AssertionError("it does not come to an end")


def texts(processes: list[Process]) -> set[str]:
    return {str(peer.text) for process in processes for peer in process.peers}


def text_of(log: Log) -> str:
    document = log.document()
    text = document.text("content")
    document.close()
    return text


def is_known(update: bytes, log: Log, processes: list[Process]) -> bool:
    """Return whether an update is kept, or in the memory of any process."""
    documents = [log.document(), *(opened.document for process in processes for opened in process.opened())]
    return any(not document.waits(update) for document in documents)


@pytest.fixture(autouse=True)
def _snapshots_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "_COMPACTED_FROM_BYTES", 40)


class World:
    """Three processes with two clients each, and what becomes of them by chance."""

    def __init__(self, chance: random.Random, *, do_processes_die: bool, does_the_log_lose: bool) -> None:
        self.chance = chance
        self.log = Log()
        self.processes = [Process(f"p{number}", self.log) for number in range(3)]
        self.shown_by_the_dead: list[bytes] = []
        self.client_ids = count(1)
        for process in self.processes:
            for _ in range(2):
                self.enter(process)
        moves = {"write": 10, "hear": 25, "work": 8, "take": 8, "tidy": 8, "care": 8, "let_go_idle": 4}
        self.moves: dict[Callable[[Process], object], int] = {
            getattr(Process, name): often for name, often in moves.items()
        }
        self.moves |= {self.type: 20, Process.lose_touch: 2, Process.come_back: 6, self.replace: 3}
        if do_processes_die:
            self.moves[self.die] = 1
        if does_the_log_lose:
            self.moves[self.lose] = 1

    @property
    def shown(self) -> list[bytes]:
        return [*self.shown_by_the_dead, *(update for process in self.processes for update in process.shown)]

    def move(self) -> None:
        [move] = self.chance.choices(list(self.moves), list(self.moves.values()))
        move(self.chance.choice(self.processes))

    def enter(self, process: Process) -> None:
        process.enter(Peer(process, next(self.client_ids)))  # type: ignore[arg-type]

    def type(self, process: Process) -> None:
        peer = self.chance.choice(process.peers)
        if process.has_answered(peer):
            peer.type(f"{self.log.seq}.")

    def replace(self, process: Process) -> None:
        """Let a client go for good, and another one come."""
        peer = self.chance.choice(process.peers)
        process.documents.leave(peer)
        process.peers.remove(peer)
        self.enter(process)

    def die(self, process: Process) -> None:
        """Let a process die with all its clients, who bring back nothing."""
        if len(self.processes) > 1:
            self.processes.remove(process)
            self.log.processes.remove(process)
            self.shown_by_the_dead += process.shown

    def lose(self, _: Process) -> None:
        """Let what keeps the log die and lose the last of it, and be back: what no process has in memory is gone.

        Numbers may be given again.
        """
        for process in self.processes:
            process.lose_touch()
        count = self.chance.randrange(1, 4)
        self.log.seq -= 10 * len(self.log.updates[-count:])
        del self.log.updates[-count:]
        for process in self.processes:
            process.shown = [update for update in process.shown if is_known(update, self.log, self.processes)]
        for process in self.chance.sample(self.processes, len(self.processes)):
            process.come_back()
        finish(self.processes)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("trouble", ["none", "deaths", "losses"])
def test_nothing_that_was_shown_is_lost_and_all_end_with_the_same_text(seed: int, trouble: str) -> None:
    chance = random.Random(f"{seed} {trouble}")
    world = World(chance, do_processes_die=trouble == "deaths", does_the_log_lose=trouble == "losses")
    for _ in range(250):
        world.move()
    kept = world.log.document()
    lost = [update for update in world.shown if kept.waits(update)]
    kept.close()
    assert lost == [], "what was shown is kept, whoever brings what again"
    finish(world.processes)
    assert texts(world.processes) == {text_of(world.log)}


def test_a_snapshot_waits_for_what_was_heard_and_is_not_merged_yet() -> None:
    """It would say that it has all up to its number, and replace an update that it does not have."""
    log = Log()
    here, there = Process("here", log), Process("there", log)
    ann, bob = Peer(here, 1), Peer(there, 2)  # type: ignore[arg-type]
    here.enter(ann)
    there.enter(bob)
    finish([here, there])
    ann.type("x" * 300_000)  # a thread merges it
    bob.type("from Bob. ")
    there.write()
    here.hear()
    for _ in range(3):
        here.work()
        here.take()
        here.write()
        here.tidy()
    finish([here, there])
    assert "from Bob. " in text_of(log)
    assert texts([here, there]) == {text_of(log)}


def test_a_process_that_has_let_go_hears_nothing_and_who_comes_then_reads_all() -> None:
    log = Log()
    here, there = Process("here", log), Process("there", log)
    ann, bob = Peer(here, 1), Peer(there, 2)  # type: ignore[arg-type]
    here.enter(ann)
    there.enter(bob)
    ann.type("one ")
    finish([here, there])
    there.documents.leave(bob)
    there.peers.clear()
    there.let_go_idle()
    assert there.is_following
    cid = Peer(there, 3)  # type: ignore[arg-type]
    there.enter(cid)  # before it has stopped to hear of it
    ann.type("two ")
    finish([here, there])
    assert str(cid.text) == "one two "
    there.documents.leave(cid)
    there.peers.clear()
    there.let_go_idle()
    finish([here, there])
    ann.type("three ")
    here.write()
    assert (there.is_following, len(there.inbox)) == (False, 0)


def test_one_snapshot_is_enough_for_all() -> None:
    log = Log()
    processes = [Process(f"p{number}", log) for number in range(4)]
    for number_of, process in enumerate(processes):
        process.enter(Peer(process, number_of + 1))  # type: ignore[arg-type]
    finish(processes)
    for _ in range(30):
        for process in processes:
            process.peers[0].type("some words. ")
            finish(processes)
    assert 0 < sum(process.saved_count for process in processes) < 30, "with one process it would be as many"
    assert texts(processes) == {text_of(log)}
