"""Who vouches for users over HTTP, as the tests say: keys at ``/keys``, and an answer about each who comes at ``/who``."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc.jwk import Key

Answer = tuple[int, Any]


class IdentityProvider:
    """``answer(question)`` returns the status and the JSON about whom ``/who`` is asked; ``asked`` has all questions.

    A question is a dict of ``auth``, ``address``, and the ``cookie`` and ``authorization`` that came along.
    """

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.keys_asked_count = 0
        self.asked: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], Answer] = lambda _: (401, {})
        self.url = ""

    def reply(self, path: str, headers: Any, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        if path == "/keys":
            self.keys_asked_count += 1
            return 200, json.dumps({"keys": [key.as_dict(private=False) for key in self.keys]}).encode(), {}
        question = json.loads(body)
        question |= {"cookie": headers.get("Cookie"), "authorization": headers.get("Authorization")}
        self.asked.append(question)
        status, answer = self.answer(question)
        extra = {"Location": f"{self.url}/who?again"} if status in (301, 302, 307) else {}
        return status, answer if isinstance(answer, bytes) else json.dumps(answer).encode(), extra


@contextmanager
def identity_provider() -> Iterator[IdentityProvider]:
    """Run one until the block ends."""
    provider = IdentityProvider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply(b"")

        def do_POST(self) -> None:
            self._reply(self.rfile.read(int(self.headers["Content-Length"])))

        def _reply(self, body: bytes) -> None:
            status, answer, extra = provider.reply(self.path, self.headers, body)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(answer)), **extra}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # who comes at the same moment as many others is not turned away

    server = Server(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
