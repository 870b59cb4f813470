"""The HTTP routes: the pages, and what monitoring asks."""

from collections.abc import Callable
from http import HTTPStatus

import flask
import msgspec
from flask import Blueprint, Response

from hazoom_ws.access.api_keys import ApiKeys
from hazoom_ws.access.pages import CHALLENGE, local_reader, may_see_pages, names_this_machine
from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.rights import EVERYTHING, NOTHING
from hazoom_ws.delivery.delivery import Delivery
from hazoom_ws.metrics.prometheus import Scrape
from hazoom_ws.metrics.statistics import Statistics
from hazoom_ws.schema.documents import Documents
from hazoom_ws.settings import Settings
from hazoom_ws.version import __version__
from hazoom_ws.web.handbook import add_guides
from hazoom_ws.web.request_log import log_requests

SERVICE = "hazoom_ws"
# A page runs only its own scripts, talks only to its own origin, and is framed by nobody.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


def create_blueprint(
    settings: Settings,
    keys: ApiKeys,
    *,
    hub: Hub,
    statistics: Statistics,
    scrape: Scrape,
    delivery: Delivery,
    why_not_ready: Callable[[], str | None],
    documents: Documents,
    backends: Blueprint,
    give_way: Callable[[], object],
) -> Blueprint:
    """Return the routes of one application, with those of ``backends``.

    ``why_not_ready()``: None if it takes traffic, see `Readiness`. ``give_way()`` lets others have their turn. Beyond this
    machine the pages, and what names rooms or versions, are for who has a key.
    """
    blueprint = Blueprint("web", __name__)
    blueprint.register_blueprint(backends)
    is_local = local_reader(settings.host)

    is_open = settings.auth == "open" and settings.allow_open

    def may_see(*, is_for_all_here: bool = True) -> bool:
        environ = flask.request.environ
        return may_see_pages(environ, keys, is_local=is_for_all_here and is_local(environ), is_open=is_open)

    @blueprint.teardown_app_request
    def part(_: BaseException | None) -> None:
        """Part a request from why it found nothing, which refers back: else both stay until a collector comes by."""
        flask.request.routing_exception = None

    if settings.log_format == "json":
        log_requests(blueprint)

    @blueprint.get("/")
    def page() -> Response:
        return _page("index.html") if may_see() else _ask_for_key()

    @blueprint.get("/board")
    def board() -> Response:
        return _page("board.html") if may_see() else _ask_for_key()

    @blueprint.get("/stats")
    def stats() -> Response:
        return _page("stats.html") if may_see() else _ask_for_key()

    add_guides(blueprint, may_see, _ask_for_key, give_way)

    @blueprint.after_app_request
    def secure(response: Response) -> Response:
        """Give every answer the headers that keep a browser from harm; a route of the application's may have others."""
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @blueprint.get("/events.d.ts")
    def typescript() -> Response:
        return _document(documents.typescript, "text/plain") if may_see() else _ask_for_key()

    @blueprint.get("/asyncapi.json")
    def asyncapi() -> Response:
        return _document(documents.asyncapi, "application/json") if may_see() else _ask_for_key()

    @blueprint.get("/health")
    def health() -> Response:
        with delivery.turn():
            counts = {"active_connections": hub.connection_count, "rooms": len(hub.rooms)}
        version = {"version": __version__} if may_see() else {}
        return _json(**{"status": "healthy", "service": SERVICE, **version, **counts})

    @blueprint.get("/ready")
    def ready() -> Response:
        reason = why_not_ready()
        if reason is not None:
            return _json(HTTPStatus.SERVICE_UNAVAILABLE, status="unavailable", reason=reason)
        return _json(status="ready")

    @blueprint.get("/api/v1/status")
    def status() -> Response:
        if not may_see():
            return _ask_for_key()
        # Where somebody is asked who they are, not everybody on this machine may know the names of all rooms.
        is_for_all_here = settings.auth == "open" and names_this_machine(flask.request.environ)
        rights = EVERYTHING if may_see(is_for_all_here=is_for_all_here) else NOTHING
        with delivery.turn():
            stats = msgspec.to_builtins(statistics.snapshot(rights))
        return _json(status="healthy", service=SERVICE, version=__version__, **stats)

    @blueprint.get("/metrics")
    def metrics() -> Response:
        if not may_see():
            return _ask_for_key()
        body, content_type = scrape.answer(flask.request.headers.get("Accept", ""))
        return Response(body, headers={"Cache-Control": "no-store"}, content_type=content_type)

    return blueprint


def _page(template: str) -> Response:
    response = flask.make_response(flask.render_template(template))
    response.headers["Cache-Control"] = "no-cache"
    return response


def _document(text: str, mimetype: str) -> Response:
    """Return a text that changes only with the application: who has it is told so."""
    response = Response(text, headers={"Cache-Control": "no-cache"}, mimetype=mimetype)
    response.add_etag()
    response.make_conditional(flask.request)
    return response


def _ask_for_key() -> Response:
    """Return the answer at which a browser asks for a name, which may be any, and a password, which is the key."""
    headers = {"WWW-Authenticate": CHALLENGE, "Cache-Control": "no-store"}
    text = "This is for who has an API key of this server: as the password, in the header X-API-Key, or as ?api_key=...\n"
    return Response(text, HTTPStatus.UNAUTHORIZED, headers, mimetype="text/plain")


def _json(code: HTTPStatus = HTTPStatus.OK, /, **fields: object) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(fields), code, headers, mimetype="application/json")
