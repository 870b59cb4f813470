from hypothesis import given
from hypothesis import strategies as st

from hazoom_ws.message_log.contract import Page
from hazoom_ws.message_log.memory import MemoryLog


def log_of(*entries: tuple[str, str], room_limit_count: int = 1000, limit_bytes: int = 10**6) -> MemoryLog:
    log = MemoryLog(room_limit_count=room_limit_count, limit_bytes=limit_bytes)
    for room, message in entries:
        log.append(room=room, user="Ann", message=message, timestamp=1.5, client_id=message)
    return log


def texts(page: Page) -> str:
    return "".join(message.message for message in page.messages)


def test_an_entry_gets_an_id_and_a_place_in_one_order_over_all_rooms():
    log = log_of(("a", "1"), ("b", "2"))
    third = log.append(room="a", user="Bob", message="3", timestamp=2.5)
    assert (third.seq, third.user, third.timestamp) == (3, "Bob", 2.5)
    assert log.messages_total == 3


def test_ids_differ_between_two_lives_of_the_process():
    first, second = (log_of().append(room="a", user="u", message="m", timestamp=0.0) for _ in range(2))
    assert first.seq == second.seq
    assert first.id != second.id


def test_a_room_keeps_its_newest_messages():
    log = log_of(*(("a", text) for text in "12345"), ("b", "6"), room_limit_count=3)
    page = log.read("a", limit=10, newest=True)
    assert (texts(page), page.more, page.gap) == ("345", False, False)
    assert log.read("a", after=1, limit=10, newest=True).gap is True
    assert log.read("a", after=2, limit=10, newest=True).gap is False
    assert log.find_resent("a", "Ann", "2") is None
    assert log.find_resent("a", "Ann", "3") is not None


def test_all_rooms_together_keep_within_the_bytes():
    log = log_of(("a", "1"), ("b", "2"), ("a", "3"), limit_bytes=1600)
    assert texts(log.read("a", limit=10, newest=True)) == "3"
    assert texts(log.read("b", limit=10, newest=True)) == "2"
    assert log.read("a", after=0, limit=10, newest=True).gap is True
    log.append(room="c", user="u", message="4" * 600, timestamp=0.0)
    assert log.read("b", limit=10, newest=True).messages == []
    assert log.read("b", after=0, limit=10, newest=True).gap is True, "a room that was forgotten may have had more"


def test_what_is_forgotten_leaves_nothing_behind():
    log = MemoryLog(room_limit_count=10, limit_bytes=1)
    for number in range(100):
        log.append(room=str(number), user="u", message="m", timestamp=0.0, client_id=str(number))
        log.append(room=str(number), user="u", message="m", timestamp=0.0, client_id=str(number), sender="guest:1")
    held = (log._rooms, log._oldest_first, log._by_client_id, log._senders)
    assert [len(each) for each in held] == [1, 1, 1, 1]


def test_a_room_that_was_forgotten_and_talks_again_knows_that_it_said_more():
    log = log_of(("a", "1"), ("a", "2"), ("b", "3"), ("a", "4"), limit_bytes=1)
    assert texts(log.read("a", limit=10, newest=True)) == "4"
    assert [log.read("a", after=seq, limit=10, newest=True).gap for seq in (0, 1, 2, 3)] == [True, True, False, False]


def test_a_full_room_costs_what_an_empty_one_does_and_holds_nothing_that_was_dropped():
    log = MemoryLog(room_limit_count=100, limit_bytes=10**6)
    entries = [log.append(room="a", user="u", message=str(number), timestamp=0.0) for number in range(1000)]
    kept = log.read("a", limit=1000, newest=True).messages
    assert kept == entries[-100:]
    page = log.read("a", after=entries[-51].seq, before=entries[-48].seq, limit=10, newest=False)
    assert page.messages == entries[-50:-48]
    assert len(log._rooms["a"].entries) < 300
    assert not [entry for entry in log._rooms["a"].entries if entry in entries[:-100]]


def test_a_message_that_is_larger_than_the_bound_is_kept_until_the_next():
    log = log_of(("a", "x" * 5000), limit_bytes=100)
    assert len(log.read("a", limit=1, newest=True).messages) == 1


def test_a_page_ends_at_its_bytes_and_says_that_there_is_more():
    log = log_of(*(("a", text) for text in "1234"))
    assert texts(log.read("a", limit=10, newest=True, limit_bytes=1100)) == "34"
    page = log.read("a", after=0, limit=10, newest=False, limit_bytes=1100)
    assert (texts(page), page.more) == ("12", True)


@given(
    rooms=st.lists(st.sampled_from("ab"), max_size=30),
    after=st.none() | st.integers(0, 30),
    before=st.none() | st.integers(0, 31),
    limit=st.integers(0, 10),
    newest=st.booleans(),
)
def test_a_page_is_the_end_of_the_range_that_was_asked_for(rooms, after, before, limit, newest):
    log = log_of(*((room, "m") for room in rooms))
    if after is not None and after > len(rooms):
        return
    wanted = [
        seq
        for seq, room in enumerate(rooms, start=1)
        if room == "a" and seq > (after or 0) and (before is None or seq < before)
    ]
    taken = wanted[max(0, len(wanted) - limit) :] if newest else wanted[:limit]
    page = log.read("a", after=after, before=before, limit=limit, newest=newest)
    assert [message.seq for message in page.messages] == taken
    assert page.more == (len(taken) < len(wanted))
    assert page.gap is False
