"""``--demo``: a stand-in for the Django chat API, over real HTTP on a free loopback port.

Speaks the exact wire format of web/guides/events.md, "The Django chat API", as Django's ``runserver`` sends it: no
Content-Length, no chunks, one token at a time, ended by closing. Its answers say what it is. For trying the product, not
for tests: those run against a real Django.
"""

import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from hazoom_ws.settings import CHAT_PATH

_PREFIX = CHAT_PATH.removesuffix("llm/chat/")
_PATHS = {CHAT_PATH, f"{_PREFIX}chat/"}
_HEALTH_PATH = f"{_PREFIX}llm/health/"
_LEVELS = ("nano", "standard", "super", "quantum")
_TOKEN_INTERVAL_S = 0.03
_BODY_LIMIT_BYTES = 1_000_000
_ANSWER = (
    "This is the demo backend, not a language model. It has read your {length} characters, “{quote}”, and answers in the "
    "{level} voice, one token each {interval} ms, so that you can watch a stream. 🦆 To get real answers start your Django "
    "backend on port 9001 and run python -m hazoom_ws without --demo."
)
_MARKDOWN = """

## What Markdown looks like

Answers may have **bold** words, `code`, [links](https://commonmark.org), and

1. lists,
2. tables:

| level | for | tokens a second |
|---|---|---:|
| nano | quick questions | 120 |
| standard | everyday work | 80 |
| super | most things | 45 |
| quantum | hard problems | 12 |

```python
def fibonacci(count: int) -> list[int]:
    numbers = [0, 1]
    while len(numbers) < count:
        numbers.append(numbers[-1] + numbers[-2])
    return numbers[:count]
```

> What is quoted stands apart."""


class DemoBackend:
    """Serves from the time it is entered until it is left; ``url`` is the chat endpoint."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}{CHAT_PATH}"

    def __enter__(self) -> "DemoBackend":
        threading.Thread(target=self._server.serve_forever, daemon=True, name="demo-backend").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.socket.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about clients that closed early: that is how a stream is stopped."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing per request."""

    def do_GET(self) -> None:
        if self.path == _HEALTH_PATH:
            self._send_json(200, {"status": "healthy", "service": "hazoom_ws demo backend"})
        else:
            self._send_json(404, {"error": "Not found"})

    def do_POST(self) -> None:
        if self.path not in _PATHS:
            self._send_json(404, {"error": "Not found"})
            return
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), _BODY_LIMIT_BYTES))
        try:
            request = json.loads(body)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            self._send_json(400, {"error": "Invalid JSON"})
            return
        message = request.get("message")
        if not isinstance(message, str) or not message:
            self._send_json(400, {"error": "No message provided"})
            return
        level = request.get("intelligence_level")
        level = level if level in _LEVELS else "super"
        session_id = request.get("session_id") or secrets.token_hex(16)
        quote = message if len(message) <= 60 else message[:60] + "…"
        answer = _ANSWER.format(length=len(message), quote=quote, level=level, interval=round(_TOKEN_INTERVAL_S * 1000))
        answer += _MARKDOWN if "table" in message.lower() else ""
        if request.get("stream", True):
            self._stream(answer, session_id, with_session=self.path == CHAT_PATH)
        else:
            self._send_json(
                200,
                {
                    "response": answer,
                    "session_id": session_id,
                    "user_identifier": request.get("user_identifier"),
                    "intelligence_level": level,
                    "system_stats": {},
                },
            )

    def _stream(self, answer: str, session_id: str, *, with_session: bool) -> None:
        session = {"session_id": session_id} if with_session else {}
        self._send_head(200, "text/event-stream")
        self._send_event("start", {"status": "started", **session})
        words = answer.split(" ")
        for position, word in enumerate(words):
            self._send_event("token", {"token": word if position == 0 else f" {word}", **session})
            time.sleep(_TOKEN_INTERVAL_S)
        self._send_event("end", {"status": "completed", "full_response": answer, **session})

    def _send_event(self, event: str, data: dict[str, Any]) -> None:
        self.wfile.write(f"event: {event}\ndata: {json.dumps(data)}\n\n".encode())

    def _send_json(self, status: int, body: dict[str, Any]) -> None:
        encoded = json.dumps(body).encode()
        self._send_head(status, "application/json", ("Content-Length", str(len(encoded))))
        self.wfile.write(encoded)

    def _send_head(self, status: int, content_type: str, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Set-Cookie", f"sessionid={secrets.token_hex(16)}; HttpOnly; Path=/; SameSite=Lax")
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
