"""The chunked transfer coding: however it is cut, and whatever it is not."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazoom_ws.llm_bridge.http_chunks import ChunkDecoder, MalformedChunk


def decoded(*pieces: bytes) -> tuple[bytes, bool]:
    decoder = ChunkDecoder()
    return b"".join(decoder.feed(piece) for piece in pieces), decoder.is_whole


@given(
    contents=st.lists(st.binary(min_size=1, max_size=300), max_size=6),
    extension=st.sampled_from([b"", b";a=b", b" ; x"]),
    trailers=st.sampled_from([b"", b"Digest: x\r\nA: b\r\n"]),
    cuts=st.lists(st.integers(0, 2000), max_size=12),
)
def test_the_content_is_the_same_however_the_bytes_are_cut(contents, extension, trailers, cuts):
    body = b"".join(b"%x%s\r\n%s\r\n" % (len(content), extension, content) for content in contents)
    body += b"0\r\n" + trailers + b"\r\n"
    edges = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    pieces = [body[start:end] for start, end in itertools.pairwise(edges)]
    assert decoded(*pieces) == (b"".join(contents), True)


@given(body=st.binary(max_size=400), cuts=st.lists(st.integers(0, 400), max_size=5))
def test_anything_else_is_refused_or_not_whole_and_never_crashes(body, cuts):
    edges = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    decoder = ChunkDecoder()
    try:
        for start, end in itertools.pairwise(edges):
            decoder.feed(body[start:end])
    except MalformedChunk:
        assert not decoder.is_whole


@pytest.mark.parametrize(
    "body",
    [
        b"\r\n",
        b"zz\r\n",
        b"-1\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"5_0\r\n",
        b"3\r\nhello\r\n0\r\n\r\n",
        b"f" * 16 + b"\r\n",
        b"5" + b" " * 5000,
        b"0\r\n" + b"A: b\r\n" * 5000,
    ],
)
def test_what_is_not_chunked_is_refused(body):
    with pytest.raises(MalformedChunk):
        decoded(body)


def test_a_large_chunk_passes_as_it_comes():
    decoder = ChunkDecoder()
    assert decoder.feed(b"186a0\r\n" + b"x" * 10) == b"x" * 10
    assert decoder.feed(b"y" * 99_990) == b"y" * 99_990
    assert not decoder.is_whole
    assert decoder.feed(b"\r\n0\r\n\r\nnext answer") == b""
    assert decoder.is_whole
