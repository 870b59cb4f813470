"""What becomes of a connection whose identity changes: another token with other rights, or the end of the one it has.

Who it is, `hazoom_ws.access` finds out; here its client is told, put out of what it may not see any more, and closed.
Called by the `Dispatcher` and by handlers, from where they run: what needs a turn takes one.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from hazoom_ws.access.accounts import Accounts
from hazoom_ws.access.admission import Admission
from hazoom_ws.access.expiry import Expiry
from hazoom_ws.access.journal import Journal
from hazoom_ws.access.limits import Account
from hazoom_ws.chat.effects import Close
from hazoom_ws.chat.hub import Hub
from hazoom_ws.delivery.delivery import Delivery
from hazoom_ws.delivery.effects import Later
from hazoom_ws.errors import HazoomError, NotAllowed, Unauthorized
from hazoom_ws.events.connecting import Bye, RefreshToken, TokenRefreshed
from hazoom_ws.events.refusals import report_of
from hazoom_ws.namespaces.replies import NoteRefusal, fields_of, refusal
from hazoom_ws.transport.socketio.dispatch import Deferred

REFRESH = RefreshToken.event


class Identities:
    """The identities of the clients of one application, while they are connected."""

    def __init__(
        self,
        hub: Hub,
        delivery: Delivery,
        accounts: Accounts,
        admission: Admission,
        *,
        emit: Callable[..., None],
        wake: Callable[[], None],
        note_refusal: NoteRefusal,
    ) -> None:
        """``emit`` is the fan-out's; ``wake`` is called when something is to be done later."""
        self.journal: Journal | None = None
        self.on_rights_changed: list[Callable[[Account], object]] = []  # told beside who is put out of rooms here
        self._hub = hub
        self._delivery = delivery
        self._accounts = accounts
        self._admission = admission
        self._emit = emit
        self._note_refusal = note_refusal
        self.expiry = Expiry(tell=self._tell_expired, end=self._end_expired, find=accounts.get, wake=wake)

    def admit(self, account: Account, auth: object, then: Callable[[Any], None]) -> None:
        """Find out whether a client may come in, see `Dispatcher`."""

        before = account.identity

        def decide(error: HazoomError | None) -> None:
            if error is None:
                if account.identity is not before:  # a further namespace makes nothing last longer
                    self.expiry.watch(account)
                then(None)
            else:
                self._note_refusal(error.code)
                report = report_of(error, "connect")
                then({"message": report.message, "data": msgspec.to_builtins(report)})

        if callable(auth):  # what nobody can read proves nothing
            decide(auth())
        elif self._admission.has_state:
            with self._delivery.turn():
                self._admission.admit(account, auth, decide)
        else:
            self._admission.admit(account, auth, decide)

    def close(self, session_id: str, reason: str) -> None:
        """Forget the client of a session that has ended, for a ``reason`` of the engine's."""
        account = self._accounts.close(session_id)
        if account is not None and self.journal is not None:
            self.journal.left(account, reason)
        if account is not None and account.identity is not None:
            with self._delivery.turn():
                self.expiry.forget(account)

    def refresh(self, session_id: str, token: str) -> Deferred:
        """Return what answers a client that has shown another token. Raises `Unauthorized`."""
        account = self._accounts.get(session_id)
        if account is None:
            raise Unauthorized("its session has ended")
        return Deferred(partial(self._refresh, account, token))

    def _refresh(self, account: Account, token: str, send: Callable[[Any], None]) -> None:
        def answer(error: HazoomError | None) -> None:
            with self._delivery.turn():
                reply = refusal(error, REFRESH, self._note_refusal) if error is not None else self._refreshed(account)
                self._delivery.add(Later(send, reply))

        with self._delivery.turn():
            self._admission.refresh(account, token, answer)

    def _refreshed(self, account: Account) -> dict[str, Any]:
        self.expiry.watch(account)
        clients = self._delivery.clients_of(account.id)
        if clients is not None:
            for room in self._hub.change_rights(clients.connection, account.rights):
                self._tell(account, NotAllowed(f"be in room {room!r} any more"), REFRESH)
        for tell in self.on_rights_changed:
            tell(account)
        expires_at = account.identity.expires_at if account.identity is not None else None
        return {"ok": True, **fields_of(TokenRefreshed(expires_at=expires_at))}

    def _tell_expired(self, account: Account) -> None:
        self._tell(account, Unauthorized("its time is over", retry=True), "connect")

    def _end_expired(self, account: Account) -> None:
        self._delivery.add(Close(account.id, Bye(reason="expired", reconnect=True)))

    def _tell(self, account: Account, error: HazoomError, event: str) -> None:
        """Send the event ``error`` on each namespace of ours that a client is in."""
        clients = self._delivery.clients_of(account.id)
        report = msgspec.to_builtins(report_of(error, event))
        for namespace, sid in [] if clients is None else list(clients.sids.items()):
            self._delivery.add(Later(partial(self._emit_report, report, namespace, sid)))

    def _emit_report(self, report: dict[str, Any], namespace: str, sid: str, _reply: None) -> None:
        self._emit("error", report, namespace, room=sid)
