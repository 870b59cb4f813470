"""Awareness: who is in a document and where, worth nothing a second later.

What is promised
    Each connection has one id, the first that it says something of, and nobody else changes what that says. So what clients
    echo changes nothing: those of `y-socket.io` send on whatever they receive.
    When a connection has gone its id is taken away from the others, with a clock above the last one, or else they would not
    believe it; that clock is remembered, so that a late echo does not bring it back.
    Who comes back still has its old clock, which the others do not believe either, and has dropped the others, whose clocks
    it still knows. Whoever is told of the removal of its own id raises its clock and says its state again: so who comes
    back is told that, and so is everybody else in the document.

Other processes
    Where several share a document, each says what its own connections say of themselves, and what the others say is
    `Elsewhere`'s: one owner for each of those processes. The same rules hold for them: an id that another process has is
    nobody's here before that lets it go, or dies.

Pure bookkeeping, called within turns. Source: y-protocols, awareness.js.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Generic, NamedTuple, TypeVar

from hazoom_ws.live.documents.errors import MalformedUpdate

STATE_LIMIT_BYTES = 16_384  # a name, a colour, a selection; as much as a relayed item may have
ENTRIES_LIMIT_COUNT = 1000  # of one update: an echo tells all who are there
_DEPARTED_LIMIT_COUNT = 1000
_GONE = "null"
_VARUINT_BITS, _VARUINT_BYTES = 53, 8  # what JavaScript counts up to
P = TypeVar("P")


class Entry(NamedTuple):
    """What an update says of one id: ``state`` is JSON, "null" for one that has gone."""

    client_id: int
    clock: int
    state: str


class Elsewhere(NamedTuple):
    """Owns what another process says of its connections."""

    process: str


Told = dict[P | Elsewhere, list[Entry]]  # who is to be told that its ids have gone, and of which


class _Known(Generic[P]):
    __slots__ = ("clock", "owner", "state")

    def __init__(self, owner: P | Elsewhere, clock: int, state: str) -> None:
        self.owner = owner
        self.clock = clock
        self.state = state


class Awareness(Generic[P]):
    """What is known of one document's clients; a ``P`` is a connection."""

    def __init__(self) -> None:
        self._known: dict[int, _Known[P]] = {}
        self._own_ids: dict[P, int] = {}  # claimed, and maybe another's still
        self._departed: OrderedDict[int, int] = OrderedDict()  # by id the clock that it went with
        self._changed: dict[int, P | Elsewhere | None] = {}  # since `take`, and by whom; None: who has gone

    @property
    def has_changed(self) -> bool:
        """Whether `take` has something to say."""
        return bool(self._changed)

    def own_id(self, peer: P) -> int | None:
        """Return the id that is a connection's own for certain, None if none is: the rest of what it says is echoes."""
        own_id = self._own_ids.get(peer)
        known = None if own_id is None else self._known.get(own_id)
        return own_id if known is not None and known.owner == peer else None

    def apply(self, peer: P, entries: Iterable[Entry]) -> Told[P]:
        """Take note of what a connection says; return who is to be told that its id has gone, with what."""
        told: Told[P] = {}
        for entry in entries:
            if entry.state != _GONE and self._may_claim(peer, entry.client_id):
                self._own_ids[peer] = entry.client_id
            if self._own_ids.get(peer) == entry.client_id:
                self._apply_own(peer, entry, told)
        return told

    def _may_claim(self, peer: P, client_id: int) -> bool:
        """Return whether an id may be a connection's own: it has none, or has echoed another's before it said its own."""
        own_id = self._own_ids.get(peer)
        if own_id is None:
            return True
        known = self._known.get(own_id)
        is_another_s = known is not None and known.owner != peer
        return is_another_s and client_id not in self._known and client_id not in self._departed

    def leave(self, peer: P) -> Told[P]:
        """Take away what a connection has said; return as `apply` does, for who has claimed the same id meanwhile."""
        own_id = self._own_ids.pop(peer, None)
        known = None if own_id is None else self._known.get(own_id)
        if own_id is None or known is None or known.owner != peer:
            return {}
        self._remove(own_id, known)
        told: Told[P] = {}
        self._tell_heir(own_id, told)
        return told

    def put(self, peer: P, client_id: int, state: str) -> None:
        """Let a connection of our own have a state."""
        known = self._known.get(client_id)
        self._own_ids[peer] = client_id
        self._known[client_id] = _Known(peer, 1 if known is None else known.clock + 1, state)
        self._changed[client_id] = peer

    def snapshot(self) -> bytes | None:
        """Return all there is as one update, None if there is nothing."""
        entries = [Entry(client_id, known.clock, known.state) for client_id, known in self._known.items()]
        return encode(entries) if entries else None

    def take(self) -> tuple[bytes, Collection[P | Elsewhere], list[Entry]]:
        """Return what has changed as one update, and whose change it is if it is only one's own, who knows it already.

        Then what of it other processes do not know.
        """
        changed, self._changed = self._changed, {}
        entries: list[Entry] = []
        ours: list[Entry] = []
        for client_id, by in changed.items():
            known = self._known.get(client_id)
            if known is not None:
                entries.append(Entry(client_id, known.clock, known.state))
            elif client_id in self._departed:
                entries.append(Entry(client_id, self._departed[client_id], _GONE))
            else:
                continue
            if not isinstance(by, Elsewhere):
                ours.append(entries[-1])
        speakers = set(changed.values())
        only = speakers.pop() if len(speakers) == 1 else None
        return encode(entries), () if only is None else (only,), ours

    # Other processes

    def ours(self) -> bytes:
        """Return what the connections of this process say of themselves, as one update."""
        return encode(
            [
                Entry(client_id, known.clock, known.state)
                for client_id, known in self._known.items()
                if not isinstance(known.owner, Elsewhere)
            ]
        )

    def hear(self, process: str, entries: Collection[Entry], *, is_all: bool) -> Told[P]:
        """Take note of what another process says of its connections; return as `apply` does. ``is_all``: it has no more."""
        told: Told[P] = {}
        owner = Elsewhere(process)
        if is_all:
            said = {entry.client_id for entry in entries}
            self._lose([client_id for client_id in self._ids_of(owner) if client_id not in said], owner, told)
        for entry in entries:
            self._hear(owner, entry, told)
        return told

    def lose(self, process: str) -> Told[P]:
        """Take away what a process has said that has gone; return as `apply` does."""
        told: Told[P] = {}
        owner = Elsewhere(process)
        self._lose(self._ids_of(owner), owner, told)
        return told

    def say_again(self, entries: Iterable[Entry]) -> Told[P]:
        """Return who is to say again who it is, of those whose ids are told to have gone and are here."""
        told: Told[P] = {}
        for client_id, clock, _ in entries:
            known = self._known.get(client_id)
            if known is not None and not isinstance(known.owner, Elsewhere):
                told.setdefault(known.owner, []).append(Entry(client_id, max(clock, known.clock), _GONE))
        return told

    def _ids_of(self, owner: Elsewhere) -> list[int]:
        return [client_id for client_id, known in self._known.items() if known.owner == owner]

    def _lose(self, client_ids: Iterable[int], owner: Elsewhere, told: Told[P]) -> None:
        for client_id in client_ids:
            known = self._known[client_id]
            known.clock += 1  # or else nobody would believe it
            self._remove(client_id, known, by=owner)
            if self._tell_heir(client_id, told):  # it has come to this process, and does not believe what it was told here
                self._tell_all(told)

    def _hear(self, owner: Elsewhere, entry: Entry, told: Told[P]) -> None:
        client_id, clock, state = entry
        known = self._known.get(client_id)
        if state == _GONE:
            if known is None:
                self._note_departed(client_id, max(clock, self._departed.get(client_id, 0)))
            elif known.owner == owner and clock >= known.clock:
                known.clock = clock
                self._remove(client_id, known, by=owner)
                if self._tell_heir(client_id, told):
                    self._tell_all(told)
            return
        if known is None:
            departed_clock = self._departed.get(client_id)
            if departed_clock is not None and clock <= departed_clock:
                told.setdefault(owner, []).append(Entry(client_id, departed_clock, _GONE))
                return
            self._departed.pop(client_id, None)
            self._known[client_id] = _Known(owner, clock, state)
        elif isinstance(known.owner, Elsewhere) and clock > known.clock:
            known.owner, known.clock, known.state = owner, clock, state
        else:
            return
        self._changed[client_id] = owner

    def _tell_heir(self, client_id: int, told: Told[P]) -> bool:
        """Tell who has claimed an id that was another's and has gone; return whether there is somebody."""
        heir = next((other for other, own_id in self._own_ids.items() if own_id == client_id), None)
        if heir is not None:
            told.setdefault(heir, []).append(Entry(client_id, self._departed[client_id], _GONE))
        return heir is not None

    def _tell_all(self, told: Told[P]) -> None:
        """Tell all that their ids have gone, so that they say them again to who has dropped them."""
        for client_id, known in self._known.items():
            told.setdefault(known.owner, []).append(Entry(client_id, known.clock, _GONE))

    # Connections of this process

    def _apply_own(self, peer: P, entry: Entry, told: Told[P]) -> None:
        known = self._known.get(entry.client_id)
        if known is not None and known.owner != peer:
            return  # the connection that it had before is not known to be dead; it gets its id when it is
        if known is None:
            self._arrive(peer, entry, told)
        elif entry.state == _GONE:
            if entry.clock >= known.clock:
                known.clock = entry.clock
                self._remove(entry.client_id, known, by=peer)
        elif entry.clock > known.clock:
            known.clock, known.state = entry.clock, entry.state
            self._changed[entry.client_id] = peer

    def _arrive(self, peer: P, entry: Entry, told: Told[P]) -> None:
        if entry.state == _GONE:
            return
        departed_clock = self._departed.get(entry.client_id)
        if departed_clock is not None and entry.clock <= departed_clock:
            # It comes back. It raises its clock, and so do the others, whom it has dropped.
            told.setdefault(peer, []).append(Entry(entry.client_id, departed_clock, _GONE))
            self._tell_all(told)
            return
        self._departed.pop(entry.client_id, None)
        self._known[entry.client_id] = _Known(peer, entry.clock, entry.state)
        self._changed[entry.client_id] = peer
        if entry.clock and departed_clock is None:
            # Others may know it from before this server began, with the same clock, which they would not believe again.
            told.setdefault(peer, []).append(Entry(entry.client_id, entry.clock, _GONE))

    def _remove(self, client_id: int, known: _Known[P], *, by: P | Elsewhere | None = None) -> None:
        del self._known[client_id]
        self._note_departed(client_id, known.clock + (by is None))
        self._changed[client_id] = by

    def _note_departed(self, client_id: int, clock: int) -> None:
        self._departed[client_id] = clock
        self._departed.move_to_end(client_id)
        if len(self._departed) > _DEPARTED_LIMIT_COUNT:
            self._departed.popitem(last=False)


# The encoding: a count, then of each the id, its clock, and its state as a string; numbers are of variable length (lib0).


def encode(entries: Collection[Entry]) -> bytes:
    """Return an awareness update."""
    update = bytearray()
    _write(update, len(entries))
    for client_id, clock, state in entries:
        text = state.encode()
        _write(update, client_id)
        _write(update, clock)
        _write(update, len(text))
        update += text
    return bytes(update)


def decode(update: bytes, only: int | None = None, *, limit_count: int | None = ENTRIES_LIMIT_COUNT) -> list[Entry]:
    """Return what an awareness update says, or of one id ``only``. Raises `MalformedUpdate`, over a limit too."""
    count, position = _read(update, 0)
    if limit_count is not None and count > limit_count:
        raise MalformedUpdate(f"{count} entries, the limit is {limit_count}")
    entries: list[Entry] = []
    for _ in range(count):
        client_id, position = _read(update, position)
        clock, position = _read(update, position)
        size_bytes, position = _read(update, position)
        end = position + size_bytes
        if end > len(update):
            raise MalformedUpdate("it ends in the middle")
        if size_bytes > STATE_LIMIT_BYTES:
            raise MalformedUpdate(f"a state of {size_bytes} bytes, the limit is {STATE_LIMIT_BYTES}")
        if only is None or client_id == only:
            try:
                entries.append(Entry(client_id, clock, update[position:end].decode()))
            except UnicodeDecodeError:
                raise MalformedUpdate("a state that is no text") from None
        position = end
    if position != len(update):
        raise MalformedUpdate("bytes after its end")
    return entries


def _write(update: bytearray, number: int) -> None:
    while number > 0x7F:
        update.append(number & 0x7F | 0x80)
        number >>= 7
    update.append(number)


def _read(update: bytes, position: int) -> tuple[int, int]:
    """Return a number and where the next thing begins."""
    number = shift = 0
    for byte in update[position : position + _VARUINT_BYTES]:
        position += 1
        if byte < 0x80:
            number |= byte << shift
            if number >> _VARUINT_BITS:
                break
            return number, position
        number |= (byte & 0x7F) << shift
        shift += 7
    else:
        if shift < _VARUINT_BYTES * 7:
            raise MalformedUpdate("it ends in the middle")
    raise MalformedUpdate("a number over 2**53")
