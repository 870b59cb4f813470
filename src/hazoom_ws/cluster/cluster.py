"""What one process has of the others, joined: who calls which part for what is heard, and when it is time.

Made where the log has peers; a process alone has none of this.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

from hazoom_ws.access.accounts import Accounts
from hazoom_ws.chat.hub import Hub
from hazoom_ws.cluster import presence, relay, room_sizes, typing
from hazoom_ws.cluster.counts import COUNTS, Counts
from hazoom_ws.cluster.news import News
from hazoom_ws.cluster.presence import Presence
from hazoom_ws.cluster.processes import ENDED, EVERYBODY, FORGET_HELD, Processes, RunBeside, script
from hazoom_ws.cluster.questions import Questions
from hazoom_ws.cluster.relay import RelayElsewhere
from hazoom_ws.cluster.room_sizes import RoomSizes
from hazoom_ws.cluster.sessions import CLAIMED, Sessions, SessionsElsewhere
from hazoom_ws.cluster.typing import TypingElsewhere
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.live.relay import Relay
from hazoom_ws.message_log.peers import Heard, Peers
from hazoom_ws.metrics.statistics import Statistics
from hazoom_ws.settings import Settings

NEW, LOGGED_OUT = b"n", b"o"


class Cluster:
    """Joins it. ``processes`` tells who ends, ``questions`` asks others. Called within turns, but for `end`."""

    def __init__(
        self,
        settings: Settings,
        peers: Peers,
        hub: Hub,
        live_relay: Relay,
        news: News,
        *,
        problem: Callable[[], str | None],
        take_over: Callable[[str], Sessions],
        turn: Callable[[], AbstractContextManager[Any]],
        start_task: Callable[..., object],
        run_beside: RunBeside,
        wake: Callable[[], object],
        wake_ticker: Callable[[], object],
        clock: Callable[[], float],
    ) -> None:
        """``problem`` is for `Processes`, ``turn`` and ``start_task`` are for `Questions`.

        ``wake`` and ``wake_ticker`` are called when `run_due` and `tick` have something to do."""
        rooms = hub.rooms
        self._peers = peers
        self._has_ended = False
        self.processes = Processes(peers, run_beside, problem=problem, grace_s=settings.presence_grace_s, clock=clock)
        self.questions = Questions(peers, news, self.processes, turn=turn, start_task=start_task, run_beside=run_beside)
        self._relay = RelayElsewhere(peers, rooms, live_relay)
        self._presence = Presence(peers, rooms, self._relay, wake=wake, clock=clock)
        self._typing = TypingElsewhere(
            peers,
            rooms,
            hub.deliver,
            expiry_s=settings.typing_expiry_s,
            wake=wake,
            wake_ticker=wake_ticker,
            clock=clock,
        )
        self._sizes = RoomSizes(peers, rooms, wake=wake, clock=clock)
        self._counts: Counts | None = None
        sessions = SessionsElsewhere(hub, peers, take_over, run_beside)
        self.processes.on_gone.append(sessions.gone)
        self.processes.on_looked.append(sessions.looked)
        self._clock = clock
        self._news = news
        rooms.others = self._presence
        hub.on_typing = self._typing.typed
        self._presence.on_size = self._sizes.changed
        self.processes.on_ended += [self._typing.ended, self._relay.ended]
        self.processes.on_gone += [self._presence.gone, self._sizes.gone]
        news.on_said = self._typing.stop
        news.on |= {
            NEW: self._heard_new,
            CLAIMED: sessions.heard_claim,
            ENDED: self.processes.heard_end,
            presence.BACK: self._heard_back,
            presence.CAME: self._presence.heard_came,
            presence.WENT: self._presence.heard_went,
            presence.ASKED: self._presence.heard_question,
            presence.ANSWERED: self._presence.heard_answers,
            relay.RELAYED: self._relay.heard,
            room_sizes.SIZES: self._sizes.heard,
            typing.TYPED: self._typing.heard,
        }
        peers.publish(EVERYBODY, NEW, b"")

    def count(self, accounts: Accounts, statistics: Statistics) -> None:
        """Let limits of users and addresses, and statistics, be those of all processes."""
        counts = self._counts = Counts(
            self._peers, accounts.users, accounts.addresses, statistics.of_process, clock=self._clock
        )
        statistics.name, statistics.others = self._peers.name, counts
        self._news.on[COUNTS] = counts.heard
        self.processes.on_ended.append(counts.gone)

    def log_out_with(self, end: Callable[[str], object]) -> Callable[[str], None]:
        """Call ``end(user_id)`` for who is logged out by another process; return what tells the others of one."""
        self._news.on[LOGGED_OUT] = lambda heard: end(heard.data.decode())
        return lambda user_id: self._peers.publish(EVERYBODY, LOGGED_OUT, user_id.encode())

    def run_due(self) -> float | None:
        """Do what is due; return the seconds until the next time, None if there is nothing to wait for."""
        due_in_s = [self._presence.run_due(), self._typing.run_due(), self._sizes.run_due()]
        if self._counts is not None:
            due_in_s.append(self._counts.run_due())
        return min((seconds for seconds in due_in_s if seconds is not None), default=None)

    def tick(self) -> None:
        """Tell what has gathered in a tick."""
        self._typing.tell()

    def end(self) -> None:
        """Say that this process ends, whose clients are gone, and tell the others nothing more. Beside turns.

        Calling it again does nothing.
        """
        if self._has_ended:
            return
        self._has_ended = True
        with suppress(LogUnavailable):
            if self._peers.alive() <= {self._peers.name}:
                for command in script(FORGET_HELD, self._peers.name):  # nobody else will wait for its users
                    self._peers.tell(*command)
        self._peers.publish(EVERYBODY, ENDED, b"")
        self._peers.close()
        self.questions.close()

    def _heard_new(self, heard: Heard) -> None:
        self.processes.heard_new(heard.process)
        self._tell_all(heard)

    def _tell_all(self, heard: Heard) -> None:
        self._sizes.tell_all(f"process:{heard.process}")
        if self._counts is not None:
            self._counts.tell_all(f"process:{heard.process}")

    def _heard_back(self, heard: Heard) -> None:
        self.processes.heard_back(heard.process)
        self._tell_all(heard)
        self._presence.heard_back(heard)
