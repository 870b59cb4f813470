"""What a log promises of other processes that is used by one: there are none."""

from collections.abc import Callable, Iterable

from hazoom_ws.message_log.contract import Batch, Entry, StoredSession
from hazoom_ws.message_log.peers import Heard, Peers


class Alone:
    """A log that one process has for itself, see `MessageLog`."""

    peers: Peers | None = None
    reads_beside = False

    @property
    def said_total(self) -> int:
        """Nobody asks."""
        return 0

    def note_kept(self, batch: Batch) -> None:
        """It is read from the moment it was said."""

    def news(self, *, is_before_kept: bool = False) -> list[Entry | Heard]:  # noqa: ARG002 - as the contract has it
        """Nobody else says anything."""
        return []

    def listen(self, wake: Callable[[], object], used: Callable[[], list[str]], hear: Callable[[], None]) -> None:
        """There will be no news."""

    def claim_session(self, key: str, opened_at_s: float, take: Callable[[str, StoredSession], object]) -> None:
        """There is nobody to take it from."""

    def take_over(self, _process: str, /) -> list[tuple[str, StoredSession]]:
        """There is none."""
        return []

    def follow(self, rooms: Iterable[str]) -> None:
        """Everything is here."""
