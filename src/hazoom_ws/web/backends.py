"""The HTTP routes of backends, which an API key opens: say and read in a room, log a user out.

What they do is `hazoom_ws.namespaces.backends`; what they answer is what a client's event is acknowledged with. No page can
be made to call them: the key is taken from a header only, which a browser sends nowhere without asking first, and it gets
no permission (`OPEN_TO_PAGES`); what comes with an ``Origin`` is refused in any case.
"""

import logging
import secrets
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Protocol

import flask
import msgspec
from flask import Blueprint, Response
from msgspec import UNSET, Struct
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.routing import BaseConverter

from hazoom_ws.access.api_keys import ApiKeys
from hazoom_ws.errors import BadPayload, HazoomError, Internal, NotAllowed, TooLarge, Unauthorized
from hazoom_ws.events.refusals import report_of
from hazoom_ws.events.rooms import HistoryPage, Published
from hazoom_ws.settings import Settings

logger = logging.getLogger(__name__)

OPEN_TO_PAGES = r"^/(?!api/v1/(?:rooms|users)/).*"  # whose answers pages of allowed origins may read, for flask-cors
_BODY_PER_EVENT = 2  # bytes, for each that counts: an escape counts half
_STATUSES = {
    "bad_payload": HTTPStatus.BAD_REQUEST,
    "unauthorized": HTTPStatus.UNAUTHORIZED,
    "forbidden": HTTPStatus.FORBIDDEN,
    "not_in_room": HTTPStatus.FORBIDDEN,
    "not_found": HTTPStatus.NOT_FOUND,
    "unknown_event": HTTPStatus.NOT_FOUND,
    "conflict": HTTPStatus.CONFLICT,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
    "too_many_rooms": HTTPStatus.TOO_MANY_REQUESTS,
    "too_many_streams": HTTPStatus.TOO_MANY_REQUESTS,
    "shutting_down": HTTPStatus.SERVICE_UNAVAILABLE,
}


class Backends(Protocol):
    """`hazoom_ws.namespaces.backends.Backends`."""

    settings: Settings

    def post(self, room: str, body: str) -> Published: ...

    def history(self, room: str, query: Mapping[str, str]) -> HistoryPage: ...


class _Name(BaseConverter):
    """A name in a path, which may have slashes, wherever in it."""

    regex = r"[\s\S]+?"
    part_isolating = False


def create_backends_blueprint(
    keys: ApiKeys, backends: Backends, disconnect_user: Callable[[str], int], note_refusal: Callable[[str], object]
) -> Blueprint:
    """Return the routes of one application; without a key all of them answer 403.

    ``disconnect_user(user_id)`` logs a user out, and returns how many connections have ended. ``note_refusal(code)`` counts
    a request that is refused.
    """
    blueprint = Blueprint("backends", __name__)
    blueprint.record(lambda state: state.app.url_map.converters.update(hazoom_name=_Name))
    if not keys:
        logger.info("no API key is set, so the routes for backends under /api/v1 are closed; HAZOOM_API_KEYS sets some")

    @blueprint.before_request
    def admit() -> None:
        if not keys:
            raise NotAllowed("call this: the server has no API keys")
        if not keys.holds(flask.request.headers.get("X-API-Key", "")):
            raise Unauthorized("no API key, or one that is none")
        if "Origin" in flask.request.headers:
            raise NotAllowed("call this from a page")
        try:
            flask.request.environ.get("PATH_INFO", "").encode("latin-1").decode()
        except UnicodeDecodeError:
            raise BadPayload("path", "is not UTF-8") from None

    @blueprint.post("/api/v1/rooms/<hazoom_name:room>/messages", merge_slashes=False)
    def message(room: str) -> Response:
        return _answer(backends.post(room, _body(backends.settings.event_limit_bytes)))

    @blueprint.get("/api/v1/rooms/<hazoom_name:room>/messages", merge_slashes=False)
    def get_history(room: str) -> Response:
        return _answer(backends.history(room, flask.request.args))

    @blueprint.post("/api/v1/users/<hazoom_name:user_id>/disconnect", merge_slashes=False)
    def disconnect(user_id: str) -> Response:
        return _json(HTTPStatus.OK, {"ok": True, "connections": disconnect_user(user_id)})

    @blueprint.errorhandler(HazoomError)
    def refuse(error: HazoomError) -> Response:
        note_refusal(error.code)
        return _refusal(error)

    @blueprint.errorhandler(Exception)
    def report(error: Exception) -> Response | HTTPException:
        if isinstance(error, HTTPException):
            return error
        internal = Internal(secrets.token_hex(4))
        note_refusal(internal.code)
        logger.error("a request of a backend failed, reference %s", internal.reference, exc_info=error)
        return _refusal(internal)

    return blueprint


class _NotJson(BadPayload):
    """A body whose type is not JSON, be it JSON or not: that is what a form of a page can send."""


def _body(event_limit_bytes: int) -> str:
    """Return the body of the request at hand. Raises `BadPayload`, `TooLarge`."""
    request, limit_bytes = flask.request, event_limit_bytes * _BODY_PER_EVENT
    if request.mimetype != "application/json":
        raise _NotJson("Content-Type", "must be application/json")
    if request.content_length is not None and request.content_length > limit_bytes:
        raise TooLarge("payload", event_limit_bytes, request.content_length, unit="bytes")
    request.max_content_length = limit_bytes
    try:
        return request.get_data(cache=False).decode()
    except RequestEntityTooLarge:
        raise TooLarge("payload", event_limit_bytes, limit_bytes + 1, unit="bytes or more") from None
    except UnicodeDecodeError:
        raise BadPayload("payload", "is not UTF-8") from None


def _answer(result: Struct) -> Response:
    fields = {name: value for name, value in msgspec.structs.asdict(result).items() if value is not UNSET}
    return _json(HTTPStatus.OK, {"ok": True, **fields})


def _refusal(error: HazoomError) -> Response:
    status = _STATUSES.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
    if isinstance(error, _NotJson):
        status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    elif error.code == "internal" and error.retry:
        status = HTTPStatus.SERVICE_UNAVAILABLE
    event = (flask.request.endpoint or "").rpartition(".")[2]
    response = _json(status, {"ok": False, "error": report_of(error, event)})
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    return response


def _json(status: HTTPStatus, fields: Mapping[str, object]) -> Response:
    return Response(msgspec.json.encode(fields), status, {"Cache-Control": "no-store"}, mimetype="application/json")
