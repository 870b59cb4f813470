"""A request's head is taken only if nobody can read it in two ways."""

import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazoom_ws.transport.http.heads import BadHead, Head, read_head, refusal

REST = b"Host: a\r\n\r\n"


def read(data: bytes) -> Head | None:
    file = io.BytesIO(data)
    return read_head(file.readline(32_769), file.readline)


def fields(*lines: bytes, version: bytes = b"1.1", host: bytes = b"Host: a\r\n") -> bytes:
    return b"POST /x HTTP/%s\r\n%s%s\r\n" % (version, host, b"".join(lines))


def test_a_usual_head_is_taken_whole():
    head = read(b"GET /a?b=c HTTP/1.1\r\nHost: [::1]:80\r\nX-Empty:\r\nX-B: \t\xfc \t\r\nx-b: 2\r\n\r\nrest")
    assert head == Head("GET", "/a?b=c", "HTTP/1.1", [("Host", "[::1]:80"), ("X-Empty", ""), ("X-B", "ü"), ("x-b", "2")], 0)
    message = head.message()
    assert (message["host"], message.get_all("x-b")) == ("[::1]:80", ["ü", "2"])


@pytest.mark.parametrize(
    ("data", "body_bytes"),
    [
        (fields(b"Content-Length: 5\r\n"), 5),
        (fields(b"content-length:0\r\n"), 0),
        (fields(b"Transfer-Encoding: Chunked\r\n"), None),
        (fields(b"Content-Length: 5\r\n", version=b"1.0", host=b""), 5),
        (fields(b"Content_Length: 5\r\n"), 0),
    ],
)
def test_a_body_has_one_length(data, body_bytes):
    assert read(data).body_bytes == body_bytes


@pytest.mark.parametrize(
    "data",
    [
        fields(b"Content-Length: 5\r\nContent-Length: 5\r\n"),
        fields(b"Content-Length: 5\r\ncontent-length: 6\r\n"),
        *(
            fields(b"Content-Length: %s\r\n" % value)
            for value in (b"", b"-1", b"+1", b"1_0", b"0x5", b"5, 5", b"5 5", b"\xb2", b"1" * 19)
        ),
        fields(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        fields(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        *(
            fields(b"Transfer-Encoding: %s\r\n" % value)
            for value in (
                b"",
                b"gzip, chunked",
                b"chunked, gzip",
                b"chunked, chunked",
                b"xchunked",
                b"identity",
                b"\x0bchunked",
            )
        ),
        fields(b"Transfer-Encoding: chunked\r\n", version=b"1.0"),
        fields(b"Content-Length : 5\r\n"),
        fields(b" Content-Length: 5\r\n"),
        fields(b"X: a\r\n Content-Length: 5\r\n"),
        fields(b"X: a\r\n\tb\r\n"),
        fields(b": a\r\n"),
        fields(b"X\r\n"),
        fields(b"X: a\n"),
        fields(b"X: a\nContent-Length: 5\r\n"),
        fields(b"X: a\rContent-Length: 5\r\n"),
        fields(b"X: a\0\r\n"),
        fields(b"X\0: a\r\n"),
        fields(b"X: \x7f\r\n"),
        fields(host=b""),
        fields(host=b"Host: a\r\nHost: a\r\n"),
        fields(host=b"Host: a\r\nHost: a\r\n", version=b"1.0"),
        fields(host=b"Host: a b\r\n"),
        fields(host=b"Host: a/b\r\n"),
        fields(host=b"Host: a@b\r\n"),
        b"GET / HTTP/1.1\n" + REST,
        b"GET / HTTP/1.1 \r\n" + REST,
        b"GET  / HTTP/1.1\r\n" + REST,
        b"GET /a b HTTP/1.1\r\n" + REST,
        b"GET / http/1.1\r\n" + REST,
        b"GET / HTTP/1.10\r\n" + REST,
        b"GET / HTTP/11\r\n" + REST,
        b"GET /\r\n" + REST,
        b"GET /\0 HTTP/1.1\r\n" + REST,
        b"G\xff / HTTP/1.1\r\n" + REST,
        b"\r\n",
        b"\n",
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(data):
    with pytest.raises(BadHead) as caught:
        read(data)
    assert caught.value.status == 400


def test_another_version_is_refused_as_that_and_a_later_one_of_the_same_is_read_as_ours():
    with pytest.raises(BadHead) as caught:
        read(b"GET / HTTP/2.0\r\n" + REST)
    assert caught.value.status == 505
    assert read(b"GET / HTTP/1.2\r\n" + REST).version == "HTTP/1.1"


def test_a_hundred_fields_are_taken_and_one_more_is_not():
    assert len(read(fields(b"X: a\r\n" * 99)).fields) == 100
    with pytest.raises(BadHead) as caught:
        read(fields(b"X: a\r\n" * 100))
    assert caught.value.status == 431


def test_a_line_of_the_limit_is_taken_and_a_byte_more_is_not():
    line = b"X: %s\r\n" % (b"a" * (32_768 - 5))
    assert len(line) == 32_768
    assert read(fields(line)) is not None
    with pytest.raises(BadHead) as caught:
        read(fields(b"a" + line))
    assert caught.value.status == 431
    target = b"/" + b"a" * (32_768 - len(b"GET / HTTP/1.1\r\n"))
    assert read(b"GET %s HTTP/1.1\r\n" % target + REST) is not None
    with pytest.raises(BadHead) as caught:
        read(b"GET %sa HTTP/1.1\r\n" % target + REST)
    assert caught.value.status == 414


def test_a_head_of_the_limit_is_taken_and_a_byte_more_is_not():
    fixed_bytes = len(fields()) - 2
    line = b"X: %s\r\n" % (b"a" * 30_000)
    last = b"Y: %s\r\n" % (b"a" * (65_536 - fixed_bytes - 2 * len(line) - 5))
    assert read(fields(line, line, last)) is not None
    with pytest.raises(BadHead) as caught:
        read(fields(line, line, b"Y" + last))
    assert caught.value.status == 431


@pytest.mark.parametrize("size", range(len(fields(b"Content-Length: 5\r\n"))))
def test_a_head_that_is_not_whole_is_none(size):
    assert read(fields(b"Content-Length: 5\r\n")[:size]) is None


@given(st.binary(max_size=300) | st.lists(st.sampled_from(fields(b"X: a\r\n").splitlines(True)), max_size=8).map(b"".join))
def test_only_the_documented_error_comes_out(data):
    with suppress(BadHead):
        read(data)


def test_what_the_servers_answer_themselves_says_its_type_and_ends_the_connection():
    head, _, body = refusal(BadHead("no")).partition(b"\r\n\r\n")
    assert body == b"no\n"
    assert {b"X-Content-Type-Options: nosniff", b"Connection: close", b"Content-Length: 3"} <= set(head.split(b"\r\n"))
