"""What is said between us and the Django chat API, no I/O: the request's body, the bytes of an answer as tokens, its end.

Source: contract.md, "The Django chat API".
"""

import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
import requests
from msgspec import UNSET, Struct, UnsetType

from hazoom_ws.errors import HazoomError, LlmFailed, LlmUnavailable
from hazoom_ws.schemas import IntelligenceLevel, LlmComplete, LlmError, retry_at
from hazoom_ws.sse import SseDecoder, SseEvent, SseTooLarge

UNAVAILABLE_STATUSES = frozenset({502, 503, 504})

T = TypeVar("T", bound=Struct)


class Prompt(Struct, frozen=True, kw_only=True):
    """What is asked. ``room`` only labels the events."""

    request_id: str
    user_identifier: str
    message: str
    intelligence_level: IntelligenceLevel
    session_id: str
    stream: bool
    room: str | UnsetType = UNSET

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
        self.tokens: list[str] = []
        self.text: str | None = None
        self.session_id = session_id
        self.size_bytes = 0
        self.first_token_s: float | None = None
        self.last_piece_s = clock()
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._sse = SseDecoder(event_limit_bytes=limit_bytes)

    def feed(self, content: bytes) -> None:
        """Take the next bytes. Raises `LlmFailed`; what came before the failure has been taken then."""
        self.count(content)
        try:
            for event in self._sse.feed(content):
                if self._take(event):
                    return
        except SseTooLarge as error:
            raise too_long() from error

    def count(self, content: bytes) -> None:
        """Note that bytes have come. Raises `LlmFailed` if they are too many."""
        self.last_piece_s = self._clock()
        self.size_bytes += len(content)
        if self.size_bytes > self._limit_bytes:
            raise too_long()

    def _take(self, event: SseEvent) -> bool:
        """Return whether this was the end."""
        if event.event == "token":
            try:
                token = _decode_token(event.data).token
            except (msgspec.MsgspecError, RecursionError) as error:
                raise _no_answer() from error
            if self.first_token_s is None:
                self.first_token_s = self.last_piece_s
            self.tokens.append(token)
        elif event.event == "end":
            end = decode(event.data, _EndData)
            self.session_id = end.session_id or self.session_id
            self.text = "".join(self.tokens) or end.full_response or ""
            return True
        elif event.event == "error":
            raise LlmFailed from RuntimeError(f"error event: {event.data:.500}")
        return False


def check_status(response: requests.Response) -> None:
    """Raise an `UpstreamFault` unless a request has succeeded."""
    status = response.status_code
    if status == requests.codes.ok:
        return
    if status in UNAVAILABLE_STATUSES or status == requests.codes.too_many_requests:
        raise LlmUnavailable from RuntimeError(f"HTTP {status}")
    is_theirs = status >= requests.codes.internal_server_error
    problem = "the AI service failed" if is_theirs else "the AI service refused the request"
    raise LlmFailed(f"{problem} (HTTP {status})", retry=is_theirs)


def check_is_stream(response: requests.Response) -> None:
    """Raise `LlmFailed` unless the body is a stream of events."""
    actual = response.headers.get("Content-Type", "")
    if actual.partition(";")[0].strip().lower() != "text/event-stream":
        raise LlmFailed("the AI service did not answer with a stream", retry=False) from ValueError(actual[:200])


def decode(text: str | bytes, into: type[T]) -> T:
    """Return what a piece of JSON says. Raises `LlmFailed`."""
    try:
        return msgspec.json.decode(text, type=into)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _no_answer() from error


def cut_off() -> LlmFailed:
    return LlmFailed("the AI service stopped in the middle of its answer")


def connection_lost() -> LlmFailed:
    return LlmFailed("the connection to the AI service was lost")


def too_long() -> LlmFailed:
    return LlmFailed("the AI service sent too long an answer", retry=False)


def _no_answer() -> LlmFailed:
    return LlmFailed("the AI service sent something that is not an answer")


def completion(prompt: Prompt, stream: TokenStream | None, *, asked_s: float, now_s: float) -> LlmComplete:
    """Return the event that ends a request with what there is of its answer; ``stream`` is None if it never ran."""
    text = None if stream is None else stream.text
    tokens = [] if stream is None else stream.tokens
    first_token_s = None if stream is None else stream.first_token_s
    return LlmComplete(
        timestamp=time.time(),
        request_id=prompt.request_id,
        response="".join(tokens) if text is None else text,
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
    return round((to_s - from_s) * 1000, 1)
