"""Who has sent a part of something, a request or a message, and how many bytes of it are kept until the rest comes.

Each of them is bounded by what a whole one may have; this bounds all together, and the time that one may take. It also
knows who is connected and has said nothing, as those are who goes first when file descriptors run short. Does no I/O of
its own; may be called from any thread, greenlet or turn of the loop.
"""

from collections import OrderedDict
from contextlib import AbstractContextManager
from typing import Any, Protocol

from hazoom_ws.deadlines import Deadlines

# Ending those who hold less frees nothing.
_SMALL_BYTES = 4096
TOO_MUCH = "too much of unfinished messages and requests"
TOO_LATE = "a message or request was not whole in time"


class Holder(Protocol):
    """A connection of which something is kept, or that is silent."""

    def cut_off(self, why: str) -> None:
        """End the connection; from any thread, greenlet or turn, also within a call of this holder to `Unfinished`."""


class Unfinished:
    """The holders by age, which begins with `hold` and ends with `release`."""

    def __init__(self, limit_bytes: int, timeout_s: float, lock: AbstractContextManager[object]) -> None:
        """``limit_bytes`` bounds the sum; ``timeout_s`` the time from the first byte that is held to the release."""
        self._limit_bytes = limit_bytes
        self._lock = lock
        self._held_bytes: OrderedDict[Any, int] = OrderedDict()
        self._large: OrderedDict[Any, None] = OrderedDict()  # those that hold more than little, in the order of that
        self._due: Deadlines[Any] = Deadlines(timeout_s)
        self.total_bytes = 0

    def __len__(self) -> int:
        return len(self._held_bytes)

    def hold(self, holder: Holder, size_bytes: int, now_s: float) -> None:
        """Note that ``holder`` has sent so much that is not whole; 0 is a connection that has begun nothing.

        Cuts off the oldest, perhaps this one, as long as all hold more than they may.
        """
        to_end = []
        with self._lock:
            before = self._held_bytes.get(holder, 0)
            self._held_bytes[holder] = size_bytes
            self.total_bytes += size_bytes - before
            if not before and size_bytes:
                self._due.start(holder, now_s)
            if size_bytes > _SMALL_BYTES:
                self._large.setdefault(holder)
            if self.total_bytes > self._limit_bytes and size_bytes > before:
                to_end = self._pop_large()
        for one in to_end:
            one.cut_off(TOO_MUCH)

    def release(self, holder: object) -> None:
        """Forget a holder: it is whole, or gone. One that is not here stays away."""
        with self._lock:
            self._forget(holder)

    def cut_off_oldest(self, why: str) -> bool:
        """End who has waited longest with nothing or a part; return False if there is nobody."""
        with self._lock:
            holder = next(iter(self._held_bytes), None)
            if holder is None:
                return False
            self._forget(holder)
        holder.cut_off(why)
        return True

    def sweep(self, now_s: float) -> None:
        """End those who take too long."""
        with self._lock:
            due = [holder for holder, _ in self._due.pop_due(now_s)]
            for holder in due:
                self._forget(holder)
        for holder in due:
            holder.cut_off(TOO_LATE)

    def _pop_large(self) -> list[Holder]:
        """Forget and return the oldest that hold much, until the rest fits."""
        taken = []
        while self._large and self.total_bytes > self._limit_bytes:
            holder = next(iter(self._large))
            self._forget(holder)
            taken.append(holder)
        return taken

    def _forget(self, holder: object) -> None:
        size_bytes = self._held_bytes.pop(holder, None)
        self._large.pop(holder, None)
        if size_bytes:
            self.total_bytes -= size_bytes
            self._due.stop(holder)
