"""The state of one room in memory: its values in the order of their changes, and what they take."""

from collections.abc import Iterable

from hazoom_ws.message_log.room_state import DELETED_KEPT_COUNT, StateValue

_SLACK_COUNT = 250  # deleted keys: trimming many at a time goes faster
_ROOM_BYTES, _VALUE_BYTES = 600, 250  # what they take beside names, keys and values, about


class CachedRoom:
    """The state of a room. ``values``: by ``seq``, ascending. What was deleted up to ``forgotten_seq`` is forgotten."""

    __slots__ = ("deleted_count", "forgotten_seq", "held_bytes", "size_bytes", "used_at_s", "values")

    def __init__(self, name: str, values: dict[str, StateValue], forgotten_seq: int) -> None:
        self.values: dict[str, StateValue] = {}
        self.forgotten_seq = forgotten_seq
        self.used_at_s = 0.0
        self.deleted_count = self.size_bytes = 0
        self.held_bytes = _ROOM_BYTES + 4 * len(name)
        for key, entry in values.items():
            self.put(key, entry)

    @property
    def newest_seq(self) -> int:
        """The number of the newest change that is known here, 0 if there is none."""
        return next(reversed(self.values.values())).seq if self.values else 0

    def is_older(self, key: str, seq: int) -> bool:
        """Return whether a key has nothing that was set later than ``seq``, or then."""
        there = self.values.get(key)
        return there is None or there.seq < seq

    def put(self, key: str, entry: StateValue) -> StateValue | None:
        """Give a key what it has last; return what it had."""
        earlier = self.values.pop(key, None)
        self.values[key] = entry
        if earlier is None or earlier.value is None or entry.value is None:
            if earlier is not None:
                self._count(key, earlier, -1)
            self._count(key, entry, 1)
        else:  # as nearly always
            grown_bytes = len(entry.value) - len(earlier.value)
            self.size_bytes += grown_bytes
            self.held_bytes += grown_bytes
        return earlier

    def remove(self, key: str) -> StateValue | None:
        earlier = self.values.pop(key, None)
        if earlier is not None:
            self._count(key, earlier, -1)
        return earlier

    def restore(self, values: Iterable[tuple[str, StateValue | None]]) -> None:
        """Put earlier values back, None where there was none, into their places."""
        for key, earlier in values:
            if earlier is None:
                self.remove(key)
            else:
                self.put(key, earlier)
        self.values = dict(sorted(self.values.items(), key=lambda item: item[1].seq))

    def forget_deleted(self, up_to_seq: int) -> None:
        """Forget the oldest deleted keys if there are too many, none that was deleted later than that."""
        if self.deleted_count <= DELETED_KEPT_COUNT + _SLACK_COUNT:
            return
        deleted = [(key, entry.seq) for key, entry in self.values.items() if entry.value is None]
        for key, seq in deleted[:-DELETED_KEPT_COUNT]:
            if seq > up_to_seq:
                return
            self.remove(key)
            self.forgotten_seq = seq

    def _count(self, key: str, entry: StateValue, sign: int) -> None:
        key_bytes = len(key) if key.isascii() else len(key.encode())
        if entry.value is None:
            self.deleted_count += sign
            self.held_bytes += sign * (_VALUE_BYTES + 2 * key_bytes)
        else:
            self.size_bytes += sign * (key_bytes + len(entry.value))
            self.held_bytes += sign * (_VALUE_BYTES + 2 * key_bytes + len(entry.value))
