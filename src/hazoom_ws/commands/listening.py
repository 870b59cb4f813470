"""The socket that the server listens with, or what keeps it from that."""

import errno
import os
import socket
import sys
from contextlib import suppress

import msgspec

from hazoom_ws.commands import PROGRAM
from hazoom_ws.settings import Settings, SettingsError
from hazoom_ws.settings.checks import is_loopback

_BACKLOG = 4096
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not listened on


class PortTaken(SettingsError):
    """A port that another program listens on."""


def listening(settings: Settings) -> socket.socket:
    """Return a listening socket. Raises `SettingsError`, which says what to do, `PortTaken`."""
    listener = bound(settings)
    _listen(listener, settings)
    return listener


def listening_together(settings: Settings) -> list[socket.socket]:
    """Return a listening socket for each worker, all on one port. Raises like `listening`.

    Linux gives each new connection to one of them by its address and port, and so evenly: of 400 connections four workers
    got 90 to 111 each. With one socket that all accept from, whoever wakes first has them: one of four got 356 of 400.
    """
    first = bound(settings)  # alone: with the option that the others have, two servers would share a port unawares
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    settings = msgspec.structs.replace(settings, port=first.getsockname()[1])
    listeners = [first, *(bound(settings, shares=True) for _ in range(1, settings.workers))]
    for listener in listeners:
        _listen(listener, settings)
    return listeners


def bound(settings: Settings, *, shares: bool = False) -> socket.socket:
    """Return a socket that has the port and takes no connection yet. Raises like `listening`.

    ``shares``: with other sockets of this user that do so too; Linux only.
    """
    host, port = settings.host, settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, ValueError) as error:  # ValueError: of a name that cannot even be looked up
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no name of a machine"
        raise SettingsError(f"cannot listen on {host!r}: {reason}; choose another --host") from None
    if settings.auth == "open" and not settings.allow_open and not is_loopback(str(address[0])):
        raise SettingsError(
            f"{host} can be reached from other machines, and auth is open, so anybody could come in: set HAZOOM_AUTH to "
            "api_key, jwt or url, or HAZOOM_ALLOW_OPEN=true if anybody may"
        )
    listener = socket.socket(family, kind, protocol)
    # On Windows the option of this name lets two programs take the same port.
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shares:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # Accepted sockets inherit it. Without it small frames wait for the peer's delayed acknowledgement, 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if is_loopback(str(address[0])) and hasattr(socket, "TCP_CONGESTION"):
        # Its clients, most likely a proxy, are on this machine, where nothing is congested: BBR's timers only cost time.
        with suppress(OSError):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _why_not(error, settings) from None
    return listener


def _listen(listener: socket.socket, settings: Settings) -> None:
    try:
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _why_not(error, settings) from None


def say_ready(host: str, port: int) -> None:
    """Write the ready line, for whoever waits until the server serves."""
    sys.stdout.write(f"{PROGRAM} ready on http://{f'[{host}]' if ':' in host else host}:{port}\n")
    sys.stdout.flush()


def _why_not(error: OSError, settings: Settings) -> SettingsError:
    host, port = settings.host, settings.port
    if error.errno == errno.EADDRINUSE:
        return PortTaken(
            f"port {port} on {host} is taken by another program; stop it, or choose another port: --port {other_port(port)}"
        )
    if error.errno == errno.EACCES:
        return SettingsError(f"port {port} on {host} may not be used by this user; choose one above 1023: --port 5000")
    return SettingsError(f"cannot listen on {host} port {port}: {error.strerror or error}; choose another --host or --port")


def other_port(port: int) -> int:
    """Return a port to try instead of one that is taken."""
    return port + 1 if port < 65535 else 0


def local_url(settings: Settings) -> str:
    """Return where programs of this machine reach a server with these settings."""
    host = _ANY_ADDRESS.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
