"""The parts of one application, for its handlers and for whoever has built it."""

import time
from collections.abc import Callable

from msgspec import Struct

from hazoom_ws.chat.hub import Hub
from hazoom_ws.delivery.delivery import Delivery
from hazoom_ws.events.rooms import Published
from hazoom_ws.live.relay import Relay
from hazoom_ws.live.shared_state import States
from hazoom_ws.llm_bridge.answers import Answers
from hazoom_ws.message_log.contract import MessageLog
from hazoom_ws.metrics.charts import Charts
from hazoom_ws.metrics.prometheus import Scrape
from hazoom_ws.metrics.refused import Refused
from hazoom_ws.metrics.statistics import Statistics
from hazoom_ws.namespaces.identities import Identities
from hazoom_ws.namespaces.loading import Loading
from hazoom_ws.settings import Settings


class Parts(Struct, frozen=True):
    """The parts of one application that its handlers use.

    ``close()`` is for an application that does not end with its process: its clients are disconnected, its tasks end within
    a second, and the file of its log, the connections to its backend and its threads are given back. Calling it again
    changes nothing. ``stop()`` is for one that does: see `Ending.run`. ``publish`` is `FromApplication.publish`: how the
    application says something in a room. ``disconnect_user`` is `LoggingOut.disconnect_user`: how it logs somebody out.
    """

    settings: Settings
    hub: Hub
    answers: Answers
    statistics: Statistics
    charts: Charts
    scrape: Scrape
    refused: Refused
    delivery: Delivery
    log: MessageLog
    relay: Relay
    states: States
    identities: Identities
    loading: Loading
    close: Callable[[], None]
    publish: Callable[..., Published]
    disconnect_user: Callable[[str], int]
    stop: Callable[[], None]
    clock: Callable[[], float] = time.monotonic
