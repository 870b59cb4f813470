"""The one door that every event passes.

Is the connection ours, is it within its rate (which the `Dispatcher` has found out before it parsed anything), is the name
ours, is the payload of its type; then the handler; then always an answer: an acknowledgement if the client asked for one,
else the event ``error`` if it failed. Handlers repeat none of it. They run in a turn and outside of Flask's request
context, which would cost more than they do.

Called by python-socketio from the greenlet or thread that reads the client, one event at a time and in the order sent.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import flask_socketio
import msgspec
from msgspec import UNSET, Struct
from socketio.exceptions import ConnectionRefusedError as RefusedError

from hazoom_ws.access.limits import Account
from hazoom_ws.chat.effects import Numbered, Offset
from hazoom_ws.chat.identity import named_user
from hazoom_ws.chat.presence import Connection
from hazoom_ws.delivery.client_sets import ClientSet
from hazoom_ws.delivery.effects import Later, Reply
from hazoom_ws.errors import BadPayload, HazoomError, RateLimited, SessionGoesOn, UnknownEvent
from hazoom_ws.events.base import ClientPayload, ServerEvent
from hazoom_ws.events.connecting import Auth, ServerInfo, Status, limits_of, numbered_by, offset_in
from hazoom_ws.events.parsing import parse
from hazoom_ws.events.refusals import ErrorReport, report_of
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.live.relayed_data import DATA_LIMIT_BYTES
from hazoom_ws.message_log.contract import NotLoaded
from hazoom_ws.namespaces.features import Feature, Greeting
from hazoom_ws.namespaces.loading import Waiting
from hazoom_ws.namespaces.parts import Parts
from hazoom_ws.namespaces.registry import Registry
from hazoom_ws.namespaces.replies import WhenKept, fields_of, logged, reply_when_kept
from hazoom_ws.transport.socketio.dispatch import Deferred
from hazoom_ws.transport.socketio.fan_out import Client
from hazoom_ws.transport.socketio.packet import ClientEvent
from hazoom_ws.version import __version__

_SERVER = ServerInfo(name="hazoom_ws", version=__version__)
_QUOTED_CHARS = 64  # of an event's name: it is the client's choice and comes back in the refusal


Result = Struct | WhenKept | Deferred | None
# By event: its payload, and what handles it.
Calls = Mapping[str, tuple[type[ClientPayload], Callable[[ClientSet, Any], Result]]]


class FeatureNamespace(flask_socketio.Namespace):  # type: ignore[misc]
    """A Socket.IO namespace that serves features: one, or all of them.

    No method is called ``on_...`` (the library would let clients call it) or ``error`` (the library would let a refused
    connection in).
    """

    def __init__(self, namespace: str, features: Iterable[Feature], calls: Calls, parts: Parts, registry: Registry) -> None:
        """Serve ``features`` as ``namespace``, "/" or with a name after that. ``calls`` are their handlers."""
        super().__init__(namespace)
        self.parts = parts
        self._registry = registry
        self._limits = limits_of(parts.settings, DATA_LIMIT_BYTES)
        self._calls = calls
        self._greeting = [feature for feature in features if isinstance(feature, Greeting)]
        self._replays = any(event_type.is_kept for feature in features for event_type in feature.events)

    def trigger_event(self, event: str, *args: Any) -> Any:
        """Take what the `Dispatcher` or python-socketio dispatches; return the acknowledgement's argument.

        Clients are let in by `accept_client`.
        """
        if isinstance(event, ClientEvent):
            return self._answer(event, *args)
        if event == "disconnect":
            return self._leave(*args)
        raise LookupError(f"the library dispatched {event!r}, which it is not known to do")

    # An event of a client

    def _answer(self, event: ClientEvent, sid: str, *args: Any, waiting: Waiting | None = None) -> Reply | Deferred:
        """Handle an event; one that has been ``waiting`` raises `NotLoaded` if it has to wait for more."""
        parts = self.parts
        with parts.delivery.turn():
            clients = parts.delivery.clients_of_sid(sid)
            if clients is None or not clients.connection.is_open:
                return None  # its connection ended while the event was on its way: it may enter nothing any more
            clients.gets_reply = event.wants_acknowledgement
            try:
                result = self._handle(event, clients, args, waiting)
            except NotLoaded:
                raise  # to who handles it again
            except HazoomError as error:
                return self._refuse(event, sid, error)
            except Exception:
                return self._refuse(event, sid, logged(f"event {event[:_QUOTED_CHARS]!r}"))
        if isinstance(result, Deferred):
            return self._go_on(event, sid, result)
        if isinstance(result, WhenKept):
            return self._reply_when_kept(event, sid, result)
        return {"ok": True, **({} if result is None else fields_of(result))} if event.wants_acknowledgement else None

    def _reply_when_kept(self, event: ClientEvent, sid: str, result: WhenKept) -> Reply:
        if event.wants_acknowledgement:
            return partial(self._noted_when_kept, event, sid, result)
        self.parts.delivery.reply(partial(self._tell_revoked, event, sid, result), None)
        return None

    def _tell_revoked(self, event: ClientEvent, sid: str, result: WhenKept, _reply: None) -> None:
        if result.refusal is not None or not result.is_kept():
            self._tell_failure(sid, self._noted_when_kept(event, sid, result))

    def _noted_when_kept(self, event: ClientEvent, sid: str, result: WhenKept) -> dict[str, Any]:
        reply = reply_when_kept(event, result, self.parts.refused.note)
        if "error" in reply:
            self._note_refusal(event, sid, reply["error"])
        return reply

    def _go_on(self, event: ClientEvent, sid: str, result: Deferred) -> Deferred | None:
        """Let an event be answered later: by who is told this, if its sender asks for that."""

        def tell(send: Callable[[Any], None], reply: dict[str, Any]) -> None:
            if "error" in reply:
                self._note_refusal(event, sid, reply["error"])
            send(reply)

        if event.wants_acknowledgement:
            return Deferred(lambda send: result.start(partial(tell, send)))
        result.start(partial(tell, partial(self._tell_failure, sid)))
        return None

    def _handle(self, event: ClientEvent, clients: ClientSet, args: tuple[Any, ...], waiting: Waiting | None) -> Result:
        settings = self.parts.settings
        if event.problem is not None:
            raise event.problem()
        if clients.waiting is not waiting:
            return self._hold(event, clients, args, None)
        known = self._calls.get(event)
        if event.has_parts and not (known is not None and known[0].takes_parts):
            raise BadPayload("payload", "this event takes no binary parts, only JSON")
        if known is None:
            raise UnknownEvent(event[:_QUOTED_CHARS], self.namespace)
        payload_type, call = known
        if not payload_type.required and args in ((), (None,)):  # JavaScript writes null where there is nothing
            args = ({},)
        if len(args) != 1:
            raise BadPayload("payload", f"expected one JSON object, got {len(args)} arguments")
        if event.has_parts:
            _check_parts(args[0])
        try:
            return call(clients, parse(payload_type, args[0], settings))
        except NotLoaded as missing:
            if waiting is not None:
                raise
            return self._hold(event, clients, args, missing)

    def _hold(self, event: ClientEvent, clients: ClientSet, args: tuple[Any, ...], missing: NotLoaded | None) -> Deferred:
        """Let an event wait for what is missing, or behind others. Raises `LogUnavailable`."""
        sid = clients.sids[self.namespace]
        answer, refuse = partial(self._answer, event, sid, *args), partial(self._refuse, event, sid)
        return self.parts.loading.hold(clients, answer, refuse, args, missing)

    def _refuse(self, event: ClientEvent, sid: str, error: HazoomError) -> dict[str, Any] | None:
        self.parts.refused.note(error.code)
        report = report_of(error, event[:_QUOTED_CHARS])
        self._note_refusal(event, sid, report)
        if event.wants_acknowledgement:
            return {"ok": False, "error": report}
        known = self._calls.get(event)
        if not (isinstance(error, RateLimited) and known is not None and known[0].is_fleeting):
            self._tell_failure(sid, {"error": report})
        return None

    def _tell_failure(self, sid: str, reply: dict[str, Any]) -> None:
        if "error" in reply:
            self.socketio.server.manager.emit("error", reply["error"], self.namespace, room=sid)

    def _note_refusal(self, event: ClientEvent, sid: str, report: ErrorReport) -> None:
        journal = self.parts.identities.journal
        if journal is not None:
            journal.refused(self._connection_id_of(sid), str(event) if event in self._calls else "", report)

    # The connection

    def accept_client(
        self, client: Client, account: Account, auth: object, accept: Callable[..., Callable[[Any], None]]
    ) -> None:
        """Let a client into this namespace, see `Dispatcher`, or raise `RefusedError`."""
        delivery = self.parts.delivery
        with delivery.turn():
            try:
                clients, identity, has_recovered = self._connect(client, account, auth)
            except HazoomError as error:
                report = report_of(error, "connect")  # not the error: it refers to this call, which would refer to it
            except Exception:
                report = report_of(logged("connect"), "connect")
                with suppress(Exception):
                    self._leave(client.sid)
            else:
                delivery.add(Later(accept(**delivery.greeting(clients, self.namespace))))
                self._greet(client.sid, clients, identity.offset, has_recovered=has_recovered)
                return
        self.parts.refused.note(report.code)
        raise RefusedError(report.message, msgspec.to_builtins(report))

    def _connect(self, client: Client, account: Account, auth: object) -> tuple[ClientSet, Auth, bool]:
        """Return the client set, what the client said, and whether it gets what it has missed."""
        parts = self.parts
        identity = parse(Auth, {} if auth is None else auth, parts.settings)
        connection_id = client.eio_sid
        clients = parts.delivery.clients_of(connection_id)
        if clients is None:
            clients = ClientSet(self._connection_for(connection_id, identity, account))
            parts.delivery.open(clients)
            parts.answers.arrived(clients.connection.user)
        elif not clients.connection.is_open:
            raise SessionGoesOn
        is_recoverable = identity.is_recoverable(takes_offsets=account.takes_offsets)
        is_back = is_recoverable and identity.pid is not None and identity.pid == clients.connection.pid
        # Once for each namespace and connection: to replay costs far more than to ask for it.
        has_recovered = is_back and self.namespace not in clients.caught_up
        is_plain = is_back != has_recovered or not is_recoverable
        if has_recovered:
            clients.caught_up = {*clients.caught_up, self.namespace}
        parts.delivery.enter_namespace(clients, self.namespace, client.sid, is_plain=is_plain)
        return clients, identity, has_recovered

    def _greet(self, sid: str, clients: ClientSet, offset_said: object, *, has_recovered: bool) -> None:
        """Say who and where a client is that was let in, and what it missed."""
        parts = self.parts
        connection = clients.connection
        user, rooms = connection.user.name, list(connection.rooms)
        status = Status(
            sid=sid,
            user=user,
            rooms=rooms,
            server=_SERVER,
            recovered=has_recovered,
            client=connection.client,
            limits=self._limits,
            guest_key=connection.guest_key or UNSET,
            user_id=connection.user.checked_id,
        )
        events: list[tuple[ServerEvent | Status, Offset]]
        # What is replayed comes after it, so that only for who is new it says that nothing was missed.
        events = [(status, 0 if has_recovered else parts.log.last_seq)]
        if has_recovered:
            offset = max(parts.hub.recoverable.since(connection), offset_in(offset_said) or 0)
            replayed = self._served(parts.hub.catch_up(connection, offset)) if self._replays else []
            process = numbered_by(offset_said)
            # Whoever says none has it of no process that shares our messages.
            process = "" if process == parts.delivery.process else process or "?"
            for feature in self._greeting:
                replayed = feature.catch_up(connection, offset, replayed, process)
            events += replayed
        else:
            for feature in self._greeting:
                events += feature.snapshots(connection)
        parts.delivery.greet(clients, self.namespace, events)

    def _served(self, replayed: list[Numbered]) -> list[Numbered]:
        """Return what of that is sent here; in the place of a record of an event the event itself."""
        served: list[Numbered] = []
        for event, offset in replayed:
            shown: ServerEvent | None = event
            if type(event) is NewMessage and event.event_name is not UNSET:
                shown = self._registry.decoded(event)
            if shown is not None and self.namespace in self._registry.namespaces_of[type(shown)]:
                served.append((shown, offset))
        return served

    def _connection_for(self, connection_id: str, identity: Auth, account: Account) -> Connection:
        """Return a new connection, of the user that the session has had before, if it has: limits would start anew.

        Raises `TooManyConnections` and `SessionGoesOn`.
        """
        hub, user_name, rights = self.parts.hub, identity.user_name, account.rights
        if account.identity is not None:
            user_name = UNSET  # whatever name the client says
        if account.user is None and (named := named_user(user_name)) is not None:
            account.set_user(named)
        user = account.user
        may_return = identity.is_recoverable(takes_offsets=account.takes_offsets)
        pid = identity.pid if isinstance(identity.pid, str) else ""
        connection = None
        if may_return and pid:
            connection = hub.recover(
                connection_id, pid, user_name, user=user, rights=rights, opened_at_s=account.opened_at_s
            )
        if connection is None:
            guest_key = "" if identity.guest_key is UNSET else identity.guest_key
            connection = hub.connect(
                connection_id,
                user_name,
                user=user,
                rights=rights,
                pid=pid,
                guest_key=guest_key,
                may_return=may_return,
                opened_at_s=account.opened_at_s,
            )
        if account.user is None:
            account.set_user(connection.user)  # a guest
        connection.address, connection.trace = account.address, account.trace
        connection.client = account.client = account.client or connection.client  # the log may have named it already
        return connection

    def _leave(self, sid: str, reason: str | None = None) -> None:
        """End this namespace for a client, and the connection with its last namespace."""
        delivery = self.parts.delivery
        with delivery.turn():
            clients = delivery.clients_of(self._connection_id_of(sid))
            if clients is None:
                return
            if self.namespace in clients.sids:
                delivery.leave_namespace(clients, self.namespace)
            if not clients.sids:
                delivery.close(clients)
                may_return = reason != self.socketio.server.reason.CLIENT_DISCONNECT
                hub, user = self.parts.hub, clients.connection.user
                hub.disconnect(clients.connection, may_return=may_return)
                if not hub.connections_of(user):
                    self.parts.answers.left(user)

    def _connection_id_of(self, sid: str) -> str:
        connection_id: str = self.socketio.server.manager.eio_sid_from_sid(sid, self.namespace)
        return connection_id


def _check_parts(payload: object) -> None:
    """Raise `BadPayload` for binary parts within a field: a payload's types say of whole fields that they may be one."""
    within = list(payload.values()) if isinstance(payload, dict) else [payload]
    level = [one for one in within if isinstance(one, dict | list)]
    while level:
        inner = [value for one in level for value in (one.values() if isinstance(one, dict) else one)]
        if any(isinstance(value, bytes) for value in inner):
            raise BadPayload("payload", "a binary part must be a field of its own, and not within one")
        level = [value for value in inner if isinstance(value, dict | list)]
