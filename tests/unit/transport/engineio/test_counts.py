"""Sessions that end are counted by why."""

import logging

import pytest

from hazoom_ws.transport.engineio.counts import Counts
from hazoom_ws.transport.engineio.session import SLOW_READER


def test_a_session_that_ends_is_counted_by_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    counts = Counts()
    with caplog.at_level(logging.INFO):
        for reason in ("transport close", "transport close", "ping timeout"):
            counts.note_closed("a", reason)
        assert not caplog.records
        counts.note_closed("the slow one", SLOW_READER)
    assert counts.closed == {"transport_close": 2, "ping_timeout": 1, "slow_reader": 1}
    assert [record.getMessage() for record in caplog.records] == ["session the slow one is closed: it reads too slowly"]
