"""What the log says of each connection, with ``log_format = "json"``: that it began, what it was refused, that it ended.

One object of an application; there is none with any other format, so that nothing is paid for it. Clients cause these
lines, so they are bounded: connections by the limits of handshakes, refusals here. Never what anybody said.
"""

import logging
import secrets
import time
from collections.abc import Callable

from hazoom_ws.access.buckets import TokenBucket
from hazoom_ws.access.limits import Account
from hazoom_ws.errors import Internal
from hazoom_ws.events.refusals import ErrorReport
from hazoom_ws.log_fields import fields

logger = logging.getLogger(__name__)

CONNECTION_REFUSALS_LIMIT_COUNT = 10  # of one connection that have lines of their own; the others are counted at its end
_REFUSALS_PER_S, _REFUSALS_BURST_COUNT = 20.0, 200  # of all connections, for the same reason
_CLIENT_BYTES = 9


class _Entry:
    """A connection that has begun."""

    __slots__ = ("began_s", "refusals_count")

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.refusals_count = 0


class Journal:
    """The lines of all connections of one application. May be called from any thread or greenlet, within turns or not."""

    def __init__(
        self,
        find: Callable[[str], Account | None],
        transport_of: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``find`` returns the account of a session, ``transport_of`` how its bytes come. ``clock`` is monotonic."""
        self._find = find
        self._transport_of = transport_of
        self._clock = clock
        self._entries: dict[str, _Entry] = {}  # by session
        self._refusals = TokenBucket(_REFUSALS_PER_S, _REFUSALS_BURST_COUNT, clock())

    def entered(self, session_id: str, namespace: str) -> None:
        """Note that a session was let into a namespace. The first one is the beginning of a connection."""
        account = self._find(session_id)
        if account is None or session_id in self._entries:
            return
        self._entries[session_id] = _Entry(self._clock())
        account.client = account.client or secrets.token_urlsafe(_CLIENT_BYTES)
        of = fields(
            "connection_opened",
            connection=account.client,
            namespace=namespace.partition("|")[0],  # what follows is the name of a document
            transport=self._transport_of(session_id),
            address=account.address,
            user_id=account.user.checked_id or None if account.user is not None else None,
            trace_id=account.trace.trace_id if account.trace is not None else None,
        )
        logger.info("connection opened", extra=of)
        if account.is_closed:  # meanwhile, in another thread, which has found no entry
            self.left(account, "transport close")

    def refused(self, session_id: str, event: str, report: ErrorReport) -> None:
        """Note that an event was refused. ``event`` is a name that we know, "" for any other."""
        account, entry = self._find(session_id), self._entries.get(session_id)
        if account is None or entry is None:
            return
        entry.refusals_count += 1
        if entry.refusals_count > CONNECTION_REFUSALS_LIMIT_COUNT or self._refusals.spend(self._clock()):
            return
        of = fields("event_refused", connection=account.client, client_event=event, code=report.code)
        # The other texts may quote what the client has sent; this one only has the reference of the line with the trace.
        is_ours = report.code == Internal.code
        logger.info("event refused%s", f": {report.message}" if is_ours else "", extra=of)

    def left(self, account: Account, reason: str) -> None:
        """Note that a session has ended, for a ``reason`` in words of ours; nothing happens if it was in no namespace."""
        entry = self._entries.pop(account.id, None)
        if entry is None:
            return
        of = fields(
            "connection_closed",
            connection=account.client,
            reason=reason,
            duration_ms=round((self._clock() - entry.began_s) * 1000),
            refusals_count=entry.refusals_count,
        )
        logger.info("connection closed", extra=of)
