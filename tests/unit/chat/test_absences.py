"""Who has dropped and is waited for in a room: how many, and how long their rooms' names may be."""

import pytest

from hazoom_ws.chat.absences import LIMIT_BYTES, LIMIT_COUNT, Absences
from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.presence import User
from hazoom_ws.message_log.memory import MemoryLog
from hazoom_ws.settings import Settings

ANN = User.named("Ann")


@pytest.mark.parametrize(
    ("tail", "kept_count"),
    [
        ("x" * 120, LIMIT_COUNT),  # names in ASCII are never the limit
        ("ü" * 8, LIMIT_COUNT),
        ("\N{GRINNING FACE}" * 120, LIMIT_BYTES // 1000),
    ],
)
def test_so_many_are_waited_for_and_no_more(tail, kept_count):
    absences = Absences(5.0)
    names = [f"{number:05}{tail}" for number in range(kept_count + 10)]
    missed = []
    for number, name in enumerate(names):
        absences.start(name, ANN, float(number))
        missed += absences.take_excess()
    assert missed == [(name, ANN) for name in names[:10]]
    assert len(absences) == kept_count


def test_who_comes_back_or_was_missed_takes_no_space():
    absences = Absences(5.0)
    name = "\N{GRINNING FACE}" * 128
    for number in range(4000):
        absences.start(f"{number}{name}"[:128], ANN, 0.0)
        absences.stop(f"{number}{name}"[:128], ANN)
    absences.stop("never away", ANN)
    for _ in range(4):
        for number in range(1000):
            absences.start(f"{number}{name}"[:128], ANN, 0.0)
        assert not list(absences.take_excess())
        assert len(list(absences.pop_due(5.0, 400))) == 400
        assert len(list(absences.pop_due(5.0, 4000))) == 600
    assert absences.next_due_at_s() is None


def test_rooms_that_everybody_has_dropped_out_of_take_a_bounded_space():
    """12,000 of the longest names held 20 MB for five seconds, and kept the memory around them from being given back."""
    log = MemoryLog(room_limit_count=10, limit_bytes=1000, start_seq=1)
    settings = Settings(default_room="", rooms_per_connection_limit=128)
    hub = Hub(settings, log, lambda _: None, wake=lambda: None, clock=lambda: 0.0, wall_clock=lambda: 0.0)
    for number in range(20):
        connection = hub.connect(f"{number}", f"user {number}", may_return=True)
        for room in range(100):
            hub.join(connection, f"{number} {room} ".ljust(128, "\N{GRINNING FACE}"), since=None, history=0)
        hub.disconnect(connection)
    assert len(hub.rooms) <= LIMIT_BYTES // 960
