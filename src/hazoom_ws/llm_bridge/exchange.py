"""One request to the Django chat API, and its answer as it comes.

`requests` opens the request, in the task that calls `Exchange.run`, which may block there. Then the body is read by an
event loop, which hands over what arrives while the task waits for the end or for a time-out, or else by the task, with
``read1``: ``iter_lines`` holds tokens back until it has 512 bytes. Knows nothing of rooms, or of the sockets of clients.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple, Protocol

import requests
import urllib3

from hazoom_ws.errors import LlmTimeout, LlmUnavailable, UpstreamFault
from hazoom_ws.events.base import ServerEvent
from hazoom_ws.events.llm import LlmComplete, LlmResponse
from hazoom_ws.llm_bridge.circuit_breaker import CircuitBreaker
from hazoom_ws.llm_bridge.http_chunks import ChunkDecoder, MalformedChunk
from hazoom_ws.llm_bridge.http_client import HttpClient, RawBody, beginning_of, raw_body, telling_connection
from hazoom_ws.llm_bridge.refusal import (
    BUSY_STATUSES,
    UNAVAILABLE_STATUSES,
    is_event_stream,
    no_stream,
    refusal,
    retry_after_s,
)
from hazoom_ws.llm_bridge.urllib3_overrides import socket_of
from hazoom_ws.llm_bridge.wire import Prompt, TokenStream, WholeAnswer, completion, connection_lost, cut_off, decode
from hazoom_ws.settings import Settings

_READ_BYTES = 4096  # at once, then others have a turn
_EXPIRY_GRACE_S = 0.5
_CHECK_BYTES = 16_384  # so often it is asked whether anybody keeps up
_PAUSE_S = 0.05
_DRAIN_S = 1.0  # for the end of a body whose last event has come
_REASON_BYTES, _REASON_S = 16_384, 1.0  # for the body of a refusal, which only the log has


class AnswerSink(Protocol):
    """Who gets an answer. Called in the order of what happens, by one caller at a time."""

    def add_tokens(self, tokens: list[str]) -> None:
        """Send the next tokens on."""

    def respond(self, response: LlmResponse) -> None:
        """Send on the answer of a request that asked for no stream; `LlmComplete` follows."""

    def end(self, event: ServerEvent) -> None:
        """Send on the `LlmComplete` or `LlmError` that ends the request."""

    def keeps_up(self) -> bool:
        """Return whether anybody who gets this answer keeps up; reading pauses while nobody does."""


class Stream(Protocol):
    """A body that an event loop reads."""

    def pause(self) -> None:
        """Read no more until `resume`; the connection stays open."""

    def resume(self) -> None: ...


# ``read(connection, on_data)`` lets a loop call ``on_data`` with what arrives, and b"" at the end of the connection.
Read = Callable[[socket.socket, Callable[[bytes], None]], Stream]


class Backend(NamedTuple):
    """What the exchanges of one application share.

    ``read()`` is how to let a loop read, None if there is no loop. ``give_way()`` lets other tasks run.
    ``note_first_token(after_s)`` counts how long after its question an answer has begun.
    """

    settings: Settings
    http: HttpClient
    breaker: CircuitBreaker
    clock: Callable[[], float]
    read: Callable[[], Read | None]
    give_way: Callable[[], object]
    note_first_token: Callable[[float], object]


class Exchange:
    """One request and its answer."""

    def __init__(self, backend: Backend, prompt: Prompt, sink: AnswerSink, asked_s: float) -> None:
        """``asked_s`` is the moment of the question, which may have waited since."""
        settings = self._settings = backend.settings
        self.prompt = prompt
        self.asked_s = asked_s
        self.started_s = backend.clock()
        self.stream = TokenStream(prompt.session_id, limit_bytes=settings.llm_response_limit_bytes, clock=backend.clock)
        self._backend = backend
        self._clock = backend.clock
        self._sink = sink
        self._checked_bytes = 0
        self._is_cancelled = False
        self._timeout: LlmTimeout | None = None  # what `expire` has found
        self._retry_at_s: float | None = None  # when the backend, which refused, wants to be asked again
        self._is_paused = False
        self._connection: socket.socket | None = None  # to the backend, once the request is on its way
        self._changed = threading.Event()  # wakes the task
        # While a loop reads:
        self._reading: Stream | None = None
        self._chunks: ChunkDecoder | None = None
        self._error: Exception | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the request is on its way, and its answer not at its end."""
        return self._connection is not None

    def cancel(self) -> None:
        """End the connection to the backend; `run`, which waits for it, then returns. Called from another task.

        While the connection is being made, `run` returns when that has succeeded or failed.
        """
        self._is_cancelled = True
        self._changed.set()
        self._end_connection()

    def expire(self) -> None:
        """End the connection if a time-out is over; called now and then from another task.

        `requests` starts its time-outs again with every byte, of the headers for one.
        """
        limit_s, ends_at_s, waited_for = self._next_timeout()
        if self._clock() > ends_at_s + _EXPIRY_GRACE_S and self._timeout is None:
            self._timeout = LlmTimeout(limit_s, waited_for)
            self._end_connection()

    def _end_connection(self) -> None:
        if self._connection is not None:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def _is_wanted(self) -> bool:
        return not self._is_cancelled and self._timeout is None

    def _use(self, connection: socket.socket) -> None:
        """Note the connection that this request was sent on. Raises OSError if nobody waits for it any more."""
        self._connection = connection
        if not self._is_wanted():
            raise ConnectionAbortedError("nobody waits for this request any more")

    def run(self, end: Callable[[], None]) -> None:
        """Relay the answer, and call ``end`` when it is whole or was cancelled. Raises an `UpstreamFault` instead."""
        try:
            with telling_connection(self._use):
                response = self._open()
            with response:
                self._check(response)
                if not self.prompt.stream:
                    self._relay_answer(response)
                else:
                    read = self._backend.read()
                    body = _body(response) if read else None
                    if read is not None and body is not None:
                        self._follow(read, body, end)
                        return
                    self._relay_stream(response)
        except (UpstreamFault, OSError, ValueError):  # of the latter two, what a connection raises that is ended meanwhile
            if self._timeout is not None:
                raise self._timeout from None
            if not self._is_cancelled:
                raise
        finally:
            self._connection = None  # another request may use it next
            # These refer back to this exchange: parted, all of it is freed when it has ended.
            self._reading = self._error = self._timeout = None
        end()

    def completion(self) -> LlmComplete:
        """Return the event that ends the request as far as it has got."""
        return completion(self.prompt, self.stream, asked_s=self.asked_s, now_s=self._clock())

    def _open(self) -> requests.Response:
        settings, breaker, is_stream = self._settings, self._backend.breaker, self.prompt.stream
        wait_s = breaker.admit()
        if wait_s:
            raise LlmUnavailable(wait_s)
        self._backend.give_way()  # to make a request takes most of a millisecond: of a thousand each waits for its turn
        patience_s = settings.llm_first_token_timeout_s if is_stream else settings.llm_total_timeout_s
        try:
            response = self._backend.http.post(
                self.prompt.body(),
                accept="text/event-stream" if is_stream else "application/json",
                timeout_s=(settings.llm_connect_timeout_s, patience_s),
                # Where requests reads the body, it gives the connection to the next request before we know that it has.
                keep_alive=is_stream and self._backend.read() is not None,
                is_wanted=self._is_wanted,
                headers=None if self.prompt.trace is None else self.prompt.trace.headers(),
            )
        except requests.ReadTimeout as error:
            raise LlmTimeout(patience_s, "the first token" if is_stream else "its answer") from error
        except requests.RequestException as error:
            if self._is_wanted():
                breaker.failed()
            raise LlmUnavailable from error
        status = response.status_code
        if status in BUSY_STATUSES:
            asked_s = retry_after_s(response.headers.get("Retry-After"), time.time())
            if asked_s is not None:
                breaker.pause(asked_s)
                self._retry_at_s = self._clock() + asked_s
        if status in UNAVAILABLE_STATUSES:
            breaker.failed()
        else:
            breaker.succeeded()
        return response

    def _check(self, response: requests.Response) -> None:
        """Raise an `UpstreamFault` unless this is what was asked for."""
        status, content_type = response.status_code, response.headers.get("Content-Type", "")
        is_refused = status != requests.codes.ok
        if not is_refused and (not self.prompt.stream or is_event_stream(content_type)):
            return
        said = beginning_of(response, limit_bytes=_REASON_BYTES, timeout_s=_REASON_S)
        if not is_refused:
            raise no_stream(content_type, said)
        raise refusal(status, said, None if self._retry_at_s is None else max(0.0, self._retry_at_s - self._clock()))

    # A loop reads

    def _follow(self, read: Read, body: RawBody, end: Callable[[], None]) -> None:
        """Let a loop read, wait for the end, and leave the connection to the next request if that is possible."""
        chunks = self._chunks = ChunkDecoder() if body.is_chunked else None
        self._reading = read(body.connection, self._on_data)
        try:
            if body.first:
                self._on_data(body.first)
            try:
                self._wait_for_end()
            finally:
                self._backend.give_way()  # a backend that goes ends hundreds at once: each waits for its turn
            end()
            if chunks is not None and self.stream.text is not None and not chunks.is_whole:
                self._changed.clear()
                self._changed.wait(_DRAIN_S)
        finally:
            self._reading.pause()
            body.close(is_whole=chunks is not None and chunks.is_whole and not self._is_cancelled)

    def _wait_for_end(self) -> None:
        while True:
            self._changed.clear()
            if self._error is not None and not self._is_cancelled:
                raise self._error
            if self.stream.text is not None or self._is_cancelled:
                return
            remaining_s = self._remaining_s()
            if not self._is_paused:
                # Not longer than a silence may last: the first token, which nobody wakes this for, makes another time-out
                # hold.
                self._changed.wait(min(remaining_s, self._settings.llm_idle_timeout_s))
                continue
            self._changed.wait(min(remaining_s, _PAUSE_S))
            if self._sink.keeps_up() and self._reading is not None:
                self._is_paused = False
                self.stream.last_piece_s = self._clock()
                self._reading.resume()

    def _on_data(self, data: bytes) -> None:
        """Handle what a loop has read; what goes wrong is the waiting task's to tell."""
        if self._error is not None:
            return
        try:
            content = data
            if self._chunks is not None:
                content = self._chunks.feed(data)
                if not data and not self._chunks.is_whole:
                    raise connection_lost()
            if content and self.stream.text is None:
                self._handle_content(content)
            if self.stream.text is None and (self._chunks.is_whole if self._chunks else not data):
                raise cut_off()
            if self._is_check_due() and not self._sink.keeps_up() and self._reading is not None:
                self._is_paused = True
                self._reading.pause()
                self._changed.set()
        except MalformedChunk as error:
            self._error = connection_lost()
            self._error.__cause__ = error
        except Exception as error:
            self._error = error
        if self._error is not None and self._reading is not None:
            self._reading.pause()
        if self.stream.text is not None or self._error is not None:
            self._changed.set()

    # The task reads

    def _relay_stream(self, response: requests.Response) -> None:
        for content in self._read(response):
            self._handle_content(content)
            if self.stream.text is not None or self._is_cancelled:
                return
            if self._is_check_due():
                self._wait_until_taken()
        raise cut_off()

    def _wait_until_taken(self) -> None:
        self._is_paused = True
        while not self._is_cancelled and not self._sink.keeps_up():
            self._changed.wait(min(self._remaining_s(), _PAUSE_S))
        self._is_paused = False
        self.stream.last_piece_s = self._clock()

    def _relay_answer(self, response: requests.Response) -> None:
        pieces: list[bytes] = []
        for content in self._read(response):
            self.stream.count(content)
            pieces.append(content)
        answer = decode(b"".join(pieces), WholeAnswer)
        prompt, stream = self.prompt, self.stream
        stream.session_id = answer.session_id or stream.session_id
        self._sink.respond(
            LlmResponse(
                response=answer.response,
                intelligence_level=prompt.intelligence_level,
                request_id=prompt.request_id,
                session_id=stream.session_id,
                room=prompt.room,
            )
        )
        stream.text = answer.response

    def _read(self, response: requests.Response) -> Iterator[bytes]:
        """Yield the body's bytes as they arrive, within the time-outs."""
        raw = response.raw
        while True:
            limit_s, _, waited_for = self._next_timeout()
            connection = socket_of(raw)
            if connection is not None:
                connection.settimeout(self._remaining_s())
            try:
                content = raw.read1(_READ_BYTES, decode_content=True)
            except (urllib3.exceptions.ReadTimeoutError, TimeoutError) as error:
                raise LlmTimeout(limit_s, waited_for) from error
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise connection_lost() from error
            if not content:
                return
            yield content
            self._backend.give_way()

    # Either way

    def _handle_content(self, content: bytes) -> None:
        """Relay the tokens that ``content`` completes."""
        stream, has_begun = self.stream, self.stream.first_token_s is not None
        try:
            stream.feed(content)
        finally:
            if not has_begun and stream.first_token_s is not None:
                self._backend.note_first_token(stream.first_token_s - self.asked_s)
            if tokens := stream.take_tokens():
                self._sink.add_tokens(tokens)
                stream.last_piece_s = self._clock()  # the time that this took is not the backend's

    def _is_check_due(self) -> bool:
        if self.stream.size_bytes - self._checked_bytes < _CHECK_BYTES:
            return False
        self._checked_bytes = self.stream.size_bytes
        return True

    def _remaining_s(self) -> float:
        """Return the seconds until the next time-out. Raises `LlmTimeout` when there are none."""
        limit_s, ends_at_s, waited_for = self._next_timeout()
        remaining_s = ends_at_s - self._clock()
        if remaining_s <= 0:
            raise LlmTimeout(limit_s, waited_for)
        return remaining_s

    def _next_timeout(self) -> tuple[float, float, str]:
        """Return the time-out that ends the next wait first: its length, its moment and what is waited for."""
        settings, stream = self._settings, self.stream
        total = (settings.llm_total_timeout_s, self.started_s + settings.llm_total_timeout_s, "the whole answer")
        if not self.prompt.stream or self._is_paused:
            return total
        if stream.first_token_s is None:
            limit_s = settings.llm_first_token_timeout_s
            piece = (limit_s, stream.last_line_s + limit_s, "the first token")
        else:
            limit_s = settings.llm_idle_timeout_s
            piece = (limit_s, stream.last_piece_s + limit_s, "the next token")
        return min(total, piece, key=lambda timeout: timeout[1])


def _body(response: requests.Response) -> RawBody | None:
    try:
        return raw_body(response)
    except OSError as error:
        raise connection_lost() from error
