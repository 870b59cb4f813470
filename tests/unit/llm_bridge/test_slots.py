"""Which of those that wait for a place of the AI gets one, and who is looked at for that."""

import pytest

from hazoom_ws.chat.presence import User
from hazoom_ws.errors import TooManyStreams
from hazoom_ws.llm_bridge.slots import Slots
from hazoom_ws.settings import Settings


class Question:
    """One that waits, and knows how often somebody looked who asks it."""

    def __init__(self, name: str, address: str) -> None:
        self.address = address
        self.looked_at = 0
        self._user = User.named(name)

    @property
    def user(self) -> User:
        self.looked_at += 1
        return self._user


def run_admitted(slots: Slots, waiting: list[Question]) -> list[int]:
    """Let all run that may, and return which these are."""
    admitted = []
    for question in slots.admitted(waiting):
        slots.running.add(question.user, question.address)
        admitted.append(waiting.index(question))
    return admitted


def test_they_run_in_their_order_as_addresses_and_users_leave_places():
    slots = Slots(Settings(llm_streams_limit=8, llm_streams_per_user_limit=2))
    waiting = [Question("Ann", "1.1.1.1") for _ in range(3)]
    waiting += [Question(f"guest {number}", "1.1.1.1") for number in range(4)]
    waiting += [Question("Bob", "2.2.2.2"), Question("Cy", ""), Question("Cy", ""), Question("Cy", "")]
    # The address holds as many as it leaves free; one that is none is not limited.
    assert run_admitted(slots, waiting) == [0, 1, 3, 4, 7, 8, 9]
    slots.running.add(User.named("Dan"), "")
    assert run_admitted(slots, waiting[-1:] + waiting[:3]) == []


def test_of_an_address_without_a_place_nobody_is_looked_at():
    """At the end of each of 500 answers all that waited were asked: when a backend ended, nobody was served for 0.1 s."""
    slots = Slots(Settings(llm_streams_limit=4))
    waiting = [Question(f"guest {number}", "1.1.1.1") for number in range(100)]
    assert run_admitted(slots, waiting) == [0, 1]
    seen = sum(question.looked_at for question in waiting)
    honest = Question("Ann", "2.2.2.2")
    assert run_admitted(slots, [*waiting[2:], honest]) == [98]
    assert sum(question.looked_at for question in waiting) == seen


def test_who_comes_later_from_another_address_gets_the_next_slot_however_many_wait_before():
    settings = Settings(llm_streams_limit=10, llm_queue_limit=100)
    slots = Slots(settings)
    crowd = [Question(f"guest {number}", "1.1.1.1") for number in range(60)]
    assert len(run_admitted(slots, crowd)) == 5, "alone it gets half of the slots"
    queued = 0
    for question in crowd[5:]:
        try:
            slots.check_queue(question.user, question.address)
        except TooManyStreams as refused:
            assert "your address" in str(refused)  # noqa: PT017 - the others are let in
            break
        slots.waiting.add(question.user, question.address)
        queued += 1
    assert queued == 50, "and half of the queue"
    others = [Question(f"user {number}", f"2.2.2.{number}") for number in range(10)]
    waiting = [*crowd[5:], *others]
    ran = run_admitted(slots, waiting)
    assert [waiting[number] for number in ran] == others[:5], "who has none goes before who has some"
    assert slots.are_all_taken
    for ended in crowd[:4]:  # one after the other: each slot goes to who has none, the crowd's own place in front of them
        slots.running.remove(ended.user, ended.address)
        waiting = [question for number, question in enumerate(waiting) if number not in ran]
        ran = run_admitted(slots, waiting)
        assert [waiting[number] for number in ran] == [others[5 + crowd.index(ended)]]
    assert slots.running.of_address["1.1.1.1"] == 1, "nor is the crowd left without"


def test_one_user_of_many_addresses_has_the_slots_of_one():
    slots = Slots(Settings(llm_streams_per_user_limit=3, llm_queue_per_user_limit=2))
    questions = [Question("Eve", f"10.0.0.{number}") for number in range(20)]
    assert run_admitted(slots, questions) == [0, 1, 2]
    for question in questions[3:5]:
        slots.check_queue(question.user, question.address)
        slots.waiting.add(question.user, question.address)
    with pytest.raises(TooManyStreams, match="you have 3"):
        slots.check_queue(questions[5].user, questions[5].address)


def test_what_a_user_and_an_address_hold_on_other_processes_counts_until_these_are_gone():
    slots = Slots(Settings(llm_streams_limit=4, llm_streams_per_user_limit=3, llm_queue_per_user_limit=2))
    ann, held = User.named("Ann"), slots.elsewhere
    held.note("b", "running", "user", ann.id, 2)
    held.note("c", "running", "user", ann.id, 3)
    assert not slots.may_run(ann, "")
    held.note("c", "running", "user", ann.id, 0)
    assert slots.may_run(ann, "")
    held.note("b", "waiting", "user", ann.id, 2)
    with pytest.raises(TooManyStreams, match="you have"):
        slots.check_queue(ann, "")
    held.forget("b")
    slots.check_queue(ann, "")
    assert held.count("running", "user", ann.id) == 0
    # Of an address as many as are free here.
    held.note("b", "running", "address", "1.1.1.1", 4)
    assert not slots.may_run(User.named("Bob"), "1.1.1.1")
    assert slots.may_run(User.named("Bob"), "2.2.2.2")
    held.note("b", "running", "address", "1.1.1.1", 3)
    assert slots.may_run(User.named("Bob"), "1.1.1.1")
