"""The slots of the AI's answers, running and waiting: who holds how many, and who may have one more. Pure bookkeeping.

Where there are several processes, each has slots of its own, but what a user and an address hold counts on all of them.
What others hold is what they have said last: who asks two processes in the same moment may get one more.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from hazoom_ws.chat.presence import User
from hazoom_ws.errors import TooManyStreams
from hazoom_ws.settings import Settings


class Question(Protocol):
    """What waits for a slot."""

    @property
    def user(self) -> User: ...

    @property
    def address(self) -> str: ...


Q = TypeVar("Q", bound=Question)


class _Taken:
    """Places of one kind. Addresses that are "" are not limited, and not counted."""

    def __init__(self) -> None:
        self.count = 0
        self.of_user: Counter[str] = Counter()
        self.of_address: Counter[str] = Counter()

    def add(self, user: User, address: str) -> None:
        self.count += 1
        self.of_user[user.id] += 1
        if address:
            self.of_address[address] += 1

    def remove(self, user: User, address: str) -> None:
        self.count -= 1
        for counts, key in ((self.of_user, user.id), (self.of_address, address)):
            if counts[key] > 1:
                counts[key] -= 1
            else:
                del counts[key]


class TakenElsewhere:
    """What users and addresses hold on other processes. A place is "running" or "waiting"."""

    def __init__(self) -> None:
        self._by_process: dict[str, dict[tuple[str, str, str], int]] = {}
        self._totals: Counter[tuple[str, str, str]] = Counter()

    def note(self, process: str, place: str, whose: str, key: str, count: int) -> None:
        """Note how many places a process has given to a user or an address (``whose``: "user" or "address")."""
        counts, name = self._by_process.setdefault(process, {}), (place, whose, key)
        self._totals[name] += count - counts.pop(name, 0)
        if count:
            counts[name] = count
        if not self._totals[name]:
            del self._totals[name]

    def forget(self, process: str) -> None:
        """Note that a process is gone."""
        for name, count in self._by_process.pop(process, {}).items():
            self._totals[name] -= count
            if not self._totals[name]:
                del self._totals[name]

    def count(self, place: str, whose: str, key: str) -> int:
        """Return how many of all."""
        return self._totals.get((place, whose, key), 0)


class Slots:
    """An address may hold as many slots as it leaves free.

    So alone it gets half of them, and however many addresses somebody has, who comes from another one finds a slot.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.running = _Taken()
        self.waiting = _Taken()
        self.elsewhere = TakenElsewhere()

    def taken_count(self) -> int:
        """Return how many answers run or wait."""
        return self.running.count + self.waiting.count

    def may_run(self, user: User, address: str) -> bool:
        """Return whether one more answer may run."""
        if self.are_all_taken or self._is_full(address):
            return False
        # A Counter is slow to say that there is none.
        taken_count = self.running.of_user.get(user.id, 0) + self.elsewhere.count("running", "user", user.id)
        return taken_count < self._settings.llm_streams_per_user_limit

    def admitted(self, waiting: Iterable[Q]) -> Iterator[Q]:
        """Yield which of those that wait may run, in their order. Each is to get its slot before the next is asked for.

        Where an address has no slot left, none of its questions is looked at: there may be hundreds at each answer's end.
        """
        full: set[str] = set()
        for question in waiting:
            if self.are_all_taken:
                return
            address = question.address
            if address in full:
                continue
            if self._is_full(address):
                full.add(address)
            elif self.may_run(question.user, address):
                yield question

    def _is_full(self, address: str) -> bool:
        """Return whether an address holds as many slots as are free."""
        free_count = self._settings.llm_streams_limit - self.running.count
        if not address:
            return False
        taken_count = self.running.of_address.get(address, 0) + self.elsewhere.count("running", "address", address)
        return taken_count >= free_count

    @property
    def are_all_taken(self) -> bool:
        """Whether as many run as may."""
        return self.running.count >= self._settings.llm_streams_limit

    def check_queue(self, user: User, address: str) -> None:
        """Raise `TooManyStreams` unless one more question may wait."""
        settings, waiting, elsewhere = self._settings, self.waiting, self.elsewhere
        of_user = waiting.of_user[user.id] + elsewhere.count("waiting", "user", user.id)
        if of_user >= settings.llm_queue_per_user_limit:
            raise TooManyStreams(settings.llm_streams_per_user_limit, settings.llm_queue_per_user_limit, "you have")
        free_count = settings.llm_queue_limit - waiting.count
        if free_count <= 0:
            raise TooManyStreams(settings.llm_streams_limit, settings.llm_queue_limit, "the server has")
        of_address = waiting.of_address[address] + elsewhere.count("waiting", "address", address)
        if address and of_address >= free_count:
            running_count = self.running.of_address[address] + elsewhere.count("running", "address", address)
            raise TooManyStreams(running_count, of_address, "your address has")
