"""What the sockets are like that the command line listens with, and those that it accepts."""

import socket
from contextlib import closing

import pytest

from hazoom_ws.commands.listening import listening
from hazoom_ws.settings import Settings


def accepted_from(host: str) -> socket.socket:
    with closing(listening(Settings(host=host, port=0, allow_open=True))) as listener:
        _, port, *_ = listener.getsockname()
        with socket.create_connection(("127.0.0.1", port)):
            return listener.accept()[0]


def congestion_control_of(connection: socket.socket) -> bytes | None:
    """Return its name, None on a system that has no several."""
    if not hasattr(socket, "TCP_CONGESTION"):
        return None
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_small_frames_wait_for_nothing(host: str) -> None:
    with accepted_from(host) as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_only_within_the_machine_congestion_is_not_expected() -> None:
    with socket.socket() as usual, accepted_from("127.0.0.1") as within, accepted_from("0.0.0.0") as beyond:
        assert congestion_control_of(within) in {b"reno", None}
        assert congestion_control_of(beyond) == congestion_control_of(usual)
