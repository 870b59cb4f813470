"""One answer of the AI, and what of several a client has missed. No I/O; who may do what with them: `answers`."""

import math
from array import array
from collections.abc import Iterable

from msgspec import UNSET, UnsetType

from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.llm_exchange import Exchange
from hazoom_ws.llm_wire import Prompt
from hazoom_ws.schemas import LlmTokens, ServerEvent

Placed = tuple[ServerEvent, int]


class Answer:
    """One question, and as much of its answer as there is. A private one goes to its ``watchers``."""

    __slots__ = (
        "asked_s",
        "asker",
        "exchange",
        "is_ended",
        "outcome",
        "places",
        "position",
        "prompt",
        "tokens",
        "user",
        "watchers",
    )

    def __init__(self, prompt: Prompt, asker: Connection, asked_s: float) -> None:
        self.prompt = prompt
        self.asker = asker
        self.user: User = asker.user
        self.watchers: list[Connection] = [asker] if prompt.room is UNSET else []
        self.asked_s = asked_s
        self.exchange: Exchange | None = None  # None while it waits
        self.position = 0  # in the queue, as it was told last
        self.tokens: list[str] = []
        self.places = array("Q")  # of the tokens
        self.outcome: list[Placed] = []  # what was sent after them
        self.is_ended = False

    @property
    def room(self) -> str | UnsetType:
        return self.prompt.room

    @property
    def size_bytes(self) -> int:
        """Return the text's size, which is at least its characters; the record around it counts as 1,000 bytes."""
        return sum(map(len, self.tokens)) + 16 * len(self.tokens) + 1000

    def since(self, index: int, *, snapshot: bool = False) -> LlmTokens:
        """Return what there is from a token on, as one event."""
        return LlmTokens(
            token="".join(self.tokens[index:]),
            request_id=self.prompt.request_id,
            index=index,
            room=self.prompt.room,
            snapshot=snapshot or UNSET,
        )


def weave(pieces: Iterable[tuple[int, Answer, int]], events: Iterable[Placed], offset: int) -> list[Placed]:
    """Put missed tokens (each with its place, its answer and its index) among ``events``, which are in their order.

    What one answer has between two events becomes one event. Each comes with the offset that is true once it has arrived:
    whoever drops in the middle of this misses nothing then, though of answers that ran side by side some may come twice.
    """
    woven: list[Placed] = []
    queue = sorted(pieces, key=lambda piece: piece[0])
    position = 0
    for event, place in [*events, (None, math.inf)]:
        first_of: dict[Answer, int] = {}
        end_of: dict[Answer, int] = {}
        last_place = offset
        while position < len(queue) and queue[position][0] <= place:
            last_place, answer, index = queue[position]
            first_of.setdefault(answer, index)
            end_of[answer] = index + 1
            position += 1
        for count, (answer, first) in enumerate(first_of.items(), 1):
            token = "".join(answer.tokens[first : end_of[answer]])
            prompt = answer.prompt
            joined = LlmTokens(token=token, request_id=prompt.request_id, index=first, room=prompt.room)
            woven.append((joined, last_place if count == len(first_of) else offset))
        if event is not None:
            woven.append((event, int(place)))
            offset = int(place)
    return woven
