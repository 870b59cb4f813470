"""What the sockets are like that the command line listens with, and those that it accepts."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

from hazoom_ws import cli
from hazoom_ws.settings import Settings

SYSTEMS = Path("/proc/sys/net/ipv4/tcp_congestion_control")


def accepted_from(host: str) -> socket.socket:
    with closing(cli._listen(Settings(host=host, port=0))) as listener:
        _, port, *_ = listener.getsockname()
        with socket.create_connection(("127.0.0.1", port)):
            return listener.accept()[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_small_frames_wait_for_nothing(host: str) -> None:
    with accepted_from(host) as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.skipif(not SYSTEMS.exists(), reason="only Linux has several ways to control congestion")
@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", "reno"), ("0.0.0.0", None)])
def test_only_within_the_machine_congestion_is_not_expected(host: str, expected: str | None) -> None:
    with accepted_from(host) as accepted:
        control = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    assert control.rstrip(b"\0").decode() == (expected or SYSTEMS.read_text().strip())
