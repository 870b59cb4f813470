import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hazoom_ws.llm_bridge.sse import SseDecoder, SseEvent, SseTooLarge


def decode(*chunks: bytes, limit_bytes: int = 10**6) -> list[tuple[str, str]]:
    decoder = SseDecoder(event_limit_bytes=limit_bytes)
    return [(event.event, event.data) for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: x\n\n", [("message", "x")]),
        (b"data:x\n\n", [("message", "x")]),
        (b"data:  x\n\n", [("message", " x")]),
        (b"event: token\ndata: x\n\n", [("token", "x")]),
        (b"data: x\nevent: token\n\n", [("token", "x")]),
        (b"event: a\nevent: b\ndata: x\n\n", [("b", "x")]),
        (b"event\ndata: x\n\n", [("message", "x")]),
        (b"data: a\ndata: b\ndata\n\n", [("message", "a\nb\n")]),
        (b"data\n\n", [("message", "")]),
        (b"data: a\r\rdata: b\r\n\r\ndata: c\n\n", [("message", "a"), ("message", "b"), ("message", "c")]),
        (b"data: a\r\n\n", [("message", "a")]),
        (b": comment\n:\ndata: x\n: y\n\n", [("message", "x")]),
        (b"\n\n\ndata: x\n\n\n\n", [("message", "x")]),
        (b"event: token\n\ndata: x\n\n", [("message", "x")]),
        (b"id: 7\nretry: 5\nunknown: z\ndata: x\n\n", [("message", "x")]),
        (b"data: a:b: c\n\n", [("message", "a:b: c")]),
        (b"\xef\xbb\xbfdata: x\n\n", [("message", "x")]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [("message", "a")]),
        (b"data: x\n", []),
        (b"data: x", []),
        (b" data: x\n\n", []),
        ("data: ü😀\n\n".encode(), [("message", "ü😀")]),
        (b"data: a\xffb\xc3\n\n", [("message", "a\ufffdb\ufffd")]),
    ],
)
def test_a_stream_is_interpreted_as_the_specification_says(stream, events):
    assert decode(stream) == events
    assert decode(*(stream[position : position + 1] for position in range(len(stream)))) == events


def test_a_line_ends_with_its_cr_without_waiting_for_a_lf():
    decoder = SseDecoder(event_limit_bytes=100)
    assert decoder.feed(b"data: x\r") == []
    assert decoder.feed(b"\r") == [SseEvent("message", "x")]
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"data: y\n\n") == [SseEvent("message", "y")]


pieces = st.sampled_from(
    [b"data", b"event", b"id", b":", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"x", b"\xef\xbb\xbf", "ü😀".encode(), b"\xff"]
)
streams = st.lists(pieces, max_size=40).map(b"".join) | st.binary(max_size=80)


@given(stream=streams, cuts=st.lists(st.integers(0, 80), max_size=10))
@example(stream=b"data: x\r\n\r\n", cuts=[8])
def test_the_same_bytes_give_the_same_events_however_they_are_cut(stream, cuts):
    whole = decode(stream)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert decode(*(stream[start:stop] for start, stop in itertools.pairwise(places))) == whole
    assert decode(*(stream[position : position + 1] for position in range(len(stream)))) == whole


@given(
    events=st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1),
            st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"])),
        )
    ),
    line_end=st.sampled_from(["\n", "\r", "\r\n"]),
)
def test_what_was_encoded_is_what_comes_out(events, line_end):
    stream = "".join(
        f"event: {name}{line_end}" + "".join(f"data: {line}{line_end}" for line in data.split("\n")) + line_end
        for name, data in events
    )
    assert decode(stream.encode()) == events


@pytest.mark.parametrize(
    "stream", [b"data: " + b"x" * 200, b"data: xxxxxxxx\n" * 20, b": " + b"x" * 200, b"event:x\n" * 50]
)
def test_an_event_over_its_limit_is_refused_whole_and_byte_by_byte(stream):
    with pytest.raises(SseTooLarge, match="100 bytes"):
        decode(stream, limit_bytes=100)
    with pytest.raises(SseTooLarge):
        decode(*(stream[position : position + 1] for position in range(len(stream))), limit_bytes=100)


def test_the_limit_is_per_event():
    assert len(decode(b"data: " + b"x" * 90 + b"\n\n", b"data: " + b"x" * 90 + b"\n\n", limit_bytes=100)) == 2
