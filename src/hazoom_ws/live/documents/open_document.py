"""A document that somebody has open, and the order in which things are done to it.

States
    LOADING   it is read; what is said waits
    READY     what is said is done at once
    BUSY      a thread uses it; what is said waits
    CLOSED    it is not the one that others see any more

    LOADING -> READY    it was read
            -> CLOSED   it could not be, or the server ends
    READY   -> BUSY     something takes long
            -> LOADING  something that others have kept was missed
            -> CLOSED   nobody has it open, or something in it could not be kept
    BUSY    -> READY    that is done
            -> CLOSED   as for READY
"""

from collections import deque
from collections.abc import Callable, Mapping
from enum import StrEnum, auto
from typing import Generic, TypeVar

from hazoom_ws.live.documents.awareness import Awareness
from hazoom_ws.live.documents.document import Document
from hazoom_ws.states import moved

P = TypeVar("P")


class State(StrEnum):
    """What is done with it; see the module."""

    LOADING = auto()
    READY = auto()
    BUSY = auto()
    CLOSED = auto()


MOVES: Mapping[State, tuple[State, ...]] = {
    State.LOADING: (State.READY, State.CLOSED),
    State.READY: (State.BUSY, State.LOADING, State.CLOSED),
    State.BUSY: (State.READY, State.CLOSED),
    State.CLOSED: (),
}


class OpenDocument(Generic[P]):
    """One document and who has it open.

    ``tail_bytes``: of the updates since the snapshot, which has ``snapshot_bytes``. ``unkept_count``: updates that are
    merged and not known to be kept. ``last_seq``: all that is kept up to this number is merged. ``is_read``: it was
    read once. ``is_unsaved``: what is kept of it was lost, and it is to be saved whole.

    Of other processes: ``is_followed`` if it is heard what they keep of it; ``others`` are those that have it open too,
    and ``unheard`` those of them that were not heard since something may have been missed.
    """

    __slots__ = (
        "awareness",
        "document",
        "is_followed",
        "is_read",
        "is_unsaved",
        "jobs",
        "jobs_bytes",
        "last_seq",
        "name",
        "others",
        "peers",
        "snapshot_bytes",
        "state",
        "tail_bytes",
        "unheard",
        "unkept_count",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = State.LOADING
        self.document = Document()
        self.awareness: Awareness[P] = Awareness()
        self.peers: dict[P, None] = {}
        self.jobs: deque[tuple[Callable[[], None], int]] = deque()
        self.jobs_bytes = 0
        self.is_read = self.is_unsaved = self.is_followed = False
        self.others: set[str] = set()
        self.unheard: set[str] = set()
        self.snapshot_bytes = self.tail_bytes = self.unkept_count = self.last_seq = 0

    @property
    def size_bytes(self) -> int:
        """What it has at the most: as much as its snapshot and the updates since."""
        return self.snapshot_bytes + self.tail_bytes

    @property
    def is_open(self) -> bool:
        """Whether it is the one that others see."""
        return self.state is not State.CLOSED

    def become(self, state: State) -> None:
        """Move to a state. Raises `IllegalMove`."""
        self.state = moved(MOVES, self.state, state)

    def do(self, job: Callable[[], None], size_bytes: int = 0) -> None:
        """Do something to the document, when it is ready and all that came before is done."""
        self.jobs.append((job, size_bytes))
        self.jobs_bytes += size_bytes
        if len(self.jobs) == 1:
            self.go_on()

    def go_on(self) -> None:
        """Do what waits, until something takes long."""
        while self.jobs and self.state is State.READY:
            job, size_bytes = self.jobs[0]
            try:
                job()
            finally:
                if self.jobs:  # else it was closed by that
                    self.jobs.popleft()
                    self.jobs_bytes -= size_bytes

    def close(self) -> None:
        """Let it go, and all that waits."""
        self.become(State.CLOSED)
        self.jobs.clear()
        self.jobs_bytes = 0
        self.document.close()
