"""The texts of an answer's tokens: whatever they are held as, they say the same; and they take little."""

import tracemalloc
from array import array

from hypothesis import given
from hypothesis import strategies as st

from hazoom_ws.llm_bridge.tokens import Tokens, packed

texts_of_tokens = st.lists(st.text(max_size=3) | st.text("xü", min_size=62, max_size=66), max_size=8)


@given(texts=texts_of_tokens, repeated=st.sampled_from([1, 1, 300]), data=st.data())
def test_tokens_say_the_same_whatever_they_are_held_as(texts, repeated, data):
    texts = texts * repeated
    tokens = Tokens()
    asked = data.draw(st.sets(st.integers(0, len(texts)), max_size=3))
    for number, text in enumerate(texts):
        if number in asked:
            assert tokens.joined() == "".join(texts[:number])
        tokens.append(text)
    assert len(tokens) == len(texts)
    first, end = data.draw(st.integers(0, len(texts))), data.draw(st.none() | st.integers(0, len(texts)))
    said = "".join(texts[first:end])
    assert tokens.joined(first, end) == said
    assert tokens.pack() == "".join(texts)
    assert tokens.joined(first, end) == said
    assert len(tokens) == len(texts)


def test_short_tokens_take_little_while_they_come():
    """As objects of their own they took 66 bytes each: an answer of 8 MB on the wire 17 MB in small pieces."""
    tokens = Tokens()
    tracemalloc.start()
    try:
        for number in range(20_000):
            tokens.append(f"{number % 10} ")
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_bytes < 20_000 * 14


def test_a_long_token_is_not_copied():
    tokens = Tokens()
    tokens.append("a")
    text = "x" * 1000
    tokens.append(text)
    tokens.append("b")
    assert tokens.joined(1, 2) is text


def test_numbers_of_any_size_are_packed():
    for numbers in ([], [0], [2**32 - 1], [1, 2**32], [2**53]):
        assert list(packed(array("Q", numbers))) == numbers
