"""A page of another origin, with the official client, in a browser that enforces what the server says."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from servers import Hazoom
from website import website

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


def test_a_page_of_another_origin_is_served_only_if_it_is_listed(
    async_mode: str, start_server: Callable[..., Hazoom], open_window: Callable[..., Page]
) -> None:
    def answer(_path: str) -> tuple[str, bytes]:
        return "text/html", PAGE

    with website(answer) as listed, website(answer) as unlisted:
        server = start_server(async_mode=async_mode, env={"HAZOOM_CORS_ORIGINS": listed})
        pages = open_window(listed), open_window(unlisted, may_log="response code: 400|CORS policy|ERR_FAILED")
        for transport in ("websocket", "polling"):
            for page, site, result in zip(pages, (listed, unlisted), ("served", "refused"), strict=True):
                page.goto(f"{site}/?server={server.url}&transport={transport}")
                expect(page.locator("body")).to_have_attribute("data-result", result)
        assert server.stats()["messages_total"] == 2
        assert f"'{unlisted}' refused" in server.log
