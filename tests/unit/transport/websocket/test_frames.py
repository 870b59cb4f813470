"""Frames: the same messages however the bytes are cut, and only `FrameError` for what breaks the protocol."""

import struct
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from hazoom_ws.transport.websocket import frames
from hazoom_ws.transport.websocket.frames import (
    CloseCode,
    FrameError,
    FrameReader,
    Message,
    close_frame,
    frame,
    only_text,
    opened,
    opened_all,
)

LIMIT_BYTES = 200_000

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
# Around the lengths at which the header changes its size.
sizes = st.sampled_from([0, 1, 124, 125, 126, 127, 128, 65535, 65536, 65537])
long_texts = st.builds(lambda size, char: char * size, sizes, st.sampled_from("aü"))
controls = st.builds(Message, st.sampled_from([frames.PING, frames.PONG]), st.binary(max_size=125))


def client_frame(opcode: int, data: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(Opcode(opcode), data, fin).serialize(mask=True)


@st.composite
def data_messages(draw):
    if draw(st.booleans()):
        return Message(frames.TEXT, draw(texts | long_texts))
    return Message(frames.BINARY, draw(st.binary(max_size=300)))


@st.composite
def conversations(draw):
    """Return messages in the order in which they end, and the bytes that a client sends for them."""
    expected, sent = [], b""
    for message in draw(st.lists(data_messages() | controls, max_size=6)):
        opcode, data = message.opcode, message.data
        raw = data.encode() if isinstance(data, str) else data
        if opcode >= frames.CLOSE:
            expected.append(message)
            sent += client_frame(opcode, raw)
            continue
        cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=4)))
        pieces = [raw[start:end] for start, end in pairwise([0, *cuts, len(raw)])]
        for number, piece in enumerate(pieces):
            sent += client_frame(frames.CONTINUATION if number else opcode, piece, fin=number == len(pieces) - 1)
            if number < len(pieces) - 1 and draw(st.booleans()):
                control = draw(controls)
                expected.append(control)
                sent += client_frame(control.opcode, control.data)
        expected.append(message)
    return expected, sent


def read(reader: FrameReader, *pieces: bytes, is_quick: bool = True) -> list[Message]:
    """Return what the pieces hold; ``is_quick``: as the loop reads, which first asks for a text that is all there is."""
    messages = []
    for piece in pieces:
        text = only_text(piece, LIMIT_BYTES) if is_quick and reader.is_between_messages else None
        if text is not None:
            messages.append(Message(frames.TEXT, text))
            continue
        reader.feed(piece)
        while (message := reader.next_message()) is not None:
            messages.append(message)
        assert not reader.has_frame
    return messages


def cut(data: bytes, positions: list[int]) -> list[bytes]:
    ends = sorted({position for position in positions if 0 < position < len(data)})
    return [data[start:end] for start, end in pairwise([0, *ends, len(data)]) if end > start]


def held_bytes(reader: FrameReader) -> int:
    return len(reader._buffer) + len(reader._fragments or b"")


@given(conversation=conversations(), data=st.data())
def test_whole_or_cut_anywhere_the_same_bytes_give_the_same_messages(conversation, data):
    expected, sent = conversation
    positions = data.draw(st.lists(st.integers(0, len(sent)), max_size=12))
    for pieces in ([sent], cut(sent, positions)):
        for is_quick in (False, True):
            reader = FrameReader(LIMIT_BYTES)
            assert read(reader, *pieces, is_quick=is_quick) == expected
            assert held_bytes(reader) == 0


@given(message=texts | long_texts, data=st.data())
def test_only_a_whole_text_is_read_quickly(message, data):
    sent = client_frame(frames.TEXT, message.encode())
    assert only_text(sent, LIMIT_BYTES) == (message if len(message.encode()) < 65536 else None)
    assert only_text(sent + data.draw(st.binary(min_size=1, max_size=9)), LIMIT_BYTES) is None
    assert only_text(sent[: data.draw(st.integers(0, len(sent) - 1))], LIMIT_BYTES) is None
    assert only_text(struct.pack("!BBQ4s119s", 0x81, 0xFF, 119, bytes(4), b"a" * 119), LIMIT_BYTES) is None
    assert only_text(client_frame(frames.TEXT, b"a" * 1000), 1000) == "a" * 1000
    assert only_text(client_frame(frames.TEXT, b"a" * 1001), 1000) is None


def test_a_reader_is_between_messages_when_nothing_of_one_is_left():
    reader = FrameReader(LIMIT_BYTES)
    assert reader.is_between_messages
    in_fragments = client_frame(frames.TEXT, b"a", fin=False) + client_frame(frames.CONTINUATION, b"b")
    for sent in (client_frame(frames.TEXT, b"a"), in_fragments):
        for position in range(len(sent)):
            assert reader.next_message() is None
            assert not reader.is_between_messages or position == 0
            reader.feed(sent[position : position + 1])
        assert not reader.is_between_messages
        assert reader.next_message() is not None
        assert reader.is_between_messages


@given(conversation=conversations())
def test_byte_by_byte_the_same_bytes_give_the_same_messages(conversation):
    expected, sent = conversation
    # A long payload is cut at its edges only, which is where something could go wrong.
    positions = range(1, len(sent)) if len(sent) < 2000 else [*range(1, 1000), *range(len(sent) - 1000, len(sent))]
    reader = FrameReader(LIMIT_BYTES)
    assert read(reader, *cut(sent, list(positions))) == expected
    assert held_bytes(reader) == 0


def outcome(*pieces: bytes) -> tuple[list[Message], CloseCode | None]:
    """Return what was read before an error, and the error's code."""
    reader, messages = FrameReader(1000), []
    try:
        for piece in pieces:
            text = only_text(piece, 1000) if reader.is_between_messages else None
            if text is not None:
                messages.append(Message(frames.TEXT, text))
                continue
            reader.feed(piece)
            while (message := reader.next_message()) is not None:
                messages.append(message)
    except FrameError as error:
        return messages, error.code
    return messages, None


headers = st.builds(
    lambda first, second: bytes([first, second]),
    st.sampled_from([0x81, 0x82, 0x80, 0x00, 0x01, 0x02, 0x88, 0x89, 0x8A, 0x09, 0xC1, 0x83, 0x8B]) | st.integers(0, 255),
    st.sampled_from([0x80, 0x81, 0x82, 0x85, 0xFD, 0xFE, 0xFF, 0x05]) | st.integers(0, 255),
)
noise = st.lists(headers | st.binary(max_size=12), max_size=12).map(b"".join)


@given(data=noise | st.binary(max_size=200), positions=st.lists(st.integers(0, 200), max_size=8))
def test_any_bytes_give_messages_or_a_frame_error_and_cutting_changes_neither(data, positions):
    whole = outcome(data)
    assert outcome(*cut(data, positions)) == whole
    assert outcome(*(data[position : position + 1] for position in range(len(data)))) == whole


def masked(first: int, size: bytes, payload: bytes = b"") -> bytes:
    """Return a frame with that first byte and that length field, which gets its mask bit; the mask is zero."""
    return bytes([first, size[0] | 0x80]) + size[1:] + bytes(4) + payload


def size_of_64_bits(number: int) -> bytes:
    return b"\x7f" + struct.pack("!Q", number)


VIOLATIONS = [
    ("a frame that is not masked", frame(frames.TEXT, b"hi"), 1002),
    ("a control frame that is not masked", frame(frames.PING, b""), 1002),
    ("reserved bit 1", masked(0xC1, b"\0"), 1002),
    ("reserved bit 2", masked(0xA1, b"\0"), 1002),
    ("reserved bit 3", masked(0x91, b"\0"), 1002),
    ("a reserved bit of a control frame", masked(0xC9, b"\0"), 1002),
    *((f"opcode {opcode}", masked(0x80 | opcode, b"\0"), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    ("a continuation of nothing", client_frame(frames.CONTINUATION, b"x"), 1002),
    (
        "a continuation after the end",
        client_frame(frames.TEXT, b"a", fin=False) + client_frame(frames.CONTINUATION, b"b") * 2,
        1002,
    ),
    (
        "a message within a fragmented one",
        client_frame(frames.TEXT, b"a", fin=False) + client_frame(frames.TEXT, b"b"),
        1002,
    ),
    (
        "a fragmented message within a fragmented one",
        client_frame(frames.BINARY, b"a", fin=False) * 2,
        1002,
    ),
    ("a ping of 126 bytes", masked(0x89, b"\x7e\x00\x7e", bytes(126)), 1002),
    ("a ping of 64-bit length", masked(0x89, size_of_64_bits(5), bytes(5)), 1002),
    ("a fragmented ping", masked(0x09, b"\0"), 1002),
    ("a fragmented close", masked(0x08, b"\0"), 1002),
    ("a message of 2 GB", masked(0x81, size_of_64_bits(2 << 30)), 1009),
    ("a message of 2**63 bytes", masked(0x81, size_of_64_bits(1 << 63)), 1009),
    ("a message of 2**64 - 1 bytes", masked(0x82, size_of_64_bits((1 << 64) - 1)), 1009),
    (
        "a last fragment of 2 GB",
        client_frame(frames.TEXT, b"a", fin=False) + masked(0x80, size_of_64_bits(2 << 30)),
        1009,
    ),
    (
        "fragments without end",
        client_frame(frames.BINARY, bytes(65536), fin=False)
        + client_frame(frames.CONTINUATION, bytes(65536), fin=False) * 3,
        1009,
    ),
    ("text that is not UTF-8", client_frame(frames.TEXT, b"\xff"), 1007),
    ("text with half a character", client_frame(frames.TEXT, "ü".encode()[:1]), 1007),
    ("text with a surrogate", client_frame(frames.TEXT, b"\xed\xa0\x80"), 1007),
    ("text with an overlong form", client_frame(frames.TEXT, b"\xc0\xaf"), 1007),
    (
        "text that goes wrong in its second fragment",
        client_frame(frames.TEXT, "aü".encode()[:-1], fin=False) + client_frame(frames.CONTINUATION, b"a"),
        1007,
    ),
    ("a close frame of one byte", client_frame(frames.CLOSE, b"\x03"), 1002),
    *(
        (f"close code {code}", client_frame(frames.CLOSE, struct.pack("!H", code)), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    ),
    ("a close reason that is not UTF-8", client_frame(frames.CLOSE, b"\x03\xe8\xff"), 1007),
]


@pytest.mark.parametrize(("sent", "code"), [pytest.param(*case[1:], id=case[0]) for case in VIOLATIONS])
def test_what_breaks_the_protocol_has_its_close_code_however_it_is_cut(sent, code):
    byte_by_byte = [sent[position : position + 1] for position in range(len(sent))] if len(sent) < 1000 else [sent]
    for pieces in ([sent], byte_by_byte):
        reader = FrameReader(LIMIT_BYTES)
        with pytest.raises(FrameError) as caught:
            read(reader, *pieces)
        assert caught.value.code == code


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
def test_a_close_frame_with_a_code_that_may_be_sent_is_right(code):
    payload = Close(CloseCode.NORMAL, "tschüß").serialize()[2:]
    sent = client_frame(frames.CLOSE, struct.pack("!H", code) + payload)
    assert read(FrameReader(LIMIT_BYTES), sent) == [Message(frames.CLOSE, struct.pack("!H", code) + payload)]


def test_a_close_frame_may_be_empty():
    assert read(FrameReader(LIMIT_BYTES), client_frame(frames.CLOSE)) == [Message(frames.CLOSE, b"")]


def test_a_character_may_be_cut_by_fragments():
    raw = "ü€😀".encode()
    sent = client_frame(frames.TEXT, raw[:1], fin=False)
    sent += b"".join(client_frame(frames.CONTINUATION, raw[at : at + 1], fin=False) for at in range(1, len(raw)))
    assert read(FrameReader(LIMIT_BYTES), sent + client_frame(frames.CONTINUATION)) == [Message(frames.TEXT, "ü€😀")]


@pytest.mark.parametrize("limit_bytes", [10, 125, 126, 1000, 65535, 65536])
def test_a_whole_message_of_the_limit_is_read_and_one_byte_more_is_refused_by_its_header(limit_bytes):
    sent = client_frame(frames.BINARY, bytes(limit_bytes))
    assert read(FrameReader(limit_bytes), sent) == [Message(frames.BINARY, bytes(limit_bytes))]
    header = client_frame(frames.BINARY, bytes(limit_bytes + 1))[: -limit_bytes - 5]
    with pytest.raises(FrameError) as caught:
        read(FrameReader(limit_bytes), header)
    assert caught.value.code == CloseCode.TOO_BIG


def test_a_fragmented_message_of_the_limit_is_read_and_one_byte_more_is_refused():
    start = client_frame(frames.BINARY, bytes(600), fin=False)
    assert read(FrameReader(1000), start + client_frame(frames.CONTINUATION, bytes(400))) == [
        Message(frames.BINARY, bytes(1000))
    ]
    with pytest.raises(FrameError) as caught:
        read(FrameReader(1000), start + client_frame(frames.CONTINUATION, bytes(401))[:4])
    assert caught.value.code == CloseCode.TOO_BIG


def test_a_control_frame_between_fragments_is_not_counted_to_their_message():
    ping = client_frame(frames.PING, bytes(125))
    sent = client_frame(frames.BINARY, bytes(990), fin=False) + ping + client_frame(frames.CONTINUATION, bytes(10))
    assert [message.opcode for message in read(FrameReader(1000), sent)] == [frames.PING, frames.BINARY]


def test_the_limit_holds_for_each_message_anew():
    reader = FrameReader(1000)
    fragmented = client_frame(frames.BINARY, bytes(500), fin=False) + client_frame(frames.CONTINUATION, bytes(500))
    assert len(read(reader, (fragmented + client_frame(frames.BINARY, bytes(1000))) * 3)) == 6


@pytest.mark.parametrize("size_bytes", [2 << 30, 1 << 63])
def test_nothing_of_a_message_that_is_too_big_is_waited_for(size_bytes):
    reader = FrameReader(LIMIT_BYTES)
    with pytest.raises(FrameError):
        read(reader, bytes([0x82, 0xFF]) + struct.pack("!Q", size_bytes))  # not even its mask is here


class CountingBytes(bytearray):
    """Counts the bytes that are read from it, which is all that a reader could do too often."""

    read_bytes = 0

    def __getitem__(self, key):
        value = super().__getitem__(key)
        CountingBytes.read_bytes += len(value) if isinstance(key, slice) else 1
        return value


@pytest.mark.parametrize("piece_bytes", [1, 1000])
def test_a_long_message_in_small_pieces_costs_what_its_length_costs(piece_bytes):
    size_bytes = 1_000_000
    sent = client_frame(frames.BINARY, bytes(size_bytes))
    reader = FrameReader(size_bytes)
    CountingBytes.read_bytes = 0
    messages, buffers = [], set()
    for position in range(0, len(sent), piece_bytes):
        reader.feed(sent[position : position + piece_bytes])
        if type(reader._buffer) is bytearray:
            reader._buffer = CountingBytes(reader._buffer)
        buffers.add(id(reader._buffer))
        message = reader.next_message()
        if message is not None:
            messages.append(message)
    assert [len(message.data) for message in messages] == [size_bytes]
    assert CountingBytes.read_bytes < size_bytes + 200  # its header now and then, its payload once
    assert len(buffers) < 30  # and it is never copied from one buffer to another


def test_many_short_messages_in_one_piece_are_not_copied_for_each_other():
    sent = client_frame(frames.TEXT, b"hi") * 10_000
    reader = FrameReader(LIMIT_BYTES)
    reader.feed(sent)
    buffer = reader._buffer
    for _ in range(9_999):
        assert reader.next_message() == Message(frames.TEXT, "hi")
        assert reader.has_frame
        assert reader._buffer is buffer
    assert reader.next_message() == Message(frames.TEXT, "hi")
    assert not reader.has_frame
    assert held_bytes(reader) == 0


def test_has_frame_tells_whether_there_is_something_to_ask_for():
    reader = FrameReader(LIMIT_BYTES)
    assert not reader.has_frame
    first, second = client_frame(frames.TEXT, b"a"), client_frame(frames.TEXT, bytes(200))
    reader.feed(first + second[:1])
    assert reader.has_frame
    assert reader.next_message() == Message(frames.TEXT, "a")
    assert reader.next_message() is None
    assert not reader.has_frame
    reader.feed(second[1:-1])
    reader.next_message()
    assert not reader.has_frame  # the last byte is missing, and the reader knows it
    reader.feed(second[-1:])
    assert reader.has_frame
    assert reader.next_message() == Message(frames.TEXT, "\0" * 200)
    assert not reader.has_frame


def test_a_reader_that_has_read_everything_is_small():
    reader = FrameReader(LIMIT_BYTES)
    fragments = client_frame(frames.BINARY, bytes(90_000), fin=False) + client_frame(frames.CONTINUATION, bytes(90_000))
    read(reader, *cut(fragments, list(range(0, 180_000, 777))))
    assert held_bytes(reader) == 0
    assert reader._fragments is None
    assert sys.getsizeof(reader) + sys.getsizeof(reader._buffer) < 200


@given(opcode=st.sampled_from([frames.TEXT, frames.BINARY]), text=texts | long_texts)
def test_a_frame_is_what_the_library_reads_and_opened_reads_it_too(opcode, text):
    payload = text.encode()
    framed = frame(opcode, payload)
    assert framed == Frame(Opcode(opcode), payload).serialize(mask=False)
    assert opened(framed) == Message(opcode, text if opcode == frames.TEXT else payload)
    client = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
    client.receive_data(framed)
    (event,) = client.events_received()
    assert (event.opcode, bytes(event.data), event.fin) == (opcode, payload, True)


@given(said=st.lists(texts | long_texts | st.binary(max_size=300) | st.just(bytes(65_536)), max_size=4))
def test_frames_that_were_joined_are_opened_again(said):
    joined = b"".join(
        frame(frames.TEXT, one.encode()) if isinstance(one, str) else frame(frames.BINARY, one) for one in said
    )
    assert [message.data for message in opened_all(joined)] == said


@pytest.mark.parametrize("code", CloseCode)
def test_a_close_frame_is_what_the_library_reads(code):
    client = Protocol(Side.CLIENT, state=State.OPEN)
    client.receive_data(close_frame(code))
    assert client.close_rcvd == Close(code, "")
    assert client.parser_exc is None
