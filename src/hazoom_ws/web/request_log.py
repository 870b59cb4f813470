"""A line in the log for each HTTP request that Flask answers, with ``log_format = "json"``.

Requests of Engine.IO are no such ones: they belong to a connection, which has lines of its own. Of a URL only the route
is told, not what stands in its place: names of rooms and keys may.
"""

import logging
import re
import threading
import time
from collections.abc import Callable

import flask
from flask import Blueprint, Response

from hazoom_ws.access.buckets import TokenBucket
from hazoom_ws.log_fields import fields
from hazoom_ws.trace_context import trace_of_request

logger = logging.getLogger(__name__)

_LINES_PER_S, _LINES_BURST_COUNT = 100.0, 1000  # whoever reaches the port can ask as often as he likes
_CONVERTER = re.compile(r"<\w+:")
_STARTED = "hazoom_ws.started_s"


def log_requests(blueprint: Blueprint, clock: Callable[[], float] = time.monotonic) -> None:
    """Log each request to the application of a blueprint. ``clock`` is monotonic, in seconds."""
    lines, lock = TokenBucket(_LINES_PER_S, _LINES_BURST_COUNT, clock()), threading.Lock()
    left_out_count = 0

    @blueprint.before_app_request
    def begin() -> None:
        flask.request.environ[_STARTED] = clock()

    @blueprint.after_app_request
    def log(response: Response) -> Response:
        nonlocal left_out_count
        request, now_s = flask.request, clock()
        with lock:
            if lines.spend(now_s):
                left_out_count += 1
                return response
            left_out, left_out_count = left_out_count, 0
        trace = trace_of_request(request.environ)
        of = fields(
            "http_request",
            method=request.method if request.url_rule is not None else None,  # else it may be any text
            route=_CONVERTER.sub("<", request.url_rule.rule) if request.url_rule is not None else None,
            status=response.status_code,
            duration_ms=round((now_s - request.environ.get(_STARTED, now_s)) * 1000, 1),
            trace_id=trace.trace_id if trace is not None else None,
            left_out_count=left_out or None,
        )
        logger.info("HTTP request", extra=of)
        return response
