"""A page of another origin, with the official client, in a browser that enforces what the server says."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from playwright.sync_api import Page, expect

from servers import Hazoom

PAGE = b"""<!doctype html><title>foreign</title><link rel="icon" href="data:,"><body><script>
const query = new URLSearchParams(location.search);
const show = (text) => { document.body.dataset.result = text; };
const script = document.createElement("script");
script.src = `${query.get("server")}/static/vendor/socket.io.min.js`;
script.onload = () => {
  const socket = io(query.get("server"), { transports: [query.get("transport")], reconnection: false });
  socket.on("connect_error", () => show("refused"));
  socket.on("status", () => socket.emit("message", { message: "hello" }, ({ ok }) => show(ok ? "served" : "failed")));
};
if (query.has("server")) document.body.append(script);
</script>"""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing per request."""


@contextmanager
def website() -> Iterator[str]:
    """Serve `PAGE` and return its origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}"
        finally:
            httpd.shutdown()
            thread.join()


def test_a_page_of_another_origin_is_served_only_if_it_is_listed(
    async_mode: str, start_server: Callable[..., Hazoom], open_window: Callable[..., Page]
) -> None:
    with website() as listed, website() as unlisted:
        server = start_server(async_mode=async_mode, env={"HAZOOM_CORS_ORIGINS": listed})
        pages = open_window(listed), open_window(unlisted, may_log="response code: 400|CORS policy|ERR_FAILED")
        for transport in ("websocket", "polling"):
            for page, site, result in zip(pages, (listed, unlisted), ("served", "refused"), strict=True):
                page.goto(f"{site}/?server={server.url}&transport={transport}")
                expect(page.locator("body")).to_have_attribute("data-result", result)
        assert server.stats()["messages_total"] == 2
        assert f"'{unlisted}' refused" in server.log
