"""Engine.IO v4 over each way to serve, with every case of the official test suite and what it leaves open.

The server echoes messages. Its heartbeats are minutes apart except where a test is about them.
"""

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from protocol_client import (
    NOOP,
    POLLING,
    REPEATED_HEADERS,
    SEPARATOR,
    WEBSOCKET,
    Answer,
    Polling,
    Request,
    ask,
    refusal,
    session_over_websocket,
    websocket,
)
from raw_client import handshake
from servers import protocol_server, wait_until

MAX_PAYLOAD_BYTES = 1_000_000


@pytest.fixture(scope="module")
def url(async_mode: str) -> Iterator[str]:
    with protocol_server(async_mode, "engine.io") as url:
        yield url


@pytest.fixture(params=[None, REPEATED_HEADERS], ids=["usual handshake", "handshake through WSGI"])
def headers(request: pytest.FixtureRequest) -> list[tuple[str, str]] | None:
    return request.param


def refused(code: int, message: str, status: int = 400) -> Answer:
    return Answer(status, json.dumps({"code": code, "message": message}, separators=(",", ":")))


BAD_REQUEST = refused(3, "Bad request")


# Handshake


def test_polling_opens_a_session(url: str) -> None:
    handshake = Polling(url).handshake
    assert handshake == {
        "sid": handshake["sid"],
        "upgrades": ["websocket"],
        "pingInterval": 300_000,
        "pingTimeout": 300_000,
        "maxPayload": MAX_PAYLOAD_BYTES,
    }
    assert isinstance(handshake["sid"], str)
    assert handshake["sid"] != Polling(url).sid


def test_a_websocket_opens_a_session(url: str, headers: list[tuple[str, str]] | None) -> None:
    with websocket(url, headers=headers) as socket:
        handshake = json.loads(socket.receive()[1:])
        assert handshake["upgrades"] == []
        assert (handshake["pingInterval"], handshake["maxPayload"]) == (300_000, MAX_PAYLOAD_BYTES)


def test_a_websocket_is_answered_in_one_piece(url: str, headers: list[tuple[str, str]] | None) -> None:
    """Cut off between the answer and the open packet, the official client waits for 20 s before it tries again."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers or [])
    with socket.create_connection(("127.0.0.1", urlsplit(url).port)) as connection:
        connection.sendall(handshake(more))
        head, _, rest = connection.recv(65536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b'0{"sid":"' in rest


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("transport={}", refused(5, "Unsupported protocol version")),
        ("EIO=abc&transport={}", refused(5, "Unsupported protocol version")),
        ("EIO=3&transport={}", refused(5, "Unsupported protocol version")),
        ("EIO=4", refused(0, "Transport unknown")),
        ("EIO=4&transport=abc", refused(0, "Transport unknown")),
        ("EIO=4&transport={}&sid=nobody", refused(1, "Session ID unknown")),
        ("", refused(0, "Transport unknown")),
    ],
)
def test_a_bad_query_is_refused_over_both_transports(
    url: str, headers: list[tuple[str, str]] | None, query: str, answer: Answer
) -> None:
    assert ask(url, query.format("polling")) == answer
    assert refusal(url, query.format("websocket"), headers) == answer


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_only_a_get_opens_a_session(url: str, method: str) -> None:
    assert ask(url, POLLING, method) == refused(2, "Bad handshake method")


def test_a_transport_is_asked_for_by_its_own_kind_of_request(url: str) -> None:
    assert ask(url, WEBSOCKET) == BAD_REQUEST
    assert refusal(url, POLLING) == BAD_REQUEST


# Messages over long polling


@pytest.mark.parametrize(
    "packets",
    [
        ["4hello"],
        ["4"],
        ["4Grüße 🦆"],
        ["4one", "4two", "4three"],
        ["4hello", "bAQIDBA=="],
        ["b", "4x", "b////", "4y"],
        [f"4packet {number}" for number in range(100)],
    ],
)
def test_what_is_posted_comes_back_with_the_next_poll(url: str, packets: list[str]) -> None:
    polling = Polling(url)
    polling.send(*packets)
    assert polling.poll() == Answer(200, SEPARATOR.join(packets))


def test_a_poll_that_waits_is_answered_at_once(url: str) -> None:
    polling = Polling(url)
    for packet in ("4one", "4two"):
        poll = polling.start_poll()
        polling.send(packet)
        assert poll.answer() == Answer(200, packet)


@pytest.mark.parametrize(
    "body", ["abc", "", "0", "2", "5", "4before\x1eabc", "4before\x1e", "b%%%%", "bAQ", b"4\xff\xfe", "\x1e"]
)
def test_an_invalid_packet_ends_the_session(url: str, body: str | bytes) -> None:
    polling = Polling(url)
    assert polling.post(body) == BAD_REQUEST
    assert polling.is_gone()


def test_a_poll_that_waits_is_told_of_the_end(url: str) -> None:
    polling = Polling(url)
    poll = polling.start_poll()
    assert polling.post("abc") == BAD_REQUEST
    assert poll.answer() == Answer(200, "1")


def test_of_two_polls_at_once_the_second_is_refused_and_ends_the_session(url: str) -> None:
    polling = Polling(url)
    poll = polling.start_poll()
    assert polling.poll() == BAD_REQUEST
    assert poll.answer() == Answer(200, "1")
    assert polling.is_gone()


def test_a_poll_after_one_that_was_cancelled_ends_the_session(url: str) -> None:
    polling = Polling(url)
    polling.start_poll().cancel()
    assert polling.poll() == BAD_REQUEST
    assert polling.is_gone()


def test_of_two_posts_at_once_the_second_is_refused_and_ends_the_session(url: str) -> None:
    polling = Polling(url)
    half = Request(url, polling.query, "POST", "4half", **{"Content-Length": "10"})
    polling.wait_until("is_posting")
    assert polling.post("4whole") == BAD_REQUEST
    assert polling.is_gone()
    half.cancel()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_another_method_is_refused_and_the_session_goes_on(url: str, method: str) -> None:
    polling = Polling(url)
    assert ask(url, polling.query, method, "4no") == BAD_REQUEST
    polling.send("4yes")
    assert polling.poll() == Answer(200, "4yes")


def test_a_payload_of_the_limit_is_taken_and_one_byte_more_is_refused(url: str) -> None:
    polling = Polling(url)
    largest = "4" + "x" * (MAX_PAYLOAD_BYTES - 1)
    polling.send(largest)
    assert polling.poll() == Answer(200, largest)
    announced = Request(url, polling.query, "POST", **{"Content-Length": str(MAX_PAYLOAD_BYTES + 1)})
    assert announced.answer() == refused(3, "Bad request", 413), "before the bytes are here"
    assert polling.is_gone()


def test_a_length_that_is_no_number_ends_the_session(url: str) -> None:
    polling = Polling(url)
    assert Request(url, polling.query, "POST", "4", **{"Content-Length": "-1"}).answer().status == 400


# Messages over a WebSocket


@pytest.mark.parametrize("packet", ["4hello", "4", "4Grüße 🦆", "4" + "x" * 200_000, b"\x01\x02\x03\x04", b""])
def test_what_is_sent_over_a_websocket_comes_back(
    url: str, headers: list[tuple[str, str]] | None, packet: str | bytes
) -> None:
    with session_over_websocket(url, headers) as socket:
        socket.send(packet)
        assert socket.receive() == packet


def test_many_packets_come_back_in_order(url: str) -> None:
    packets = [f"4{number}" if number % 3 else str(number).encode() for number in range(500)]
    with session_over_websocket(url) as socket:
        socket.send(*packets)
        assert [socket.receive() for _ in packets] == packets


@pytest.mark.parametrize("packet", ["abc", "", "0", "2", "2probe", "5"])
def test_an_invalid_packet_over_a_websocket_ends_the_session(url: str, packet: str) -> None:
    with session_over_websocket(url) as socket:
        socket.send(packet)
        assert socket.wait_until_closed() == CloseCode.PROTOCOL_ERROR


def test_a_noop_changes_nothing(url: str) -> None:
    with session_over_websocket(url) as socket:
        socket.send("6", "4x")
        assert socket.receive() == "4x"


def test_a_message_of_the_limit_is_taken_and_one_byte_more_ends_the_session(url: str) -> None:
    with session_over_websocket(url) as socket:
        largest = "4" + "x" * (MAX_PAYLOAD_BYTES - 1)
        socket.send(largest)
        assert socket.receive() == largest
        socket.send(f"{largest}x")
        assert socket.wait_until_closed() == CloseCode.MESSAGE_TOO_BIG


# Heartbeat


@pytest.fixture(scope="module")
def lively(async_mode: str) -> Iterator[str]:
    with protocol_server(async_mode, "engine.io", ping_interval_s=0.05) as url:
        yield url


@pytest.fixture(scope="module")
def impatient(async_mode: str) -> Iterator[str]:
    with protocol_server(async_mode, "engine.io", ping_interval_s=0.05, ping_timeout_s=0.05) as url:
        yield url


def test_a_polling_client_is_asked_again_when_it_has_answered(lively: str) -> None:
    polling = Polling(lively)
    assert (polling.handshake["pingInterval"], polling.handshake["pingTimeout"]) == (50, 300_000)
    for _ in range(3):
        assert polling.poll() == Answer(200, "2")
        polling.send("3")


def test_a_websocket_is_asked_again_when_it_has_answered(lively: str) -> None:
    with session_over_websocket(lively) as socket:
        for _ in range(3):
            assert socket.receive() == "2"
            socket.send("3")


def test_an_upgraded_session_is_asked_over_its_websocket(lively: str) -> None:
    polling = Polling(lively)
    with polling.upgraded() as socket:
        for _ in range(3):
            assert socket.receive() == "2"
            socket.send("3")


def test_a_polling_client_that_does_not_answer_is_gone(impatient: str) -> None:
    polling = Polling(impatient)
    bodies = []
    while (answer := polling.poll()).status == 200:
        bodies.append(answer.body)
    assert bodies in ([], ["2"], ["2", "1"], ["1"])
    assert polling.is_gone()


def test_a_polling_client_that_does_not_even_poll_is_gone(impatient: str) -> None:
    polling = Polling(impatient)
    polling.wait_until("is_open", False)
    assert polling.is_gone()


def test_a_websocket_that_does_not_answer_is_closed(impatient: str) -> None:
    with session_over_websocket(impatient) as socket:
        socket.send("4not an answer")
        assert socket.wait_until_closed() == CloseCode.GOING_AWAY


# Close


def test_a_polling_client_closes_and_its_poll_ends(url: str) -> None:
    polling = Polling(url)
    poll = polling.start_poll()
    polling.send("1")
    assert poll.answer() == Answer(200, NOOP)
    assert polling.is_gone()


def test_a_polling_client_closes_without_a_poll(url: str) -> None:
    polling = Polling(url)
    polling.send("1")
    assert polling.is_gone()


def test_a_poll_that_is_overtaken_by_the_close_is_answered_all_the_same(url: str) -> None:
    polling = Polling(url)
    close = Request(url, polling.query, "POST", "1")
    poll = Request(url, polling.query)
    assert close.answer() == Answer(200, "ok")
    assert poll.answer() in (Answer(200, NOOP), refused(1, "Session ID unknown"))
    assert polling.is_gone()


def test_a_websocket_closes_by_a_packet(url: str, headers: list[tuple[str, str]] | None) -> None:
    with session_over_websocket(url, headers) as socket:
        socket.send("1")
        assert socket.wait_until_closed() == CloseCode.GOING_AWAY


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_session_ends_with_its_websocket(url: str, headers: list[tuple[str, str]] | None, how: str) -> None:
    polling = Polling(url)
    with polling.upgraded(headers) as socket:
        socket.send("4x")
        assert socket.receive() == "4x"
        getattr(socket, how)()
        polling.wait_until("is_open", False)


# Upgrade


def test_a_websocket_takes_the_session_over(url: str, headers: list[tuple[str, str]] | None) -> None:
    polling = Polling(url)
    poll = polling.start_poll()
    with polling.websocket(headers) as socket:
        socket.probe()
        assert poll.answer() == Answer(200, NOOP)
        assert polling.poll() == Answer(200, NOOP), "also one that comes after the probe"
        socket.send("5", "4hello")
        assert socket.receive() == "4hello", "and nothing before it"


def test_packets_that_were_not_polled_come_first_and_in_order(url: str) -> None:
    polling = Polling(url)
    polling.send("4one", "bAg==")
    with polling.websocket() as socket:
        socket.probe()
        polling.send("4three")
        socket.send("5", "4four")
        assert [socket.receive() for _ in range(4)] == ["4one", b"\x02", "4three", "4four"]


def test_a_poll_during_an_upgrade_gets_what_there_is(url: str) -> None:
    polling = Polling(url)
    polling.send("4one")
    with polling.websocket() as socket:
        socket.probe()
        assert polling.poll() == Answer(200, "4one")
        socket.send("5", "4two")
        assert socket.receive() == "4two"


def test_a_client_that_does_not_wait_for_the_probe_is_upgraded_too(url: str) -> None:
    polling = Polling(url)
    with polling.websocket() as socket:
        socket.send("2probe", "5", "4x")
        assert [socket.receive() for _ in range(2)] == ["3probe", "4x"]


def test_a_poll_that_still_waits_when_the_client_upgrades_is_refused(url: str) -> None:
    polling = Polling(url)
    poll = polling.start_poll()
    with polling.websocket() as socket:
        socket.send("2probe", "5", "4x")
        assert [socket.receive() for _ in range(2)] == ["3probe", "4x"]
        assert poll.answer() in (BAD_REQUEST, Answer(200, NOOP))


def is_accepted_and_closed(url: str, sid: str, headers: list[tuple[str, str]] | None = None) -> bool:
    """Return whether a further WebSocket for a session is accepted, then closed; else raise what it met."""
    with websocket(url, f"{WEBSOCKET}&sid={sid}", headers) as socket:
        return socket.wait_until_closed() == CloseCode.POLICY_VIOLATION


def test_afterwards_http_is_refused_a_second_websocket_is_closed_and_the_session_goes_on(
    url: str, headers: list[tuple[str, str]] | None
) -> None:
    polling = Polling(url)
    with polling.upgraded(headers) as socket:
        socket.send("4x")
        assert socket.receive() == "4x"
        assert polling.poll() == BAD_REQUEST
        assert polling.post("4no") == BAD_REQUEST
        assert is_accepted_and_closed(url, polling.sid, headers)
        socket.send("4y")
        assert socket.receive() == "4y"


def test_a_second_websocket_meanwhile_is_closed_and_the_first_goes_on(
    url: str, headers: list[tuple[str, str]] | None
) -> None:
    polling = Polling(url)
    with polling.websocket() as socket:
        assert is_accepted_and_closed(url, polling.sid, headers)
        socket.probe()
        assert is_accepted_and_closed(url, polling.sid, headers)
        socket.send("5", "4x")
        assert socket.receive() == "4x"


def test_a_session_that_has_only_had_a_websocket_takes_no_other(url: str) -> None:
    with websocket(url) as socket:
        sid = json.loads(socket.receive()[1:])["sid"]
        assert is_accepted_and_closed(url, sid)
        assert ask(url, f"{POLLING}&sid={sid}") == BAD_REQUEST
        assert ask(url, f"{POLLING}&sid={sid}", "POST", "4no") == BAD_REQUEST
        socket.send("4x")
        assert socket.receive() == "4x"


@pytest.mark.parametrize(
    ("before", "how"),
    [([], how) for how in ("close", "abort", "5", "4x", "abc", "2")]
    + [(["2probe"], how) for how in ("close", "abort", "4x", "abc", "2")],
)
def test_an_upgrade_that_comes_to_nothing_leaves_polling_as_it_was(url: str, before: list[str], how: str) -> None:
    polling = Polling(url)
    polling.send("4one")
    with polling.websocket() as socket:
        for packet in before:
            socket.send(packet)
            assert socket.receive() == "3probe"
        if how in ("close", "abort"):
            getattr(socket, how)()
        else:
            socket.send(how)
            assert socket.wait_until_closed() == CloseCode.PROTOCOL_ERROR
        polling.send("4two")
        assert polling.receive(2) == ["4one", "4two"]
    wait_until(lambda: is_upgraded(polling), "another WebSocket is accepted")


def is_upgraded(polling: Polling) -> bool:
    try:
        with polling.upgraded() as socket:
            socket.send("4three")
            return socket.receive() == "4three"
    except (AssertionError, ConnectionClosed):  # the last one still tries, as the server sees it
        return False


def test_a_session_that_ends_during_an_upgrade_takes_the_websocket_with_it(url: str) -> None:
    polling = Polling(url)
    with polling.websocket() as socket:
        socket.probe()
        polling.send("1")
        assert socket.wait_until_closed() == CloseCode.GOING_AWAY
    assert polling.is_gone()


def test_nothing_is_lost_or_changes_places_while_a_flood_is_upgraded(
    url: str, headers: list[tuple[str, str]] | None
) -> None:
    polling = Polling(url)
    count = 2000
    expected = [f"4{number}" for number in range(count)]
    polling.send(f"4flood {count}")
    received = polling.poll().packets
    with polling.websocket(headers) as socket:
        socket.send("2probe")
        received += polling.poll().packets
        assert socket.receive() == "3probe"
        received += polling.poll().packets
        socket.send("5")
        received = [packet for packet in received if packet != NOOP]
        received += [str(socket.receive()) for _ in range(count - len(received))]
        assert received == expected
        socket.send("4the last")
        assert socket.receive() == "4the last"
