"""Which of those that wait for a place of the AI gets one, and who is looked at for that."""

from hazoom_ws.chat.presence import User
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
