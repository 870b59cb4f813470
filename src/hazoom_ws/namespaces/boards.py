"""Boards on ``/excalidraw``, as a self-hosted Excalidraw expects of its room server.

From a client: ``join-room`` (a board's id), ``server-broadcast`` and ``server-volatile-broadcast`` (id, data, iv; the last
two are bytes), ``user-follow``. To it: ``init-room``, ``first-in-room``, ``new-user``, ``room-user-change``,
``client-broadcast`` (data, iv), ``user-follow-room-change``, ``broadcast-unfollow``. What cannot be is answered with the
event ``error``. What is drawn counts for the rate of relayed items, and for what its sender's user and address share: over
it what is volatile is lost, the rest refused.

A board is no room of the chat, and who is on one no user of it.
"""

import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import msgspec

from hazoom_ws.access.buckets import TokenBucket
from hazoom_ws.access.limits import Account
from hazoom_ws.delivery.delivery import Delivery
from hazoom_ws.delivery.effects import Later
from hazoom_ws.errors import BadPayload, HazoomError, RateLimited
from hazoom_ws.events.refusals import report_of
from hazoom_ws.live.boards import Boards
from hazoom_ws.namespaces.replies import NoteRefusal
from hazoom_ws.settings import Settings
from hazoom_ws.transport.socketio.fan_out import Client, FanOut
from hazoom_ws.transport.socketio.packet import ClientEvent

NAME = "/excalidraw"
JOIN = "join-room"
_SERVER_BROADCAST, _VOLATILE_BROADCAST = "server-broadcast", "server-volatile-broadcast"
_QUOTED_CHARS = 64
_BOARDS_LIMIT_COUNT = 8  # of one client: an Excalidraw is on one board, and follows one other


class BoardsNamespace:
    """The namespace of all boards."""

    def __init__(
        self,
        settings: Settings,
        delivery: Delivery,
        fan_out: FanOut,
        note_refusal: NoteRefusal,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock`` is monotonic, in seconds."""
        # A whole drawing goes out when somebody comes, with its pictures elsewhere: more than 1 MB of it is not rare.
        self.part_limit_bytes = settings.document_update_limit_bytes
        self._settings = settings
        self._clock = clock
        self._delivery = delivery
        self._fan_out = fan_out
        self._note_refusal = note_refusal
        self._rates: dict[str, TokenBucket] = {}  # of what each client has drawn
        self._clients: dict[str, Client] = {}
        self._accounts: dict[str, Account] = {}
        self.boards = Boards(self._send, boards_limit_count=min(_BOARDS_LIMIT_COUNT, settings.rooms_per_connection_limit))

    def accept_client(
        self, client: Client, account: Account, _auth: object, accept: Callable[..., Callable[[Any], None]]
    ) -> None:
        """Let a client in, see `Dispatcher`."""
        with self._delivery.turn():
            self._delivery.add(Later(accept()))
            self._clients[client.sid] = client
            self._accounts[client.sid] = account
            self.boards.enter(client.sid)

    def trigger_event(self, event: str, sid: str, *arguments: Any) -> None:
        """Handle what a client says, or that it has gone."""
        with self._delivery.turn():
            if sid not in self._clients:
                return
            if not isinstance(event, ClientEvent):
                self.boards.leave(sid)
                del self._clients[sid], self._accounts[sid]
                self._rates.pop(sid, None)
                return
            try:
                self._handle(event, sid, arguments)
            except HazoomError as error:
                self.refuse(sid, error, event)

    def refuse(self, sid: str, error: HazoomError, event: str) -> None:
        """Tell a client why what it has said cannot be. Called within a turn."""
        self._note_refusal(error.code)
        report = msgspec.to_builtins(report_of(error, event[:_QUOTED_CHARS]))
        self._send([sid], "error", (report,))

    def _handle(self, event: ClientEvent, sid: str, arguments: tuple[Any, ...]) -> None:
        if event.problem is not None:
            raise event.problem()
        first = arguments[0] if arguments else None
        if event == JOIN:
            self.boards.join(sid, first)
        elif event == "user-follow":
            self.boards.follow(sid, first)
        elif event in {_SERVER_BROADCAST, _VOLATILE_BROADCAST}:
            recipients = self.boards.recipients(sid, first)
            if len(arguments) != 3 or not all(isinstance(one, bytes) for one in arguments[1:]):
                raise BadPayload("payload", "expected the id of a board, data and iv, which are bytes")
            is_volatile = event == _VOLATILE_BROADCAST
            problem = self._charge(sid, sum(map(len, arguments[1:])))
            if problem is None:
                self.boards.say(str(first), recipients, arguments[1:], is_volatile=is_volatile)
            elif not is_volatile:
                raise problem()

    def _charge(self, sid: str, size_bytes: int) -> Callable[[], RateLimited] | None:
        """Count what a client says to a board; return what refuses it, None if it may say this.

        A whole drawing counts as the longest event, and not by its bytes: who says it seldom is not refused for its size.
        """
        settings, now_s = self._settings, self._clock()
        rate = self._rates.get(sid)
        if rate is None:
            rate = TokenBucket(settings.relay_rate_limit_per_s, settings.relay_rate_limit_burst_count, now_s)
            self._rates[sid] = rate
        retry_after_s = rate.spend(now_s)
        if retry_after_s:
            return partial(RateLimited, settings.relay_rate_limit_per_s, "changes of a board", retry_after_s)
        return self._accounts[sid].charge_shares(min(size_bytes, settings.event_limit_bytes), is_relayed=True)

    def _send(self, sids: Collection[str], event: str, arguments: tuple[Any, ...], *, is_volatile: bool = False) -> None:
        clients = [client for sid in sids if (client := self._clients.get(sid)) is not None]
        if clients:
            send = partial(self._fan_out.send_arguments, clients, event, *arguments, is_droppable=is_volatile)
            self._delivery.add(Later(lambda _: send()))
