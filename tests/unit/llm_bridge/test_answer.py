"""What a client that dropped gets of the answers it watched: in the order in which it was sent, and all of it."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.events.llm import LlmTokens
from hazoom_ws.events.rooms import UserLeft
from hazoom_ws.llm_bridge.answer import Answer, weave
from hazoom_ws.llm_bridge.tokens import Tokens
from hazoom_ws.llm_bridge.wire import Prompt, completion


def answer(request_id: str) -> Answer:
    prompt = Prompt(
        request_id=request_id, user_identifier="Ann", message="?", intelligence_level="super", session_id="s", stream=True
    )
    return Answer(prompt, Connection("c", User("name:Ann", "Ann"), "s"), 0.0)


def event(number: int) -> UserLeft:
    return UserLeft(room="a", user=str(number), user_count=0)


def woven(answers: list[Answer], happened: list[int | None], offset: int) -> list[tuple[object, int]]:
    """Replay after ``offset`` what ``happened``: at each place a token of an answer (by number), or an event (None)."""
    events = []
    for place, what in enumerate(happened, 1):
        if what is None:
            if place > offset:
                events.append((event(place), place))
            continue
        one = answers[what]
        one.tokens.append(f"{what}.{len(one.tokens)} ")
        one.offsets.append(place)
    return weave(answers, events, offset)


def test_the_missed_tokens_of_an_answer_are_one_event():
    [(joined, offset)] = woven([answer("r")], [0, 0, 0, 0, 0], 2)
    assert (joined.token, joined.index, joined.request_id, offset) == ("0.2 0.3 0.4 ", 2, "r", 5)


def test_what_was_said_in_between_stays_in_between():
    result = woven([answer("r")], [0, None, 0, 0, None, None, 0], 0)
    assert [(getattr(one, "token", None), offset) for one, offset in result] == [
        ("0.0 ", 1),
        (None, 2),
        ("0.1 0.2 ", 4),
        (None, 5),
        (None, 6),
        ("0.3 ", 7),
    ]


@given(
    happened=st.lists(st.sampled_from([0, 1, 2, None]), max_size=40),
    offset=st.integers(0, 40),
    drops=st.lists(st.integers(0, 10), max_size=4),
)
def test_whenever_it_drops_again_nothing_is_missed_and_an_index_tells_what_comes_twice(happened, offset, drops):
    """The client applies what arrives, in its order; each drop loses the rest, and it comes back with the last offset."""
    offset = min(offset, len(happened))
    answers = [answer(str(number)) for number in range(3)]
    seen_texts = ["", "", ""]
    seen_counts = [0, 0, 0]
    seen_events = 0
    for what in happened[:offset]:
        if what is not None:
            seen_texts[what] += f"{what}.{seen_counts[what]} "
            seen_counts[what] += 1
        else:
            seen_events += 1
    for drop in [*drops, None]:
        for one in answers:
            one.tokens = Tokens()
            del one.offsets[:]
        for arrived, place in woven(answers, happened, offset)[:drop]:
            offset = place
            if not isinstance(arrived, LlmTokens):
                seen_events += 1
                continue
            number = int(arrived.request_id)
            texts = arrived.token.split()
            for index, text in enumerate(texts, arrived.index):
                assert index <= seen_counts[number], "a token is missing"
                if index == seen_counts[number]:
                    seen_texts[number] += f"{text} "
                    seen_counts[number] += 1
    for number in range(3):
        count = happened.count(number)
        assert seen_texts[number] == "".join(f"{number}.{index} " for index in range(count))
    assert seen_events == happened.count(None)


def test_an_answer_that_has_ended_takes_little_more_than_its_text():
    one = answer("r")
    for number in range(10_000):
        one.tokens.append(f"{number % 10}")
        one.offsets.append(number)
    one.finish()
    assert one.size_bytes < 100_000
    assert one.joined(9_995).token == "56789"


def test_a_text_that_the_tokens_and_the_end_of_an_answer_share_is_held_and_counted_once():
    one = answer("r")
    for number in range(100):
        one.tokens.append("x" * 1000)
        one.offsets.append(number)
    end = completion(one.prompt, None, asked_s=0.0, now_s=1.0)
    one.outcome = [(structs.replace(end, response=one.tokens.joined()), 100)]
    one.finish()
    assert 100_000 < one.size_bytes < 105_000
    assert one.tokens.joined() is one.outcome[0][0].response
