"""A server that is restarted under load: nothing is lost, nothing comes twice, and everybody is back soon."""

from pathlib import Path

import pytest

from restarts import restart_under_load
from servers import ASYNC_MODES, pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]

GRACE_S = 4.0
BACK_LIMIT_S = 15.0


@pytest.mark.parametrize("async_mode", ASYNC_MODES)
def test_a_restart_under_load_loses_and_doubles_nothing(async_mode: str, tmp_path: Path) -> None:
    findings = restart_under_load(
        async_mode=async_mode, clients=40, messages_per_s=25, answers=6, grace_s=GRACE_S, seconds=2.0, folder=tmp_path
    )
    assert (findings.lost, findings.doubled, findings.odd) == (frozenset(), frozenset(), ())
    assert findings.status == 0
    assert findings.stop_s < GRACE_S
    assert findings.back_s < BACK_LIMIT_S
    assert findings.said == findings.acknowledged > 0
    assert (findings.completed, findings.handed_on) == (3, 3)
