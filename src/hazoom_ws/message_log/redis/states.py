"""The states of rooms as Redis has them, for a `StateCache`: a room that is not in memory is loaded beside turns."""

from collections.abc import Callable

from msgspec import UnsetType

from hazoom_ws.message_log.contract import NotLoaded, resent_key
from hazoom_ws.message_log.redis.encoding import digest_of
from hazoom_ws.message_log.redis.resent import Resent
from hazoom_ws.message_log.redis.store import FoundResent
from hazoom_ws.message_log.state_cache import LoadedRoom, StateCache


class RedisStates:
    """What is asked for within turns. ``cache`` is whom it is for, and set by whoever makes both.

    A room is read while batches are written, so what was read may lack what the cache takes for filed by the time it gets
    it. `filed_seq` sees to that: as long as somebody reads, nothing counts as filed that was not when the reading began,
    and the cache says it again over what was read.
    """

    cache: StateCache

    def __init__(
        self,
        check: Callable[[], None],
        follow: Callable[[list[str]], None],
        load: Callable[[str], LoadedRoom],
        resent: Resent[FoundResent],
        *,
        written_seq: Callable[[], int],
    ) -> None:
        """``follow`` as of `MessageLog`; ``load(room)`` reads beside turns; up to ``written_seq()`` all is written."""
        self.check = check
        self._follow = follow
        self._read = load
        self._resent = resent
        self._written_seq = written_seq
        self._began: dict[object, int] = {}  # of each that reads: what was written when it began
        self._loaded: dict[str, LoadedRoom] = {}  # on its way into the cache

    def filed_seq(self) -> int:
        """Return up to where changes count as filed."""
        return min([self._written_seq(), *list(self._began.values())])

    def load(self, room: str) -> LoadedRoom:
        """Return a room that has just been read. Raises `NotLoaded`."""
        loaded = self._loaded.pop(room, None)
        if loaded is not None:
            return loaded
        self._follow([room])  # so that what is set from now on is heard
        self.check()

        def read() -> Callable[[], None]:
            reading = object()
            self._began[reading] = 0  # nothing counts as filed until it is known what does
            self._began[reading] = self._written_seq()
            try:
                loaded = self._read(room)
            except BaseException:
                del self._began[reading]
                raise

            def take() -> None:
                self._loaded[room] = loaded
                try:
                    self.cache.size(room)  # which has it now
                finally:
                    self._loaded.pop(room, None)
                    del self._began[reading]

            return take

        raise NotLoaded(read)

    def find_resent(self, room: str, user: str, client_id: str, sender: str | UnsetType) -> int | None:
        """Return the ``seq`` of a change that is written. Raises `NotLoaded`."""
        self.check()
        found = self._resent.find(room, digest_of("s", resent_key(room, user, client_id, sender)))
        return None if found is None else found.seq
