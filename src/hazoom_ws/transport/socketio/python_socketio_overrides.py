"""Where we reach into python-socketio's server: what we put in the place of its own, and what we call that is not public.

What we put in its place, and why:

- `namespace_handlers`, `handlers`: a namespace of ours is nobody else's, and found in one step
- `_handle_eio_disconnect`: a session has an account for as long as it lasts, and leaves its own namespaces: the library
  looks through all that there are
- `_send_packet`: a packet and its binary parts are one unit
- `_handle_disconnect`, `disconnect`: who leaves is gone, whatever a handler raises

What we call: `_handle_connect`, `_handle_event`, `_handle_ack`, `_trigger_event`, to serve the namespaces of others. In
tests/unit/test_library_facts.py `test_the_server_has_what_we_replace` and
`test_the_server_registers_three_handlers...` notice when any of it moves.

`FanOut` is its ``client_manager`` and `Packet` its ``serializer``, as it documents them; what they override is checked by
`test_the_methods_of_the_manager_that_the_fan_out_overrides...` and
`test_the_signatures_that_we_call_or_override_are_those_we_know`.
"""

from collections.abc import Callable
from typing import Any


class Namespaces(dict[str, Any]):
    """The namespace handlers of a server, by name. One with a method ``accept_client`` is ours, and stays in its place."""

    def __init__(self) -> None:
        self.ours: dict[str, Any] = {}
        # Those of ours in which another project's protocol is spoken, by their names, or by what those begin with.
        self.protocols: dict[str, Any] = {}
        self.protocols_by_prefix: dict[str, Any] = {}
        self.has_others = False

    def __setitem__(self, name: str, handler: Any) -> None:
        self.refuse_ours(name)
        super().__setitem__(name, handler)
        if hasattr(handler, "accept_client"):
            self.ours[name] = handler
        else:
            self.has_others = True

    def find_ours(self, name: str) -> Any:
        """Return what handles a namespace of ours, None if it is none of them."""
        handler = self.ours.get(name) or self.protocols.get(name)
        if handler is None:
            for prefix, one in self.protocols_by_prefix.items():
                if name.startswith(prefix):
                    return one
        return handler

    def refuse_ours(self, name: str) -> None:
        """Raise ValueError for the name of one of ours."""
        if self.find_ours(name) is not None:
            raise ValueError(f"the namespace {name} is one of hazoom_ws: choose another name for your own")


class Handlers(dict[str, Any]):
    """The handlers of single events of a server, by namespace: of none of ours, which would never be asked."""

    def __init__(self, namespaces: Namespaces) -> None:
        self._namespaces = namespaces

    def __setitem__(self, name: str, handlers: Any) -> None:
        if name == "*":
            raise ValueError("handlers of all namespaces would get what is for those of hazoom_ws: name your own")
        self._namespaces.refuse_ours(name)
        super().__setitem__(name, handlers)


class Library:
    """A `socketio.Server` that has no namespaces yet, and what it does itself. It calls ours instead from now on."""

    def __init__(
        self,
        server: Any,
        *,
        close: Callable[[str, str], None],
        leave: Callable[..., None],
        disconnect: Callable[..., None],
    ) -> None:
        """``close`` ends a session, the others a client of it."""
        self.namespaces = server.namespace_handlers = Namespaces()
        server.handlers = Handlers(self.namespaces)
        self.environ: dict[str, dict[str, Any]] = server.environ  # of each session
        self.open: Callable[[str, Any], None] = server._handle_eio_connect
        self.connect: Callable[[str, str, object], None] = server._handle_connect
        self.handle_event: Callable[..., None] = server._handle_event
        self.handle_acknowledgement: Callable[..., None] = server._handle_ack
        self.start_task: Callable[..., object] = server.start_background_task
        self._server = server
        server._handle_eio_disconnect = close
        server._send_packet = self._send_as_one
        server._handle_disconnect = leave
        server.disconnect = disconnect

    @property
    def has_others(self) -> bool:
        """Whether anybody but us may ask what a client's request said."""
        return self.namespaces.has_others or bool(self._server.handlers)

    def tell_left(self, namespace: str, sid: str, reason: str) -> None:
        """Have the namespace of others told that a client has left. Raises what its handler raises."""
        self._server._trigger_event("disconnect", namespace, sid, reason)

    def send(self, eio_sid: str, packet: Any) -> None:
        """Send a packet to a session, or to a test client, which sees it as the library's."""
        self._server._send_packet(eio_sid, packet)

    def _send_as_one(self, eio_sid: str, packet: Any) -> None:
        self._server.eio.send(eio_sid, packet.encode())
