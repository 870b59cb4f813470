"""What of the tail is in memory, so that filing it reads nothing back."""

import pytest

from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import Batch
from hazoom_ws.message_log.sqlite import tail
from hazoom_ws.message_log.sqlite.tail import EncodedBatch, RecentBatches


def batch(seq: int, text: str = "hello") -> EncodedBatch:
    entry = NewMessage(user="Ann", message=text, timestamp=1.0, room="team", id=f"e-{seq}", seq=seq)
    return EncodedBatch(Batch([entry], {}, {}, seq))


def seqs(recent: RecentBatches, limit_count: int = 100) -> list[int]:
    share = recent.share(limit_count, 2**62)
    return [] if share is None else [entry.seq for entry in share.messages]


def test_the_oldest_are_filed_first_and_forgotten_then():
    recent, tail_bytes = RecentBatches(), 0
    for seq in range(1, 6):
        recent.add(batch(seq), tail_bytes=tail_bytes)
        tail_bytes += batch(seq).size_bytes
    assert seqs(recent, limit_count=2) == [1, 2]
    recent.filed(2)
    assert seqs(recent) == [3, 4, 5]


def test_a_share_is_as_one_that_was_read():
    recent = RecentBatches()
    recent.add(batch(7), tail_bytes=0)
    share = recent.share(100, 2**62)
    assert share is not None
    assert (share.number, share.count, share.size_bytes, share.damaged) == (7, 1, batch(7).size_bytes, [])


def test_of_a_long_tail_only_the_first_are_here_until_it_is_empty(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tail, "_RECENT_LIMIT_BYTES", 2 * batch(1).size_bytes)
    recent, tail_bytes = RecentBatches(), 0
    for seq in (1, 2, 3):
        recent.add(batch(seq), tail_bytes=tail_bytes)
        tail_bytes += batch(seq).size_bytes
    assert seqs(recent) == [1, 2]
    recent.filed(2)
    recent.add(batch(4), tail_bytes=batch(3).size_bytes)  # the third would be left out
    assert seqs(recent) == []
    recent.add(batch(5), tail_bytes=0)
    assert seqs(recent) == [5]
