"""Polls in rooms: kept with the messages, one vote per user, and there after a restart."""

from hazoom_ws.features import (
    UNSET,
    ClientPayload,
    Feature,
    Identifier,
    NotFound,
    Refused,
    Sender,
    ServerEvent,
    UnsetType,
    handles,
)


class OpenPoll(ClientPayload, frozen=True):
    event = "open_poll"
    poll: Identifier
    question: Identifier
    options: list[Identifier]
    room: str | UnsetType = UNSET


class Vote(ClientPayload, frozen=True):
    event = "vote"
    poll: Identifier
    option: Identifier
    room: str | UnsetType = UNSET


class PollState(ServerEvent, frozen=True):
    """A poll as it is since somebody has opened it or voted. ``by`` and ``voters``: the ids of users."""

    event = "poll_state"
    is_kept = True
    room: str
    poll: str
    question: str
    by: str
    votes: dict[str, int]
    voters: list[str]


class Polls(Feature):
    name = "polls"
    events = (PollState,)
    codes = ("poll_exists", "already_voted")

    @handles(OpenPoll)
    def open_poll(self, sender: Sender, payload: OpenPoll) -> None:
        """Open a poll in a room that its sender is in; the same one again, as after a drop, changes nothing."""
        room, user = self.chat.room_of(sender, payload.room), sender.user
        before = self._find(room, payload.poll)
        if before is not None and before.by != user.id:
            raise Refused("poll_exists", f"somebody has a poll {payload.poll!r} here")
        votes = dict.fromkeys(payload.options, 0)
        state = PollState(room, payload.poll, payload.question, user.id, votes, [])
        self.chat.broadcast(room, state, sender=sender, client_id=payload.poll)

    @handles(Vote)
    def vote(self, sender: Sender, payload: Vote) -> None:
        """Count a vote, the only one of its user in this poll."""
        room = self.chat.room_of(sender, payload.room)
        before = self._find(room, payload.poll)
        if before is None or payload.option not in before.votes:
            raise NotFound("the poll" if before is None else "the option")
        if sender.user.id in before.voters:
            raise Refused("already_voted", "you have voted in this poll")
        votes = before.votes | {payload.option: before.votes[payload.option] + 1}
        voters = [*before.voters, sender.user.id]
        state = PollState(room, before.poll, before.question, before.by, votes, voters)
        self.chat.broadcast(room, state, sender=sender)

    def _find(self, room: str, poll: str) -> PollState | None:
        """Return how a poll was left, from what the room keeps."""
        before: int | None = None
        while page := self.chat.kept(room, PollState, before=before):
            for kept in reversed(page):
                if kept.event.poll == poll:
                    return kept.event
            before = page[0].seq
        return None
