"""The shortcut for a WebSocket's request: it says what the request says, or leaves it to WSGI."""

import io
import string
from http.server import BaseHTTPRequestHandler

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazoom_ws.transport.engineio.requests import environ_of

REQUEST = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1"
HEADERS = {
    "Host": "localhost:5000",
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def head_of(*extra: bytes, request: bytes = REQUEST, headers: dict[str, str] = HEADERS) -> bytes:
    lines = [request, *(f"{name}: {value}".encode("latin-1") for name, value in headers.items()), *extra]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def test_a_browsers_request_is_read():
    assert environ_of(head_of(b"Origin: http://localhost:5173", b"Cookie: a=b; c=d")) == {
        "REQUEST_METHOD": "GET",
        "QUERY_STRING": "EIO=4&transport=websocket",
        "wsgi.url_scheme": "http",
        "HTTP_HOST": "localhost:5000",
        "HTTP_CONNECTION": "keep-alive, Upgrade",
        "HTTP_UPGRADE": "websocket",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
        "HTTP_ORIGIN": "http://localhost:5173",
        "HTTP_COOKIE": "a=b; c=d",
    }


UNUSUAL = {
    "a header twice": head_of(b"Upgrade: websocket"),
    "a header twice in different cases": head_of(b"UPGRADE: h2c"),
    "an origin twice": head_of(b"Origin: http://a.example", b"Origin: http://b.example"),
    "a folded header": head_of(b"X-Long: a", b" b"),
    "a folded header with a colon in its second line": head_of(b"X-Long: a", b" Origin: http://a.example"),
    "a header folded with a tab": head_of(b"X-Long: a", b"\tOrigin: http://a.example"),
    "a first header that is folded": REQUEST + b"\r\n Host: a" + head_of()[len(REQUEST) :],
    "a blank before the colon": head_of(b"Origin : http://a.example"),
    "a header without a colon": head_of(b"Origin"),
    "a header without a name": head_of(b": x"),
    "an underscore in a name": head_of(b"Sec_WebSocket_Protocol: x"),
    "a bare line feed": head_of(b"X: a\nOrigin: http://a.example"),
    "a bare carriage return": head_of(b"X: a\rOrigin: http://a.example"),
    "a zero byte": head_of(b"X: a\0b"),
    "a name that is not ASCII": head_of(b"\xdc: x"),
    "a length": head_of(b"Content-Length: 0"),
    "a chunked body": head_of(b"Transfer-Encoding: chunked"),
    "a body after the head": head_of() + b"body",
    "a second request after the head": head_of() + head_of(),
    "half a head": head_of()[:-1],
    "a head without headers": REQUEST + b"\r\n\r\n",
    "line feeds only": head_of().replace(b"\r\n", b"\n"),
    "HTTP/1.0": head_of(request=REQUEST.replace(b"1.1", b"1.0")),
    "HTTP/2.0": head_of(request=REQUEST.replace(b"1.1", b"2.0")),
    "HTTP/0.9": head_of(request=REQUEST.removesuffix(b" HTTP/1.1")),
    "POST": head_of(request=REQUEST.replace(b"GET", b"POST")),
    "OPTIONS": head_of(request=REQUEST.replace(b"GET", b"OPTIONS")),
    "a small letter in GET": head_of(request=REQUEST.replace(b"GET", b"Get")),
    "an absolute URI": head_of(request=REQUEST.replace(b" /", b" http://localhost:5000/")),
    "another path": head_of(request=REQUEST.replace(b"/socket.io/", b"/socket.io")),
    "no query": head_of(request=b"GET /socket.io/ HTTP/1.1"),
    "a blank in the query": head_of(request=REQUEST.replace(b"&", b" ")),
    "two blanks": head_of(request=REQUEST.replace(b" HTTP", b"  HTTP")),
    "a tab in the query": head_of(request=REQUEST.replace(b"&", b"\t")),
    "a query that is not ASCII": head_of(request=REQUEST.replace(b"&", b"\xfc")),
    "no upgrade": head_of(headers={"Host": "a", "Connection": "keep-alive"}),
    "an upgrade to something else": head_of(headers=HEADERS | {"Upgrade": "h2c"}),
    "an upgrade that the connection does not name": head_of(headers=HEADERS | {"Connection": "keep-alive"}),
    "nothing": b"",
    "an empty head": b"\r\n\r\n",
}


@pytest.mark.parametrize("head", [pytest.param(head, id=name) for name, head in UNUSUAL.items()])
def test_what_is_unusual_is_left_to_wsgi(head):
    assert environ_of(head) is None


class Reading(BaseHTTPRequestHandler):
    """The standard library's parser, under which both WSGI servers are, without a server and a socket."""

    def __init__(self, head: bytes) -> None:
        self.rfile, self.wfile = io.BytesIO(head), io.BytesIO()
        self.client_address = ("127.0.0.1", 1)
        self.protocol_version = "HTTP/1.1"
        self.raw_requestline = self.rfile.readline()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def wsgi_environ_of(head: bytes) -> dict[str, str]:
    """Return what a WSGI application would be given, of what `environ_of` returns."""
    request = Reading(head)
    assert request.parse_request(), request.wfile.getvalue()
    environ = {"REQUEST_METHOD": request.command, "wsgi.url_scheme": "http"}
    environ["QUERY_STRING"] = request.path.partition("?")[2]
    for name, value in request.headers.items():
        key = f"HTTP_{name.upper().replace('-', '_')}"
        assert key not in environ
        environ[key] = value.strip(" \t\r\n")
    assert request.rfile.read() == b""
    return environ


token = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^`|~", min_size=1, max_size=12)
value = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30)
query = st.text(string.ascii_letters + string.digits + "%&=+;#/?", max_size=40)


@given(
    query=query,
    extra=st.dictionaries(token, value, max_size=5),
    blanks=st.sampled_from(["", " ", "\t ", "   "]),
)
def test_what_is_read_is_what_wsgi_would_have_read(query, extra, blanks):
    request = f"GET /socket.io/?{query} HTTP/1.1".encode()
    lines = [f"{name}:{blanks}{text}".encode("latin-1") for name, text in extra.items()]
    head = head_of(*lines, request=request)
    environ = environ_of(head)
    names = [name.upper() for name in (*HEADERS, *extra)]
    if len(set(names)) < len(names) or {"CONTENT-LENGTH", "CONTENT-TYPE", "TRANSFER-ENCODING"} & set(names):
        assert environ is None
    else:
        assert environ is not None
        assert environ == wsgi_environ_of(head)


damage = st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=4)


@given(damage=damage)
def test_a_damaged_request_is_read_as_wsgi_reads_it_or_left_to_wsgi(damage):
    head = head_of(b"Origin: http://localhost:5173")
    for position, inserted, removed_bytes in damage:
        head = head[:position] + inserted + head[position + removed_bytes :]
    environ = environ_of(head)
    if environ is not None:
        assert environ == wsgi_environ_of(head)


@given(head=st.binary(max_size=200) | st.binary(max_size=100).map(lambda data: b"GET /socket.io/?" + data + b"\r\n\r\n"))
def test_any_bytes_raise_nothing(head):
    environ_of(head)
