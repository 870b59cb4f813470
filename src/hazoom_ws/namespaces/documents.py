"""Documents on ``/yjs|<name>``, as clients of the npm package `y-socket.io` 1.1 expect them.

To the server and to the client: ``sync-step-1`` (a state vector; acknowledged with an update), ``sync-update`` (an update),
``awareness-update`` (one of y-protocols). All of it is bytes, and of a namespace that another project has defined: there is
no `pid`, no answer beside the acknowledgements, and the namespace is said as the client has said it.

Who enters one is in no room by that. What is said is handled in a turn.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import msgspec
from socketio.exceptions import ConnectionRefusedError as RefusedError

from hazoom_ws.access.limits import Account
from hazoom_ws.delivery.delivery import Delivery
from hazoom_ws.delivery.effects import Later
from hazoom_ws.errors import HazoomError, NotAllowed, TooManyRooms
from hazoom_ws.events.parsing import room_name
from hazoom_ws.events.refusals import report_of
from hazoom_ws.live.documents.documents import AWARENESS_UPDATE, SYNC_STEP_1, Documents
from hazoom_ws.live.documents.keeping import SYNC_UPDATE, Peer
from hazoom_ws.namespaces.replies import NoteRefusal
from hazoom_ws.settings import Settings
from hazoom_ws.transport.socketio.dispatch import Deferred
from hazoom_ws.transport.socketio.fan_out import Client, FanOut
from hazoom_ws.transport.socketio.packet import ClientEvent

PREFIX = "/yjs|"
_HEADER_BYTES = 1024


class Editor:
    """A client that has a document open: a `Peer`."""

    __slots__ = ("_delivery", "_disconnect", "_fan_out", "client", "name")

    def __init__(
        self, client: Client, name: str, fan_out: FanOut, delivery: Delivery, disconnect: Callable[[str, str], None]
    ) -> None:
        self.client = client
        self.name = name
        self._fan_out = fan_out
        self._delivery = delivery
        self._disconnect = disconnect

    def send(self, event: str, argument: bytes) -> None:
        """Send it an event."""
        self._fan_out.send_bytes([self.client], event, argument)

    def ask(self, event: str, argument: bytes, on_reply: Callable[[Any], None]) -> None:
        """Send it an event, and call ``on_reply`` in a turn with what it acknowledges that with."""
        client = self.client

        def on_acknowledged(*arguments: Any) -> None:
            with self._delivery.turn():
                on_reply(arguments[0] if arguments else None)

        self._fan_out.emit(event, argument, client.namespace, room=client.sid, callback=on_acknowledged)

    def dismiss(self, error: HazoomError | None = None) -> None:
        """End its connection for good: it would do the same again. ``error``: what it is told before."""
        client = self.client
        if error is not None:
            report = msgspec.to_builtins(report_of(error, SYNC_UPDATE))
            self._fan_out.emit("error", report, client.namespace, room=client.sid)
        self._disconnect(client.sid, client.namespace)

    def close(self) -> None:
        """Close its connection in the way that makes it come back."""
        self._fan_out.close(self.client.eio_sid)


def send_to_editors(fan_out: FanOut, peers: Collection[Peer], event: str, argument: bytes) -> None:
    """Send an event to all who have a document open, but for writers of ours, who hear nothing."""
    fan_out.send_bytes([peer.client for peer in peers if isinstance(peer, Editor)], event, argument)


class DocumentsNamespace:
    """All namespaces whose names begin with `PREFIX`."""

    def __init__(
        self,
        documents: Documents,
        settings: Settings,
        delivery: Delivery,
        fan_out: FanOut,
        disconnect: Callable[[str, str], None],
        *,
        note_refusal: NoteRefusal,
    ) -> None:
        """``disconnect(sid, namespace)`` ends a client in a way that lets it stay away."""
        # What is a little too large is refused by name; what is far too large ends the connection before it is read.
        self.part_limit_bytes = 2 * settings.document_update_limit_bytes + _HEADER_BYTES
        self._documents = documents
        self._settings = settings
        self._delivery = delivery
        self._fan_out = fan_out
        self._disconnect = disconnect
        self._note_refusal = note_refusal
        self._editors: dict[str, Editor] = {}

    def accept_client(
        self, client: Client, account: Account, _auth: object, accept: Callable[..., Callable[[Any], None]]
    ) -> None:
        """Let a client have a document open, see `Dispatcher`, or raise `RefusedError`."""
        try:
            name = room_name(client.namespace.removeprefix(PREFIX), self._settings, field="document")
            self._check_count(client)
            _check_right(account, name)
        except HazoomError as error:
            self._note_refusal(error.code)
            report = report_of(error, "connect")
            raise RefusedError(report.message, msgspec.to_builtins(report)) from None
        with self._delivery.turn():
            self._delivery.add(Later(accept()))
            editor = self._editors[client.sid] = Editor(client, name, self._fan_out, self._delivery, self._disconnect)
            self._documents.enter(editor, name)

    def check_rights(self, account: Account) -> None:
        """Close for a client the documents that it may not see any more. Called within a turn."""
        for namespace in self._fan_out.namespaces_of(account.id):
            client = self._fan_out.client_of(account.id, namespace)
            editor = None if client is None else self._editors.get(client.sid)
            if editor is not None:
                try:
                    _check_right(account, editor.name)
                except NotAllowed as error:
                    self._delivery.add(Later(partial(_dismiss, editor, error)))

    def _check_count(self, client: Client) -> None:
        """Raise `TooManyRooms` for one document more than a connection may be in rooms: each takes memory."""
        limit = self._settings.rooms_per_connection_limit
        namespaces = self._fan_out.namespaces_of(client.eio_sid)
        if sum(name.startswith(PREFIX) for name in namespaces) > limit:
            raise TooManyRooms(limit)

    def trigger_event(self, event: str, sid: str, *arguments: Any) -> Deferred | None:
        """Handle what a client says, or that it has gone; return what acknowledges it, if anything does."""
        editor = self._editors.get(sid)
        if editor is None:
            return None
        documents = self._documents
        with self._delivery.turn():
            if event == "disconnect" and not isinstance(event, ClientEvent):
                del self._editors[sid]
                documents.leave(editor)
                return None
            argument = arguments[0] if arguments else None
            if event == SYNC_STEP_1:
                return Deferred(partial(self._say_difference, editor, argument))
            if event == SYNC_UPDATE:
                documents.update(editor, argument)
            elif event == AWARENESS_UPDATE:
                documents.awareness_update(editor, argument)
        return None

    def _say_difference(self, editor: Editor, state_vector: object, send: Callable[[Any], None]) -> None:
        with self._delivery.turn():
            self._documents.sync_step_1(editor, state_vector, lambda update: send([update]))


def _dismiss(editor: Editor, error: HazoomError, _reply: None) -> None:
    editor.dismiss(error)


def _check_right(account: Account, name: str) -> None:
    """Raise `NotAllowed` for a document that the client of an account may not see, whether it is there or not."""
    if not account.rights.may_enter(name):
        raise NotAllowed(f"open document {name!r}")
