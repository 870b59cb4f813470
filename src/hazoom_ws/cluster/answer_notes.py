"""What processes tell each other of answers of the AI: notes, each a struct that travels as MessagePack.

Source: https://msgpack.org.
"""

from typing import Any, Union

import msgspec
from msgspec import UNSET, Raw, Struct

from hazoom_ws.chat.effects import Numbered, place_of
from hazoom_ws.chat.presence import User
from hazoom_ws.events.base import ServerEvent
from hazoom_ws.events.llm import IntelligenceLevel, LlmComplete, LlmError, LlmResponse, LlmStarted
from hazoom_ws.llm_bridge.answer import Answer
from hazoom_ws.llm_bridge.wire import Prompt

_TYPES: dict[str, Any] = {event.event: event for event in (LlmStarted, LlmResponse, LlmComplete, LlmError)}

# An event: its name and what it says.
Told = tuple[str, Raw]


class State(Struct, frozen=True, tag=True):
    """All there is of an answer. ``room`` "": it is private. ``position``: in the queue, 0 once it is asked."""

    id: str
    user: tuple[str, str]
    room: str
    level: IntelligenceLevel
    position: int
    beginning: list[Told]
    tokens: list[str]
    outcome: list[Told]
    is_ended: bool
    kept_seq: int
    told_seq: int


class Tokens(Struct, frozen=True, tag=True):
    """What has come of an answer, from the token ``index`` on."""

    id: str
    index: int
    tokens: list[str]


class Ended(Struct, frozen=True, tag=True):
    """How an answer ended, after so many tokens. ``kept_seq`` and ``told_seq`` as in `Answer`."""

    id: str
    tokens_count: int
    outcome: list[Told]
    kept_seq: int
    told_seq: int


class Watch(Struct, frozen=True, tag=True):
    """Who says this wants the `State` of an answer, and what comes of it."""

    id: str


class WatchRoom(Struct, frozen=True, tag=True):
    """The same for all answers that run in the room of the channel."""


class Leave(Struct, frozen=True, tag=True):
    """Who says this wants nothing of an answer any more."""

    id: str


class Cancel(Struct, frozen=True, tag=True):
    """The user with this id wants an answer stopped."""

    id: str
    user_id: str


class Unknown(Struct, frozen=True, tag=True):
    """There is nothing (any more) of the answer that was asked for."""

    id: str


class Died(Struct, frozen=True, tag=True):
    """The process died in which an answer of the channel's room ran."""

    id: str


# Place, whose, which of these (`llm_bridge.slots.TakenElsewhere.note`), how many.
SlotCount = tuple[str, str, str, int]


class Slots(Struct, frozen=True, tag=True):
    """How many slots users and addresses have on the process that says this."""

    counts: list[SlotCount]


class TellSlots(Struct, frozen=True, tag=True):
    """Who says this does not know yet how many slots others have given."""


Note = Union[State, Tokens, Ended, Watch, WatchRoom, Leave, Cancel, Unknown, Died, Slots, TellSlots]  # noqa: UP007
encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Note).decode


def told(events: list[Numbered]) -> list[Told]:
    """Return events as notes have them; their numbers are each process' own."""
    return [(event.event, Raw(encode(event))) for event, _ in events]


def events_of(notes: list[Told]) -> list[ServerEvent]:
    """Return the events that notes have. Raises `msgspec.ValidationError`, KeyError."""
    return [msgspec.msgpack.decode(said, type=_TYPES[name]) for name, said in notes]


def told_seq_of(answer: Answer) -> int:
    """Return the number that this process has given to the end of an answer, 0 if that has not come."""
    return place_of(answer.outcome[-1]) if answer.outcome else 0


def state_of(answer: Answer) -> State:
    """Return all there is of an answer that runs here."""
    prompt, is_over = answer.prompt, answer.size_bytes > 0
    return State(
        id=prompt.request_id,
        user=(answer.user.id, answer.user.name),
        room="" if prompt.room is UNSET else prompt.room,
        level=prompt.intelligence_level,
        position=answer.position,
        beginning=told(answer.beginning),
        tokens=answer.tokens.split(),
        outcome=told(answer.outcome) if is_over else [],
        is_ended=is_over,
        kept_seq=answer.kept_seq,
        told_seq=told_seq_of(answer),
    )


def answer_of(state: State, process: str, now_s: float) -> Answer:
    """Return an answer that runs in another process, of which nothing has come yet."""
    prompt = Prompt(
        request_id=state.id,
        user_identifier="",
        message="",
        intelligence_level=state.level,
        session_id="",
        stream=True,
        room=state.room or UNSET,
    )
    return Answer.of_process(process, prompt, User(*state.user), now_s)
