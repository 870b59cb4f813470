"""The hub's own clockwork; what clients see of it is in tests/unit/namespaces."""

import pytest

from hazoom_ws.chat.effects import Broadcast
from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.rooms import DUE_AT_ONCE, LISTED_USERS, NOTICE_INTERVAL_S
from hazoom_ws.events.rooms import UserJoined, UserLeft
from hazoom_ws.message_log.memory import MemoryLog
from hazoom_ws.settings import Settings


class Crowd:
    """A hub with a clock to set, and what it told the room ``square`` of comings and goings."""

    def __init__(self, users: int) -> None:
        self.now_s = 0.0
        self.told: list[Broadcast] = []
        self.wakes = 0
        log = MemoryLog(room_limit_count=10, limit_bytes=10_000)
        settings = Settings(default_room="", presence_grace_s=0)
        self.hub = Hub(
            settings, log, self._deliver, wake=self._wake, clock=lambda: self.now_s, wall_clock=lambda: self.now_s
        )
        self.people = []
        for _ in range(users):
            self.come()

    def come(self) -> None:
        connection = self.hub.connect(f"c{len(self.people)}", f"user {len(self.people)}")
        self.people.append(connection)
        self.hub.join(connection, "square", since=None, history=0)

    def go(self) -> None:
        self.hub.disconnect(self.people.pop())

    def _deliver(self, effect: object) -> None:
        if isinstance(effect, Broadcast) and isinstance(effect.event, UserJoined | UserLeft):
            self.told.append(effect)

    def _wake(self) -> None:
        self.wakes += 1


def test_everybody_is_told_of_everybody_up_to_the_names_that_a_room_lists():
    crowd = Crowd(LISTED_USERS)
    assert [notice.event.user_count for notice in crowd.told] == list(range(1, LISTED_USERS + 1))
    assert crowd.wakes == 0
    crowd.come()
    assert len(crowd.told) == LISTED_USERS


def test_a_crowd_is_told_of_the_last_to_come_or_go_and_how_many_there_are_once_in_a_while():
    crowd = Crowd(LISTED_USERS + 50)
    del crowd.told[:]
    assert crowd.wakes > 0
    assert crowd.hub.run_due() == pytest.approx(NOTICE_INTERVAL_S)
    assert crowd.told == []
    crowd.now_s += NOTICE_INTERVAL_S
    crowd.come()
    assert crowd.hub.run_due() is None
    [notice] = crowd.told
    assert notice.event == UserJoined(room="square", user=f"user {LISTED_USERS + 50}", user_count=LISTED_USERS + 51)
    assert notice.skip == (crowd.people[-1],)
    crowd.go()
    crowd.now_s += NOTICE_INTERVAL_S
    crowd.hub.run_due()
    assert crowd.told[-1].event == UserLeft(room="square", user=f"user {LISTED_USERS + 50}", user_count=LISTED_USERS + 50)


def test_a_crowd_that_is_gone_before_it_was_told_is_forgotten():
    crowd = Crowd(LISTED_USERS + 1)
    while crowd.people:
        crowd.go()
    crowd.now_s += NOTICE_INTERVAL_S
    del crowd.told[:]
    assert crowd.hub.run_due() is None
    assert crowd.told == []


def test_a_crowd_that_leaves_at_once_is_let_go_a_part_in_each_turn():
    crowd = Crowd(DUE_AT_ONCE + 1)
    hub = crowd.hub
    hub.rooms._grace_s = hub.rooms._absences.period_s = 5.0
    while crowd.people:
        crowd.go()
    crowd.now_s += 6
    assert hub.run_due() <= 0
    assert hub.rooms.sizes() == {"square": 1}
    assert hub.run_due() is None
    assert len(hub.rooms) == 0
