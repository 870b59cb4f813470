"""What changes a log's file: batches, their filing, checkpoints.

A batch is one row at the end of the table ``tail``, in JSON: keeping indexes current costs several times what the messages
and sessions do. What is there moves to the tables ``messages`` and ``sessions`` many at a time, when there is nothing to
write or when it has become too much.

Without ``log_fsync: full`` a batch is handed to the system, which takes microseconds; only checkpoints wait for the disk.
So a small batch is written within a turn, as long as nothing says that it would have to wait (`write_at_once`).

Source: https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html#pragma_synchronous.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import UNSET

from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import Batch
from hazoom_ws.message_log.pending_documents import QueuedSnapshots
from hazoom_ws.message_log.room_state import StateValue
from hazoom_ws.message_log.sqlite import document_table, state_table
from hazoom_ws.message_log.sqlite.damage import FILE_ERRORS, Damage, check, checked_seq, keep_row
from hazoom_ws.message_log.sqlite.document_table import file_updates, write_snapshot
from hazoom_ws.message_log.sqlite.file import open_file
from hazoom_ws.message_log.sqlite.marks import Mark
from hazoom_ws.message_log.sqlite.message_table import file_messages
from hazoom_ws.message_log.sqlite.migrations import migrate
from hazoom_ws.message_log.sqlite.retention import Retention
from hazoom_ws.message_log.sqlite.session_table import SessionTable
from hazoom_ws.message_log.sqlite.state_table import file_changes, restore_values
from hazoom_ws.message_log.sqlite.tail import EncodedBatch, RecentBatches, estimated_bytes, read_share
from hazoom_ws.settings import Settings

logger = logging.getLogger(__name__)

_FILED_AT_ONCE_COUNT = 512  # what comes meanwhile waits
_FILED_AT_ONCE_BYTES = 262_144
_FILED_AT_OPENING_COUNT, _FILED_AT_OPENING_BYTES = 8192, 4_194_304  # nobody waits for anything else, but memory is scarce
_TAIL_LIMIT_COUNT = 100_000
_TAIL_LIMIT_BYTES = 67_108_864
_TAIL_PARTS_LIMIT_BYTES = 8_388_608  # states are in memory until they are filed, and who opens a document reads all of it
# So much of the write-ahead log goes into the file at once, for which the disk is waited: beside what is written, and when
# that has outrun it, before more is written.
_CHECKPOINT_BYTES = 4_194_304
_CHECKPOINT_AT_LAST_PAGES = 16_000
_CACHE_KB = 4096  # holds the pages that moving a full tail changes, each of which then changes once
_BUSY_TIMEOUT_S = 5.0  # a backup or a curious shell may hold the file for a moment
_PAGE_BYTES = 4096
# What a turn may write, so that nobody waits for much longer than half a millisecond.
_AT_ONCE_LIMIT_BYTES = 524_288
_AT_ONCE_WAL_BYTES = 33_554_432  # well before SQLite would make a checkpoint in the middle of a write
# A write that took so long has waited for something: the next ones wait beside the turns.
_SLOW_S = 0.005
_SLOW_FOR_S = 10.0


class SqliteWriter:
    """The file at ``path``, open. `write`, `tidy` and `checkpoint` raise `sqlite3.Error`, making one `OSError` too.

    Not thread-safe but for `checkpoint`, which has a connection of its own. Up to ``written_seq`` all that is kept is in
    the file; up to ``filed_seq`` messages are in their table, up to ``filed_number`` all that was written is, 0 as long as
    nothing was since the file was opened.
    """

    def __init__(
        self,
        path: Path,
        settings: Settings,
        retention: Retention,
        snapshots: QueuedSnapshots,
        *,
        start_seq: int,
        epoch: str,
        wall_clock: Callable[[], float],
    ) -> None:
        """Bring the file up to date, give a new one ``start_seq`` and ``epoch``. Raises `SettingsError`, `Damage`."""
        self._wall_clock = wall_clock
        self._waits_for_disk = settings.log_fsync == "full"
        self._retention = retention
        self._snapshots = snapshots
        self._tail_count = self._tail_bytes = self._tail_parts_bytes = 0  # what the table ``tail`` holds
        self.filed_number = 0
        self._recent_batches = RecentBatches()
        self._written_bytes = 0  # since the last checkpoint
        self._wal_bytes = 0  # about what the write-ahead log holds
        self._checkpoints_count = 1
        self._begun_after_count = 0  # checkpoints that had ended when `write` last began
        self._slow_until_s = 0.0  # by the monotonic clock
        self._checkpointer = open_file(path)
        self._connection = open_file(path, timeout_s=_BUSY_TIMEOUT_S)
        try:
            self._open(start_seq, epoch)
        except BaseException:
            self.close()
            raise

    def _open(self, start_seq: int, epoch: str) -> None:
        execute = self._connection.execute
        execute("PRAGMA journal_mode = WAL")
        # Either way a batch survives the end of the process. FULL waits for the disk with each, and survives power loss.
        execute(f"PRAGMA synchronous = {'FULL' if self._waits_for_disk else 'NORMAL'}")
        execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_AT_LAST_PAGES}")
        execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        is_new = migrate(self._connection, start_seq=start_seq)
        execute("BEGIN IMMEDIATE")  # whether it can be written at all
        execute("UPDATE about SET epoch = coalesce(?, epoch)", (epoch if is_new else None,))
        execute("COMMIT")
        check(self._connection)
        self.mark = Mark(self._connection)
        self._sessions = SessionTable(self._connection)
        while self._file(_FILED_AT_OPENING_COUNT, _FILED_AT_OPENING_BYTES):
            pass
        self._sessions.forget_orphans(self._connection)
        about = execute("SELECT epoch, start_seq FROM about").fetchone()
        if about is None or not isinstance(about[0], str):
            raise Damage
        self.epoch, self.start_seq = about[0], checked_seq(about[1])
        self.filed_seq = self.written_seq = checked_seq(execute("SELECT max(seq) FROM messages").fetchone()[0])
        self.last_seq = max(self.filed_seq, self.mark.seq)
        if self.mark.seq == 0:  # it is damaged; else it is above all of them
            newest_seqs = [table.newest_seq(self._connection) for table in (state_table, document_table)]
            self.last_seq = max(self.last_seq, *newest_seqs)
        self._retention.load(self._connection)
        execute("PRAGMA busy_timeout = 0")

    def write(self, batch: Batch) -> None:
        """Keep a batch, all of it or nothing; wait for the disk, or for another process, as long as it takes."""
        checkpoints_count = self._checkpoints_count
        with self._patience():
            if self._is_too_much:
                self._put_in_order()
            self._insert(EncodedBatch(batch))
        self._begun_after_count = checkpoints_count

    def restore(
        self, messages: list[NewMessage], senders: dict[int, str], values: Iterable[tuple[str, str, StateValue]]
    ) -> None:
        """Put messages into the file that were in another one, and values of states: room, key and value of each."""
        with self._patience():
            for start in range(0, len(messages), _FILED_AT_ONCE_COUNT):
                part = messages[start : start + _FILED_AT_ONCE_COUNT]
                self._insert(EncodedBatch(Batch(part, {}, {}, part[0].seq, senders)))
            while self._file(_FILED_AT_OPENING_COUNT, _FILED_AT_OPENING_BYTES):
                pass
            restore_values(self._connection, values, self._wall_clock())

    def write_at_once(self, batch: Batch) -> bool:
        """Keep a batch if that waits for nothing; return whether it is kept."""
        started_at_s = time.monotonic()
        if self._may_wait(started_at_s) or estimated_bytes(batch) > _AT_ONCE_LIMIT_BYTES:
            return False
        encoded = EncodedBatch(batch)
        if encoded.size_bytes > _AT_ONCE_LIMIT_BYTES:
            return False
        try:
            self._insert(encoded)
        except Exception as error:
            self._roll_back()
            if not isinstance(error, FILE_ERRORS):
                logger.exception("a batch is written again, in a thread")
            return False  # another process holds the file, or else `write` will say what it is
        ended_at_s = time.monotonic()
        if ended_at_s - started_at_s > _SLOW_S:
            self._slow_until_s = ended_at_s + _SLOW_FOR_S
        return True

    def _may_wait(self, now_s: float) -> bool:
        """Return whether a write might wait for the disk."""
        return (
            self._waits_for_disk
            # The first write after a checkpoint begins the write-ahead log anew, and waits for that to be on the disk.
            or self._begun_after_count != self._checkpoints_count
            or self._wal_bytes > _AT_ONCE_WAL_BYTES
            or self._is_too_much
            or now_s < self._slow_until_s
        )

    @property
    def _is_too_much(self) -> bool:
        """Whether some of what can wait has to be done before anything else is written."""
        is_tail_full = self._tail_count >= _TAIL_LIMIT_COUNT or self._tail_bytes >= _TAIL_LIMIT_BYTES
        return is_tail_full or self._tail_parts_bytes >= _TAIL_PARTS_LIMIT_BYTES or self._snapshots.is_too_much

    @property
    def is_untidy(self) -> bool:
        """Whether the tail is long enough to be filed, or something is over a bound."""
        is_filing_due = self._tail_count >= _FILED_AT_ONCE_COUNT or self._tail_bytes >= _FILED_AT_ONCE_BYTES
        return is_filing_due or self._retention.is_due or bool(self._snapshots)

    def tidy(self) -> None:
        """File a share of the tail, write a snapshot, delete what is over a bound if it is time for that."""
        with self._patience():
            self._put_in_order()

    def _put_in_order(self) -> None:
        self._file(_FILED_AT_ONCE_COUNT, _FILED_AT_ONCE_BYTES)
        self._write_snapshot()
        if self._retention.is_due:
            self._retention.trim(self._connection, self._wall_clock())

    def _write_snapshot(self) -> None:
        """Write the snapshot that waits longest, if all that it replaces is filed."""
        queued = self._snapshots.first()
        if queued is None:
            return
        document, snapshot, through = queued
        [number] = self._connection.execute("SELECT min(number) FROM tail").fetchone()
        if number is not None and number <= through:
            return
        write_snapshot(self._connection, document, snapshot, through)
        self._snapshots.done(document, snapshot)
        self._count(_PAGE_BYTES + len(snapshot))

    @property
    def is_checkpoint_due(self) -> bool:
        """Whether enough was written since the last checkpoint."""
        return self._written_bytes >= _CHECKPOINT_BYTES

    def checkpoint(self) -> None:
        """Bring what was written into the file itself, and wait until it is on the disk."""
        self._written_bytes = 0
        try:
            [[_, pages, moved]] = self._checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._wal_bytes = 0 if pages == moved else pages * _PAGE_BYTES
        finally:
            self._checkpoints_count += 1

    def close(self) -> None:
        """Give the connections to the file back."""
        for connection in (self._checkpointer, self._connection):
            with suppress(sqlite3.Error):
                connection.close()

    @contextmanager
    def _patience(self) -> Iterator[None]:
        """Wait in the block for who else holds the file; undo what it has begun if it fails."""
        self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_S * 1000:.0f}")
        try:
            yield
        except BaseException:
            self._roll_back()
            raise
        finally:
            with suppress(sqlite3.Error):
                self._connection.execute("PRAGMA busy_timeout = 0")

    def _insert(self, encoded: EncodedBatch) -> None:
        """Write a batch, all of it or nothing."""
        self.mark.move_on(encoded.number)
        encoded.insert(self._connection)
        self._recent_batches.add(encoded, tail_bytes=self._tail_bytes)
        self._tail_count += encoded.count
        self._tail_bytes += encoded.size_bytes
        self._tail_parts_bytes += encoded.parts_bytes
        self._count(_PAGE_BYTES + encoded.size_bytes)
        if encoded.last_seq is not None:
            self.written_seq = encoded.last_seq

    def _count(self, written_bytes: int) -> None:
        """Note how much was written, about."""
        self._written_bytes += written_bytes
        self._wal_bytes += written_bytes

    def _file(self, limit_count: int, limit_bytes: int) -> bool:
        """File the oldest batches of the tail until that reaches a limit; return whether there were any."""
        share = self._recent_batches.share(limit_count, limit_bytes) or read_share(
            self._connection, limit_count, limit_bytes
        )
        if share is None:
            self._tail_count = self._tail_bytes = self._tail_parts_bytes = 0
            return False
        messages, states = share.messages, share.states
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        file_messages(self._connection, messages, share.senders)
        self._sessions.file(self._connection, states)
        file_changes(self._connection, share.state_changes)
        file_updates(self._connection, share.updates)
        for row in share.damaged:
            keep_row(self._connection, *row)
        execute("DELETE FROM tail WHERE number <= ?", (share.number,))
        [[pages_count]] = execute("PRAGMA page_count")
        execute("COMMIT")
        for number, *_ in share.damaged:
            logger.error("row %d in the tail of the message log is damaged; it is kept in the table 'damaged'", number)
        self._sessions.filed(states)
        self._recent_batches.filed(share.number)
        self._tail_count -= share.count
        self._tail_bytes -= share.size_bytes
        self._tail_parts_bytes -= share.parts_bytes
        # Each room, client_id, session, key of a state and document has its place in an index: up to a page, or three when
        # that is split.
        places_count = len({entry.room for entry in messages}) + len(states)
        places_count += sum(entry.client_id is not UNSET for entry in messages)
        places_count += len({update.document for update in share.updates})
        places_count += sum(len(change.values) + 1 for change in share.state_changes)
        self._count(share.size_bytes + _PAGE_BYTES * min(2 * places_count, pages_count))
        self._retention.note(messages)
        if messages:
            self.filed_seq = messages[-1].seq
        last_seq = messages[-1].seq if messages else 0
        self.filed_number = max(self.filed_number, share.number, share.last_seq, last_seq)
        return True

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
