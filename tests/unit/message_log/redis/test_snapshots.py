"""Which snapshots of documents are written to a Redis."""

from hazoom_ws.message_log.redis.documents import RedisDocuments


class Numbers:
    last_seq = 0

    def next_offset(self) -> int:
        return 1


def test_a_snapshot_of_before_redis_was_away_is_not_written_after_it() -> None:
    """Redis may have lost what it says that it has, and have given the numbers of that to something else."""
    documents = RedisDocuments(lambda _: None, Numbers(), lambda: None)
    documents.save_snapshot("doc", b"before", 7)
    assert documents.snapshots.first() == ("doc", b"before", 7)
    documents.lose_touch()
    assert documents.snapshots.first() is None
    documents.save_snapshot("doc", b"nobody knows yet that it is back", 7)
    assert documents.snapshots.first() is None
    documents.go_on()
    documents.save_snapshot("doc", b"read anew", 9)
    assert documents.snapshots.first() == ("doc", b"read anew", 9)
