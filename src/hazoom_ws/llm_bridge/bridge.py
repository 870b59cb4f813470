"""Calls the Django chat API for one application, streams each answer to whoever gets it, and counts.

Each request runs in a task of its own (`llm_bridge.exchange`) and ends in exactly one `LlmComplete` or `LlmError`. Knows
nothing of rooms, users or queues.
"""

import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from hazoom_ws.errors import HazoomError, Internal, LlmUnavailable, ShuttingDown
from hazoom_ws.events.base import retry_at
from hazoom_ws.events.stats import LlmStats
from hazoom_ws.llm_bridge.circuit_breaker import CircuitBreaker, State
from hazoom_ws.llm_bridge.exchange import AnswerSink, Backend, Exchange, Read
from hazoom_ws.llm_bridge.first_tokens import FirstTokens
from hazoom_ws.llm_bridge.http_client import HttpClient
from hazoom_ws.llm_bridge.wire import Prompt, error_event, milliseconds
from hazoom_ws.log_fields import fields
from hazoom_ws.settings import Settings

logger = logging.getLogger(__name__)

_SAMPLES = 1000
_EXPIRY_INTERVAL_S = 1.0


class LlmBridge:
    """The requests of one application to one backend."""

    def __init__(
        self,
        settings: Settings,
        *,
        start_task: Callable[..., Any],
        read: Callable[[], Read | None] = lambda: None,
        give_way: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``start_task(function, *args)`` runs a function beside the caller; the rest is as in `Backend`."""
        self.clock = clock
        self._breaker = CircuitBreaker(settings.llm_circuit_failures_count, settings.llm_circuit_pause_s, clock)
        http = HttpClient(settings.llm_url, settings.llm_streams_limit)
        self._backend = Backend(settings, http, self._breaker, clock, read, give_way, self._note_first_token)
        self._start_task = start_task
        self._takes_new = True
        self._active: set[Exchange] = set()
        self._requests_total = self._tokens_total = 0
        self.finished_total = self.cancelled_total = 0
        self.failures: Counter[str] = Counter()  # by code
        self.first_tokens = FirstTokens(clock)
        self._ttft_ms = _Samples()
        self._duration_ms = _Samples()
        self._queue_ms = _Samples()
        self._tokens_per_s = _Samples()

    def refuse_new(self) -> None:
        """Take no more questions; those that were accepted are asked."""
        self._takes_new = False

    def check(self) -> None:
        """Raise `LlmUnavailable` while the backend is known to be out of reach, `ShuttingDown` at the end."""
        if not self._takes_new:
            raise ShuttingDown
        if self._breaker.wait_s:
            raise LlmUnavailable(self._breaker.wait_s)

    def start(self, prompt: Prompt, sink: AnswerSink, asked_s: float) -> Exchange:
        """Ask the backend in a task. ``asked_s`` is the moment of the question, which may have waited since."""
        exchange = Exchange(self._backend, prompt, sink, asked_s)
        self._active.add(exchange)
        self._requests_total += 1
        try:
            self._start_task(self._run, exchange, sink)
        except BaseException:
            self._active.discard(exchange)
            raise
        return exchange

    def note_cancelled(self, prompt: Prompt, asked_s: float) -> None:
        """Count and log a question that was cancelled before it was asked."""
        self._requests_total += 1
        self.cancelled_total += 1
        queue_ms = milliseconds(asked_s, self.clock())
        logger.info(
            "AI request %r: cancelled in the queue, after %s ms",
            prompt.request_id,
            queue_ms,
            extra=_fields(prompt, "cancelled", token_count=0, duration_ms=queue_ms, queue_ms=queue_ms),
        )

    def close(self) -> None:
        """Stop every request, and give back the connections that are kept for the next ones."""
        for exchange in list(self._active):
            exchange.cancel()
        self._backend.http.close()

    def run_due(self) -> float | None:
        """End the exchanges that take too long where nothing else does; return the seconds until the next time."""
        for exchange in list(self._active):
            exchange.expire()
        return _EXPIRY_INTERVAL_S if self._active else None

    @property
    def active_count(self) -> int:
        """Answers that run."""
        return len(self._active)

    @property
    def tokens_total(self) -> int:
        """Tokens that have come, those of running answers too."""
        return self._tokens_total + sum(len(exchange.stream.tokens) for exchange in list(self._active))

    @property
    def circuit(self) -> State:
        """Whether the backend is asked, see `CircuitBreaker`."""
        return self._breaker.state

    def stats(self, queued_count: int) -> LlmStats:
        """Return the numbers of all answers so far; ``queued_count`` of them wait."""
        return LlmStats(
            active=self.active_count,
            queued=queued_count,
            requests_total=self._requests_total,
            cancelled_total=self.cancelled_total,
            failures_total=dict(self.failures),
            tokens_total=self.tokens_total,
            ttft_ms_p50=self._ttft_ms.percentile(0.50),
            ttft_ms_p99=self._ttft_ms.percentile(0.99),
            duration_ms_p50=self._duration_ms.percentile(0.50),
            duration_ms_p99=self._duration_ms.percentile(0.99),
            queue_ms_p50=self._queue_ms.percentile(0.50),
            queue_ms_p99=self._queue_ms.percentile(0.99),
            tokens_per_s_p50=self._tokens_per_s.percentile(0.50),
            circuit=self.circuit,
            retry_at=retry_at(self._breaker.wait_s or None),
        )

    def _note_first_token(self, after_s: float) -> None:
        self.first_tokens.note(after_s)
        self._ttft_ms.add(milliseconds(0.0, after_s))

    def _run(self, exchange: Exchange, sink: AnswerSink) -> None:
        try:
            exchange.run(lambda: self._completed(exchange, sink))
        except HazoomError as error:
            self._failed(exchange, sink, error, cause=error.__cause__)
        except Exception as error:
            reference = secrets.token_hex(4)
            logger.exception("AI request %r failed, reference %s", exchange.prompt.request_id, reference)
            self._failed(exchange, sink, Internal(reference), cause=error)

    def _completed(self, exchange: Exchange, sink: AnswerSink) -> None:
        if exchange not in self._active:
            return
        event = exchange.completion()
        if event.finish_reason == "cancelled":
            self.cancelled_total += 1
        else:
            self.finished_total += 1
            if not exchange.prompt.stream:
                self._note_first_token(event.ttft_ms / 1000)  # all of it came at once
            self._duration_ms.add(event.duration_ms)
        self._note_end(exchange, event.finish_reason, event.finish_reason)
        sink.end(event)

    def _failed(self, exchange: Exchange, sink: AnswerSink, error: HazoomError, cause: BaseException | None) -> None:
        if exchange not in self._active:
            return
        self.failures[error.code] += 1
        outcome = f"{error} ({error.code}){f': {cause!r:.500}' if cause else ''}"
        self._note_end(exchange, outcome, error.code, level=logging.WARNING)
        sink.end(error_event(exchange.prompt.request_id, error, exchange.prompt.room))

    def _note_end(self, exchange: Exchange, outcome: str, short: str, *, level: int = logging.INFO) -> None:
        """Count and log; the slot is free before the asker hears of the end, so that the next question may come.

        ``short`` says the outcome in one word: how it finished, or an error's code.
        """
        self._active.discard(exchange)
        prompt, first_s, now_s = exchange.prompt, exchange.stream.first_token_s, self.clock()
        token_count = len(exchange.stream.tokens)
        queue_ms = milliseconds(exchange.asked_s, exchange.started_s)
        self._tokens_total += token_count
        self._queue_ms.add(queue_ms)
        ttft_ms = None if first_s is None else milliseconds(exchange.asked_s, first_s)
        duration_ms = milliseconds(exchange.asked_s, now_s)
        rate = "-"
        if first_s is not None and token_count > 1 and now_s > first_s:
            tokens_per_s = (token_count - 1) / (now_s - first_s)
            self._tokens_per_s.add(round(tokens_per_s, 1))
            rate = f"{tokens_per_s:.1f}"
        logger.log(
            level,
            "AI request %r: %s; %d tokens, %s/s, first after %s ms, %s ms in all, %s ms of it queued, %s",
            prompt.request_id,
            outcome,
            token_count,
            rate,
            "-" if ttft_ms is None else ttft_ms,
            duration_ms,
            queue_ms,
            "private" if prompt.room is UNSET else "shared",
            extra=_fields(
                prompt, short, token_count=token_count, ttft_ms=ttft_ms, duration_ms=duration_ms, queue_ms=queue_ms
            ),
        )


def _fields(prompt: Prompt, outcome: str, **numbers: float | None) -> dict[str, Any]:
    """Return what the line of a question says beside its text: which it is, and no word of it."""
    trace = prompt.trace
    return fields(
        "ai_request",
        connection=prompt.client,
        request_id=prompt.request_id,
        trace_id="" if trace is None else trace.trace_id,
        span_id="" if trace is None else trace.span_id,
        parent_span_id="" if trace is None else trace.parent_span_id,
        outcome=outcome,
        is_shared=prompt.room is not UNSET,
        **numbers,
    )


class _Samples:
    """The last thousand values of something."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=_SAMPLES)
        self._ordered: list[float] | None = []  # None since a value has come

    def add(self, value: float) -> None:
        self._values.append(value)
        self._ordered = None

    def percentile(self, fraction: float) -> float:
        """Return the nearest-rank percentile, 0 if there are no values."""
        if self._ordered is None:
            self._ordered = sorted(self._values)
        ordered = self._ordered
        return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] if ordered else 0.0
