"""What a stranger's bytes cost: in time no more than their number, whatever they are, in every parser that gets them."""

import gc
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from hazoom_ws.llm_bridge.http_chunks import ChunkDecoder, MalformedChunk
from hazoom_ws.llm_bridge.sse import SseDecoder, SseTooLarge
from hazoom_ws.transport.engineio.requests import environ_of, query_of
from hazoom_ws.transport.engineio.session import MalformedPacket
from hazoom_ws.transport.socketio.packet import limited_packet_type
from hazoom_ws.transport.websocket import frames
from hazoom_ws.transport.websocket.frames import FrameError, FrameReader, frame, only_text

pytestmark = pytest.mark.long

WHOLE_BYTES = 1_000_000
GROWTH = 16  # by which the input grows; what is quadratic then takes 256 times as long
GROWTH_AT_MOST = 80  # caches are left behind on the way
LONG_ENOUGH_S = 0.001  # below that it is not the input that takes the time
ROUNDS = 5

Packet = limited_packet_type(2 * WHOLE_BYTES)  # the bound on an event would hide what the parser does


def read_packet(text: str) -> None:
    with suppress(MalformedPacket):
        Packet(encoded_packet=text)


def read_frames(data: bytes, piece_bytes: int = 65_536) -> None:
    reader = FrameReader(2 * WHOLE_BYTES)
    with suppress(FrameError):
        for start in range(0, len(data), piece_bytes):
            piece = data[start : start + piece_bytes]
            if only_text(piece, 2 * WHOLE_BYTES) is None:
                reader.feed(piece)
                while reader.has_frame:
                    reader.next_message()


def read_head(data: bytes) -> None:
    environ = environ_of(data)
    if environ is not None:
        query_of(environ)


def read_events(data: bytes, piece_bytes: int = 4096) -> None:
    decoder = SseDecoder(event_limit_bytes=2 * WHOLE_BYTES)
    with suppress(SseTooLarge):
        for start in range(0, len(data), piece_bytes):
            decoder.feed(data[start : start + piece_bytes])


def read_chunks(data: bytes, piece_bytes: int = 4096) -> None:
    decoder = ChunkDecoder()
    with suppress(MalformedChunk):
        for start in range(0, len(data), piece_bytes):
            decoder.feed(data[start : start + piece_bytes])


def text_of(start: str, again: str, end: str = "") -> Callable[[int], str]:
    return lambda size: start + again * ((size - len(start) - len(end)) // len(again)) + end


def bytes_of(start: bytes, again: bytes, end: bytes = b"") -> Callable[[int], bytes]:
    return lambda size: start + again * ((size - len(start) - len(end)) // len(again)) + end


def masked(first: int, payload: bytes = b"") -> bytes:
    """Return a client's frame of up to 125 bytes whose mask is zero."""
    return bytes([first, 0x80 | len(payload), 0, 0, 0, 0]) + payload


def long_frame(again: bytes) -> Callable[[int], bytes]:
    def make(size: int) -> bytes:
        payload = again * (size // len(again))
        return bytes([0x81, 0xFF]) + len(payload).to_bytes(8) + bytes(4) + payload

    return make


HEAD = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n"
CASES: dict[str, tuple[Callable[..., None], Callable[[int], object]]] = {
    "a string of escapes that does not end": (read_packet, text_of('2["x",' + "[" * 40 + '"', '\\"')),
    "the same for a client that is not connected": (read_packet, text_of('0{"x":' + "[" * 40 + '"', '\\"')),
    "an acknowledgement like that": (read_packet, text_of("31[" + "[" * 40 + '"', '\\"')),
    "strings of escapes": (read_packet, text_of('2["x"' + ",[" * 40, ',"\\""')),
    "a number that does not end": (read_packet, text_of('2["x",', "1")),
    "a fraction that does not end": (read_packet, text_of('2["x",0.', "1", "]")),
    "fractions that are hard to read": (read_packet, text_of('2["x",[0', ",2.2250738585072011e-308", "]]")),
    "fractions and NaN": (read_packet, text_of('2["x",[0', ",1.23456789012345678901234", ",NaN]]")),
    "whole numbers of 4,000 digits": (read_packet, text_of('2["x",[0', "," + "1" * 4000, "]]")),
    "blanks": (read_packet, text_of("2[", " ")),
    "opening brackets": (read_packet, text_of('2["x",', "[")),
    "opening braces": (read_packet, text_of('2["x",', '{"a":')),
    "lists in a list": (read_packet, text_of('2["x",[[]', ",[[[[]]]]", "]]")),
    "half characters": (read_packet, text_of('2["x","', "\\udc00", '"]')),
    "digits of a number of parts": (read_packet, text_of("5", "1")),
    "digits of an acknowledgement": (read_packet, text_of("2", "1")),
    "a namespace that does not end": (read_packet, text_of("2/", "x")),
    "a namespace and its query": (read_packet, text_of("0/x", "?")),
    "fragments of nothing": (read_frames, bytes_of(masked(0x01), masked(0x00))),
    "fragments of one byte": (read_frames, bytes_of(masked(0x01), masked(0x00, b"x"))),
    "short messages": (read_frames, bytes_of(b"", masked(0x81, b"2"))),
    "pings": (read_frames, bytes_of(b"", masked(0x89))),
    "one long message": (read_frames, long_frame(b"x")),
    "one long message that is no text": (read_frames, long_frame(b"\xc3\xa9\xff")),
    "one long message byte by byte": (lambda data: read_frames(data, 1), lambda size: long_frame(b"x")(size // 10)),
    "header lines": (read_head, bytes_of(HEAD, b"A: b\r\n", b"\r\n")),
    "a header line that does not end": (read_head, bytes_of(HEAD + b"A:", b" ")),
    "a name that does not end": (read_head, bytes_of(HEAD, b"A")),
    "an address that does not end": (read_head, bytes_of(b"GET /socket.io/?", b"&a=%20")),
    "lines of nothing": (read_events, bytes_of(b"", b"\r")),
    "data lines": (read_events, bytes_of(b"", b"data\n")),
    "a data line that does not end": (read_events, bytes_of(b"data:", b"x")),
    "a data line byte by byte": (lambda data: read_events(data, 1), lambda size: b"data:" + b"x" * (size // 10)),
    "chunks of one byte": (read_chunks, bytes_of(b"", b"1\r\nx\r\n")),
    "an extension that does not end": (read_chunks, bytes_of(b"1;", b"x")),
    "extensions": (read_chunks, bytes_of(b"", b"1;x=y\r\nz\r\n")),
    "trailers": (read_chunks, bytes_of(b"0\r\n", b"a: b\r\n")),
    "one long chunk byte by byte": (lambda data: read_chunks(data, 1), lambda size: b"fffff\r\n" + b"x" * (size // 10)),
}


def seconds(read: Callable[[object], None], data: object) -> float:
    """Return this thread's CPU time of the quickest of several rounds: what else is done can only make one slower."""
    taken_s = []
    gc.collect()
    gc.disable()  # what it costs depends on all that there is, of other tests too
    for _ in range(ROUNDS):
        started_s = time.thread_time()
        read(data)
        taken_s.append(time.thread_time() - started_s)
    gc.enable()
    return min(taken_s)


@pytest.mark.parametrize(("read", "make"), [pytest.param(*case, id=name) for name, case in CASES.items()])
def test_the_cost_grows_with_the_bytes_and_no_faster(read: Callable, make: Callable) -> None:
    # From small to large, so that what is quadratic is found out before it takes minutes.
    size = 4_000
    before_s = seconds(read, make(size))
    while size < WHOLE_BYTES:
        size *= GROWTH
        now_s = seconds(read, make(size))
        assert now_s <= max(before_s, LONG_ENOUGH_S) * GROWTH_AT_MOST, (
            f"{size} bytes: {now_s:.4f} s, before {before_s:.4f} s"
        )
        before_s = now_s


def test_the_bound_of_an_event_holds_before_it_is_parsed() -> None:
    packet = limited_packet_type(1000)
    fits, over = '2["x","' + "y" * 992 + '"]', '2["x","' + "y" * 993 + '"]'
    assert len(fits) == 1001  # with its type, which is not of the payload
    assert packet(encoded_packet=fits).data[0].problem is None
    refused = packet(encoded_packet=over).data[0]
    assert refused == "x"
    assert "1001" in str(refused.problem())
    assert "1000" in str(refused.problem())
    assert packet(encoded_packet=over[:-2] + "[" * 500).data[0].problem().code == "too_large"


def test_frames_of_nothing_use_up_a_share() -> None:
    reader = FrameReader(100)
    reader.feed(masked(0x01) + masked(0x00) * 1000 + masked(0x80, b"x"))
    calls, message = 0, None
    while message is None:
        calls += 1
        message = reader.next_message()
    assert calls > 1000 / 20
    assert message.data == "x"
    assert frames.opened(frame(frames.TEXT, b"x")).data == "x"
