"""Questions to the AI: asking, stopping and resuming."""

import hashlib
import secrets

from msgspec import UNSET, UnsetType

from hazoom_ws.access.limits import Account
from hazoom_ws.chat.effects import Numbered
from hazoom_ws.chat.presence import Connection
from hazoom_ws.chat.rights import Rights
from hazoom_ws.delivery.client_sets import ClientSet
from hazoom_ws.errors import NotAllowed
from hazoom_ws.events.llm import (
    LlmAccepted,
    LlmCancel,
    LlmComplete,
    LlmError,
    LlmQueued,
    LlmRequest,
    LlmResponse,
    LlmResume,
    LlmStarted,
    LlmToken,
    LlmTokens,
)
from hazoom_ws.llm_bridge.answer import Answer
from hazoom_ws.llm_bridge.answers import Answers
from hazoom_ws.llm_bridge.wire import Prompt, Writing
from hazoom_ws.namespaces.features import Greeting, handles
from hazoom_ws.trace_context import TraceContext, read_trace


class LlmFeature(Greeting):
    """Questions to the AI, and their answers as they come."""

    name = "llm"
    events = (LlmStarted, LlmQueued, LlmToken, LlmTokens, LlmResponse, LlmComplete, LlmError)

    def snapshots(self, connection: Connection) -> list[Numbered]:
        return self.parts.answers.missed.snapshots(connection.rooms)

    def catch_up(self, connection: Connection, offset: int, replayed: list[Numbered], process: str) -> list[Numbered]:
        return self.parts.answers.missed.catch_up(connection, offset, replayed, process)

    @handles(LlmRequest)
    def llm_request(self, clients: ClientSet, payload: LlmRequest) -> LlmAccepted:
        """Start an answer for the asker, or for the room that the request names."""
        connection = clients.connection
        require_right(connection.rights, payload.room, payload.document)
        prompt = Prompt(
            request_id=secrets.token_hex(16) if payload.request_id is UNSET else payload.request_id,
            # Two users may show one name, where somebody has checked who they are.
            user_identifier=connection.user.name if connection.user.checked_id is UNSET else connection.user.checked_id,
            message=payload.message,
            intelligence_level=payload.intelligence_level,
            session_id=_conversation(connection, payload.room) if payload.session_id is UNSET else payload.session_id,
            stream=payload.stream,
            room=payload.room,
            writing=None
            if payload.document is UNSET
            else Writing(payload.document, payload.text, payload.on_error == "remove"),
            trace=_span_of(connection, payload),
            client=connection.client,
        )
        self.parts.answers.ask(connection, prompt, is_new=payload.request_id is UNSET)
        return LlmAccepted(request_id=prompt.request_id)

    @handles(LlmCancel)
    def llm_cancel(self, clients: ClientSet, payload: LlmCancel) -> LlmAccepted:
        """End an answer of the asker's own; it ends in ``llm_complete`` with the text so far."""
        self.parts.answers.cancel(clients.connection, payload.request_id)
        return LlmAccepted(request_id=payload.request_id)

    @handles(LlmResume)
    def llm_resume(self, clients: ClientSet, payload: LlmResume) -> LlmAccepted:
        """Pick an answer up where the client has lost it."""
        self.parts.answers.resume(clients.connection, payload.request_id, payload.index)
        return LlmAccepted(request_id=payload.request_id)


def _conversation(connection: Connection, room: str | UnsetType) -> str:
    """Return the id under which the backend remembers what a connection asks: everybody in a room learns the room's."""
    if room is UNSET:
        return connection.conversation_id
    return hashlib.sha256(f"{connection.conversation_id} {room}".encode()).hexdigest()[:32]


def _span_of(connection: Connection, payload: LlmRequest) -> TraceContext | None:
    """Return the span that a question is: of the trace that it names, else of its connection's, if there is any."""
    trace = connection.trace
    if payload.traceparent is not UNSET:
        trace = read_trace(payload.traceparent, "" if payload.tracestate is UNSET else payload.tracestate) or trace
    return None if trace is None else trace.child()


def require_right(rights: Rights, room: str | UnsetType, document: str | UnsetType) -> None:
    """Raise `NotAllowed` for a question that may not be asked at all, in that room or about that document."""
    if not rights.may_ask:
        raise NotAllowed("ask the AI")
    if room is not UNSET and not rights.may_enter(room):
        raise NotAllowed(f"enter room {room!r}")
    if document is not UNSET and not rights.may_enter(document):
        raise NotAllowed(f"write into document {document!r}")


def stop_forbidden(answers: Answers, account: Account) -> None:
    """Stop what a client has asked, and may not any more. Called within a turn."""

    def is_forbidden(answer: Answer) -> bool:
        if answer.asker.id != account.id:
            return False
        writing = answer.prompt.writing
        try:
            require_right(account.rights, answer.prompt.room, UNSET if writing is None else writing.document)
        except NotAllowed:
            return True
        return False

    if account.user is not None:
        answers.stop_all(account.user, shared=True, where=is_forbidden)
