"""One answer of the AI, and what of several a client has missed. No I/O; who may do what with them: `answers`."""

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from sys import getsizeof
from typing import Protocol

import msgspec
from msgspec import UNSET, UnsetType

from hazoom_ws.chat.effects import Numbered, place_of
from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.events.llm import LlmTokens
from hazoom_ws.llm_bridge.exchange import Exchange
from hazoom_ws.llm_bridge.tokens import Tokens, packed
from hazoom_ws.llm_bridge.wire import Prompt

_HELD_BYTES = 1500  # of one that has ended, beside texts and numbers


class Writer(Protocol):
    """What writes an answer somewhere else too, as it comes."""

    def add(self, text: str) -> None:
        """Write what comes next."""

    def end(self, *, undo: bool) -> None:
        """Write no more. ``undo``: take back what was written."""


class Answer:
    """One question, and as much of its answer as there is. A private one goes to its ``watchers``.

    ``owner``: the process in which it runs, "" for this one. ``kept_seq``: the number of its record in the room, once it
    has ended; 0 if there is none. ``told_seq``: the number that its owner has given its end, 0 for this process.
    """

    __slots__ = (
        "address",
        "asked_s",
        "asker",
        "beginning",
        "exchange",
        "is_ended",
        "kept_seq",
        "offsets",
        "outcome",
        "owner",
        "position",
        "prompt",
        "size_bytes",
        "tokens",
        "told_seq",
        "user",
        "watchers",
        "writer",
    )

    def __init__(self, prompt: Prompt, asker: Connection, asked_s: float) -> None:
        self.prompt = prompt
        self.asker = asker
        self.user: User = asker.user
        self.address = asker.address  # whose slot it has; "" for none
        self.watchers: list[Connection] = [asker] if prompt.room is UNSET else []
        self.asked_s = asked_s
        self.exchange: Exchange | None = None  # None while it waits
        self.writer: Writer | None = None  # None if it is written nowhere
        self.position = 0  # in the queue, as it was told last
        self.tokens = Tokens()
        self.offsets = array("Q")  # of the tokens
        self.beginning: list[Numbered] = []  # what was sent before them
        self.outcome: list[Numbered] = []  # and after them
        self.is_ended = False
        self.owner = ""
        self.kept_seq = 0
        self.told_seq = 0
        self.size_bytes = 0  # of one that has ended

    @classmethod
    def of_process(cls, owner: str, prompt: Prompt, user: User, asked_s: float) -> "Answer":
        """Return one that runs in another process, as far as this one knows it: nothing yet. Nobody here has asked."""
        nobody = Connection("", user, "")
        nobody.is_open = False
        answer = cls(prompt, nobody, asked_s)
        answer.owner = owner
        answer.watchers = []
        return answer

    @property
    def room(self) -> str | UnsetType:
        """The room that it is shared with, UNSET if it is private."""
        return self.prompt.room

    def finish(self) -> None:
        """Note that it has ended, and let go what only a running one needs."""
        self.is_ended = True
        self.exchange = None
        self.writer = None
        self.prompt = msgspec.structs.replace(self.prompt, message="")
        texts = [getattr(event, "response", "") for event, _ in self.outcome]
        held = self.tokens.pack(texts[-1] if texts else "")
        self.offsets = packed(self.offsets)
        others = {id(text): getsizeof(text) for text in texts if text is not held}
        # The objects around the texts count as well.
        self.size_bytes = self.tokens.size_bytes + getsizeof(self.offsets) + sum(others.values()) + _HELD_BYTES

    def joined(self, first: int, end: int | None = None, *, snapshot: bool = False) -> LlmTokens:
        """Return a range of its tokens, to the last there is by default, as one event."""
        return LlmTokens(
            token=self.tokens.joined(first, end),
            request_id=self.prompt.request_id,
            index=first,
            room=self.prompt.room,
            snapshot=snapshot or UNSET,
        )


def weave(answers: Iterable[Answer], events: Iterable[Numbered], offset: int) -> list[Numbered]:
    """Put the tokens of ``answers`` after ``offset`` among ``events``, which are in their order.

    What one answer has between two events becomes one event. Each comes with the offset that is true once it has arrived:
    whoever drops in the middle of this misses nothing then, though of answers that ran side by side some may come twice.
    """
    woven: list[Numbered] = []
    left = {answer: first for answer in answers if (first := bisect_right(answer.offsets, offset)) < len(answer.offsets)}
    for numbered in [*events, None]:
        place = None if numbered is None else place_of(numbered)
        pieces: list[tuple[int, Answer, int, int]] = []
        for answer, first in list(left.items()):
            end = len(answer.offsets) if place is None else bisect_right(answer.offsets, place, first)
            if end > first:
                pieces.append((answer.offsets[end - 1], answer, first, end))
                left[answer] = end
            if end == len(answer.offsets):
                del left[answer]
        pieces.sort(key=lambda piece: piece[0])
        for last_place, answer, first, end in pieces:
            joined = answer.joined(first, end)
            woven.append((joined, last_place if last_place == pieces[-1][0] else offset))
        if numbered is not None and place is not None:
            woven.append(numbered)
            offset = place
    return woven
