"""What has left memory before it was filed: nothing of it is missing, and nothing comes twice, while a thread files."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import resent_key
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.message_log.sqlite import unfiled
from hazoom_ws.message_log.sqlite.unfiled import Unfiled
from hazoom_ws.settings import Settings


def message(seq: int, room: str, client_id: str) -> NewMessage:
    return NewMessage(user="Ann", message="m", timestamp=0.0, room=room, id=str(seq), seq=seq, client_id=client_id)


class Thread:
    """Files some of the tail whenever the turn asks the file, as a thread may at any moment."""

    def __init__(self, file: Callable[[], object], decide: Callable[[], bool]) -> None:
        self._file = file
        self._decide = decide

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if self._decide():
                self._file()
            return function(*args, **options)

        return call

    def between(self, function: Callable[..., Iterator[NewMessage]]) -> Callable[..., Iterator[NewMessage]]:
        def iterate(*args: Any, **options: Any) -> Iterator[NewMessage]:
            for entry in function(*args, **options):
                if self._decide():
                    self._file()
                yield entry

        return iterate


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_page_is_whole_while_a_thread_files(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Against a list, with almost nothing in memory."""
    log = open_log(
        Settings(log_url="sqlite:///log.sqlite3", history_limit_bytes=data.draw(st.sampled_from([1, 3000]))),
        tmp_path_factory.mktemp("log"),
    )
    writer, reader = log._writer, log._reader
    thread = Thread(lambda: writer._file(data.draw(st.integers(1, 4)), 10**6), lambda: data.draw(st.booleans()))
    reader._tail.find = thread.around(reader._tail.find)
    reader._select = thread.between(thread.around(reader._select))
    said: list[NewMessage] = []
    by_guest: list[NewMessage] = []
    for number in range(data.draw(st.integers(0, 20))):
        for _ in range(data.draw(st.integers(0, 3))):
            log.next_offset()
        room = data.draw(st.sampled_from("ab"))
        said.append(log.append(room=room, user="Ann", message=str(number % 10), timestamp=1.0, client_id=f"c{number}"))
        namesake = "guest:1" if data.draw(st.booleans()) else UNSET
        if namesake is not UNSET:
            fields = {"user": "Ann", "timestamp": 1.0, "client_id": f"c{number}"}
            by_guest.append(log.append(room=room, message="guest", sender=namesake, **fields))
            said.append(by_guest[-1])
        if data.draw(st.booleans()):
            log.save_session("k", None)
        if data.draw(st.booleans()):
            log.write(log.pop_batch())
        if data.draw(st.integers(0, 5)) == 0:
            writer._file(data.draw(st.integers(1, 4)), 10**6)
    for _ in range(4):
        room = data.draw(st.sampled_from("ab"))
        seqs = [0, *(entry.seq for entry in said)]
        after, before = data.draw(st.none() | st.sampled_from(seqs)), data.draw(st.none() | st.sampled_from(seqs))
        limit, newest = data.draw(st.integers(0, 20)), data.draw(st.booleans())
        wanted = [
            entry
            for entry in said
            if entry.room == room and (after is None or entry.seq > after) and (before is None or entry.seq < before)
        ]
        page = log.read(room, after=after, before=before, limit=limit, newest=newest)
        assert page.messages == (wanted[max(0, len(wanted) - limit) :] if newest else wanted[:limit])
        assert page.more is (limit < len(wanted))
        assert page.gap is False
    for entry in said:
        sender = "guest:1" if entry in by_guest else UNSET
        assert log.find_resent(entry.room, "Ann", entry.client_id, sender) == entry
    assert log.find_resent("a", "Ann", "new") is None
    log.close()


@pytest.mark.parametrize("rooms_count", [1, 7, 100_000])
def test_places_are_found_by_room_and_by_client_id_and_forgotten_when_they_are_filed(rooms_count: int) -> None:
    index = Unfiled()
    first = 1_700_000_000_000_000
    entries = [message(first + 3 * number, f"room {number % rooms_count}", f"c{number}") for number in range(20_000)]
    for entry in entries:
        index.add(entry)
    sent = message(entries[-1].seq + 1, "another room", "c1")
    index.add(sent, "guest:1")
    assert index.find(resent_key("another room", "whoever", "c1", "guest:1")) == sent.seq
    assert index.find(resent_key("another room", "Ann", "c1", UNSET)) is None
    chosen = entries[7_000:20_000:1_999]
    for entry in chosen:
        assert index.find((entry.room, "Ann", str(entry.client_id))) == entry.seq
        assert index.find((entry.room, "Bob", str(entry.client_id))) is None
        wanted = [other.seq for other in entries if other.room == entry.room and other.seq > entries[500].seq]
        assert list(index.seqs_of(entry.room, entries[500].seq, 2**62, newest=False)) == wanted
        assert list(index.seqs_of(entry.room, entries[500].seq, 2**62, newest=True)) == wanted[::-1]
        assert list(index.seqs_of(entry.room, entry.seq - 1, entry.seq + 1, newest=True)) == [entry.seq]
    index.file(entries[10_000].seq)
    assert index.find((entries[9_000].room, "Ann", "c9000")) is None
    assert index.find((entries[10_001].room, "Ann", "c10001")) == entries[10_001].seq
    assert list(index.seqs_of(entries[9_000].room, 0, entries[10_000].seq + 1, newest=True)) == []
    index.file(entries[-1].seq + unfiled._PART_PLACES)
    assert not index._parts
