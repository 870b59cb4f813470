"""Whether Django answers: its health, then a question as the server would ask it, up to the first token."""

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import msgspec

from hazoom_ws.access.redaction import redact, without_secrets
from hazoom_ws.commands.asking import get, reason_of
from hazoom_ws.commands.checks import REQUEST_LIMIT_S, Configuration, Finding, of_error
from hazoom_ws.commands.checks.clock import skew
from hazoom_ws.errors import LlmTimeout, UpstreamFault
from hazoom_ws.events.base import ServerEvent
from hazoom_ws.events.llm import LlmResponse
from hazoom_ws.llm_bridge.circuit_breaker import CircuitBreaker
from hazoom_ws.llm_bridge.exchange import Backend, Exchange
from hazoom_ws.llm_bridge.http_client import HttpClient
from hazoom_ws.llm_bridge.proxies import check_proxy
from hazoom_ws.llm_bridge.wire import Prompt, milliseconds
from hazoom_ws.names import escaped
from hazoom_ws.settings import Settings, SettingsError

_HEALTH_LIMIT_S = 1.5  # a view that asks nobody
_OK = 200
_WORDS_LIMIT_CHARS = 300
_START_IT = "start Django, or set HAZOOM_LLM_URL to where it is; python -m hazoom_ws --demo needs none"


class _Health(msgspec.Struct, frozen=True):
    status: str = ""


class _FirstToken:
    """Waits for the first token of an answer, and hangs up."""

    exchange: Exchange
    came_at_s: float | None = None

    def add_tokens(self, tokens: list[str]) -> None:
        if tokens and self.came_at_s is None:
            self.came_at_s = time.monotonic()
            self.exchange.cancel()

    def respond(self, response: LlmResponse) -> None: ...

    def end(self, event: ServerEvent) -> None: ...

    def keeps_up(self) -> bool:
        return True


def check_backend(configuration: Configuration) -> Iterator[Finding]:
    """Ask Django how it is, and then something."""
    settings = configuration.settings
    if configuration.options.demo:
        yield Finding("django", "ok", "the built-in stand-in answers, and Django is not asked (--demo)")
        return
    try:
        check_proxy(settings.llm_url)
    except SettingsError as error:
        yield of_error("django", error)
        return
    begun_s = time.monotonic()
    can_be_reached = True
    for finding in _health(configuration):
        can_be_reached = can_be_reached and finding.level != "problem"
        yield finding
    if can_be_reached:
        yield _stream(settings, REQUEST_LIMIT_S - (time.monotonic() - begun_s))


def health_url_of(llm_url: str) -> str | None:
    """Return where the backend says how it is, None where the chat endpoint does not tell."""
    parts = urlsplit(llm_url)
    match = re.fullmatch(r"(.*?/)(?:llm/)?chat/?", parts.path)
    return parts._replace(path=f"{match[1]}llm/health/", query="", fragment="").geturl() if match else None


def _health(configuration: Configuration) -> Iterator[Finding]:
    url = health_url_of(configuration.settings.llm_url)
    if url is None:
        return
    shown = without_secrets(url)
    try:
        status, date, body, took_ms = get(url, _HEALTH_LIMIT_S)
    except (OSError, ValueError) as error:
        yield Finding("django", "problem", f"{shown} cannot be reached: {reason_of(error)}", _START_IT)
        return
    if status == _OK:
        try:
            said = escaped(msgspec.json.decode(body, type=_Health).status)[:40]
        except (msgspec.MsgspecError, UnicodeDecodeError):
            said = ""
        if said == "healthy":
            yield Finding("django", "ok", f"{shown} says healthy, in {took_ms:g} ms")
        else:
            found = f"{shown} answers, but does not say healthy{f' ({said})' if said else ''}"
            yield Finding("django", "warning", found, "look at its log")
    else:
        remedy = "compare the path of HAZOOM_LLM_URL with Django's urls.py; without this view there is only no health check"
        yield Finding("django", "warning", f"{shown} answers {status}", remedy)
    yield from skew(configuration, "Django", date)


def _stream(settings: Settings, limit_s: float) -> Finding:
    url = without_secrets(settings.llm_url)
    patience = {"llm_connect_timeout_s": limit_s, "llm_first_token_timeout_s": limit_s, "llm_idle_timeout_s": limit_s}
    asked_s, first = time.monotonic(), _FirstToken()
    with closing(HttpClient(settings.llm_url, 1)) as http:
        backend = Backend(
            settings=msgspec.structs.replace(settings, **patience),
            http=http,
            breaker=CircuitBreaker(1, 1.0, time.monotonic),
            clock=time.monotonic,
            read=lambda: None,
            give_way=lambda: None,
            note_first_token=lambda _: None,
        )
        prompt = Prompt(
            request_id="check",
            user_identifier="hazoom-ws check",
            message="Answer with one word.",
            intelligence_level="nano",
            session_id=f"check-{uuid.uuid4().hex}",
            stream=True,
        )
        first.exchange = Exchange(backend, prompt, first, asked_s)
        try:
            first.exchange.run(lambda: None)
        except LlmTimeout:
            patient_s = settings.llm_first_token_timeout_s
            found = f"{url} takes a question, and no token came within {limit_s:.1f} s (the server waits {patient_s:g} s)"
            return Finding("stream", "warning", found, "ask once more: a model may have to be loaded first")
        except UpstreamFault as error:
            return Finding("stream", "problem", f"{url}: {error}{_words_of(error.__cause__)}", _remedy(error))
    if first.came_at_s is None:
        return Finding("stream", "warning", f"{url} ended its answer without a token", "look at its log")
    return Finding(
        "stream", "ok", f"{url} streams: the first token came after {milliseconds(asked_s, first.came_at_s):g} ms"
    )


def _words_of(cause: BaseException | None) -> str:
    """Return what the backend, or the system, has said itself: this is shown to who runs both."""
    if cause is None:
        return ""
    is_connection = isinstance(cause, OSError)  # as those of requests are: their texts repeat URLs
    words = reason_of(cause) if is_connection else redact(escaped(str(cause)))[:_WORDS_LIMIT_CHARS]
    return f" ({words})" if words else ""


def _remedy(error: UpstreamFault) -> str:
    if error.code == "llm_unavailable":
        return _START_IT
    return "look at Django's log, and whether HAZOOM_LLM_URL is the path of its chat API"
