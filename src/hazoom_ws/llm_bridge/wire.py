"""What is said between us and the Django chat API, no I/O: the request's body, the bytes of an answer as tokens, its end.

Source: web/guides/events.md, "The Django chat API".
"""

import json
import re
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from hazoom_ws.errors import HazoomError, LlmFailed
from hazoom_ws.events.base import retry_at
from hazoom_ws.events.llm import IntelligenceLevel, LlmComplete, LlmError
from hazoom_ws.llm_bridge.refusal import error_in, reason_in
from hazoom_ws.llm_bridge.sse import SseDecoder, SseEvent, SseTooLarge
from hazoom_ws.llm_bridge.tokens import Tokens
from hazoom_ws.trace_context import TraceContext

T = TypeVar("T", bound=Struct)

_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_FIRST_HALVES = ("\ud800", "\udbff")
_REPLACEMENT = "\ufffd"


class Writing(Struct, frozen=True):
    """Into which document an answer is written, to which of its shared texts, and whether it is taken back if it fails."""

    document: str
    text: str
    is_removed_on_error: bool


class Prompt(Struct, frozen=True, kw_only=True):
    """What is asked. ``room`` only labels the events; ``writing``: where the answer is written too, None for nowhere.

    ``trace``: the span that the question is, None if it belongs to no trace. ``client``: the public id of the connection
    that asks, for the log.
    """

    request_id: str
    user_identifier: str
    message: str
    intelligence_level: IntelligenceLevel
    session_id: str
    stream: bool
    room: str | UnsetType = UNSET
    writing: "Writing | None" = None
    trace: TraceContext | None = None
    client: str = ""

    def body(self) -> bytes:
        """Return the request's body, which is JSON."""
        return msgspec.json.encode(
            {
                "message": self.message,
                "stream": self.stream,
                "intelligence_level": self.intelligence_level,
                "session_id": self.session_id,
                "user_identifier": self.user_identifier,
            }
        )


class WholeAnswer(Struct, frozen=True):
    """The answer to a request that asked for no stream."""

    response: str
    session_id: str | None = None


class _TokenData(Struct, frozen=True):
    token: str
    session_id: str | None = None


class _EndData(Struct, frozen=True):
    full_response: str | None = None
    session_id: str | None = None


_decode_token = msgspec.json.Decoder(_TokenData).decode


class TokenStream:
    """A streamed answer as far as it has come. ``text`` is the whole of it, once its end has come."""

    def __init__(self, session_id: str, *, limit_bytes: int, clock: Callable[[], float]) -> None:
        self.tokens = Tokens()
        self.text: str | None = None
        self.session_id = session_id
        self.size_bytes = 0
        self.first_token_s: float | None = None
        self.last_piece_s = self.last_line_s = clock()  # the latter until the first token
        self._taken: list[str] = []
        self._half = ""  # the first half of a character, at the end of the last token
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._sse = SseDecoder(event_limit_bytes=limit_bytes)

    def feed(self, content: bytes) -> None:
        """Handle the next bytes. Raises `LlmFailed`; what came before the failure has been handled then."""
        self.count(content)
        try:
            for event in self._sse.feed(content):
                if self._handle_event(event):
                    return
        except SseTooLarge as error:
            raise too_long() from error

    def take_tokens(self) -> list[str]:
        """Return the tokens that have come since this was last asked."""
        taken, self._taken = self._taken, []
        return taken

    def count(self, content: bytes) -> None:
        """Note that bytes have come. Raises `LlmFailed` if they are too many."""
        self.last_piece_s = self._clock()
        if self.first_token_s is None and (b"\n" in content or b"\r" in content):
            # Whoever ends a line, be it a comment, is alive: a model that thinks sends nothing else.
            self.last_line_s = self.last_piece_s
        self.size_bytes += len(content)
        if self.size_bytes > self._limit_bytes:
            raise too_long()

    def _handle_event(self, event: SseEvent) -> bool:
        """Return whether this was the end."""
        if event.event == "token":
            try:
                token = _decode_token(event.data).token
            except (msgspec.MsgspecError, RecursionError) as error:
                token = self._joined(_decode_halves(event.data, _TokenData, error).token)
            else:
                if self._half:
                    token = self._joined(token)
            if self.first_token_s is None:
                self.first_token_s = self.last_piece_s
            self._append(token)
        elif event.event == "end":
            end = decode(event.data, _EndData)
            self.session_id = end.session_id or self.session_id
            if self._half:
                self._append(_REPLACEMENT)  # there is no token left that could have it
            self.text = self.tokens.joined() or end.full_response or ""
            return True
        elif event.event == "error":
            raise LlmFailed from RuntimeError(f"error event: {reason_in(event.data)}")
        return False

    def _append(self, token: str) -> None:
        self.tokens.append(token)
        self._taken.append(token)

    def _joined(self, token: str) -> str:
        """Return a token with what the last one has left of a character, and without what it leaves itself."""
        token = self._half + token
        self._half = ""
        if token and _FIRST_HALVES[0] <= token[-1] <= _FIRST_HALVES[1]:
            token, self._half = token[:-1], token[-1]
        return _without_halves(token)


def _decode_halves(text: str, into: type[T], error: Exception) -> T:
    """Return what JSON says with characters of which half is escaped alone, as it is when a model's token ends there.

    msgspec refuses that, with ``error``. Raises `LlmFailed`.
    """
    if _ESCAPED_HALF.search(text) is None:
        raise _no_answer() from error
    try:
        return msgspec.convert(json.loads(text), into)
    except (ValueError, msgspec.MsgspecError, RecursionError) as other:
        raise _no_answer() from other


def _without_halves(text: str) -> str:
    """Return a text whose halves of characters are joined, or replaced if they are alone: it goes on as UTF-8."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def decode(content: str | bytes, into: type[T]) -> T:
    """Return what a piece of JSON says. Raises `LlmFailed`, whose cause is the ``error`` in it if it has one."""
    try:
        return msgspec.json.decode(content, type=into)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        if said := error_in(content):
            raise _no_answer() from RuntimeError(said)
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
        found = _decode_halves(text, into, error)
    fields = msgspec.structs.asdict(found).items()
    return into(**{name: _without_halves(value) if isinstance(value, str) else value for name, value in fields})


def cut_off() -> LlmFailed:
    """Return the error of a stream that has ended in the middle."""
    return LlmFailed("the AI service stopped in the middle of its answer")


def connection_lost() -> LlmFailed:
    """Return the error of a connection that broke."""
    return LlmFailed("the connection to the AI service was lost")


def too_long() -> LlmFailed:
    """Return the error of an answer that is longer than its limit."""
    return LlmFailed("the AI service sent too long an answer", retry=False)


def _no_answer() -> LlmFailed:
    return LlmFailed("the AI service sent something that is not an answer")


def completion(prompt: Prompt, stream: TokenStream | None, *, asked_s: float, now_s: float) -> LlmComplete:
    """Return the event that ends a request with what there is of its answer; ``stream`` is None if it never ran."""
    text = None if stream is None else stream.text
    tokens = Tokens() if stream is None else stream.tokens
    first_token_s = None if stream is None else stream.first_token_s
    return LlmComplete(
        timestamp=time.time(),
        request_id=prompt.request_id,
        response=tokens.joined() if text is None else text,
        finish_reason="cancelled" if text is None else "stop",
        intelligence_level=prompt.intelligence_level,
        session_id=prompt.session_id if stream is None else stream.session_id,
        token_count=len(tokens),
        ttft_ms=milliseconds(asked_s, first_token_s or now_s),
        duration_ms=milliseconds(asked_s, now_s),
        room=prompt.room,
    )


def error_event(request_id: str, error: HazoomError, room: str | UnsetType = UNSET) -> LlmError:
    """Return the event that ends a request which failed."""
    return LlmError(
        request_id=request_id,
        code=error.code,
        message=str(error),
        retry=error.retry,
        retry_at=retry_at(error.retry_after_s),
        room=room,
    )


def milliseconds(from_s: float, to_s: float) -> float:
    """Return the time between two moments, in milliseconds, rounded to a tenth."""
    return round((to_s - from_s) * 1000, 1)
