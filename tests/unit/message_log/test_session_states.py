"""Sessions, whole and as changes: whatever is put together where, what comes out is what was said last."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from hazoom_ws.message_log.contract import MessageLog, SessionChange, SessionState, StoredSession
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.message_log.session_states import applied, change_between, followed
from hazoom_ws.settings import Settings

ROOMS = st.sampled_from("abcd")
ANSWERS = st.dictionaries(st.sampled_from("12"), ROOMS, max_size=2)
WHOLE = st.builds(
    StoredSession,
    user_id=st.just("u"),
    user_name=st.just("Ann"),
    conversation_id=st.just("s"),
    since=st.integers(0, 3),
    rooms=st.lists(ROOMS, unique=True),
    ends_at=st.none() | st.floats(1, 9),
    answers=ANSWERS,
)
CHANGE = st.builds(
    SessionChange,
    left=st.lists(ROOMS, unique=True),
    joined=st.lists(ROOMS, unique=True),
    ends_at=st.just(UNSET) | st.none() | st.floats(1, 9),
    answers=st.just(UNSET) | ANSWERS,
    died_answers=st.just(UNSET) | ANSWERS,
)


@given(session=WHOLE, changes=st.lists(CHANGE, min_size=1, max_size=4))
def test_changes_that_were_put_together_do_what_they_do_one_by_one(session, changes):
    together: SessionState = changes[0]
    for change in changes[1:]:
        together = followed(together, change)
    assert isinstance(together, SessionChange)
    one_by_one = session
    for change in changes:
        one_by_one = applied(one_by_one, [change])
    assert applied(session, [together]) == applied(session, changes) == one_by_one


@given(before=WHOLE, after=WHOLE)
def test_a_change_leads_from_one_state_to_the_other_or_there_is_none(before, after):
    change = change_between(before, after)
    if change is None:
        assert (before.since, before.rooms) != (after.since, after.rooms)
    else:
        assert applied(before, [change]) == after


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
@pytest.mark.long
def test_a_file_has_the_last_state_of_each_session_whatever_failed_meanwhile(  # noqa: PLR0912, PLR0915
    tmp_path_factory, monkeypatch, data
):
    """Against a dict: histories of states, batches that are kept or not, filing, files that are lost, and restarts."""
    folder: Path = tmp_path_factory.mktemp("log")
    monkeypatch.setattr("hazoom_ws.message_log.session_states._PLACES_AT_ONCE", 3)

    def known() -> Iterator[tuple[str, StoredSession]]:
        for key in list(expected):
            if key in expected:
                yield key, expected[key]

    def open_file() -> MessageLog:
        log = open_log(Settings(log_url="sqlite:///log.sqlite3"), folder)
        log.restore_from(known)
        return log

    def file_all() -> None:
        assert log._writer is not None
        while log._writer._file(2, 10**6):
            pass

    expected: dict[str, StoredSession] = {}
    log = open_file()
    for _ in range(data.draw(st.integers(1, 30))):
        action = data.draw(
            st.sampled_from(["whole", "change", "change", "change", "end", "write", "fail", "file", "lose", "restart"])
        )
        key = data.draw(st.sampled_from("xyz"))
        can_wait = data.draw(st.booleans())
        if action == "whole":
            expected[key] = data.draw(WHOLE)
            log.save_session(key, expected[key], can_wait=can_wait)
        elif action == "change" and key in expected:
            change = data.draw(CHANGE)
            expected[key] = applied(expected[key], [change])
            log.change_session(key, change, can_wait=can_wait)
        elif action == "end":
            expected.pop(key, None)
            log.save_session(key, None, can_wait=can_wait)
        elif action == "write":
            log.write(log.pop_batch())
        elif action == "fail":
            first = log.pop_batch()
            if data.draw(st.booleans()) and key in expected:  # what comes while it is being written
                change = data.draw(CHANGE)
                expected[key] = applied(expected[key], [change])
                log.change_session(key, change, can_wait=can_wait)
                if data.draw(st.booleans()):
                    log.forget(log.pop_batch())  # as `GroupCommit` does: the newer one first
            log.forget(first)
        elif action == "file":
            file_all()
        elif action == "lose":
            for suffix in ("", "-wal", "-shm"):
                (folder / f"log.sqlite3{suffix}").unlink()
            log.reopen()
            assert log.problem is None
        elif action == "restart":
            while log.is_dirty:
                log.write(log.pop_batch())
            log.close()
            log = open_file()
            assert dict(log.sessions()) == expected
    while log.is_dirty:
        log.write(log.pop_batch())
    if data.draw(st.booleans()):
        file_all()
    log.close()
    log = open_file()
    assert dict(log.sessions()) == expected
    log.close()


def test_changes_of_a_session_that_is_gone_go_too(tmp_path):
    log = open_log(Settings(log_url="sqlite:///log.sqlite3"), tmp_path)
    log.change_session("lost with its file", SessionChange(joined=["a"]))
    log.write(log.pop_batch())
    log.close()
    log = open_log(Settings(log_url="sqlite:///log.sqlite3"), tmp_path)
    assert dict(log.sessions()) == {}
    assert log._reader._connection.execute("SELECT count(*) FROM session_changes").fetchone() == (0,)
    log.close()
