"""What was read from Redis answers a page exactly when it has all of it."""

from hypothesis import given
from hypothesis import strategies as st

from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import NotLoaded, page_of
from hazoom_ws.message_log.redis.encoding import Sized
from hazoom_ws.message_log.redis.older import Older, Stretch, Wanted, stretch_of

SIZE_BYTES = 100
NUMBERS = st.integers(0, 30)


def message(seq: int) -> NewMessage:
    return NewMessage(user="Ann", message=str(seq), timestamp=1.0, room="a", id=f"e-{seq}", seq=seq)


class Elsewhere:
    """All messages of a room, of which a page is read as `store` does; ``count``: how often."""

    def __init__(self, seqs: set[int]) -> None:
        self.entries = [message(seq) for seq in sorted(seqs)]
        self.count = 0

    def load(self, wanted: Wanted) -> Stretch:
        self.count += 1
        found = [entry for entry in self.entries if wanted.after < entry.seq < wanted.before]
        taken = [Sized(entry, SIZE_BYTES) for entry in (reversed(found) if wanted.newest else found)][: wanted.limit + 1]
        return stretch_of(wanted, taken, is_all=len(taken) == len(found))


PAGES = st.tuples(NUMBERS, NUMBERS, st.integers(0, 5), st.booleans())


@given(seqs=st.sets(st.integers(1, 29)), pages=st.lists(PAGES, max_size=12), limit_bytes=st.sampled_from([1, 10**6]))
def test_a_page_is_what_a_plain_list_says_and_is_loaded_once_at_most(seqs, pages, limit_bytes) -> None:
    elsewhere = Elsewhere(seqs)
    older = Older(elsewhere.load, limit_bytes=limit_bytes)
    for after, before, limit, newest in pages:
        if after >= before - 1:
            continue  # nobody asks for nothing
        wanted = Wanted("a", after, before, "", newest, limit, 10**6)
        expected = [entry for entry in elsewhere.entries if after < entry.seq < before]
        expected = expected[max(0, len(expected) - limit) :] if newest else expected[:limit]
        loads_count = elsewhere.count
        while True:
            try:
                taken, more = page_of(older.read(wanted), limit, 10**6)
                break
            except NotLoaded as missing:
                missing.load()()
        assert elsewhere.count <= loads_count + 1
        assert sorted(taken, key=lambda entry: entry.seq) == expected
        assert more is (len(expected) < len([seq for seq in seqs if after < seq < before]))


def test_rooms_that_were_used_least_lately_leave_memory() -> None:
    elsewhere = Elsewhere({1, 2, 3})
    older = Older(elsewhere.load, limit_bytes=10 * (SIZE_BYTES * 3 + 400))

    def ask(room: str) -> None:
        try:
            list(older.read(Wanted(room, 0, 30, "", True, 5, 10**6)))
        except NotLoaded as missing:
            missing.load()()

    for number in range(10):
        ask(str(number))
    ask("0")
    ask("10")
    assert elsewhere.count == 11
    ask("0")
    assert elsewhere.count == 11
    ask("1")
    assert elsewhere.count == 12, "it had left"
