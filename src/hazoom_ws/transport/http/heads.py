"""What a request's head must look like, for every HTTP server here, and the answers that servers write themselves. No I/O.

Strict, because who is in front of this server may read a head otherwise than it: where a request ends must never be a
question, or its body is answered as a second one (request smuggling). What is not exactly as it should be is refused and
the connection closed.

Source: RFC 9112, sections 2.2 (line ends), 3 (request line, Host), 5 (fields), 6 (body); RFC 9110, section 5.5 (values).
"""

import re
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPMessage

import msgspec

LINE_LIMIT_BYTES = 32_768  # a page's cookies may take 9 KB of one
HEAD_LIMIT_BYTES = 65_536
FIELDS_LIMIT_COUNT = 100
# No browser may take an answer for another type than it says, run anything in it, frame it, or tell others where it was.
SECURITY_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(%s) ([!-~\x80-\xff]+) HTTP/([0-9])\.([0-9])\r\n" % _TOKEN)
_FIELD = re.compile(rb"(%s):([\t -~\x80-\xff]*)\r\n" % _TOKEN)
_HOST = re.compile(r"[0-9A-Za-z._~!$&'()*+,;=:\[\]%-]*")
_LENGTH = re.compile(r"[0-9]{1,18}")


class Head(msgspec.Struct, frozen=True):
    """A request's head. ``body_bytes`` is the length of its body, None for the chunked coding.

    ``version`` is "HTTP/1.0" or "HTTP/1.1".
    """

    method: str
    target: str
    version: str
    fields: list[tuple[str, str]]
    body_bytes: int | None

    @property
    def path(self) -> str:
        """Return the target as servers hand it on: with two slashes at its start it would be taken for a host."""
        return f"/{self.target.lstrip('/')}" if self.target.startswith("//") else self.target

    @property
    def keeps_alive(self) -> bool:
        """Return whether the client may send another request after this one."""
        options = {option.strip().lower() for value in _values(self.fields, "connection") for option in value.split(",")}
        return "keep-alive" in options if self.version == "HTTP/1.0" else "close" not in options

    @property
    def expects_continue(self) -> bool:
        """Return whether the client waits for `CONTINUE` before it sends the body."""
        expects = [value.lower() for value in _values(self.fields, "expect")]
        return expects == ["100-continue"] and self.version == "HTTP/1.1" and self.body_bytes != 0

    def message(self) -> HTTPMessage:
        """Return the fields as the standard library's HTTP server keeps them."""
        message = HTTPMessage()
        for name, value in self.fields:
            message[name] = value
        return message


class BadHead(ValueError):
    """A head that is refused with ``status``, after which the connection is closed."""

    def __init__(self, problem: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(problem)
        self.status = status


def read_head(request_line: bytes, read_line: Callable[[int], bytes]) -> Head | None:
    """Return the head that begins with ``request_line``, None if the connection ends within it. Raises `BadHead`.

    ``read_line(limit)`` returns the next line with its end, cut at ``limit`` bytes; without one at the connection's end.
    """
    if len(request_line) > LINE_LIMIT_BYTES:
        raise BadHead("the request line is too long", HTTPStatus.REQUEST_URI_TOO_LONG)
    parts = _REQUEST_LINE.fullmatch(request_line)
    if parts is None:
        if not request_line.endswith(b"\n"):
            return None
        raise BadHead("the request line is none")
    lines: list[bytes] = []
    size_bytes = len(request_line)
    while (line := read_line(LINE_LIMIT_BYTES + 1)) != b"\r\n":
        size_bytes += len(line)
        if len(line) > LINE_LIMIT_BYTES or size_bytes > HEAD_LIMIT_BYTES or len(lines) == FIELDS_LIMIT_COUNT:
            raise BadHead("the head is too large", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if not line.endswith(b"\n"):
            return None
        lines.append(line)
    method, target, major, minor = parts.groups()
    if major != b"1":
        raise BadHead("the version of HTTP is another", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    version = "HTTP/1.0" if minor == b"0" else "HTTP/1.1"
    fields = [_field(line) for line in lines]
    _check_host(fields, version)
    return Head(method.decode(), target.decode("latin-1"), version, fields, _body_bytes(fields, version))


def is_host(value: str) -> bool:
    """Return whether a Host field may have this value."""
    return _HOST.fullmatch(value) is not None


def answer(
    status: HTTPStatus,
    body: bytes,
    content_type: str = "text/plain; charset=utf-8",
    more: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """Return a whole answer, after which the connection is closed. ``more``: headers of its own."""
    headers = "".join(f"{name}: {value}\r\n" for name, value in (*SECURITY_HEADERS, *more))
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n{headers}"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode() + body


def refusal(error: BadHead) -> bytes:
    """Return the answer to a head that is refused."""
    return answer(error.status, f"{error}\n".encode())


def _field(line: bytes) -> tuple[str, str]:
    """Return name and value. A folded line, a blank before the colon, a bare line feed or a NUL is in none."""
    parts = _FIELD.fullmatch(line)
    if parts is None:
        raise BadHead("a header line is none")
    return parts[1].decode(), parts[2].strip(b" \t").decode("latin-1")


def _values(fields: list[tuple[str, str]], name: str) -> list[str]:
    return [value for one, value in fields if one.lower() == name]


def _check_host(fields: list[tuple[str, str]], version: str) -> None:
    hosts = _values(fields, "host")
    if len(hosts) > 1 or (not hosts and version == "HTTP/1.1") or not all(map(is_host, hosts)):
        raise BadHead("a request has one Host")


def _body_bytes(fields: list[tuple[str, str]], version: str) -> int | None:
    lengths, codings = _values(fields, "content-length"), _values(fields, "transfer-encoding")
    if codings:
        if lengths or version == "HTTP/1.0" or [coding.lower() for coding in codings] != ["chunked"]:
            raise BadHead("the body has no clear length")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise BadHead("the body has no clear length")
    return int(lengths[0])
