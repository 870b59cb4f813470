"""What one user may do: which rooms they may enter, and whether they may ask the AI."""

from collections.abc import Collection

from hazoom_ws.names import composed

_ANY = "*"


class Rights:
    """The rights of one connection. ``rooms``: patterns of the rooms that it may enter, None for all; they never change."""

    __slots__ = ("_names", "_patterns", "_prefixes", "_visible", "may_ask", "rooms")

    def __init__(self, rooms: Collection[str] | None = None, *, may_ask: bool = True) -> None:
        """In a pattern ``*`` is any run of characters, an empty one too; all else is itself. An empty list allows none."""
        self.rooms = None if rooms is None else tuple(composed(pattern) for pattern in rooms)
        self.may_ask = may_ask
        self._names = frozenset(pattern for pattern in self.rooms or () if _ANY not in pattern)
        patterns = [pattern.split(_ANY) for pattern in self.rooms or () if _ANY in pattern]
        self._prefixes = tuple(first for first, *others in patterns if others == [""])  # as most are
        self._patterns = tuple(parts for parts in patterns if parts[1:] != [""])
        self._visible: tuple[dict[str, int], dict[str, int]] = ({}, {})

    def may_enter(self, room: str) -> bool:
        """Return whether a room, named in normal form C, may be entered: whether it exists is not asked."""
        if self.rooms is None or room in self._names or room.startswith(self._prefixes):
            return True
        return any(_matches(room, parts) for parts in self._patterns)

    def visible(self, sizes: dict[str, int]) -> dict[str, int]:
        """Return those of some rooms that may be entered, as before if it is the same dictionary: that never changes."""
        if self.rooms is None:
            return sizes
        if self._visible[0] is not sizes:
            self._visible = (sizes, {room: size for room, size in sizes.items() if self.may_enter(room)})
        return self._visible[1]


EVERYTHING, NOTHING = Rights(), Rights([], may_ask=False)


def _matches(room: str, parts: list[str]) -> bool:
    """Return whether a name has those parts, in order, the first at its begin and the last at its end."""
    first, *middle, last = parts
    if len(room) < len(first) + len(last) or not (room.startswith(first) and room.endswith(last)):
        return False
    at, end = len(first), len(room) - len(last)
    for part in middle:  # the first place is always the best one: no search ever goes back
        found = room.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
