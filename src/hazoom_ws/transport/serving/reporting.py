"""What either HTTP server does when an application fails: the log has it, the client learns nothing."""

import logging
import sys
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from hazoom_ws.transport.http import heads as http_heads

logger = logging.getLogger(__name__)

_STATUS = HTTPStatus.INTERNAL_SERVER_ERROR
_BODY = b"internal error\n"


def reporting(app: Any) -> Any:
    """Return a WSGI application that logs what crashes in ``app``: without its access log eventlet keeps that to itself."""

    def call(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            answer: Iterable[bytes] = app(environ, start_response)
        except OSError:
            raise  # its client went away
        except Exception:
            logger.exception("a request failed")
            headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(_BODY)))]
            start_response(f"{_STATUS.value} {_STATUS.phrase}", [*headers, *http_heads.SECURITY_HEADERS], sys.exc_info())
            return [_BODY]
        return answer

    return call
