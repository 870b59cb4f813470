"""The sessions of processes that have died, and who claims one: clients come back to whichever process they reach."""

from collections.abc import Callable
from functools import partial

from hazoom_ws.chat.hub import Hub
from hazoom_ws.cluster.processes import RunBeside
from hazoom_ws.message_log.contract import StoredSession
from hazoom_ws.message_log.peers import Heard

CLAIMED = b"c"  # `MessageLog.claim_session`
_ADOPTED_AT_ONCE_COUNT = 200  # in one turn

Sessions = list[tuple[str, StoredSession]]


class SessionsElsewhere:
    """Called within turns."""

    def __init__(self, hub: Hub, take_over: Callable[[str], Sessions], run_beside: RunBeside) -> None:
        """``take_over`` as of `MessageLog`."""
        self._hub = hub
        self._take_over = take_over
        self._run_beside = run_beside

    def heard_claim(self, heard: Heard) -> None:
        """Let another process have a session."""
        self._hub.hand_over(heard.data.decode())

    def gone(self, process: str) -> None:
        """Have what a process has left, as far as nobody else has it: somebody has to end it when its time is over."""
        self._run_beside(partial(self._take_over, process), self._adopt)

    def _adopt(self, sessions: Sessions | None, error: BaseException | None) -> None:
        if error is not None or not sessions:
            return  # while Redis is away nobody comes back; whoever comes later claims a session by itself
        for key, session in sessions[:_ADOPTED_AT_ONCE_COUNT]:
            self._hub.adopt(key, session)
        left = sessions[_ADOPTED_AT_ONCE_COUNT:]
        if left:
            self._run_beside(lambda: left, self._adopt)
