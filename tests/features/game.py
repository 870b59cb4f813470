"""A game of turns for two: who says the higher number wins the round. Over after three rounds, or when somebody leaves."""

import queue
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta, Struct

from hazoom_ws.features import (
    Chat,
    ClientPayload,
    Feature,
    NotFound,
    Refused,
    Sender,
    ServerEvent,
    User,
    handles,
)

ROUNDS_COUNT = 3
LEFT = object()  # what a game finds among the moves when somebody has left


class Play(ClientPayload, frozen=True):
    event = "play"
    room: str


class Move(ClientPayload, frozen=True):
    event = "move"
    room: str
    number: Annotated[int, Meta(ge=0, le=100)]


class Playing(Struct, frozen=True):
    """Acknowledgement of ``play``, when there is somebody to play with."""

    against: str


class Waiting(ServerEvent, frozen=True):
    event = "waiting"
    if_slow = "dropped"
    room: str


class YourTurn(ServerEvent, frozen=True):
    event = "your_turn"
    room: str
    round: int


class GameOver(ServerEvent, frozen=True):
    """``winner``: a user's name, "" if nobody has won."""

    event = "game_over"
    room: str
    winner: str
    reason: str


@dataclass
class Match:
    """A game in a room: of one user who waits for another, then of two."""

    room: str
    users: list[User] = field(default_factory=list)
    has_begun: "queue.Queue[bool]" = field(default_factory=queue.Queue)
    moves: "queue.Queue[object]" = field(default_factory=queue.Queue)


class Game(Feature):
    name = "game"
    events = (Waiting, YourTurn, GameOver)

    def __init__(self, chat: Chat) -> None:
        super().__init__(chat)
        self._matches: dict[str, Match] = {}

    @handles(Play, waits=True)
    def play(self, sender: Sender, payload: Play) -> Playing:
        """Wait for somebody to play with, then play."""
        with self.chat.turn():
            room = self.chat.room_of(sender, payload.room)
            match = self._matches.setdefault(room, Match(room))
            if sender.user in match.users or len(match.users) == 2:
                raise Refused("already_playing", "there is a game in this room")
            match.users.append(sender.user)
            is_first = len(match.users) == 1
        if is_first:
            self.chat.push(sender, Waiting(room))
            if not match.has_begun.get():
                raise Refused("nobody_there", "nobody came")
        else:
            match.has_begun.put(True)
            self.chat.start(self._run, match)
        [other] = [user for user in match.users if user != sender.user]
        return Playing(against=other.name)

    @handles(Move)
    def move(self, sender: Sender, payload: Move) -> None:
        """Say a number in a game."""
        match = self._matches.get(self.chat.room_of(sender, payload.room))
        if match is None or sender.user not in match.users:
            raise NotFound("the game")
        match.moves.put((sender.user, payload.number))

    def _run(self, match: Match) -> None:
        """Let the two say their numbers in turns, until the last round or until one has left."""
        sums = dict.fromkeys(match.users, 0)
        reason = "played"
        for number in range(ROUNDS_COUNT * 2):
            user = match.users[number % 2]
            self.chat.push_user(user, YourTurn(room=match.room, round=number // 2))
            while (move := match.moves.get()) is not LEFT and move[0] != user:
                pass  # it is not their turn
            if move is LEFT:
                reason = "left"
                break
            sums[user] += move[1]
        best = max(sums.values())
        winners = [user.name for user, total in sums.items() if total == best]
        winner = winners[0] if len(winners) == 1 and reason == "played" else ""
        with self.chat.turn():
            self._matches.pop(match.room, None)
            self.chat.broadcast(match.room, GameOver(room=match.room, winner=winner, reason=reason))

    def left(self, room: str, user: User) -> None:
        """End the game of a user who is not there any more."""
        match = self._matches.get(room)
        if match is None or user not in match.users:
            return
        if len(match.users) == 1:
            del self._matches[room]
            match.has_begun.put(False)
        else:
            match.moves.put(LEFT)

    def close(self) -> None:
        """Let nobody wait for a game any more."""
        for match in self._matches.values():
            match.has_begun.put(False)
            match.moves.put(LEFT)
