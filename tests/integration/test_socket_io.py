"""Socket.IO v5 over each way to serve and both transports, with every case of the official test suite.

The Engine.IO half of that suite is in test_engine_io.py. The server answers CONNECT and then emits ``auth`` with what the
client authenticated with; it sends the arguments of ``message`` and ``message-with-ack`` back.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from websockets.frames import CloseCode

from protocol_client import Polling, WebSocket, session_over_websocket
from servers import protocol_server


@pytest.fixture(scope="module")
def url(async_mode: str) -> Iterator[str]:
    with protocol_server(async_mode, "socket.io") as url:
        yield url


class OverPolling:
    """A polling session that is used like a WebSocket."""

    def __init__(self, url: str) -> None:
        self._polling = Polling(url)
        self._received: list[str] = []

    def send(self, *packets: str | bytes) -> None:
        self._polling.send(*(packet if isinstance(packet, str) else f"b{b64encode(packet).decode()}" for packet in packets))

    def receive(self) -> str | bytes:
        if not self._received:
            self._received = self._polling.poll().packets
        packet = self._received.pop(0)
        return b64decode(packet[1:]) if packet.startswith("b") else packet

    def send_last(self, packet: str) -> None:
        """Send something that the server closes the session for."""
        assert self._polling.post(packet).status == 400
        assert self._polling.is_gone()

    def wait_until_closed(self) -> None:
        while self._polling.poll().status == 200:
            pass
        assert self._polling.is_gone()


class OverWebSocket(WebSocket):
    def send_last(self, packet: str) -> None:
        """Send something that the server closes the session for."""
        self.send(packet)
        assert self.wait_until_closed() == CloseCode.PROTOCOL_ERROR


Connection = OverPolling | OverWebSocket


@contextmanager
def over_polling(url: str) -> Iterator[Connection]:
    yield OverPolling(url)


@contextmanager
def over_websocket(url: str) -> Iterator[Connection]:
    with session_over_websocket(url) as socket:
        yield OverWebSocket(socket.connection)


@contextmanager
def over_both(url: str) -> Iterator[Connection]:
    polling = Polling(url)
    with polling.upgraded() as socket:
        yield OverWebSocket(socket.connection)


Opened = Callable[[str], AbstractContextManager[Connection]]


@pytest.fixture(params=[over_polling, over_websocket, over_both], ids=["polling", "websocket", "upgraded"])
def opened(request: pytest.FixtureRequest) -> Opened:
    return request.param


@pytest.fixture
def connection(url: str, opened: Opened) -> Iterator[Connection]:
    """A connection that is in no namespace yet."""
    with opened(url) as connection:
        yield connection


@pytest.fixture
def joined(connection: Connection) -> Connection:
    """A connection that is in the main namespace."""
    join(connection, "40")
    return connection


def join(connection: Connection, packet: str, namespace: str = "") -> object:
    """Send a CONNECT packet and return what the server says the client authenticated with."""
    connection.send(packet)
    answer = connection.receive()
    assert isinstance(answer, str)
    assert answer.startswith(f"40{namespace}{{")
    handshake = json.loads(answer.removeprefix(f"40{namespace}"))
    assert list(handshake) == ["sid"]
    assert isinstance(handshake["sid"], str)
    event = connection.receive()
    assert isinstance(event, str)
    name, auth = json.loads(event.removeprefix(f"42{namespace}"))
    assert name == "auth"
    return auth


# Connect


@pytest.mark.parametrize(
    ("packet", "namespace", "auth"),
    [
        ("40", "", {}),
        ("40/,", "", {}),
        ('40{"token":"123"}', "", {"token": "123"}),
        ("40/custom", "/custom,", {}),
        ("40/custom,", "/custom,", {}),
        ('40/custom,{"token":"ä"}', "/custom,", {"token": "ä"}),
        ("40/custom?key=value,", "/custom,", {}),
    ],
)
def test_a_client_connects_to_a_namespace(connection: Connection, packet: str, namespace: str, auth: object) -> None:
    assert join(connection, packet, namespace) == auth


def test_a_namespace_that_is_not_there_is_refused_and_the_connection_stays(connection: Connection) -> None:
    connection.send("40/random")
    assert connection.receive() == '44/random,{"message":"Invalid namespace"}'
    join(connection, "40")
    connection.send("40/random,")
    assert connection.receive() == '44/random,{"message":"Invalid namespace"}'
    connection.send('42["message","still here"]')
    assert connection.receive() == '42["message-back","still here"]'


def test_a_client_has_another_name_in_each_namespace(connection: Connection) -> None:
    sids = set()
    for namespace in ("", "/custom,"):
        connection.send(f"40{namespace}")
        sids.add(str(connection.receive()).removeprefix(f"40{namespace}"))
        connection.receive()
    assert len(sids) == 2


def test_a_client_that_connects_to_nothing_is_closed(async_mode: str, opened: Opened) -> None:
    with protocol_server(async_mode, "socket.io", connect_timeout_s=0.1) as url, opened(url) as connection:
        connection.wait_until_closed()


def test_an_event_before_connect_is_not_answered(connection: Connection) -> None:
    connection.send('42["message","too early"]', '421["message-with-ack"]', '42/custom,["message","too early"]')
    join(connection, "40")


# Disconnect


def test_a_client_leaves_the_main_namespace_and_comes_back(joined: Connection) -> None:
    joined.send("41", '42["message","nobody is here"]')
    join(joined, "40")
    joined.send('42["message","back"]')
    assert joined.receive() == '42["message-back","back"]'


@pytest.mark.parametrize("packet", ["41/custom", "41/custom,"])
def test_a_client_leaves_one_namespace_and_stays_in_the_other(joined: Connection, packet: str) -> None:
    join(joined, "40/custom", "/custom,")
    joined.send('42/custom,["message","custom"]')
    assert joined.receive() == '42/custom,["message-back","custom"]'
    joined.send(packet, '42/custom,["message","nobody is here"]', '42["message","main"]')
    assert joined.receive() == '42["message-back","main"]'


# Messages


PLACEHOLDERS = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (['42["message"]'], ['42["message-back"]']),
        (['42["message",1,"2",{"3":[true]},null]'], ['42["message-back",1,"2",{"3":[true]},null]']),
        (['42["message","Grüße 🦆"]'], ['42["message-back","Grüße 🦆"]']),
        (['42456["message-with-ack",1,"2",{"3":[false]}]'], ['43456[1,"2",{"3":[false]}]']),
        (['420["message-with-ack"]'], ["430[]"]),
        (
            [f'452-["message",{PLACEHOLDERS}]', b"\x01\x02\x03", b"\x04"],
            [f'452-["message-back",{PLACEHOLDERS}]', b"\x01\x02\x03", b"\x04"],
        ),
        (
            [f'452-["message",{{"deep":[{PLACEHOLDERS}]}}]', b"", b"\xff"],
            [f'452-["message-back",{{"deep":[{PLACEHOLDERS}]}}]', b"", b"\xff"],
        ),
        (
            [f'452-789["message-with-ack",{PLACEHOLDERS}]', b"\x01", b"\x02"],
            [f"462-789[{PLACEHOLDERS}]", b"\x01", b"\x02"],
        ),
    ],
)
@pytest.mark.parametrize("namespace", ["", "/custom,"], ids=["main", "custom"])
def test_the_server_sends_it_back(
    joined: Connection, sent: list[str | bytes], received: list[str | bytes], namespace: str
) -> None:
    if namespace:
        join(joined, f"40{namespace}", namespace)
    joined.send(*(within(namespace, packet) for packet in sent))
    assert [joined.receive() for _ in received] == [within(namespace, packet) for packet in received]


def within(namespace: str, packet: str | bytes) -> str | bytes:
    """Return the packet with the namespace where it belongs: after the type and the number of attachments."""
    if isinstance(packet, bytes):
        return packet
    position = packet.find("-") + 1 if packet.startswith(("45", "46")) else 2
    return packet[:position] + namespace + packet[position:]


def test_acknowledgements_come_in_order_between_events(joined: Connection) -> None:
    sent = [f'42{number}["message-with-ack",{number}]' if number % 2 else f'42["message",{number}]' for number in range(50)]
    joined.send(*sent)
    expected = [f"43{number}[{number}]" if number % 2 else f'42["message-back",{number}]' for number in range(50)]
    assert [joined.receive() for _ in expected] == expected


def test_an_acknowledgement_of_nothing_is_ignored(joined: Connection) -> None:
    joined.send("4399[]", '42["message"]')
    assert joined.receive() == '42["message-back"]'


@pytest.mark.parametrize(
    "packet", ["4abc", "42{}", "42[]", '42abc["message-with-ack",1]', '42["message"', "4", "49", "44{}", '47["message"]']
)
@pytest.mark.parametrize("is_joined", [False, True], ids=["before connect", "after connect"])
def test_a_packet_that_is_none_ends_the_session(connection: Connection, packet: str, is_joined: bool) -> None:
    if is_joined:
        join(connection, "40")
    connection.send_last(packet)
