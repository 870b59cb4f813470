"""When the log may be tidied: when nothing is being said, or has not been much for a while.

Tidying costs as much again as writing did, and what is said meanwhile waits for it. So it is put off while there is much to
do; but where somebody says something every few milliseconds for hours, it must not be put off for ever.
"""

LOOK_INTERVAL_S = 0.01
_LOOKS_COUNT = 10
_LIMIT_COUNT = 300  # in that many intervals: under 3,000 messages a second nobody notices the tidying


class Calm:
    """Looks each `LOOK_INTERVAL_S` how much was written. Pure counting: its caller keeps the time."""

    def __init__(self) -> None:
        self._batches_count = 0
        self._written_count = 0  # messages and sessions
        self._batches_before_count = 0
        self._written_before_count = 0
        self._looks_count = 0

    def note(self, written_count: int) -> None:
        """Note that a batch of so many messages and sessions is written."""
        self._batches_count += 1
        self._written_count += written_count

    def begin(self) -> None:
        """Begin to look."""
        self._looks_count = 0
        self._written_before_count = self._written_count
        self._batches_before_count = self._batches_count

    def look(self) -> bool:
        """Return whether nothing was written since the last look, or only little in the last ten."""
        is_quiet = self._batches_count == self._batches_before_count
        self._batches_before_count = self._batches_count
        self._looks_count += 1
        if self._looks_count < _LOOKS_COUNT:
            return is_quiet
        is_calm = self._written_count - self._written_before_count < _LIMIT_COUNT
        self.begin()
        return is_quiet or is_calm
