"""What browsers find at the public URL: a certificate, a server of ours behind it, and a way for WebSockets."""

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import connect
from websockets.typing import Origin

from hazoom_ws.access.origins import normal_origin
from hazoom_ws.commands.asking import reason_of
from hazoom_ws.commands.checks import REQUEST_LIMIT_S, Configuration, Finding
from hazoom_ws.commands.checks.clock import skew
from hazoom_ws.commands.checks.machine import is_running
from hazoom_ws.settings.checks import is_loopback

_BODY_LIMIT_BYTES = 65_536
_SOON_DAYS = 21  # who renews by itself does so a month before the end
_DAY_S = 86_400
_BAD_GATEWAY = (502, 503, 504)
_OK = 200


class Address(NamedTuple):
    """Where the public URL leads."""

    is_encrypted: bool
    host: str
    port: int
    origin: str


class _Health(msgspec.Struct, frozen=True):
    service: str = ""


def address_of(url: str) -> Address:
    """Return where a URL leads. Raises ValueError for one that has no host, or is not of the web."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it starts with http:// or https:// and names a host")
    is_encrypted = parts.scheme == "https"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = parts.port or (443 if is_encrypted else 80)
    return Address(is_encrypted, parts.hostname, port, normal_origin(f"{parts.scheme}://{host}:{port}"))


def check_tls(configuration: Configuration) -> Iterator[Finding]:
    """Look at the certificate as a browser would."""
    if not configuration.public_url:
        return
    address = address_of(configuration.public_url)
    if not address.is_encrypted:
        if not is_loopback(address.host):
            found = f"{address.origin} has no TLS: whoever is on the way reads messages, keys and tokens"
            yield Finding("tls", "warning", found, "config/nginx.conf shows a proxy with TLS")
        return
    try:
        with (
            socket.create_connection((address.host, address.port), timeout=REQUEST_LIMIT_S) as connection,
            ssl.create_default_context().wrap_socket(connection, server_hostname=address.host) as encrypted,
        ):
            certificate = encrypted.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        found = f"browsers refuse the certificate of {address.origin}: {error.verify_message}"
        yield Finding("tls", "problem", found, "renew it, and have the proxy send its whole chain")
    except OSError as error:
        yield Finding("tls", "problem", f"no TLS at {address.origin}: {reason_of(error)}", "look at the proxy, and at DNS")
    else:
        ends_at_s = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        left_days = (ends_at_s - time.time()) / _DAY_S
        found = f"the certificate of {address.origin} ends on {time.strftime('%Y-%m-%d', time.gmtime(ends_at_s))}"
        if left_days < _SOON_DAYS:
            yield Finding("tls", "warning", f"{found}, in {left_days:.0f} days", "renew it")
        else:
            yield Finding("tls", "ok", f"{found}, in {left_days:.0f} days")


def check_public_url(configuration: Configuration) -> Iterator[Finding]:
    """Find out whether the server answers at the public URL."""
    if not configuration.public_url:
        return
    address = address_of(configuration.public_url)
    kind = http.client.HTTPSConnection if address.is_encrypted else http.client.HTTPConnection
    begun_s = time.monotonic()
    try:
        with closing(kind(address.host, address.port, timeout=REQUEST_LIMIT_S)) as connection:
            connection.request("GET", "/health")
            response = connection.getresponse()
            status, date, body = response.status, response.headers.get("Date"), response.read(_BODY_LIMIT_BYTES)
    except (OSError, http.client.HTTPException) as error:
        remedy = "look at the proxy, at DNS and at the firewall"
        yield Finding("public", "problem", f"{address.origin} cannot be reached: {reason_of(error)}", remedy)
        return
    took_ms = (time.monotonic() - begun_s) * 1000
    try:
        service = msgspec.json.decode(body, type=_Health).service
    except (msgspec.MsgspecError, UnicodeDecodeError):
        service = ""
    if status == _OK and service == "hazoom_ws":
        yield Finding("public", "ok", f"{address.origin} leads to hazoom_ws, in {took_ms:.0f} ms")
        yield from skew(configuration, address.origin, date)
    elif status in _BAD_GATEWAY and not is_running(configuration.settings):
        yield Finding("public", "warning", f"{address.origin} answers {status}, and the server does not run", "start it")
    else:
        remedy = "have the proxy pass everything to the server: /socket.io/, /health and the pages"
        yield Finding("public", "problem", f"{address.origin}/health answers {status}, and not as hazoom_ws", remedy)


def check_websocket(configuration: Configuration) -> Iterator[Finding]:
    """Find out whether a WebSocket gets through, with the public origin."""
    if not configuration.public_url or not is_running(configuration.settings):
        return
    address = address_of(configuration.public_url)
    url = f"{address.origin.replace('http', 'ws', 1)}/socket.io/?EIO=4&transport=websocket"
    try:
        with connect(
            url, origin=Origin(address.origin), open_timeout=REQUEST_LIMIT_S, close_timeout=0.2, proxy=None
        ) as websocket:
            opened = websocket.recv(REQUEST_LIMIT_S)
    except InvalidStatus as error:
        yield Finding(
            "websocket",
            "problem",
            f"a WebSocket to {address.origin} is answered with {error.response.status_code}: clients have to poll",
            "have the proxy pass the headers Upgrade and Connection on (config/nginx.conf), and check HAZOOM_CORS_ORIGINS",
        )
    except (OSError, WebSocketException) as error:
        found = f"no WebSocket to {address.origin}: {reason_of(error)}: clients have to poll"
        yield Finding("websocket", "problem", found, "look at the proxy, and at its time-outs")
    else:
        is_ours = str(opened).startswith("0{")
        found = "gets through" if is_ours else "reaches something else than this server"
        yield Finding("websocket", "ok" if is_ours else "problem", f"a WebSocket to {address.origin} {found}")
