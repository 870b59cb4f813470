"""Documents whose store, threads and time do the next thing when a test says so, and clients that edit them."""

from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from pycrdt import Doc, Text

from hazoom_ws.errors import HazoomError, LogUnavailable
from hazoom_ws.live.documents.documents import Documents
from hazoom_ws.message_log.contract import revoke
from hazoom_ws.message_log.documents import DocumentUpdate
from hazoom_ws.message_log.memory_documents import MemoryDocuments

MB = 1_048_576


class Store(MemoryDocuments):
    """Documents whose updates are kept when the test says so, or not."""

    def __init__(self) -> None:
        self.seq = 0
        self.is_unwell = False
        self.pending: list[DocumentUpdate] = []
        super().__init__(self._next_seq, limit_bytes=100 * MB)

    def _next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def add_update(self, document: str, update: bytes) -> DocumentUpdate:
        if self.is_unwell:
            raise LogUnavailable("disk full")
        self.pending.append(DocumentUpdate(self._next_seq(), document, update))
        return self.pending[-1]


class Peer:
    """A client with a Yjs document, as `y-socket.io` has it."""

    def __init__(self, scene: "Scene", client_id: int) -> None:
        self.scene = scene
        self.doc = Doc(client_id=client_id)
        self.doc["content"] = self.text = Text()
        self.got: list[tuple[str, bytes]] = []
        self.asked: list[Callable[[Any], None]] = []
        self.ended: HazoomError | str | None = "no"
        self.is_closed = False

    def send(self, event: str, argument: bytes) -> None:
        self.got.append((event, argument))
        if event == "sync-update":
            self.doc.apply_update(argument)

    def ask(self, event: str, argument: bytes, on_reply: Callable[[Any], None]) -> None:
        self.got.append((event, argument))
        self.asked.append(on_reply)

    def dismiss(self, error: HazoomError | None = None) -> None:
        self.ended = error

    def close(self) -> None:
        self.is_closed = True

    # What it does

    def enter(self, name: str = "doc") -> None:
        self.is_closed = False
        self.scene.documents.enter(self, name)
        self.scene.documents.sync_step_1(self, bytes(self.doc.get_state()), self.doc.apply_update)

    def answer(self) -> None:
        state_vector = self.got[-1][1]
        self.asked.pop()(bytes(self.doc.get_update(state_vector)))

    def type(self, text: str) -> bytes:
        state_vector = self.doc.get_state()
        self.text += text
        update = bytes(self.doc.get_update(state_vector))
        self.scene.documents.update(self, update)
        return update

    def events(self, event: str) -> list[bytes]:
        return [argument for name, argument in self.got if name == event]


class Scene:
    """Documents whose store, threads and time do the next thing when the test says so."""

    def __init__(self, **limits: Any) -> None:
        self.store = Store()
        self.queue: deque[Callable[[], None]] = deque()
        self.threads: deque[tuple[Callable, Callable]] = deque()
        self.now_s = 100.0
        self.documents = Documents(
            self.store,
            queue=self.queue.append,
            send_all=self.send_all,
            run_beside=lambda function, done: self.threads.append((function, done)),
            wake=lambda: None,
            wake_idle=lambda: None,
            clock=lambda: self.now_s,
            **{
                "update_limit_bytes": 4 * MB,
                "document_limit_bytes": 32 * MB,
                "idle_s": 60.0,
                "interval_s": 0.033,
                **limits,
            },
        )

    def send_all(self, peers: Collection[Peer], event: str, argument: bytes) -> None:
        for peer in peers:
            peer.send(event, argument)

    def keep(self) -> None:
        """Keep what waits for that, then send what became true."""
        for update in self.store.pending:
            self.store.keep(update)
        self.store.pending.clear()
        while self.queue:
            self.queue.popleft()()

    def fail(self) -> None:
        """Keep nothing of what waits for that."""
        for update in self.store.pending:
            revoke(update)
        self.store.pending.clear()
        self.keep()

    def end_thread(self) -> None:
        function, done = self.threads.popleft()
        try:
            result = function()
        except Exception as error:
            done(None, error)
        else:
            done(result, None)

    def finish(self) -> None:
        for _ in range(100):
            while self.threads:
                self.end_thread()
            self.keep()
            if not (self.threads or self.queue):
                return
        raise AssertionError("it does not come to an end")

    def peer(self, name: str = "doc", client_id: int = 1) -> Peer:
        peer = Peer(self, client_id)
        peer.enter(name)
        self.finish()
        return peer

    def kept_text(self, name: str = "doc") -> str:
        stored = self.store.read(name)
        assert stored is not None
        doc = Doc()
        for update in [stored.snapshot or b"\0\0", *(update for _, update in stored.updates)]:
            doc.apply_update(update)
        return str(doc.get("content", type=Text))
