"""The HTTP routes: the pages, and what monitoring asks."""

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import flask
import msgspec
from flask import Blueprint, Response

from hazoom_ws.chat.hub import Hub
from hazoom_ws.delivery.delivery import Delivery
from hazoom_ws.metrics.statistics import Statistics
from hazoom_ws.version import __version__

SERVICE = "hazoom_ws"
_CLIENT = "vendor/socket.io.min.js"
# A page runs only its own scripts, talks only to its own origin, and is framed by nobody.
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def create_blueprint(
    hub: Hub, statistics: Statistics, delivery: Delivery, why_not_ready: Callable[[], str | None]
) -> Blueprint:
    """Return the routes of one application. ``why_not_ready()``: None if it takes traffic, see `Readiness`."""
    blueprint = Blueprint("web", __name__)

    @blueprint.teardown_app_request
    def part(_: BaseException | None) -> None:
        """Part a request from why it found nothing, which refers back: else both stay until a collector comes by."""
        flask.request.routing_exception = None

    @blueprint.get("/")
    def page() -> Response:
        return _page("index.html")

    @blueprint.get("/board")
    def board() -> Response:
        return _page("board.html")

    @blueprint.after_app_request
    def secure(response: Response) -> Response:
        """Let no browser take an answer for another type than it says, whichever route it comes from."""
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @blueprint.get("/health")
    def health() -> Response:
        with delivery.turn():
            return _json(
                status="healthy",
                service=SERVICE,
                version=__version__,
                active_connections=hub.connection_count,
                rooms=hub.room_count,
            )

    @blueprint.get("/ready")
    def ready() -> Response:
        reason = why_not_ready()
        if reason is not None:
            return _json(HTTPStatus.SERVICE_UNAVAILABLE, status="unavailable", reason=reason)
        return _json(status="ready")

    @blueprint.get("/api/v1/status")
    def status() -> Response:
        with delivery.turn():
            stats = msgspec.to_builtins(statistics.snapshot())
        return _json(status="healthy", service=SERVICE, version=__version__, **stats)

    return blueprint


def _page(template: str) -> Response:
    has_client = (Path(flask.current_app.static_folder or "") / _CLIENT).is_file()
    response = flask.make_response(flask.render_template(template, client=_CLIENT if has_client else None))
    response.headers.update(_PAGE_HEADERS)
    return response


def _json(code: HTTPStatus = HTTPStatus.OK, **fields: object) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(fields), code, headers, mimetype="application/json")
