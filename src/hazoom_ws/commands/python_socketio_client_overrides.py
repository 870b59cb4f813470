"""Where we reach into the client of python-socketio, and of python-engineio below it: packets are handled in their order.

The library gives each packet a thread of its own, so that a handler may wait; what was sent one after the other is handled
in any order then, and a tail would show messages in the wrong order, or take a later one for the last.

- `engineio.Client._trigger_event`: what comes is handled by the thread that reads
- `engineio.Client.disconnect`: that thread may end the connection, and cannot wait for its own end
- `socketio.Client._engineio_client_class`: which of these a client has below it

In tests/unit/test_library_facts.py `test_the_client_has_what_we_replace` notices when any of it moves.
"""

import threading
from typing import Any

import engineio
import socketio


class _EngineInOrder(engineio.Client):  # type: ignore[misc]
    def _trigger_event(self, event: str, *args: Any, **kwargs: Any) -> Any:
        return super()._trigger_event(event, *args, **kwargs | {"run_async": False})

    def disconnect(self, abort: bool = False, reason: str | None = None) -> None:
        is_reader = threading.current_thread() is self.read_loop_task
        super().disconnect(abort=abort or is_reader, reason=reason)


class ClientInOrder(socketio.Client):  # type: ignore[misc]
    """A client whose handlers are called in the order in which events came, by one thread; none may wait for another."""

    def _engineio_client_class(self) -> type[engineio.Client]:
        return _EngineInOrder
