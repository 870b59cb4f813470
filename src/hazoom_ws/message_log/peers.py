"""What a log promises that several processes share, beside the log itself: how they tell each other what is not kept."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, Protocol

# The log's problem when nothing was heard of this process for too long, or it has begun anew meanwhile: it does that soon.
EXPIRED = "the lease of this process has run out"


class Heard(NamedTuple):
    """Something that another process has published: in which channel, which process, what kind of thing, and what."""

    channel: str
    process: str
    kind: bytes
    data: bytes


# Called beside turns with rooms that this process begins to hear, from when it does; may read, with `Peers.ask`, and raise
# `LogUnavailable`. What it returns is called in a turn, before anybody comes into them.
OnFollow = Callable[[Sequence[str]], Callable[[], object]]


class Peers(Protocol):
    """The other processes. ``name`` is that of this one: 16 hexadecimal digits, never used before.

    What is published comes to all that follow the channel (`MessageLog.news`), in one order with what is kept, but not to
    this process itself. Nothing is promised of it: while Redis is away it is lost. Who has to know what there is now keeps
    it with `ask` too, and reads it when it begins to follow, and when Redis was away.

    ``before_back`` is called when Redis was away, beside turns and before anything can be kept again, and may raise
    `LogUnavailable`; ``on_back`` afterwards, in a turn.

    All follow the channel ``processes``, and each follows ``process:<its name>``. ``on_follow`` and ``on_unfollow``: who
    wants to know which rooms this process begins to hear, and in a turn which it hears no more.
    """

    name: str
    before_back: list[Callable[[], object]]
    on_back: list[Callable[[], object]]
    on_follow: list[OnFollow]
    on_unfollow: list[Callable[[list[str]], object]]

    @property
    def problem(self) -> str | None:
        """Why what is published now would not be heard, None if it would: also where the log keeps nothing for lack of
        space, of a disk, or of replicas.
        """

    @property
    def queued_bytes(self) -> int:
        """How much is published and told and not on its way yet. What is worth little should wait or be left out then."""

    def publish(self, channel: str, kind: bytes, data: bytes) -> None:
        """Tell who follows a channel. ``kind``: letters, but none of m, s, u, b. Called within a turn; returns at once."""

    def follow(self, channels: Collection[str]) -> None:
        """Hear channels from now on, and return when that is so. Beside turns. Raises `LogUnavailable`."""

    def unfollow(self, channels: Collection[str]) -> None:
        """Hear channels no more. Beside turns. Raises `LogUnavailable`."""

    def barrier(self, call: Callable[[], object]) -> None:
        """Return when ``call`` is to be called in a turn, after all that was published before. Beside turns, as above."""

    def ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Run commands of Redis one after the other, in one round trip, and return their answers. Raises `LogUnavailable`.

        Beside turns. Keys begin with ``{hazoom}:``. For what waits for nothing: see `tell`.
        """

    def script(self, text: str) -> Callable[[list[Any]], Any]:
        """Return a function that runs a script in Lua, with arguments, and returns its answer. Beside turns, as `ask`."""

    def tell(self, *command: Any) -> None:
        """Run a command soon, in order with what is published and told; lost while Redis is away. Within a turn."""

    def close(self) -> None:
        """Publish what there is, and nothing more; waits for that, some seconds at most. Closing again does nothing."""

    def alive(self) -> set[str]:
        """Return the names of the processes that have a lease now. Beside turns. Raises `LogUnavailable`."""

    def deaf(self, processes: Collection[str]) -> set[str]:
        """Return which of some processes hear nothing now. Beside turns. Raises `LogUnavailable`.

        One that was killed is among them at once, and has its lease for some seconds more; one whose machine has gone may
        seem to hear for as long. One that lives is only connecting again.
        """
