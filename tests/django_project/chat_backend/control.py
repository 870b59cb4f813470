"""What the tests steer and ask: gates that hold back tokens, and a report of what was received.

The state is the process's, so the project is served by one process with threads.
"""

import threading
from collections import defaultdict

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_GET, require_POST

_lock = threading.Lock()
_gates: dict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(0))
_received: list[dict] = []
_open_streams: list[str] = []
_sent: dict[str, int] = {}


def gate(name: str) -> threading.Semaphore:
    """Return the gate ``name``: `release` lets one token through."""
    with _lock:
        return _gates[name]


def record(request: HttpRequest, body: object) -> None:
    with _lock:
        headers = {name: request.headers[name] for name in ("traceparent", "tracestate") if name in request.headers}
        cookie = request.headers.get("Cookie")
        _received.append({"body": body, "cookie": cookie, "path": request.path, "trace": headers})


def stream_opened(message: str) -> None:
    with _lock:
        _open_streams.append(message)


def stream_closed(message: str) -> None:
    with _lock:
        _open_streams.remove(message)


def sent(name: str, number: int) -> None:
    """Note the last token of a flood."""
    _sent[name] = number


@require_POST
def release(_request: HttpRequest, gate: str) -> JsonResponse:
    with _lock:
        _gates[gate].release()
    return JsonResponse({})


@require_GET
def report(_request: HttpRequest) -> JsonResponse:
    """Answer with every chat request so far, the messages whose streams are open, and the last token of each flood."""
    with _lock:
        return JsonResponse({"received": list(_received), "open_streams": list(_open_streams), "sent": dict(_sent)})
