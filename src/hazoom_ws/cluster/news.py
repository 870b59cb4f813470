"""What other processes have said and published (`MessageLog.news`), as what is sent to who is here."""

import logging
from collections.abc import Callable

from msgspec import UNSET

from hazoom_ws.chat.effects import Broadcast, Effect
from hazoom_ws.events.base import ServerEvent
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.live.shared_state import shared_state
from hazoom_ws.message_log.contract import Entry
from hazoom_ws.message_log.peers import Heard
from hazoom_ws.message_log.room_state import StateChange

logger = logging.getLogger(__name__)


class News:
    """Tells it within turns. ``on``: who is called with what was published of each kind.

    ``on_said(room, user_name)`` is called before a message is told that was said on another process.
    """

    def __init__(self, deliver: Callable[[Effect], None], *, decoded: Callable[[NewMessage], ServerEvent | None]) -> None:
        """``decoded`` returns the event of a feature that a record keeps, None if it is none any more."""
        self.on_said: Callable[[str, str], object] = lambda *_: None
        self.on: dict[bytes, Callable[[Heard], object]] = {}
        self._deliver = deliver
        self._decoded = decoded

    def tell(self, news: Entry | Heard) -> None:
        """Tell who is in its room, or who is called for it."""
        if isinstance(news, NewMessage):
            event = news if news.event_name is UNSET else self._decoded(news)
            if event is not None:
                self.on_said(news.room, news.user)
                self._deliver(Broadcast(news.room, event, offset=news))
        elif isinstance(news, StateChange):
            if news.values:
                self._deliver(Broadcast(news.room, shared_state(news), offset=news))
        elif isinstance(news, Heard) and news.kind in self.on:
            try:
                self.on[news.kind](news)
            except Exception:  # what comes after it has to be heard
                logger.exception("what process %s has published was not understood", news.process)
