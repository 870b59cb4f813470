"""What Django sends as tokens, and what a hostile backend sends instead: an answer or one failure, never anything else."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazoom_ws.errors import LlmFailed
from hazoom_ws.llm_bridge.wire import TokenStream, WholeAnswer, decode

LIMIT_BYTES = 5000


def event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def fed(content: bytes, cuts: list[int]) -> tuple[list[str], str | None, bool]:
    """Feed ``content`` in pieces, as an exchange does; return the tokens, the text, and whether it failed."""
    stream = TokenStream("s", limit_bytes=LIMIT_BYTES, clock=lambda: 0.0)
    edges = sorted({0, len(content), *(cut % (len(content) + 1) for cut in cuts)})
    tokens: list[str] = []
    failed = False
    for start, end in itertools.pairwise(edges):
        try:
            stream.feed(content[start:end])
        except LlmFailed:
            failed = True
        tokens += stream.take_tokens()
        if failed or stream.text is not None:
            break
    assert (len(stream.tokens), stream.tokens.joined()) == (len(tokens), "".join(tokens))
    return tokens, stream.text, failed


good = st.builds(lambda text: event("token", {"token": text, "session_id": "x"}), st.text(max_size=20))
bad = st.one_of(
    st.binary(max_size=60),
    st.builds(event, st.sampled_from(["token", "end", "error", "start", "message", "\0"]), st.from_type(type(None))),
    st.builds(
        event,
        st.sampled_from(["token", "end", "error"]),
        st.recursive(
            st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
        ),
    ),
    st.sampled_from(
        [
            b"event: token\ndata: {\n\n",
            b"event: token\ndata: " + b"[" * 3000 + b"\n\n",
            b'event: token\ndata: {"token": "\\ud800"}\n\n',
            b'event: token\ndata: {"token": 1e999}\n\n',
            b"event: token\r\rdata\r\n\r\n",
            b"\xef\xbb\xbf",
            b"data: " + b"x" * 6000,
        ]
    ),
)


@given(pieces=st.lists(st.one_of(good, bad), max_size=12), cuts=st.lists(st.integers(0, 3000), max_size=6))
def test_whatever_comes_is_an_answer_or_one_failure(pieces, cuts):
    tokens, text, failed = fed(b"".join(pieces), cuts)
    assert all(isinstance(token, str) for token in tokens)
    for token in tokens:
        token.encode()  # it goes on as UTF-8
    assert text is None or not failed


@given(
    texts=st.lists(st.text(max_size=20), max_size=10),
    is_ended=st.booleans(),
    cuts=st.lists(st.integers(0, 3000), max_size=8),
)
def test_an_answer_is_the_same_however_its_bytes_are_cut(texts, is_ended, cuts):
    content = event("start", {"status": "started"}) + b"".join(event("token", {"token": text}) for text in texts)
    content += event("end", {"full_response": "whole", "session_id": "x"}) if is_ended else b""
    assert fed(content, cuts) == (texts, ("".join(texts) or "whole") if is_ended else None, False)


def test_what_comes_before_a_failure_is_kept():
    assert fed(event("token", {"token": "a"}) + event("error", {"error": "secret"}), []) == (["a"], None, True)


@pytest.mark.parametrize("data", [b'{"error": "no quota"}', b"no\x07quota"])
def test_what_an_error_event_says_is_its_cause_in_one_line(data):
    stream = TokenStream("s", limit_bytes=LIMIT_BYTES, clock=lambda: 0.0)
    with pytest.raises(LlmFailed) as failure:
        stream.feed(b"event: error\ndata: " + data + b"\n\n")
    assert str(failure.value.__cause__) == "error event: no quota"
    assert "quota" not in str(failure.value)


def test_an_answer_has_a_limit():
    stream = TokenStream("s", limit_bytes=LIMIT_BYTES, clock=lambda: 0.0)
    while stream.size_bytes + 100 < LIMIT_BYTES:
        stream.feed(event("token", {"token": "quack"}))
    with pytest.raises(LlmFailed, match="too long"):
        stream.feed(event("token", {"token": "quack" * 50}))


def halves(*tokens: str) -> bytes:
    return b"".join(b'event: token\ndata: {"token": "%s"}\n\n' % token.encode() for token in tokens)


@pytest.mark.parametrize(
    ("tokens", "relayed"),
    [
        ([r"\ud83d", r"\ude00"], ["", "😀"]),
        ([r"a\uD83D", r"\uDE00b"], ["a", "😀b"]),
        ([r"\ud83d", "", r"\ude00"], ["", "", "😀"]),
        ([r"\ud83d", "x"], ["", "\ufffdx"]),
        ([r"\ude00", "x"], ["\ufffd", "x"]),
        ([r"a\ud83db"], ["a\ufffdb"]),
        ([r"\ud83d", r"\ud83d", r"\ude00"], ["", "\ufffd", "😀"]),
        ([r"\ud83d\ude00\ud83d", r"\ude00"], ["😀", "😀"]),
        ([r"a\ud83d"], ["a", "\ufffd"]),
        ([r"\\ud83d", "x"], [r"\ud83d", "x"]),
    ],
)
def test_a_character_whose_halves_come_in_two_tokens_is_one_and_half_a_character_ends_nothing(tokens, relayed):
    content = halves(*tokens) + event("end", {})
    assert fed(content, []) == fed(content, list(range(len(content)))) == (relayed, "".join(relayed), False)


def test_half_a_character_in_any_text_is_replaced():
    end = b'event: end\ndata: {"full_response": "a\\ud83d", "session_id": "s\\ud83d"}\n\n'
    assert fed(end, []) == ([], "a\ufffd", False)
    answer = decode(rb'{"response": "\ud83d\ude00 \ude00", "session_id": "\ud83d"}', WholeAnswer)
    assert (answer.response, answer.session_id) == ("😀 \ufffd", "\ufffd")
    assert decode(b'{"response": "\xff \\ud83d"}', WholeAnswer).response == "\ufffd \ufffd"
    with pytest.raises(LlmFailed):
        decode(rb'{"response": 1, "a": "\ud83d"}', WholeAnswer)


@given(text=st.text(alphabet="a😀👩\ud83d\ude00", max_size=20), cuts=st.lists(st.integers(0, 20), max_size=5))
def test_an_answer_is_the_same_wherever_its_characters_are_cut(text, cuts):
    units = text.encode("utf-16-le", "surrogatepass")
    edges = sorted({0, len(text), *(cut % (len(units) // 2 + 1) for cut in cuts), len(units) // 2})
    pieces = [units[2 * a : 2 * b].decode("utf-16-le", "surrogatepass") for a, b in itertools.pairwise(edges)]
    tokens, whole, failed = fed(b"".join(event("token", {"token": piece}) for piece in pieces) + event("end", {}), [])
    assert not failed
    assert "".join(tokens) == whole == units.decode("utf-16-le", "replace")
    assert len(tokens) - len(pieces) in (0, 1)


@pytest.mark.parametrize(
    ("content", "is_life"),
    [(b": ping\n\n", True), (b"\r\n", True), (b": pi", False), (b"event: start\ndata: {}\n\n", True)],
)
def test_a_line_is_a_sign_of_life_before_the_first_token(content, is_life):
    now_s = [0.0]
    stream = TokenStream("s", limit_bytes=LIMIT_BYTES, clock=lambda: now_s[0])
    now_s[0] = 5.0
    stream.feed(content)
    assert stream.last_line_s == (5.0 if is_life else 0.0)
