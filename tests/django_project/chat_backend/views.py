"""The chat API. The message says how it is answered:

==========================  ==========================================================================================
anything else               `ANSWER`, token by token
``do:gated NAME``           `ANSWER`, each token and then the end only after /control/release/NAME/ was called for it
``do:html``                 a page instead of a stream
``do:status N``             HTTP status N with a JSON error
``do:busy N S``             HTTP status N with a JSON error and ``Retry-After: S``
``do:halves``               tokens that end in the middle of a character, as those of some models do
``do:redirect``             a redirect to another address
``do:error event``          a stream that fails after a token, with an internal address in its text
``do:no end``               a stream that ends without its end event
``do:close``                a stream whose connection breaks after a token
``do:invalid json``         a token event whose data is not JSON
``do:not an object``        a token event, or an answer, whose JSON is not an object
``do:huge``                 one token of `HUGE_CHARS` characters
``do:endless NAME``         tokens until the client goes away
``do:flood NAME``           numbered tokens, as fast as they are taken, until the client goes away
``do:echo TEXT``            the text itself, token by token
``do:stall headers``        nothing at all
``do:stall first token``    the start event, then nothing
``do:stall next token``     one token, then nothing
==========================  ==========================================================================================
"""

import itertools
import json
import time
import uuid
from collections.abc import Iterator
from threading import Event

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_GET, require_POST

from chat_backend import control

ANSWER = ("Grüße", " aus", "  dem", " Café", ":\n", "🦆", " \t", "👩‍🚀", "日本", "語 ", "<b>fett</b>", ".")
HALVES = ("\ud83d", "\ude00", "x\ud83d", "y", "\ude00")
HUGE_CHARS = 1_000_000
ECHO_CHARS = 7
ENDLESS_INTERVAL_S = 0.01
FLOOD_FILLER = "." * 200
INTERNAL_ERROR = "HTTPConnectionPool(host='10.0.0.7', port=11434): Max retries exceeded with url: /api/generate"


@require_POST
def chat(request: HttpRequest) -> HttpResponseBase:
    return _chat(request, with_session_id=True)


@require_POST
def chat_without_session_ids(request: HttpRequest) -> HttpResponseBase:
    return _chat(request, with_session_id=False)


@require_GET
def health(_request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "healthy", "model": "goose"})


def _chat(request: HttpRequest, *, with_session_id: bool) -> HttpResponseBase:
    try:
        body = json.loads(request.body)
    except ValueError:
        return JsonResponse({"error": "Invalid JSON"}, status=400)
    control.record(request, body)
    message = body.get("message")
    if not message:
        return JsonResponse({"error": "No message provided"}, status=400)
    # As in the real backend: a cookie that comes back would carry one user's conversation to the next.
    session_id = body.get("session_id") or request.session.get("conversation") or uuid.uuid4().hex
    request.session["conversation"] = session_id  # sets the cookie
    match message.removeprefix("do:").split() if message.startswith("do:") else []:
        case ["html"]:
            return HttpResponse("<!doctype html><title>Goose</title><h1>Welcome</h1>")
        case ["status", status]:
            return JsonResponse({"error": INTERNAL_ERROR}, status=int(status))
        case ["busy", status, seconds]:
            return JsonResponse({"error": "quota exceeded"}, status=int(status), headers={"Retry-After": seconds})
        case ["redirect"]:
            return HttpResponseRedirect("http://10.0.0.7:11434/login/")
        case ["stall", "headers"]:
            _stall()
    if not body.get("stream", True):
        return _answer(message, body, session_id)
    events = _events(message)
    session = {"session_id": session_id} if with_session_id else {}
    response = StreamingHttpResponse(_encode(message, events, session), content_type="text/event-stream")
    response["Cache-Control"] = "no-cache"
    return response


def _answer(message: str, body: dict, session_id: str) -> JsonResponse:
    if message == "do:not an object":
        return JsonResponse(["no", "object"], safe=False)
    return JsonResponse(
        {
            "response": "".join(HALVES if message == "do:halves" else ANSWER),
            "session_id": session_id,
            "user_identifier": body.get("user_identifier"),
            "intelligence_level": body.get("intelligence_level"),
            "system_stats": {"host": "10.0.0.7"},
        }
    )


def _encode(message: str, events: Iterator[tuple[str, object]], session: dict[str, str]) -> Iterator[bytes]:
    """Turn events into Server-Sent Events; data that is text already goes out as it is."""
    control.stream_opened(message)
    try:
        for name, data in events:
            text = json.dumps({**data, **session}) if isinstance(data, dict) else data
            yield f"event: {name}\ndata: {text}\n\n".encode()
    finally:
        control.stream_closed(message)


def _events(message: str) -> Iterator[tuple[str, object]]:  # noqa: PLR0912
    yield "start", {"status": "started"}
    tokens = ANSWER
    match message.removeprefix("do:").split() if message.startswith("do:") else []:
        case ["gated", name]:
            for token in tokens:
                control.gate(name).acquire()
                yield "token", {"token": token}
            control.gate(name).acquire()
        case ["error", "event"]:
            yield "token", {"token": ANSWER[0]}
            yield "error", {"error": INTERNAL_ERROR}
            return
        case ["no", "end"]:
            yield "token", {"token": ANSWER[0]}
            return
        case ["close"]:
            yield "token", {"token": ANSWER[0]}
            raise ConnectionAbortedError("do:close")
        case ["invalid", "json"]:
            yield "token", '{"token": "half'
        case ["not", "an", "object"]:
            yield "token", '["no", "object"]'
        case ["halves"]:
            tokens = HALVES
            for token in tokens:
                yield "token", {"token": token}
        case ["huge"]:
            tokens = ("x" * HUGE_CHARS,)
            yield "token", {"token": tokens[0]}
        case ["endless", _]:
            while True:
                time.sleep(ENDLESS_INTERVAL_S)  # as a model would
                yield "token", {"token": "quack "}
        case ["echo", *_]:
            text = message.removeprefix("do:echo ")
            tokens = tuple(text[start : start + ECHO_CHARS] for start in range(0, len(text), ECHO_CHARS))
            for token in tokens:
                yield "token", {"token": token}
        case ["flood", name]:
            for number in itertools.count():
                control.sent(name, number)
                yield "token", {"token": f"{number}{FLOOD_FILLER}"}
        case ["stall", "first", "token"]:
            _stall()
        case ["stall", "next", "token"]:
            yield "token", {"token": ANSWER[0]}
            _stall()
        case _:
            for token in tokens:
                yield "token", {"token": token}
    yield "end", {"status": "completed", "full_response": "".join(tokens)}


def _stall() -> None:
    """Never return; the thread ends with the process."""
    Event().wait()
