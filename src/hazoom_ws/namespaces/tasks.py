"""Tasks of features: handlers that wait, and what features start themselves. Bounded for each client, and for all."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec import Struct

from hazoom_ws.delivery.client_sets import ClientSet
from hazoom_ws.delivery.delivery import Delivery
from hazoom_ws.delivery.effects import Later
from hazoom_ws.errors import HazoomError, TooManyTasks
from hazoom_ws.namespaces.replies import NoteRefusal, fields_of, logged, refusal
from hazoom_ws.transport.socketio.dispatch import Deferred

LIMIT_COUNT = 1000  # of one application: with threads each is one
CLIENT_LIMIT_COUNT = 16  # of one connection, so that nobody takes them all alone


class Tasks:
    """The tasks that run, counted. Called within turns, but for `start`."""

    def __init__(self, delivery: Delivery, start_task: Callable[..., Any], note_refusal: NoteRefusal) -> None:
        self.delivery = delivery
        self.note_refusal = note_refusal
        self._start_task = start_task
        self._count = 0
        self._counts: Counter[ClientSet] = Counter()

    def reserve(self, clients: ClientSet | None = None) -> None:
        """Count one more, of a client or of nobody's. Raises `TooManyTasks`."""
        if self._count >= LIMIT_COUNT:
            raise TooManyTasks("the server is", LIMIT_COUNT)
        if clients is not None:
            if self._counts[clients] >= CLIENT_LIMIT_COUNT:
                raise TooManyTasks("your connection is", CLIENT_LIMIT_COUNT)
            self._counts[clients] += 1
        self._count += 1

    def release(self, clients: ClientSet | None = None) -> None:
        """Count one less."""
        self._count -= 1
        if clients is not None:
            self._counts[clients] -= 1
            if not self._counts[clients]:
                del self._counts[clients]

    def start(self, function: Callable[[], object], clients: ClientSet | None = None) -> None:
        """Call ``function`` beside the turns, for which there is a reservation; what it raises is logged."""
        try:
            self._start_task(self._run, function, clients)
        except BaseException:  # such as: no thread can be started
            with self.delivery.turn():
                self.release(clients)
            raise

    def _run(self, function: Callable[[], object], clients: ClientSet | None) -> None:
        try:
            function()
        except Exception:
            logged("a task of a feature")
        finally:
            with self.delivery.turn():
                self.release(clients)


class Waiting:
    """A handler that waits, called as one that does not: it returns at once how its event will be answered."""

    def __init__(self, method: Callable[[ClientSet, Any], Struct | None], event: str, tasks: Tasks) -> None:
        self._method = method
        self._event = event
        self._tasks = tasks

    def __call__(self, clients: ClientSet, payload: Any) -> Deferred:
        """Return what starts the task. Raises `TooManyTasks`."""
        self._tasks.reserve(clients)
        return Deferred(partial(self._start, clients, payload))

    def _start(self, clients: ClientSet, payload: Any, send: Callable[[Any], None]) -> None:
        try:
            self._tasks.start(partial(self._handle, clients, payload, send), clients)
        except Exception:
            self._answer(send, self._refusal(logged(f"event {self._event!r}")))

    def _handle(self, clients: ClientSet, payload: Any, send: Callable[[Any], None]) -> None:
        try:
            result = self._method(clients, payload)
            reply = {"ok": True, **({} if result is None else fields_of(result))}
        except HazoomError as error:
            reply = self._refusal(error)
        except Exception:
            reply = self._refusal(logged(f"event {self._event!r}"))
        self._answer(send, reply)

    def _refusal(self, error: HazoomError) -> dict[str, Any]:
        return refusal(error, self._event, self._tasks.note_refusal)

    def _answer(self, send: Callable[[Any], None], reply: dict[str, Any]) -> None:
        with self._tasks.delivery.turn():
            self._tasks.delivery.add(Later(send, reply))
