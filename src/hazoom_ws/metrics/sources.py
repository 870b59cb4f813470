"""Where numbers are read: the parts of one application that count something anyway, by the names they have here."""

from collections.abc import Callable

from msgspec import Struct

from hazoom_ws.chat.hub import Hub
from hazoom_ws.delivery.delivery import Delivery
from hazoom_ws.live.documents.documents import Documents
from hazoom_ws.live.relay import Relay
from hazoom_ws.live.shared_state import States
from hazoom_ws.llm_bridge.answers import Answers
from hazoom_ws.llm_bridge.bridge import LlmBridge
from hazoom_ws.message_log.contract import MessageLog
from hazoom_ws.metrics.process import Process
from hazoom_ws.metrics.refused import Refused
from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.socketio.fan_out import FanOut


class Sources(Struct, frozen=True, kw_only=True):
    """The parts of one application that are asked. ``is_ready()``: whether it takes traffic; not to be asked in a turn."""

    hub: Hub
    answers: Answers
    bridge: LlmBridge
    relay: Relay
    states: States
    documents: Documents
    delivery: Delivery
    fan_out: FanOut
    engine: Engine
    log: MessageLog
    process: Process
    refused: Refused
    is_ready: Callable[[], bool]
