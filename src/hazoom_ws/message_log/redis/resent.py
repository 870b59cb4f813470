"""Which messages and changes of state may be sent again, in 24 hours: asked for each that has a ``client_id``.

Most are new. So this holds, in a set, the digests of all that were said in that time, by an earlier process too, and who
is not in it is new without asking Redis. Those who are in it are looked up there: they are few. What does not fit makes
the set incomplete, and then all are looked up, which costs one round trip each.

Called within turns, but for `Resent.begin_with`, before any.
"""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from hazoom_ws.message_log.contract import NotLoaded

KNOWN_LIMIT_COUNT = 250_000  # 100 bytes each
_FOUND_LIMIT_COUNT = 1000

F = TypeVar("F")


class Resent(Generic[F]):
    """Finds what was sent before. ``load(room, digest)`` asks Redis, beside turns; it raises `LogUnavailable`."""

    def __init__(self, load: Callable[[str, str], F | None]) -> None:
        self._load = load
        self._known: set[str] = set()
        self._is_complete = True
        self._found: dict[str, F | None] = {}  # what was looked up for somebody who asks again at once

    def begin_with(self, digests: Iterable[str], *, is_complete: bool) -> None:
        """Know what an earlier process was sent."""
        self._known = set(digests)
        self._is_complete = is_complete

    def add(self, digests: Iterable[str]) -> None:
        """Know what is to be written now."""
        self._known.update(digests)
        if len(self._known) > KNOWN_LIMIT_COUNT:
            self._known.clear()
            self._is_complete = False

    def find(self, room: str, digest: str) -> F | None:
        """Return what was sent with this digest, None if nothing was. Raises `NotLoaded`."""
        if self._is_complete and digest not in self._known:
            return None
        if digest in self._found:
            return self._found.pop(digest)

        def load() -> Callable[[], None]:
            found = self._load(room, digest)

            def take() -> None:
                if len(self._found) >= _FOUND_LIMIT_COUNT:  # they asked, and went away
                    self._found.clear()
                self._found[digest] = found

            return take

        raise NotLoaded(load)
