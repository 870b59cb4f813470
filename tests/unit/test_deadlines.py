"""Deadlines: who began first is due first, and the clock is an argument."""

from hypothesis import given
from hypothesis import strategies as st

from hazoom_ws.deadlines import Deadlines


def test_what_was_started_is_due_after_the_period_and_once():
    deadlines = Deadlines(10.0)
    deadlines.start("a", 100.0)
    assert list(deadlines.pop_due(109.9)) == []
    assert list(deadlines.pop_due(110.0)) == [("a", 110.0)]
    assert list(deadlines.pop_due(1000.0)) == []


def test_those_that_are_due_come_in_the_order_in_which_they_began():
    deadlines = Deadlines(10.0)
    for number, name in enumerate("abc"):
        deadlines.start(name, float(number))
    assert list(deadlines.pop_due(11.0)) == [("a", 10.0), ("b", 11.0)]
    assert list(deadlines.pop_due(99.0)) == [("c", 12.0)]


def test_starting_again_begins_anew_and_at_the_end():
    deadlines = Deadlines(10.0)
    deadlines.start("a", 0.0)
    deadlines.start("b", 1.0)
    deadlines.start("a", 2.0)
    assert deadlines.due_at_s("a") == 12.0
    assert list(deadlines.pop_due(99.0)) == [("b", 11.0), ("a", 12.0)]


def test_what_was_stopped_is_never_due_and_stopping_says_whether_it_was_there():
    deadlines = Deadlines(10.0)
    deadlines.start("a", 0.0)
    assert deadlines.stop("a") is True
    assert deadlines.stop("a") is False
    assert deadlines.due_at_s("a") is None
    assert list(deadlines.pop_due(99.0)) == []


def test_the_next_moment_is_that_of_who_began_first():
    deadlines = Deadlines(10.0)
    assert deadlines.next_due_at_s() is None
    assert deadlines.next_due_in_s(7.0) is None
    deadlines.start("a", 5.0)
    deadlines.start("b", 6.0)
    assert deadlines.next_due_at_s() == 15.0
    assert (deadlines.next_due_in_s(7.0), deadlines.next_due_in_s(16.0)) == (8.0, -1.0)
    deadlines.stop("a")
    assert deadlines.next_due_at_s() == 16.0


def test_while_the_due_ones_are_taken_others_may_start_and_stop():
    deadlines = Deadlines(10.0)
    for name in "abc":
        deadlines.start(name, 0.0)
    taken = []
    for name, _ in deadlines.pop_due(10.0):
        taken.append(name)
        deadlines.stop("b")
        deadlines.start("d", 10.0)
    assert taken == ["a", "c"]
    assert deadlines.due_at_s("d") == 20.0


steps = st.tuples(st.sampled_from(["start", "stop", "take"]), st.integers(0, 5), st.floats(0, 5))


@given(steps=st.lists(steps, max_size=50))
def test_it_does_what_a_sorted_list_would_do(steps):
    deadlines, model, now_s = Deadlines(3.0), {}, 0.0
    for step, item, passed_s in steps:
        now_s += passed_s
        if step == "start":
            deadlines.start(item, now_s)
            model.pop(item, None)
            model[item] = now_s + 3.0
        elif step == "stop":
            assert deadlines.stop(item) is (model.pop(item, None) is not None)
        else:
            due = [(item, at_s) for item, at_s in sorted(model.items(), key=lambda entry: entry[1]) if at_s <= now_s]
            assert list(deadlines.pop_due(now_s)) == due
            for late, _ in due:
                del model[late]
        assert deadlines.next_due_at_s() == min(model.values(), default=None)
