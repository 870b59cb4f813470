"""Calls the Django chat API, streams its answer, and re-emits each token as it arrives.

Each request runs in a task of its own (a greenlet, or a thread) and may block there; what it emits is handed to the
request's ``emit``, which decides who gets it. Every request ends in exactly one `LlmComplete` or `LlmError`, unless nobody
wants it any more. Knows the backend's wire format (contract.md, "The Django chat API"); knows nothing of rooms or sockets.

`requests` opens the request; the body is read here, with ``read1``, because ``iter_lines`` holds tokens back until it has
512 bytes of an unchunked stream.
"""

import logging
import secrets
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import requests
import urllib3
from msgspec import UNSET, Struct, UnsetType

from hazoom_ws.errors import (
    BadPayload,
    Forbidden,
    HazoomError,
    Internal,
    LlmFailed,
    LlmTimeout,
    LlmUnavailable,
    NotFound,
    TooManyStreams,
    UpstreamFault,
)
from hazoom_ws.llm_http import open_session, socket_of, telling_connection
from hazoom_ws.schemas import (
    IntelligenceLevel,
    LlmComplete,
    LlmError,
    LlmResponse,
    LlmStats,
    LlmToken,
    ServerEvent,
)
from hazoom_ws.settings import Settings
from hazoom_ws.sse import SseDecoder, SseEvent, SseTooLarge

logger = logging.getLogger(__name__)

_READ_BYTES = 65536
_TTFT_SAMPLES = 1000
_UNAVAILABLE_STATUSES = frozenset({429, 502, 503, 504})

T = TypeVar("T", bound=Struct)
Emit = Callable[[ServerEvent], None]


class Prompt(Struct, frozen=True, kw_only=True):
    """What is asked, by whom. ``room`` only labels the events."""

    request_id: str
    user_id: str
    user_name: str
    message: str
    intelligence_level: IntelligenceLevel
    session_id: str
    stream: bool
    room: str | UnsetType = UNSET


class _TokenData(Struct, frozen=True):
    token: str
    session_id: str | None = None


class _EndData(Struct, frozen=True):
    full_response: str | None = None
    session_id: str | None = None


class _Answer(Struct, frozen=True):
    response: str
    session_id: str | None = None


class LlmBridge:
    """The requests of one application to one backend."""

    def __init__(
        self, settings: Settings, *, start_task: Callable[..., Any], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``start_task(function, *args)`` runs a function beside the caller."""
        self.settings = settings
        self.clock = clock
        self.session = open_session(settings.llm_streams_limit)
        self._start_task = start_task
        self._running: dict[str, Prompt] = {}
        self._exchanges: dict[str, _Exchange] = {}  # of those that have started
        self._running_per_user: Counter[str] = Counter()
        self._requests_total = 0
        self._tokens_total = 0
        self._ttft_ms: deque[float] = deque(maxlen=_TTFT_SAMPLES)

    def admit(self, prompt: Prompt) -> None:
        """Reserve a place for ``prompt``; `start` or `withdraw` must follow.

        Raises `TooManyStreams`, or `BadPayload` for its id.
        """
        settings = self.settings
        if prompt.request_id in self._running:
            raise BadPayload("request_id", "is the id of a request that is still running")
        if self._running_per_user[prompt.user_id] >= settings.llm_streams_per_user_limit:
            raise TooManyStreams(settings.llm_streams_per_user_limit, "you have")
        if len(self._running) >= settings.llm_streams_limit:
            raise TooManyStreams(settings.llm_streams_limit, "the server has")
        self._running[prompt.request_id] = prompt
        self._running_per_user[prompt.user_id] += 1
        self._requests_total += 1

    def start(self, prompt: Prompt, *, emit: Emit, is_wanted: Callable[[], bool]) -> None:
        """Run an admitted prompt in a task. It ends early, without an event, once ``is_wanted`` says no."""
        exchange = self._exchanges[prompt.request_id] = _Exchange(self, prompt, emit, is_wanted)
        self._start_task(self._run, prompt, exchange, emit)

    def cancel(self, request_id: str, user_id: str) -> None:
        """End a running request of a user with what there is of its answer. Raises `NotFound`, `Forbidden`."""
        exchange = self._exchanges.get(request_id)
        if exchange is None:
            raise NotFound("request_id")
        if self._running[request_id].user_id != user_id:
            raise Forbidden("request_id")
        exchange.cancel()

    def stats(self) -> LlmStats:
        ordered = sorted(self._ttft_ms)
        return LlmStats(
            active=len(self._running),
            requests_total=self._requests_total,
            tokens_total=self._tokens_total,
            ttft_ms_p50=_percentile(ordered, 0.50),
            ttft_ms_p99=_percentile(ordered, 0.99),
        )

    def _run(self, prompt: Prompt, exchange: "_Exchange", emit: Emit) -> None:
        final: ServerEvent | None
        try:
            final = exchange.run()
        except HazoomError as error:
            logger.warning("AI request %s failed: %s", prompt.request_id, _with_cause(error))
            final = _error_event(prompt, error)
        except Exception:
            reference = secrets.token_hex(4)
            logger.exception("AI request %s failed, reference %s", prompt.request_id, reference)
            final = _error_event(prompt, Internal(reference))
        # The place is free before the asker hears of the end, so that the next question is not refused.
        self.withdraw(prompt)
        if isinstance(final, LlmComplete):
            self._tokens_total += final.token_count
            self._ttft_ms.append(final.ttft_ms)
        if final is not None:
            emit(final)

    def withdraw(self, prompt: Prompt) -> None:
        """Give back the place of an admitted prompt that has ended, or will not start."""
        del self._running[prompt.request_id]
        self._exchanges.pop(prompt.request_id, None)
        self._running_per_user[prompt.user_id] -= 1
        if not self._running_per_user[prompt.user_id]:
            del self._running_per_user[prompt.user_id]


class _Exchange:
    """One request and its answer."""

    def __init__(self, bridge: LlmBridge, prompt: Prompt, emit: Emit, is_wanted: Callable[[], bool]) -> None:
        self._settings = bridge.settings
        self._session = bridge.session
        self._clock = bridge.clock
        self._prompt = prompt
        self._emit = emit
        self._is_wanted = is_wanted
        self._started_s = self._clock()
        self._first_token_s: float | None = None
        self._tokens: list[str] = []
        self._session_id = prompt.session_id
        self._is_cancelled = False
        self._connection: socket.socket | None = None  # to the backend, once the request is on its way

    def cancel(self) -> None:
        """End the connection to the backend; `run`, which waits for it, then returns. Called from another task."""
        self._is_cancelled = True
        if self._connection is not None:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def _use(self, connection: socket.socket) -> None:
        """Take note of the connection that this request was sent on. Raises OSError if nobody waits for it any more."""
        self._connection = connection
        if self._is_cancelled:
            raise ConnectionAbortedError("the request was cancelled")

    def run(self) -> LlmComplete | None:
        """Return the event that ends the request, None if nobody wanted it to the end; raise an `UpstreamFault`."""
        text: str | None = None
        try:
            with telling_connection(self._use), self._open() as response:
                _check_status(response)
                text = self._relay_stream(response) if self._prompt.stream else self._relay_answer(response)
        except UpstreamFault:
            if not self._is_cancelled:
                raise
        finally:
            self._connection = None  # another request may use it next
        is_whole = text is not None
        if text is None:
            if not self._is_cancelled:
                return None
            text = "".join(self._tokens)
        now_s = self._clock()
        return LlmComplete(
            timestamp=time.time(),
            request_id=self._prompt.request_id,
            response=text,
            finish_reason="stop" if is_whole else "cancelled",
            intelligence_level=self._prompt.intelligence_level,
            session_id=self._session_id,
            token_count=len(self._tokens),
            ttft_ms=_milliseconds(self._started_s, self._first_token_s or now_s),
            duration_ms=_milliseconds(self._started_s, now_s),
            room=self._prompt.room,
        )

    def _open(self) -> requests.Response:
        settings, prompt = self._settings, self._prompt
        patience_s = settings.llm_first_token_timeout_s if prompt.stream else settings.llm_total_timeout_s
        body = {
            "message": prompt.message,
            "stream": prompt.stream,
            "intelligence_level": prompt.intelligence_level,
            "session_id": prompt.session_id,
            "user_identifier": prompt.user_name,
        }
        try:
            return self._session.post(
                settings.llm_url,
                data=msgspec.json.encode(body),
                headers={
                    "Content-Type": "application/json",
                    "Accept": "text/event-stream" if prompt.stream else "application/json",
                },
                stream=True,
                allow_redirects=False,
                timeout=(settings.llm_connect_timeout_s, patience_s),
            )
        except requests.ReadTimeout as error:
            raise LlmTimeout(patience_s, "the first token" if prompt.stream else "its answer") from error
        except requests.RequestException as error:
            raise LlmUnavailable from error

    def _relay_stream(self, response: requests.Response) -> str | None:
        _check_is_stream(response)
        decoder = SseDecoder(event_limit_bytes=self._settings.llm_response_limit_bytes)
        try:
            for chunk in self._read(response):
                if not self._is_wanted():
                    return None
                for event in decoder.feed(chunk):
                    text = self._handle(event)
                    if text is not None:
                        return text
        except SseTooLarge as error:
            raise LlmFailed("the AI service sent too long an answer", retry=False) from error
        raise LlmFailed("the AI service stopped in the middle of its answer")

    def _handle(self, event: SseEvent) -> str | None:
        """Relay one event; return the whole answer if this was its end."""
        if event.event == "token":
            data = _decode(event.data, _TokenData)
            if self._first_token_s is None:
                self._first_token_s = self._clock()
            index = len(self._tokens)
            self._tokens.append(data.token)
            prompt = self._prompt
            self._emit(LlmToken(token=data.token, request_id=prompt.request_id, index=index, room=prompt.room))
        elif event.event == "end":
            end = _decode(event.data, _EndData)
            self._session_id = end.session_id or self._session_id
            return "".join(self._tokens) or end.full_response or ""
        elif event.event == "error":
            raise LlmFailed from RuntimeError(f"error event: {event.data:.500}")
        return None

    def _relay_answer(self, response: requests.Response) -> str | None:
        body = b"".join(self._read(response))
        if not self._is_wanted():
            return None
        answer = _decode(body, _Answer)
        prompt = self._prompt
        self._session_id = answer.session_id or self._session_id
        self._emit(
            LlmResponse(
                response=answer.response,
                intelligence_level=prompt.intelligence_level,
                request_id=prompt.request_id,
                session_id=self._session_id,
                room=prompt.room,
            )
        )
        return answer.response

    def _read(self, response: requests.Response) -> Iterator[bytes]:
        """Yield the body's bytes as they arrive, within the time-outs and the size limit."""
        raw = response.raw
        size_bytes = 0
        while True:
            limit_s, ends_at_s, waited_for = self._next_timeout()
            remaining_s = ends_at_s - self._clock()
            if remaining_s <= 0:
                raise LlmTimeout(limit_s, waited_for)
            connection = socket_of(raw)
            if connection is not None:
                connection.settimeout(remaining_s)
            try:
                chunk = raw.read1(_READ_BYTES, decode_content=True)
            except (urllib3.exceptions.ReadTimeoutError, TimeoutError) as error:
                raise LlmTimeout(limit_s, waited_for) from error
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise LlmFailed("the connection to the AI service was lost") from error
            if not chunk:
                return
            size_bytes += len(chunk)
            if size_bytes > self._settings.llm_response_limit_bytes:
                raise LlmFailed("the AI service sent too long an answer", retry=False)
            yield chunk

    def _next_timeout(self) -> tuple[float, float, str]:
        """Return the time-out that ends the next wait first: its length, its moment and what is waited for."""
        settings, now_s = self._settings, self._clock()
        total = (settings.llm_total_timeout_s, self._started_s + settings.llm_total_timeout_s, "the whole answer")
        if not self._prompt.stream:
            return total
        if self._first_token_s is None:
            limit_s = settings.llm_first_token_timeout_s
            piece = (limit_s, self._started_s + limit_s, "the first token")
        else:
            piece = (settings.llm_idle_timeout_s, now_s + settings.llm_idle_timeout_s, "the next token")
        return min(total, piece, key=lambda timeout: timeout[1])


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status == requests.codes.ok:
        return
    if status in _UNAVAILABLE_STATUSES:
        raise LlmUnavailable from RuntimeError(f"HTTP {status}")
    is_theirs = status >= requests.codes.internal_server_error
    problem = "the AI service failed" if is_theirs else "the AI service refused the request"
    raise LlmFailed(f"{problem} (HTTP {status})", retry=is_theirs)


def _check_is_stream(response: requests.Response) -> None:
    actual = response.headers.get("Content-Type", "")
    if actual.partition(";")[0].strip().lower() != "text/event-stream":
        raise LlmFailed("the AI service did not answer with a stream", retry=False) from ValueError(actual[:200])


def _decode(text: str | bytes, into: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=into)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LlmFailed("the AI service sent something that is not an answer") from error


def _error_event(prompt: Prompt, error: HazoomError) -> LlmError:
    return LlmError(request_id=prompt.request_id, code=error.code, message=str(error), retry=error.retry, room=prompt.room)


def _with_cause(error: HazoomError) -> str:
    """Return the text for the log: what the user is told, and what lies behind it."""
    return f"{error} ({error.code})" + (f": {error.__cause__!r:.500}" if error.__cause__ else "")


def _milliseconds(from_s: float, to_s: float) -> float:
    return round((to_s - from_s) * 1000, 1)


def _percentile(ordered: list[float], fraction: float) -> float:
    """Return the nearest-rank percentile of sorted values, 0 if there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] if ordered else 0.0
