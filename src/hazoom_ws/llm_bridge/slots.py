"""The slots of the AI's answers, running and waiting: who holds how many, and who may have one more. Pure bookkeeping."""

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


class Slots:
    """An address may hold as many slots as it leaves free.

    So alone it gets half of them, and however many addresses somebody has, who comes from another one finds a slot.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.running = _Taken()
        self.waiting = _Taken()

    def taken_count(self) -> int:
        """Return how many answers run or wait."""
        return self.running.count + self.waiting.count

    def may_run(self, user: User, address: str) -> bool:
        """Return whether one more answer may run."""
        if self.are_all_taken or self._is_full(address):
            return False
        # A Counter is slow to say that there is none.
        return self.running.of_user.get(user.id, 0) < self._settings.llm_streams_per_user_limit

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
        return bool(address) and self.running.of_address.get(address, 0) >= free_count

    @property
    def are_all_taken(self) -> bool:
        """Whether as many run as may."""
        return self.running.count >= self._settings.llm_streams_limit

    def check_queue(self, user: User, address: str) -> None:
        """Raise `TooManyStreams` unless one more question may wait."""
        settings, waiting = self._settings, self.waiting
        if waiting.of_user[user.id] >= settings.llm_queue_per_user_limit:
            raise TooManyStreams(settings.llm_streams_per_user_limit, settings.llm_queue_per_user_limit, "you have")
        free_count = settings.llm_queue_limit - waiting.count
        if free_count <= 0:
            raise TooManyStreams(settings.llm_streams_limit, settings.llm_queue_limit, "the server has")
        if address and waiting.of_address[address] >= free_count:
            raise TooManyStreams(self.running.of_address[address], waiting.of_address[address], "your address has")
