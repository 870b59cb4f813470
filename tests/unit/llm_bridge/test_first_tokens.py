"""Percentiles are of what happened lately; the histogram has all of it."""

from hazoom_ws.llm_bridge.first_tokens import WINDOW_S, FirstTokens


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_percentiles_are_those_of_the_last_minute() -> None:
    clock = Clock()
    tokens = FirstTokens(clock)
    assert tokens.percentiles_s(0.5, 0.99) == [None, None]
    for after_s in range(1, 101):
        tokens.note(float(after_s))
    assert tokens.percentiles_s(0.5, 0.99) == [51.0, 100.0]
    clock.now_s += WINDOW_S / 2
    tokens.note(7.0)
    clock.now_s += WINDOW_S / 2
    assert tokens.percentiles_s(0.5, 0.99) == [7.0, 7.0]
    clock.now_s += WINDOW_S
    assert tokens.percentiles_s(0.5) == [None]
    assert tokens.histogram.count == 101


def test_many_answers_take_no_more_space() -> None:
    tokens = FirstTokens(Clock())
    for _ in range(2000):
        tokens.note(9.0)
    for _ in range(1000):
        tokens.note(0.1)
    assert tokens.percentiles_s(0.99) == [0.1]
