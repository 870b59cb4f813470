"""Questions to the AI: who may ask, and who sees the answer."""

import logging
import secrets

from msgspec import UNSET

from hazoom_ws import schemas
from hazoom_ws.chat.effects import Broadcast, Push
from hazoom_ws.errors import HazoomError, LogUnavailable
from hazoom_ws.llm_bridge import Emit, Prompt
from hazoom_ws.namespaces.base import FeatureNamespace, handles
from hazoom_ws.namespaces.delivery import Link

logger = logging.getLogger(__name__)


class LlmNamespace(FeatureNamespace):
    @handles(schemas.LlmRequest)
    def llm_request(self, link: Link, payload: schemas.LlmRequest) -> schemas.LlmAccepted:
        """Start an answer for the asker, or for the room that the request names."""
        hub, bridge = self.parts.hub, self.parts.bridge
        connection = link.connection
        if payload.room is not UNSET:
            hub.require_member(connection, payload.room)
        prompt = Prompt(
            request_id=secrets.token_hex(16) if payload.request_id is UNSET else payload.request_id,
            user_id=connection.user.id,
            user_name=connection.user.name,
            message=payload.message,
            intelligence_level=payload.intelligence_level,
            session_id=connection.session_id if payload.session_id is UNSET else payload.session_id,
            stream=payload.stream,
            room=payload.room,
        )
        bridge.admit(prompt)
        try:
            if prompt.room is not UNSET:
                hub.publish_prompt(connection, prompt.room, prompt.message, prompt.request_id)
        except HazoomError:
            bridge.withdraw(prompt)
            raise
        # What a room shares ends in its history whoever stays; a private answer is of no use to a client that is gone.
        bridge.start(
            prompt,
            emit=self._relay(link, prompt),
            is_wanted=lambda: prompt.room is not UNSET or connection.is_open,
        )
        return schemas.LlmAccepted(request_id=prompt.request_id)

    @handles(schemas.LlmCancel)
    def llm_cancel(self, link: Link, payload: schemas.LlmCancel) -> schemas.LlmAccepted:
        """End an answer of the asker's own; it ends in ``llm_complete`` with the text so far."""
        self.parts.bridge.cancel(payload.request_id, link.connection.user.id)
        return schemas.LlmAccepted(request_id=payload.request_id)

    def _relay(self, link: Link, prompt: Prompt) -> Emit:
        """Return what the bridge calls, outside of turns, with each event of an answer."""
        hub, delivery = self.parts.hub, self.parts.delivery

        def emit(event: schemas.ServerEvent) -> None:
            with delivery.turn():
                if prompt.room is UNSET:
                    delivery.add(Push(link.connection, event))
                    return
                if isinstance(event, schemas.LlmComplete) and event.response:
                    try:
                        hub.publish_answer(prompt.room, event.response, prompt.request_id)
                    except LogUnavailable as error:
                        logger.warning("the answer to AI request %s is in no history: %s", prompt.request_id, error.reason)
                delivery.add(Broadcast(prompt.room, event))

        return emit
