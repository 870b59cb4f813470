"""The codes of the contract (web/guides/events.md, "Errors") and the exceptions behind them.

An exception carries data (the field, the limit, the actual value); its text is made here, at the edge, and is safe to
show to a user.
"""

from typing import ClassVar

from msgspec import Raw

CODES = frozenset(
    {
        "bad_payload",
        "unknown_event",
        "not_in_room",
        "forbidden",
        "unauthorized",
        "too_large",
        "rate_limited",
        "conflict",
        "too_many_rooms",
        "too_many_streams",
        "llm_unavailable",
        "llm_failed",
        "llm_timeout",
        "not_found",
        "shutting_down",
        "internal",
    }
)


class HazoomError(Exception):
    """The root of all refusals: ``code`` is one of `CODES`, ``retry`` says whether the same call can succeed later."""

    code: ClassVar[str] = "internal"
    retry: bool = False
    retry_after_s: float | None = None  # when ``retry`` makes sense, where that is known


class UpstreamFault(HazoomError):
    """The AI backend did not do its part. The text never holds the backend's own words: they may name addresses."""


class BadPayload(HazoomError):
    """A field that is missing, of a wrong type, or over its limit. Nothing has changed."""

    code = "bad_payload"

    def __init__(self, field: str, problem: str) -> None:
        """Refuse ``field`` (its name on the wire) for ``problem``, a phrase that names the limit."""
        super().__init__(f"{field}: {problem}")
        self.field = field


class UnknownEvent(HazoomError):
    """An event that the namespace does not serve."""

    code = "unknown_event"

    def __init__(self, name: str, namespace: str) -> None:
        super().__init__(f"there is no event {name!r} on namespace {namespace}")


class NotInRoom(HazoomError):
    """What only members of a room may do."""

    code = "not_in_room"

    def __init__(self, room: str) -> None:
        super().__init__(f"you are not in room {room!r}; send join_room first")


class TooLarge(HazoomError):
    """A text, or something else of so many bytes, that is longer than its limit."""

    code = "too_large"

    def __init__(self, field: str, limit_bytes: int, actual_bytes: int, *, unit: str = "bytes of UTF-8") -> None:
        super().__init__(f"{field}: {actual_bytes} {unit}, the limit is {limit_bytes}")


class RateLimited(HazoomError):
    """More than the sender's share; ``retry_after_s`` says when there is some again."""

    code = "rate_limited"
    retry = True

    def __init__(self, limit_per_s: float, unit: str, retry_after_s: float) -> None:
        """Refuse what is over ``limit_per_s`` of ``unit`` ("events", "bytes")."""
        super().__init__(f"more than {limit_per_s:.12g} {unit} per second; try again in {retry_after_s:.2f} s")
        self.retry_after_s = retry_after_s


class TooMuchHistory(HazoomError):
    """Pages of history that would not fit into what is on its way to the connection."""

    code = "rate_limited"
    retry = True

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"{limit_bytes} bytes of history and state are on their way to this connection, which is the limit; "
            "try again when they have arrived"
        )


class TooManyRooms(HazoomError):
    """One more room than a connection may be in."""

    code = "too_many_rooms"

    def __init__(self, limit: int) -> None:
        super().__init__(f"a connection can be in {limit} rooms at most; leave one first")


class TooManyConnections(HazoomError):
    """One more connection than a user may have."""

    code = "rate_limited"
    retry = True

    def __init__(self, limit: int) -> None:
        super().__init__(f"a user can have {limit} connections at most; close one first")


class BoardIsFull(HazoomError):
    """One more client than a board may have, or than may follow another one."""

    code = "rate_limited"
    retry = True

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} are there, which is the limit; try again when one has left")


class TooManyStreams(HazoomError):
    """One more answer of the AI than may run and wait."""

    code = "too_many_streams"
    retry = True

    def __init__(self, running_limit: int, waiting_limit: int, scope: str) -> None:
        """Refuse one more question; ``scope`` is "you have", "your address has" or "the server has"."""
        super().__init__(
            f"{scope} {running_limit} AI answers running and {waiting_limit} waiting, which are the limits; "
            "try again when one has ended"
        )


class NoRoomForKeys(HazoomError):
    code = "too_large"

    def __init__(self, whose: str, limit: int, unit: str) -> None:
        """Refuse to relay with a key; ``whose`` is such as "you have", ``unit`` is "keys" or "bytes"."""
        super().__init__(f"key: {whose} {limit} {unit} in this room, which is the limit; send null for one that may go")


class StateTooLarge(HazoomError):
    code = "too_large"

    def __init__(self, actual: int, limit: int, unit: str) -> None:
        """Refuse what a room's state would have no space for; ``unit`` is "keys" or "bytes"."""
        super().__init__(f"values: the state of the room would have {actual} {unit}, the limit is {limit}")


class Conflict(HazoomError):
    code = "conflict"

    def __init__(self, key: str, seq: int, value: Raw) -> None:
        """Refuse to set what has changed meanwhile: ``key`` has ``value`` (JSON) since ``seq``, 0 if it is not there."""
        super().__init__(f"if_seq: {key!r} was changed by {seq}" if seq else f"if_seq: {key!r} is not there")
        self.key = key
        self.seq = seq
        self.value = value


class TooManyTasks(HazoomError):
    """One more event than may be handled beside others."""

    code = "rate_limited"
    retry = True

    def __init__(self, whose: str, limit: int) -> None:
        """Refuse an event that has to wait; ``whose`` is "your connection is" or "the server is"."""
        super().__init__(f"{whose} waiting for {limit} events to be handled, which is the limit; try again later")


class Refused(HazoomError):
    """What a feature of an application refuses, with a code of its own."""

    def __init__(self, code: str, message: str, *, retry: bool = False) -> None:
        """``code`` is for programs, ``message`` for users; ``retry``: the same call can succeed later."""
        super().__init__(message)
        self.code = code  # type: ignore[misc]
        self.retry = retry


class Forbidden(HazoomError):
    """What belongs to somebody else."""

    code = "forbidden"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not yours")


class SessionGoesOn(Forbidden):
    """A session that goes on over a connection which its client has opened later."""

    def __init__(self) -> None:
        super().__init__("this session, which goes on over another connection,")


class NotAllowed(HazoomError):
    """What somebody has no right to, whether there is anything or not."""

    code = "forbidden"

    def __init__(self, what: str) -> None:
        """Refuse ``what``, a verb and its object such as "ask the AI"."""
        super().__init__(f"you may not {what}")


class Unauthorized(HazoomError):
    """Who has not said who they are in a way that counts. Why not is for our log only."""

    code = "unauthorized"

    def __init__(self, reason: str, *, retry: bool = False) -> None:
        """``reason`` says no secret; ``retry``: it could not be found out, and may be later."""
        super().__init__("who you are could not be checked; try again later" if retry else "you are not let in")
        self.reason = reason
        self.retry = retry


class NotFound(HazoomError):
    """What nobody knows, or knows any more."""

    code = "not_found"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not known, or has ended")


class LlmUnavailable(UpstreamFault):
    """The backend cannot be reached."""

    code = "llm_unavailable"
    retry = True

    def __init__(self, next_try_in_s: float | None = None) -> None:
        """``next_try_in_s``: nobody asks the backend before that; None if it was asked."""
        when = "later" if next_try_in_s is None else f"in {next_try_in_s:.0f} s" if next_try_in_s >= 1 else "in a moment"
        super().__init__(f"the AI service cannot be reached; try again {when}")
        self.retry_after_s = next_try_in_s


class LlmFailed(UpstreamFault):
    """The backend has answered with an error, or with nothing that can be used."""

    code = "llm_failed"

    def __init__(self, problem: str = "the AI service could not answer", *, retry: bool = True) -> None:
        super().__init__(problem)
        self.retry = retry


class LlmTimeout(UpstreamFault):
    """The backend has taken too long."""

    code = "llm_timeout"
    retry = True

    def __init__(self, limit_s: float, waited_for: str) -> None:
        """Give up after ``limit_s`` seconds of waiting for ``waited_for``."""
        super().__init__(f"the AI service took longer than {limit_s:g} s for {waited_for}")


class Internal(HazoomError):
    """A defect of ours, which the log has under ``reference``."""

    code = "internal"

    def __init__(self, reference: str) -> None:
        super().__init__(f"internal error; the server's log has it under reference {reference}")
        self.reference = reference


class ShuttingDown(HazoomError):
    """What takes longer than the server will be there for."""

    code = "shutting_down"
    retry = True

    def __init__(self) -> None:
        super().__init__("the server is about to be restarted; try again when you are connected again")


class LogUnavailable(HazoomError):
    """What cannot be kept, and so is not said to anybody."""

    code = "internal"
    retry = True

    def __init__(self, reason: str) -> None:
        """Refuse a message that cannot be kept; ``reason`` is for our log and for ``/ready``, and names no path."""
        super().__init__("messages cannot be kept at the moment; try again")
        self.reason = reason


class MayBeKept(LogUnavailable):
    """What may have been kept, and has nothing by which it would be known if it were sent again."""

    retry = False

    def __init__(self) -> None:
        HazoomError.__init__(
            self, "it is not known whether this was kept: look before you send it again, or send it with a client_id"
        )
        self.reason = ""
