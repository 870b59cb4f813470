"""An AI backend that answers, fails or breaks off, as the question says."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Backend(BaseHTTPRequestHandler):
    """Answers with 20 tokens; "fail" with status 500, "cut" with half an answer, "a long one" with many tokens."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Log nothing."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message, is_stream = asked["message"], asked.get("stream", True)
        self.send_response(500 if message == "fail" else 200)
        self.send_header("Content-Type", "text/event-stream" if is_stream else "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        with suppress(OSError):
            if not is_stream:
                self.wfile.write(b'{"response": "x"}')
                return
            for _ in range(400 if message.startswith("a long one") else 20):
                self.wfile.write(b'event: token\ndata: {"token": "a"}\n\n')
                time.sleep(0.01)
            if message != "cut":
                self.wfile.write(b'event: end\ndata: {"full_response": "x"}\n\n')


@contextmanager
def backend() -> Iterator[str]:
    """Serve until the block ends; yield the URL of the chat endpoint."""
    ThreadingHTTPServer.daemon_threads, ThreadingHTTPServer.block_on_close = True, False
    ThreadingHTTPServer.request_queue_size = 128
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Backend)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/chat/"
    finally:
        server.shutdown()
        server.server_close()
