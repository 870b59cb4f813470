"""Rooms of which all there is was found in memory, after which seq that is: so quiet rooms are joined without the file."""

_KNOWN_COUNT = 20_000


class WholeRooms:
    """Known by the hash of a room's name and of what was asked for (`EVERYTHING`, say): that takes less than a name may."""

    def __init__(self) -> None:
        self._whole_from: dict[int, int] = {}

    def is_whole(self, room: str, event_name: str | None, edge: int) -> bool:
        """Return whether a file has nothing of a room up to ``edge``."""
        return self._whole_from.get(hash((room, event_name))) == edge

    def add(self, room: str, event_name: str | None, edge: int) -> None:
        """Note that the file had nothing up to there; it gets only what is above."""
        if len(self._whole_from) >= _KNOWN_COUNT:
            self._whole_from.clear()
        self._whole_from[hash((room, event_name))] = edge

    def clear(self) -> None:
        """Forget them: it is another file."""
        self._whole_from.clear()
