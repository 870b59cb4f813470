"""Things that end after one fixed time, in the order in which they began. The clock is an argument."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Who has how long. All periods are equally long, so whoever began first is due first, and nothing is ever sorted."""

    __slots__ = ("_due_at_s", "period_s")

    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self._due_at_s: OrderedDict[T, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._due_at_s)

    def start(self, item: T, now_s: float) -> None:
        """Begin the period of ``item``, or begin it again."""
        self._due_at_s[item] = now_s + self.period_s
        self._due_at_s.move_to_end(item)

    def stop(self, item: T) -> bool:
        """Forget ``item`` and return whether it was here."""
        return self._due_at_s.pop(item, None) is not None

    def due_at_s(self, item: T) -> float | None:
        """Return the moment at which the period of ``item`` ends, None if it has none."""
        return self._due_at_s.get(item)

    def pop_due(self, now_s: float) -> Iterator[tuple[T, float]]:
        """Forget and yield those whose period is over, each with the moment at which it ended."""
        while self._due_at_s:
            item, due_at_s = next(iter(self._due_at_s.items()))
            if due_at_s > now_s:
                return
            del self._due_at_s[item]
            yield item, due_at_s

    def pop_first(self) -> T:
        """Forget and return the one that began first. Raises KeyError if there is none."""
        return self._due_at_s.popitem(last=False)[0]

    def next_due_at_s(self) -> float | None:
        """Return the moment at which the first period ends, None if there is none."""
        return next(iter(self._due_at_s.values()), None)

    def next_due_in_s(self, now_s: float) -> float | None:
        """Return the seconds until the first period ends, less than 0 if it has ended, None if there is none."""
        due_at_s = self.next_due_at_s()
        return None if due_at_s is None else due_at_s - now_s
