"""What an engine counts of its sessions, for who asks how it is doing. Nothing is decided here."""

import logging
from collections import Counter

from hazoom_ws.histograms import Histogram
from hazoom_ws.transport.engineio.session import SLOW_READER

logger = logging.getLogger(__name__)

# From less than a message takes to more than anybody should wait.
_LAG_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Counts:
    """The sessions that were opened, closed and refused since the process started.

    ``closed`` is by why they have ended, ``refused`` by what handshakes and polls were answered; both in few words of ours.
    ``loop_lag_s``: how late the event loop was, ten times a second; it stays empty where there is no loop.
    """

    def __init__(self) -> None:
        self.opened = 0
        self.closed: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.loop_lag_s = Histogram(_LAG_BOUNDS_S)

    def note_closed(self, session_id: str, reason: str) -> None:
        """Count a session that has ended."""
        self.closed[reason.replace(" ", "_")] += 1
        if reason == SLOW_READER:
            logger.warning("session %s is closed: it reads too slowly", session_id)
