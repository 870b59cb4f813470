"""States that are written down: a table says which move from one to another there is, and any other one is loud.

Who has states keeps a table ``MOVES`` beside them and goes from one to the next by `moved` only.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import TypeVar

AnyState = TypeVar("AnyState", bound=StrEnum)


class IllegalMove(RuntimeError):
    """A move that the table does not have: a defect of ours. ``state`` is where it began, ``to`` where it was to end."""

    def __init__(self, state: StrEnum, to: StrEnum) -> None:
        super().__init__(f"{type(state).__name__} cannot become {to} while {state}")
        self.state = state
        self.to = to


def moved(moves: Mapping[AnyState, Collection[AnyState]], state: AnyState, to: AnyState) -> AnyState:
    """Return ``to`` if ``moves`` has that move, ``state`` being the one at the moment. Raises `IllegalMove`."""
    if to not in moves[state]:
        raise IllegalMove(state, to)
    return to
