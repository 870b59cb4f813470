"""State: a map that a room shares, such as the shapes of a whiteboard, a score, a poll.

What is promised
    It is kept like messages, in the same order: what was acknowledged is there, and nobody sees what is not kept. What is
    set at once is set whole or not at all. With ``if_seq`` it is set only if the keys are as the sender has seen them.
    The same ``client_id`` by the same user again returns the first ``seq``. Of each key there is the newest value only.

Plain calls within turns. Where it is kept: `hazoom_ws.message_log.room_state`.
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec
from msgspec import UNSET, Raw, UnsetType

from hazoom_ws.chat.effects import Broadcast, Effect
from hazoom_ws.chat.presence import Connection
from hazoom_ws.errors import Conflict, StateTooLarge, TooLarge
from hazoom_ws.events.live import SharedState, StatePage
from hazoom_ws.message_log.room_state import NO_CONDITIONS, RoomStates, StateChange, StateValue

VALUE_LIMIT_BYTES = 16_384  # a long path of a drawing; what is larger is a document
KEYS_LIMIT_COUNT = 1000  # of a room
ROOM_LIMIT_BYTES = 1_048_576  # keys and values: who opens a room gets them all
_NOTHING = Raw(b"null")
_encode_json = msgspec.json.Encoder().encode


class States:
    """The states of all rooms, for their members. Everything raises `LogUnavailable`."""

    def __init__(self, states: RoomStates, deliver: Callable[[Effect], None], *, wall_clock: Callable[[], float]) -> None:
        self._states = states
        self._deliver = deliver
        self._wall_clock = wall_clock
        self.changes_total = 0

    def set(
        self,
        connection: Connection,
        room: str,
        values: Mapping[str, object],
        *,
        if_seq: Mapping[str, int] | UnsetType = UNSET,
        client_id: str | UnsetType = UNSET,
    ) -> StateChange | int:
        """Set keys of a member's room and show it, None deletes. Raises `TooLarge`, `StateTooLarge`, `Conflict`.

        Return the change, or the ``seq`` of the one that was made before with this ``client_id``.

        ``if_seq``: the change that each of these keys must have been set by last, 0 if it must not be there.
        """
        user, sender = connection.user.name, connection.user.sender
        resent = self._states.find_resent(room, user, client_id, UNSET if client_id is UNSET else sender)
        if resent is not None:
            return resent
        encoded = {key: None if value is None else _encoded(key, value) for key, value in values.items()}
        for key, seq in {} if if_seq is UNSET else if_seq.items():
            there = self._states.get(room, key)
            if seq != (0 if there is None else there.seq):
                raise Conflict(key, *((0, _NOTHING) if there is None else (there.seq, _json_of(there))))
        self._check_size(room, encoded)
        change = self._states.set(
            room,
            encoded,
            user=user,
            timestamp=self._wall_clock(),
            client_id=client_id,
            sender=UNSET if client_id is UNSET else sender,
            if_seq=NO_CONDITIONS if if_seq is UNSET else if_seq,
        )
        self.changes_total += 1
        if change.values:  # what was not there and is deleted is no news
            self._deliver(Broadcast(room, shared_state(change), offset=change))
        return change

    def get(self, room: str, since: int | UnsetType = UNSET) -> StatePage:
        """Return a room's state, or what has changed in it after ``since``."""
        state = self._states.read(room, since=None if since is UNSET else since)
        values = {key: _json_of(entry) for key, entry in state.values.items()}
        return StatePage(room=room, seq=state.seq, values=values, complete=state.complete)

    def _check_size(self, room: str, values: Mapping[str, bytes | None]) -> None:
        keys_count, size_bytes = self._states.size(room)
        for key, value in values.items():
            if value is not None:
                keys_count += 1
                size_bytes += len(key.encode()) + len(value)
        if keys_count <= KEYS_LIMIT_COUNT and size_bytes <= ROOM_LIMIT_BYTES:
            return  # whatever they replace
        for key in values:
            there = self._states.get(room, key)
            if there is not None:
                keys_count -= 1
                size_bytes -= len(key.encode()) + len(there.value or b"")
        if keys_count > KEYS_LIMIT_COUNT:
            raise StateTooLarge(keys_count, KEYS_LIMIT_COUNT, "keys")
        if size_bytes > ROOM_LIMIT_BYTES:
            raise StateTooLarge(size_bytes, ROOM_LIMIT_BYTES, "bytes")


def shared_state(change: StateChange) -> SharedState:
    """Return the event that tells of a change."""
    shown = {key: _NOTHING if value is None else Raw(value) for key, value in change.values.items()}
    return SharedState(room=change.room, seq=change.seq, values=shown, user=change.user)


def size_bytes(values: Iterable[Raw]) -> int:
    """Return the bytes of values of an event, or of an acknowledgement."""
    return sum(len(memoryview(value)) for value in values)


def _json_of(entry: StateValue) -> Raw:
    return _NOTHING if entry.value is None else Raw(entry.value)


def _encoded(key: str, value: object) -> bytes:
    encoded = _encode_json(value)
    if len(encoded) > VALUE_LIMIT_BYTES:
        raise TooLarge(f"values: {key}", VALUE_LIMIT_BYTES, len(encoded))
    return encoded
