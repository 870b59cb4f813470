"""What answers need of other processes that share the log. Alone there is none, and nothing here does anything.

With several the application puts `cluster.answers` in its place (`Answers.elsewhere`). All of it is called within a turn.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.llm_bridge.answer import Answer


class Known(NamedTuple):
    """A question that was accepted: by which process, from whom, in which room ("": private), and whether it runs."""

    process: str
    user_id: str
    room: str
    is_running: bool


class Elsewhere:
    """The other processes, of which there are none."""

    is_alone = True

    # Which process has an answer

    def find(self, request_id: str) -> Known | None:  # noqa: ARG002 - as all below, for who overrides it
        """Return what another process has of a question, None if it has none. Raises `NotLoaded`, `LogUnavailable`."""
        return None

    def claim(self, request_id: str, user: User, room: str) -> Known | None:  # noqa: ARG002
        """Return who answers this question already; None: it is this process' from now on, until `release` or `forget`.

        Raises `NotLoaded`, `LogUnavailable`.
        """
        return None

    def release(self, request_id: str) -> None:
        """Let go a question that was claimed, and then refused."""

    # What becomes of an answer that runs here; `add_tokens` gathers, `flush` tells what it has

    def accepted(self, answer: Answer) -> None:
        """Note that there is one more."""

    def started(self, answer: Answer) -> None:
        """Tell that it is asked now (`Answer.beginning`), or where it waits in the queue."""

    def add_tokens(self, answer: Answer, tokens: list[str]) -> None:
        """Pass on what has come of it."""

    def flush(self, answer: Answer) -> None:
        """Pass on now what has come of it, before what is said next."""

    def ended(self, answer: Answer) -> None:
        """Tell how it ended (`Answer.outcome`)."""

    def forget(self, answer: Answer) -> None:
        """Note that it cannot be resumed any more."""

    def has_failed(self, answer: Answer) -> bool:  # noqa: ARG002
        """Return whether others have told that it failed, as they have taken this process for dead: then it ends so."""
        return False

    def postpone(self, end: Callable[[], object]) -> bool:  # noqa: ARG002
        """Call ``end`` later if it is not known yet whether an answer has failed; return whether that is so."""
        return False

    def is_watched(self, answer: Answer) -> bool:  # noqa: ARG002
        """Return whether somebody on another process gets it."""
        return False

    def count(self, user: User, address: str) -> None:
        """Tell how many slots a user and an address have here, some time soon."""

    # What clients here want of one that runs elsewhere

    def watch(self, connection: Connection, request_id: str, process: str, index: int | None) -> None:
        """Get an answer for a connection, from a token on; None: all of it, as a snapshot."""

    def look_for(self, connection: Connection, answers: Mapping[str, str]) -> None:
        """Get answers for a connection that waits for them, the room of each by id; it is told of those that are lost."""

    def leave(self, answer: Answer) -> None:
        """Note that nobody here gets this private one any more."""

    def cancel(self, request_id: str, process: str, user: User) -> None:
        """Have it stopped for its user."""
