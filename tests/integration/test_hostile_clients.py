"""What no honest client sends: it is refused or cut off, others feel nothing, and no traceback is logged."""

import json
import random
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil
import pytest
import requests
from websockets.frames import CloseCode, Opcode

from raw_client import RawClient, connect, frame, handshake, raw_client, read_all, reset
from servers import Hazoom, OfficialClient, hazoom, unique, wait_until


@pytest.fixture(scope="module")
def server(async_mode: str) -> Iterator[Hazoom]:
    with hazoom(async_mode=async_mode, env={"HAZOOM_RATE_LIMIT_PER_S": "0"}) as server:
        yield server


@pytest.fixture(scope="module")
def impatient_server(async_mode: str) -> Iterator[Hazoom]:
    """A server that waits for nobody longer than a moment."""
    env = {"HAZOOM_REQUEST_TIMEOUT_S": "0.2", "HAZOOM_PING_INTERVAL_S": "0.2", "HAZOOM_PING_TIMEOUT_S": "0.2"}
    with hazoom(async_mode=async_mode, env=env | {"HAZOOM_CONNECT_TIMEOUT_S": "0.2"}) as server:
        yield server


@pytest.fixture(scope="module")
def node() -> Iterator[OfficialClient]:
    with OfficialClient() as node:
        yield node


@pytest.fixture
def client(node: OfficialClient) -> OfficialClient:
    """One process for all these tests: starting one takes longer than most of them."""
    return node


@contextmanager
def one_log_line(server: Hazoom, *words: str) -> Iterator[None]:
    """Check that the server logs one line with these words, unless one within the last minute had them already."""
    before = server.log
    yield
    lines = server.log.removeprefix(before).splitlines()
    assert len(lines) <= 1, lines
    known = [line for line in server.log.splitlines() if all(word in line for word in words)]
    assert known
    assert set(lines) <= set(known)


def open_file_count(server: Hazoom) -> int:
    return psutil.Process(server.child.process.pid).num_fds()


def test_a_forged_connect_or_disconnect_is_an_unknown_event(server: Hazoom, neighbour: None) -> None:
    with raw_client(server) as raw:
        for name in ("connect", "disconnect"):
            raw.send(f'42["{name}",{{}},{{"user_name":"Mallory"}}]')
            assert raw.receive_event("error")["code"] == "unknown_event"
        raw.send('421["message",{"message":"mine"}]')
        assert raw.receive_event("new_message")["user"].startswith("Guest-")


@pytest.mark.parametrize(
    "text",
    [
        '42["message",{"message":NaN}]',
        '42["message",' + '{"x":' * 40 + "1" + "}" * 40 + "]",
        '42["message",' + "[" * 3000 + "]" * 3000 + "]",
        '451-["message",{"message":{"_placeholder":true,"num":0}}]',
    ],
)
def test_a_payload_that_may_not_be_is_refused_and_the_next_one_is_served(
    server: Hazoom, neighbour: None, text: str
) -> None:
    with raw_client(server) as raw:
        raw.send(text)
        if text.startswith("451-"):
            raw.send_bytes(frame(Opcode.BINARY, b"the binary part of the event"))
        assert raw.receive_event("error")["code"] == "bad_payload"
        raw.send('42["message",{"message":"hi"}]')
        assert raw.receive_event("new_message")["message"] == "hi"


LONG = "a" * 900_000
TOO_LARGE = {
    "a long message": f'421["message",{{"message":"{LONG}"}}]',
    "a long text and NaN": f'421["x","{LONG}",NaN]',
    "brackets": f'421["x",{"[" * 900_000}',
    "escapes in a string that does not end": '421["x",' + "[" * 40 + '"' + '\\"' * 450_000,
    "fractions that are hard to read": '421["x",[0' + ",2.2250738585072011e-308" * 37_000 + ",NaN]]",
}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in TOO_LARGE.items()])
def test_an_event_over_its_limit_is_refused_before_it_is_read_and_the_next_one_is_served(
    server: Hazoom, neighbour: None, text: str
) -> None:
    with raw_client(server) as raw:
        for _ in range(3):
            raw.send(text)
            while not (answer := raw.receive()).startswith("431["):
                pass
            error = json.loads(answer[3:])[0]["error"]
            assert error["code"] == "too_large"
            assert "131072" in error["message"]
        raw.send('42["message",{"message":"hi"}]')
        assert raw.receive_event("new_message")["message"] == "hi"


def test_an_auth_over_the_limit_of_an_event_is_refused(server: Hazoom, neighbour: None) -> None:
    with raw_client(server, join=False) as raw:
        raw.send(f'40{{"user_name":"{LONG}"}}')
        answer = raw.receive()
        assert answer.startswith("44{")
        assert json.loads(answer[2:])["data"]["code"] == "too_large"
        raw.send("40")
        assert raw.receive_event("status")["connected"] is True


def test_escapes_in_a_string_that_does_not_end_end_the_session_and_keep_nobody_waiting(
    server: Hazoom, neighbour: None
) -> None:
    # The check of depth once went back over all of it for each quote: 64 KB stopped the server for 20 s.
    for prefix in ("42", "40", "43/rooms,1"):
        with raw_client(server, join=False) as raw:
            raw.send(prefix + '["x",' + "[" * 40 + '"' + '\\"' * 60_000)
            assert raw.wait_until_closed() == CloseCode.PROTOCOL_ERROR


def test_fragments_of_nothing_keep_nobody_waiting_and_are_a_message_in_the_end(server: Hazoom, neighbour: None) -> None:
    with raw_client(server) as raw:
        nothing = frame(Opcode.CONT, b"", fin=False)
        raw.send_bytes(frame(Opcode.TEXT, b'42["message",', fin=False) + nothing * 50_000)
        raw.send_bytes(frame(Opcode.CONT, b'{"message":"at last"}]'))
        assert raw.receive_event("new_message")["message"] == "at last"


def test_who_sends_more_bytes_than_a_line_takes_is_refused_and_no_reader_is_closed(
    async_mode: str, client: OfficialClient
) -> None:
    with hazoom(async_mode=async_mode) as server, raw_client(server) as raw, raw_client(server, stalls=True) as reader:
        text = "x" * 65_000
        for number in range(20):
            raw.send(f'42{number}["message",{{"message":"{text}"}}]')
        replies = []
        while len(replies) < 20:
            answer = raw.receive()
            if answer.startswith("43"):
                replies.append(json.loads(answer[answer.index("[") :])[0])
        assert [reply["ok"] for reply in replies[:4]] == [True] * 4
        refused = [reply["error"] for reply in replies if not reply["ok"]]
        assert len(refused) >= 10
        assert {error["code"] for error in refused} == {"rate_limited"}
        assert all(error["retry_at"] > 0 for error in refused)
        assert len(replies) - len(refused) >= 4
        user = client.connect(server.url)
        assert user.emit("message", {"message": "the last"})["ok"] is True
        while reader.receive_event("new_message")["message"] != "the last":
            pass
        assert "too slowly" not in server.log


@pytest.mark.parametrize(
    "text", ["42[]", "42{}", "42", "44{}", "4", "4x", '42abc["message",{}]', '42["message",', "41{}", "x", ""]
)
def test_a_packet_that_is_none_ends_the_session(server: Hazoom, neighbour: None, text: str) -> None:
    with raw_client(server) as raw:
        raw.send(text)
        assert raw.wait_until_closed() == CloseCode.PROTOCOL_ERROR


def test_a_namespace_that_is_not_there_is_refused_with_an_object(server: Hazoom, neighbour: None) -> None:
    with raw_client(server) as raw:
        raw.send("40/admin,")
        while not (text := raw.receive()).startswith("44/admin,"):
            pass
        assert json.loads(text.removeprefix("44/admin,"))["message"]


def test_a_client_that_never_connects_gets_nothing_and_is_counted_nowhere(server: Hazoom, neighbour: None) -> None:
    with raw_client(server, join=False) as silent, raw_client(server) as raw:
        silent.send('42["message",{"message":"hi"}]')
        raw.send('421["get_stats"]')
        assert raw.receive_event("stats")["total_connections"] == 2
        silent.send("40/nowhere,")
        assert silent.receive().startswith("44/nowhere,")


def masked(first: int, second: int, rest: bytes = b"") -> bytes:
    """Return the start of a frame whose mask is zero."""
    return bytes([first, second | 0x80]) + rest


FRAMES = {
    "a frame that is not masked": (frame(Opcode.TEXT, b'42["message",{}]', mask=False), 1002, "not masked"),
    "a reserved bit, as compression sets it": (masked(0xC1, 2, b"\0\0\0\0hi"), 1002, "reserved bit"),
    "an opcode that does not exist": (masked(0x83, 0, bytes(4)), 1002, "opcode 3"),
    "a continuation of nothing": (frame(Opcode.CONT, b"x"), 1002, "continues nothing"),
    "a message within a message": (frame(Opcode.TEXT, b"4", fin=False) + frame(Opcode.TEXT, b"4"), 1002, "within"),
    "a ping of 126 bytes": (masked(0x89, 126, b"\0\x7e" + bytes(130)), 1002, "125"),
    "a fragmented ping": (masked(0x09, 0, bytes(4)), 1002, "fragmented"),
    "a message of 2 GB": (masked(0x82, 127, struct.pack("!Q", 2 << 30)), 1009, "longer than 1000000"),
    "a message of 2**63 bytes": (masked(0x82, 127, struct.pack("!Q", 1 << 63)), 1009, "longer than 1000000"),
    "a message of one byte too many": (masked(0x82, 127, struct.pack("!Q", 1_000_001)), 1009, "longer than 1000000"),
    "text that is not UTF-8": (frame(Opcode.TEXT, b"4\xff"), 1007, "UTF-8"),
    "text that is not UTF-8 over two fragments": (
        frame(Opcode.TEXT, b"4\xc3", fin=False) + frame(Opcode.CONT, b"("),
        1007,
        "UTF-8",
    ),
    "a close frame of one byte": (frame(Opcode.CLOSE, b"\x03"), 1002, "no valid code"),
    "a close code that may not be sent": (frame(Opcode.CLOSE, struct.pack("!H", 1005)), 1002, "no valid code"),
    "a close reason that is not UTF-8": (frame(Opcode.CLOSE, b"\x03\xe8\xff"), 1007, "UTF-8"),
}


@pytest.mark.parametrize(("sent", "code", "words"), [pytest.param(*case, id=name) for name, case in FRAMES.items()])
def test_who_breaks_the_websocket_protocol_is_closed_with_its_code_and_logged_in_one_line(
    server: Hazoom, neighbour: None, sent: bytes, code: int, words: str
) -> None:
    with one_log_line(server, "broke the WebSocket protocol", words), raw_client(server) as raw:
        raw.send_bytes(sent)
        assert raw.wait_until_closed() == code


@pytest.mark.parametrize("fragment_bytes", [65_536, 900_000])
def test_fragments_without_end_are_cut_off_at_the_limit_of_a_message(
    server: Hazoom, neighbour: None, fragment_bytes: int
) -> None:
    with one_log_line(server, "longer than 1000000"), raw_client(server) as raw:
        raw.send_bytes(frame(Opcode.TEXT, b"4" * fragment_bytes, fin=False))
        sent_bytes, fragment = fragment_bytes, frame(Opcode.CONT, b"4" * fragment_bytes, fin=False)
        while not select.select([raw.connection], [], [], 0)[0]:
            assert sent_bytes < 41 * 900_000
            raw.send_bytes(fragment)
            sent_bytes += fragment_bytes
        assert raw.wait_until_closed() == CloseCode.MESSAGE_TOO_BIG


def test_a_close_frame_is_answered_with_one_and_is_nothing_to_log(server: Hazoom, neighbour: None) -> None:
    before = server.log
    for payload in (b"", struct.pack("!H", 1000), struct.pack("!H", 4999) + "tschüß".encode()):
        with raw_client(server) as raw:
            raw.send_bytes(frame(Opcode.CLOSE, payload))
            assert raw.wait_until_closed() == CloseCode.NORMAL_CLOSURE
    assert server.log == before


def test_frames_that_arrive_byte_by_byte_are_served(server: Hazoom, neighbour: None) -> None:
    with raw_client(server) as raw:
        text = unique("ü")
        sent = frame(Opcode.TEXT, b'421["message",', fin=False) + frame(Opcode.PING, b"")
        sent += frame(Opcode.CONT, json.dumps({"message": text}).encode() + b"]")
        for position in range(len(sent)):
            raw.send_bytes(sent[position : position + 1])
        assert raw.receive_event("new_message")["message"] == text


def test_a_handshake_that_arrives_in_pieces_is_served(server: Hazoom, neighbour: None) -> None:
    before = server.log
    for piece_bytes in (1, 50):
        with connect(server) as connection:
            request = handshake()
            for position in range(0, len(request), piece_bytes):
                connection.sendall(request[position : position + piece_bytes])
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += connection.recv(1)
            assert head.startswith(b"HTTP/1.1 101 ")
            raw = RawClient(connection)
            assert raw.receive().startswith("0{")
            raw.send("40")
            raw.receive_event("status")
            raw.send_bytes(frame(Opcode.CLOSE, b""))
            assert raw.wait_until_closed() == CloseCode.NORMAL_CLOSURE
    assert server.log == before


def test_a_message_of_the_limit_is_served_whole_and_in_fragments_and_one_byte_more_is_too_large(
    server: Hazoom, neighbour: None
) -> None:
    with raw_client(server) as raw:
        longest = "ü" * 32_768
        event = ["message", {"message": longest}]
        packet = f"42{json.dumps(event, ensure_ascii=False)}".encode()
        raw.send_bytes(frame(Opcode.TEXT, packet))
        assert raw.receive_event("new_message")["message"] == longest
        raw.send_bytes(frame(Opcode.TEXT, packet[:30_001], fin=False) + frame(Opcode.CONT, packet[30_001:]))
        assert raw.receive_event("new_message")["message"] == longest
        raw.send(f'42["message",{{"message":"{longest}x"}}]')
        assert raw.receive_event("error")["code"] == "too_large"


def test_a_flood_of_one_is_acknowledged_in_order_and_the_others_are_served_meanwhile(
    server: Hazoom, client: OfficialClient
) -> None:
    user = client.connect(server.url)
    is_served, sent_count = threading.Event(), 0
    with raw_client(server) as raw:

        def flood() -> None:
            nonlocal sent_count
            while sent_count < 20_000 or not is_served.is_set():
                ids = range(sent_count, sent_count + 1000)
                burst = b"".join(
                    frame(Opcode.TEXT, f'42{number}["typing",{{"is_typing":false}}]'.encode()) for number in ids
                )
                sent_count += 1000
                raw.send_bytes(burst)

        def read() -> None:
            with suppress(EOFError, ConnectionError):
                while len(acknowledged) < sent_count or flooding.is_alive():
                    text = raw.receive()
                    if text.startswith("43"):
                        acknowledged.append(text)

        acknowledged: list[str] = []
        flooding = threading.Thread(target=flood)
        reading = threading.Thread(target=read)
        flooding.start()
        reading.start()
        try:
            wait_until(lambda: acknowledged, "the flood is being served")
            assert user.emit("message", {"message": "hi"})["ok"] is True
        finally:
            is_served.set()
            flooding.join()
            raw.send(f'42{sent_count}["typing",{{}}]')  # so that the reader has something to end with
            reading.join()
        assert acknowledged[:sent_count] == [f'43{number}[{{"ok":true}}]' for number in range(sent_count)]
    user.disconnect()


@pytest.mark.parametrize(
    "sent", [b"", b"GET /soc", handshake()[:-2], b"POST /socket.io/ HTTP/1.1\r\nContent-Length: 9\r\n"]
)
def test_who_does_not_finish_a_request_is_closed_in_time(impatient_server: Hazoom, sent: bytes) -> None:
    with connect(impatient_server) as connection:
        connection.sendall(sent)
        assert b" 101 " not in read_all(connection)


def test_who_never_finishes_a_header_is_closed_in_time_though_he_keeps_sending(impatient_server: Hazoom) -> None:
    with connect(impatient_server) as connection:
        connection.sendall(handshake("X-Endless: a")[:-2])

        def is_closed() -> bool:
            if select.select([connection], [], [], 0.01)[0]:
                return True
            with suppress(ConnectionError):
                connection.sendall(b"a")
            return False

        wait_until(is_closed, "the connection is closed")
        assert b" 101 " not in read_all(connection)


def test_who_never_finishes_a_request_line_is_closed_in_time_though_he_keeps_sending(impatient_server: Hazoom) -> None:
    with connect(impatient_server) as connection:

        def is_closed() -> bool:
            if select.select([connection], [], [], 0.01)[0]:
                return True
            with suppress(ConnectionError):
                connection.sendall(b"G")
            return False

        wait_until(is_closed, "the connection is closed")
        assert b" 101 " not in read_all(connection)


@pytest.mark.parametrize("join", [True, False])
def test_of_a_client_that_just_stays_silent_nothing_is_kept_open(impatient_server: Hazoom, join: bool) -> None:
    before = open_file_count(impatient_server)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(raw_client(impatient_server, join=join))
        # The other ends are still open here, and neither read nor write.
        wait_until(lambda: open_file_count(impatient_server) <= before, "the server has closed its sockets")
        assert impatient_server.stats()["total_connections"] == 0


@pytest.mark.parametrize(
    "head",
    [
        handshake(f"X-Long: {'a' * 100_000}\r\n"),
        handshake("".join(f"X-{number}: {'a' * 100}\r\n" for number in range(1000))),
        handshake().replace(b"EIO=4", b"EIO=4&x=" + b"a" * 100_000),
    ],
    ids=["one header", "many headers", "the query"],
)
def test_a_request_head_of_100_kb_is_refused(server: Hazoom, neighbour: None, head: bytes) -> None:
    with connect(server) as connection:
        with suppress(ConnectionError):
            connection.sendall(head)
        answer = read_all(connection)  # nothing, if what was not read of the head has turned the answer into a reset
        assert not answer or answer.split(b" ")[1] in (b"400", b"414", b"431")


@pytest.mark.parametrize(
    ("change", "statuses"),
    [
        ((b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 12"), (b"400",)),
        ((b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: x"), (b"400",)),
        ((b"Sec-WebSocket-Key", b"Sec-WebSocket-Cay"), (b"400",)),
        ((b"EIO=4", b"EIO=3"), (b"400",)),
        ((b"EIO=4", b"sid=nobody"), (b"400",)),
        ((b"transport=websocket", b"transport=polling"), (b"400",)),
        ((b"transport=websocket", b"transport=telepathy"), (b"400",)),
        ((b"Upgrade: websocket", b"Upgrade: h2c"), (b"400",)),
        ((b"GET", b"POST"), (b"400",)),
        ((b"GET", b"\xff\xfe"), (b"400", b"405", b"501")),
        ((b"Host: 127.0.0.1", b"Origin: http://evil.example"), (b"400",)),
    ],
)
def test_a_wrong_handshake_is_answered_with_an_error(
    server: Hazoom, neighbour: None, change: tuple[bytes, bytes], statuses: tuple[bytes, ...]
) -> None:
    with connect(server) as connection:
        connection.sendall(handshake("Connection: close\r\n" if change[0] == b"GET" else "").replace(*change))
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection).split(b" ")[1] in statuses


def damaged(request: bytes, chance: random.Random) -> bytes:
    """Return a request that is nearly right, or noise."""
    if chance.random() < 0.3:
        return chance.randbytes(chance.randrange(1, 300))
    data = bytearray(request)
    for _ in range(chance.randrange(1, 6)):
        position = chance.randrange(len(data))
        data[position : position + chance.randrange(3)] = chance.choice(
            [b"", b"\r\n", b"\n", b"\0", b" ", b":", b"\xff", chance.randbytes(3), b"HTTP/1.1", b"Content-Length: 5\r\n"]
        )
    return bytes(data)


def test_random_bytes_instead_of_a_handshake_hurt_nobody(server: Hazoom, neighbour: None) -> None:
    chance = random.Random(1)
    for _ in range(200):
        with connect(server) as connection, suppress(ConnectionError):
            connection.sendall(damaged(handshake(), chance))
            connection.shutdown(socket.SHUT_WR)
            read_all(connection)


def noise(chance: random.Random) -> bytes:
    """Return frames of which some are right, or just bytes."""
    packets = [
        b"",
        b"2",
        b"3",
        b"4",
        b"40",
        b"41",
        b"42",
        b"5",
        b"6",
        b"2probe",
        b'42["message",{}]',
        b'420["get_stats"]',
        b"\xff",
    ]
    data = b""
    for _ in range(chance.randrange(1, 10)):
        opcode = chance.choice([Opcode.TEXT, Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.PING, Opcode.PONG])
        part = bytearray(frame(opcode, chance.choice(packets)))
        part[0] ^= chance.choice([0, 0, 0, 0, 0x80, 0x40])
        data += part if chance.random() < 0.9 else chance.randbytes(chance.randrange(1, 20))
    return data


def test_random_frames_hurt_nobody(server: Hazoom, neighbour: None) -> None:
    chance = random.Random(2)
    for number in range(200):
        with raw_client(server, join=number % 2 == 0) as raw, suppress(ConnectionError):
            raw.send_bytes(noise(chance))
            raw.connection.shutdown(socket.SHUT_WR)
            read_all(raw.connection)


def test_a_connection_that_is_half_closed_is_closed(server: Hazoom, neighbour: None) -> None:
    for sent in (b"", handshake()[:-2], handshake()):
        with connect(server) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            read_all(connection)
    with raw_client(server) as raw:
        raw.connection.shutdown(socket.SHUT_WR)
        raw.wait_until_closed()


def test_a_reset_at_any_moment_ends_the_connection_and_is_nothing_to_log(server: Hazoom, neighbour: None) -> None:
    before = server.log
    for sent in (b"", handshake()[:10], handshake()[:-2], handshake()):
        with connect(server) as connection:
            connection.sendall(sent)
            reset(connection)
    for sent in (b"", b"\x81", frame(Opcode.TEXT, b'42["message",{"message":"hi"}]') * 50, frame(Opcode.CLOSE, b"")):
        with raw_client(server) as raw:
            raw.send_bytes(sent)
            raw.reset()
    wait_until(lambda: server.stats()["total_connections"] == 1, "they are gone")
    assert server.log == before


def test_after_all_of_this_no_socket_is_left(server: Hazoom, neighbour: None) -> None:
    before = open_file_count(server)
    for _ in range(20):
        with raw_client(server) as raw:
            raw.send_bytes(frame(Opcode.TEXT, b"", mask=False))
        with connect(server) as connection:
            connection.sendall(handshake()[:-2])
            reset(connection)
    wait_until(lambda: open_file_count(server) <= before, "the server has closed its sockets")
    assert requests.get(f"{server.url}/health", timeout=20).json()["active_connections"] == 1
