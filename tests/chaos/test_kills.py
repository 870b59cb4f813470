"""A server that is killed at random moments under load: what it has acknowledged is there, and once."""

import random
from pathlib import Path

import pytest

from kills import doubled, kill_at_random, lost
from servers import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]

KILLS = 3


# With "full" every batch is waited for in a thread.
@pytest.mark.parametrize("log_fsync", ["normal", "full"])
@pytest.mark.parametrize("async_mode", ["eventlet", "threading"])
def test_what_was_acknowledged_before_kills_is_there_once(async_mode: str, log_fsync: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(
        f"the same moments again: python scripts/kill.py {async_mode} --log-fsync {log_fsync} --kills {KILLS} --seed {seed}"
    )
    findings = kill_at_random(async_mode=async_mode, log_fsync=log_fsync, kills=KILLS, seed=seed, folder=tmp_path)
    assert (findings.lost, findings.doubled) == (frozenset(), frozenset())
    assert findings.kills == KILLS
    assert findings.said == findings.acknowledged == findings.found > 0
    assert findings.counted > 0


def test_what_is_lost_or_doubled_is_seen() -> None:
    assert lost([("a", "1"), ("b", "2"), ("c", "3")], [("a", "1"), ("b", "4")]) == {"b", "c"}
    assert doubled([("a", "1"), ("b", "2"), ("a", "3")]) == {"a"}
