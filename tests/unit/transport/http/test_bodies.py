"""A body ends where its head says, and what nobody wants of it is read over within bounds."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazoom_ws.transport.http.bodies import Body


class Watched:
    """A body and what it has called."""

    def __init__(self, data: bytes, size_bytes: int | None, *, expects: bool = False) -> None:
        self.calls: list[str] = []
        self.file = io.BufferedReader(io.BytesIO(data))
        self.body = Body(
            self.file,
            size_bytes,
            give_way=lambda: self.calls.append("give way"),
            on_whole=lambda: self.calls.append("whole"),
            before=(lambda: self.calls.append("before")) if expects else None,
        )
        self.input = io.BufferedReader(self.body)


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


@pytest.mark.parametrize(("data", "size_bytes"), [(b"hello\nworld", 11), (chunked(b"hel", b"lo\nworl", b"d"), None)])
def test_a_body_is_read_to_its_end_and_not_further(data, size_bytes):
    watched = Watched(data + b"GET / HTTP/1.1", size_bytes)
    assert watched.input.readline() == b"hello\n"
    assert watched.input.read() == b"world"
    assert watched.input.read(5) == b""
    assert watched.calls == ["whole"]
    assert watched.file.read() == b"GET / HTTP/1.1"


def test_no_body_is_whole_from_the_start():
    watched = Watched(b"rest", 0, expects=True)
    assert watched.body.is_whole
    assert watched.input.read() == b""
    assert watched.calls == ["whole"]


@pytest.mark.parametrize("is_chunked", [False, True])
def test_the_others_have_a_turn_every_64_kb(is_chunked):
    data = bytes(1_000_000)
    watched = Watched(chunked(data) if is_chunked else data, None if is_chunked else len(data))
    assert watched.input.read(len(data)) == data
    assert 13 <= watched.calls.count("give way") <= 16


def test_the_client_is_told_to_go_on_before_the_first_byte_is_read_and_once():
    watched = Watched(b"ab", 2, expects=True)
    assert watched.input.read() == b"ab"
    assert watched.calls == ["before", "whole"]


@pytest.mark.parametrize(
    ("data", "size_bytes"),
    [
        (b"a", 2),
        (b"", 1),
        (b"", None),
        (b"x\r\n", None),
        (b"-1\r\na", None),
        (b"0x1\r\na\r\n0\r\n\r\n", None),
        (b"1\na\n0\n\n", None),
        (b"1\r\nab\r\n0\r\n\r\n", None),
        (b"1" * 16 + b"\r\n", None),
        (b"1;" + b"a" * 5000 + b"\r\na\r\n0\r\n\r\n", None),
        (b"0\r\n" + b"X: y\r\n" * 5000 + b"\r\n", None),
        (b"1\r\na\r\n", None),
    ],
)
def test_a_body_that_is_cut_off_or_malformed_is_an_error(data, size_bytes):
    with pytest.raises(ConnectionError):
        Watched(data, size_bytes).input.read()


@pytest.mark.parametrize(
    ("data", "size_bytes", "is_short"),
    [
        (bytes(65_536), 65_536, True),
        (bytes(65_537), 65_537, False),
        (b"", 10**17, False),
        (chunked(bytes(60_000)), None, True),
        (chunked(bytes(40_000), bytes(40_000)), None, False),
        (b"fffffffff\r\n" + bytes(100_000), None, False),
        (b"1;%s\r\na\r\n" % (b"e" * 4000) * 1000, None, False),
        (b"1\r\na\r\n" * 100_000, None, False),
    ],
)
def test_what_nobody_reads_is_read_over_up_to_64_kb(data, size_bytes, is_short):
    watched = Watched(data, size_bytes)
    assert watched.body.is_short() is is_short
    assert watched.file.tell() <= 65_536 + 16_384
    assert watched.body.is_whole is is_short


def test_of_a_client_that_waits_for_a_word_nothing_is_read_over():
    watched = Watched(b"ab", 2, expects=True)
    assert not watched.body.is_short()
    assert watched.calls == []


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.lists(st.integers(1, 20), min_size=1))
def test_a_body_is_the_same_however_it_is_read(chunks, sizes):
    watched = Watched(chunked(*chunks), None)
    content = b""
    while piece := watched.input.read(sizes[len(content) % len(sizes)]):
        content += piece
    assert content == b"".join(chunks)
