"""Cuts an update of many insertions into smaller ones, of which each comes after what it needs.

Why: the engine holds Python's lock for as long as it merges one, 0.7 us for each insertion in it; so a thread that merges a
document of many insertions would hold up all others. Between two pieces they have their turn.

Nothing is merged here, and nothing checked: an update in which something is not known, or not as it should be, stays in one
piece, and the engine says what it thinks of it. Any thread may do this; it takes 2 us for each insertion, and some memory
for each client in the update.

Source: Yjs, src/utils/encoding.js, UpdateEncoderV1; src/structs for each kind of content; lib0, encoding.js.
"""

import re
from collections.abc import Iterator

_LIMIT_COUNT = 4000  # insertions, or ranges of deletions: about 3 ms
_LEAST_BYTES = 4  # that an insertion takes, or two deletions
_CLIENTS_LIMIT_COUNT = 100_000  # each takes 250 bytes here
_DEPTH_LIMIT_COUNT = 50  # of a value within values
_END_OF_NUMBER = 0x80
_number_at = re.compile(rb"[\x80-\xff]*[\x00-\x7f]").match
_GC, _SKIP = 0, 10
_HAS_ORIGIN, _HAS_RIGHT_ORIGIN, _HAS_PARENT_KEY, _KIND = 0x80, 0x40, 0x20, 0x1F
_DELETED, _JSON, _BINARY, _STRING, _EMBED, _FORMAT, _TYPE, _ANY, _DOC = range(1, 10)
_NAMED_TYPES, _TYPES_COUNT = (3, 5), 7  # XML elements and hooks; what comes after those is the engine's own
_ANY_SIZES_BYTES = {127: 0, 126: 0, 124: 4, 123: 8, 122: 8, 121: 0, 120: 0}
_ANY_BYTES, _ANY_ARRAY, _ANY_OBJECT, _ANY_STRING, _ANY_INTEGER = 116, 117, 118, 119, 125


class _CannotCut(Exception):
    """An update has something in it that is not known here."""


class _Client:
    """What an update has of one client: insertions, whose ``clock`` and place ``at`` are those of the next one."""

    __slots__ = ("at", "clock", "encoded_id", "id", "left_count")

    def __init__(self, client_id: int, encoded_id: bytes, clock: int, at: int, left_count: int) -> None:
        self.id = client_id
        self.encoded_id = encoded_id
        self.clock = clock
        self.at = at
        self.left_count = left_count


def pieces(update: bytes, limit_count: int = _LIMIT_COUNT) -> Iterator[bytes]:
    """Yield updates that together say the same, of so many insertions each: the update itself if it has no more.

    The same if it cannot be cut, which may show after some pieces.
    """
    if len(update) <= limit_count * _LEAST_BYTES:
        yield update
        return
    try:
        clients, at = _clients(update)
        count = sum(client.left_count for client in clients.values())
        if count <= limit_count and len(update) - at <= limit_count * _LEAST_BYTES:
            yield update
            return
        yield from _Cut(update, clients, limit_count).pieces()
        yield from _deletions(update, at, limit_count)
    except (_CannotCut, IndexError, UnicodeDecodeError):
        yield update


def _clients(update: bytes) -> tuple[dict[int, _Client], int]:
    """Return the clients of an update by id, and where its deletions begin."""
    clients_count, at = _number(update, 0)
    if clients_count > _CLIENTS_LIMIT_COUNT:
        raise _CannotCut("too many clients")
    clients: dict[int, _Client] = {}
    for _ in range(clients_count):
        count, id_at = _number(update, at)
        client_id, at = _number(update, id_at)
        encoded_id = update[id_at:at]
        clock, at = _number(update, at)
        if client_id in clients:
            raise _CannotCut("a client that comes twice")
        clients[client_id] = _Client(client_id, encoded_id, clock, at, count)
        for _ in range(count):
            at, _, _ = _insertion(update, at, encoded_id)
    return clients, at


class _Cut:
    """One update that is cut, in the order in which the engine would go through it: what is needed comes first."""

    def __init__(self, update: bytes, clients: dict[int, _Client], limit_count: int) -> None:
        self._update = update
        self._clients = clients
        self._limit_count = limit_count
        self._runs: dict[int, list[int]] = {}  # of the next piece, by client: clock, count, begin and end in the update
        self._count = 0

    def pieces(self) -> Iterator[bytes]:
        for _, client in sorted(self._clients.items(), reverse=True):  # the other way round, each looks at all before it
            yield from self._all_of(client)
        if self._runs:
            yield self._piece()

    def _all_of(self, first: _Client) -> Iterator[bytes]:
        """Go through all of a client, and through others as far as that needs them."""
        stack = [(first, -1)]  # each with the clock up to which it is needed, -1 for all
        within = {first.id}
        while stack:
            client, until = stack[-1]
            if client.left_count == 0 or 0 <= until < client.clock:
                stack.pop()
                within.discard(client.id)
                continue
            end, length, needs = _insertion(self._update, client.at, client.encoded_id)
            missing = next((need for need in needs if self._is_missing(*need)), None) if needs else None
            if missing is not None:
                other_id, clock = missing
                if other_id in within:
                    raise _CannotCut("a circle")
                within.add(other_id)
                stack.append((self._clients[other_id], clock))
                continue
            self._take(client, end, length)
            if self._count >= self._limit_count:
                yield self._piece()

    def _is_missing(self, client_id: int, clock: int) -> bool:
        """Return whether that is in the update, and has not been gone through; if it is not, it is here or waited for."""
        other = self._clients.get(client_id)
        return other is not None and other.left_count > 0 and clock >= other.clock

    def _take(self, client: _Client, end: int, length: int) -> None:
        run = self._runs.get(client.id)
        if run is None:
            self._runs[client.id] = [client.clock, 1, client.at, end]
        else:
            run[1] += 1
            run[3] = end
        client.clock += length
        client.at = end
        client.left_count -= 1
        self._count += 1

    def _piece(self) -> bytes:
        piece = bytearray()
        _write(piece, len(self._runs))
        for client_id, (clock, count, begin, end) in self._runs.items():
            for number in (count, client_id, clock):
                _write(piece, number)
            piece += self._update[begin:end]
        piece.append(0)  # deletions
        self._runs, self._count = {}, 0
        return bytes(piece)


def _deletions(update: bytes, at: int, limit_count: int) -> Iterator[bytes]:
    """Yield the deletions of an update, which begin ``at`` there."""
    clients_count, at = _number(update, at)
    for _ in range(clients_count):
        client_id, at = _number(update, at)
        left_count, at = _number(update, at)
        while left_count:
            count = min(left_count, limit_count)
            begin = at
            for _ in range(2 * count):
                _, at = _number(update, at)
            piece = bytearray((0, 1))  # no insertions, deletions of one client
            _write(piece, client_id)
            _write(piece, count)
            yield bytes(piece + update[begin:at])
            left_count -= count
    if at != len(update):
        raise _CannotCut("bytes after its end")


def _insertion(update: bytes, at: int, own_id: bytes) -> tuple[int, int, list[tuple[int, int]]]:
    """Return where the insertion that begins ``at`` ends, how many clocks it takes, and what of others it needs.

    That is by client and clock. ``own_id`` is its own client's, encoded: what that has inserted comes before it anyway.
    """
    info = update[at]
    at += 1
    kind = info & _KIND
    needs: list[tuple[int, int]] = []
    if kind == _GC:
        length, at = _number(update, at)
        return at, length, needs
    if kind == _SKIP:
        raise _CannotCut("a gap")
    if info & _HAS_ORIGIN:
        at = _read_need(update, at, own_id, needs)
    if info & _HAS_RIGHT_ORIGIN:
        at = _read_need(update, at, own_id, needs)
    if not info & (_HAS_ORIGIN | _HAS_RIGHT_ORIGIN):
        has_name, at = _number(update, at)
        at = _end_of_bytes(update, at) if has_name == 1 else _read_need(update, at, own_id, needs)
        if info & _HAS_PARENT_KEY:
            at = _end_of_bytes(update, at)
    if kind == _STRING:  # as most are
        end = _end_of_bytes(update, at)
        text = update[_number(update, at)[1] : end]
        return end, len(text) if text.isascii() else len(text.decode().encode("utf-16-le")) // 2, needs
    end, length = _content(update, at, kind)
    return end, length, needs


def _read_need(update: bytes, at: int, own_id: bytes, needs: list[tuple[int, int]]) -> int:
    """Add what is needed to ``needs``, unless it is the own client's; return where it ends."""
    if update.startswith(own_id, at):
        found = _number_at(update, at + len(own_id))
        if found is None:
            raise _CannotCut("it ends in the middle")
        return found.end()
    client_id, at = _number(update, at)
    clock, at = _number(update, at)
    needs.append((client_id, clock))
    return at


def _content(update: bytes, at: int, kind: int) -> tuple[int, int]:
    """Return where a content ends that is no text, and how many clocks it takes."""
    length = 1
    if kind == _DELETED:
        length, at = _number(update, at)
    elif kind in (_JSON, _ANY):
        length, at = _number(update, at)
        for _ in range(length):
            at = _end_of_bytes(update, at) if kind == _JSON else _end_of_any(update, at)
    elif kind in (_BINARY, _EMBED):
        at = _end_of_bytes(update, at)
    elif kind == _FORMAT:
        at = _end_of_bytes(update, _end_of_bytes(update, at))
    elif kind == _TYPE:
        type_number, at = _number(update, at)
        if type_number >= _TYPES_COUNT:
            raise _CannotCut("a type that is not known")
        if type_number in _NAMED_TYPES:
            at = _end_of_bytes(update, at)
    elif kind == _DOC:
        at = _end_of_any(update, _end_of_bytes(update, at))
    else:
        raise _CannotCut("content that is not known")
    return at, length


def _end_of_any(update: bytes, at: int, depth: int = 0) -> int:
    """Return where a value ends that begins ``at``."""
    kind = update[at]
    at += 1
    size_bytes = _ANY_SIZES_BYTES.get(kind)
    if size_bytes is not None:
        return at + size_bytes
    if kind in (_ANY_STRING, _ANY_BYTES):
        return _end_of_bytes(update, at)
    if kind == _ANY_INTEGER:
        while update[at] >= _END_OF_NUMBER:
            at += 1
        return at + 1
    if kind not in (_ANY_ARRAY, _ANY_OBJECT) or depth > _DEPTH_LIMIT_COUNT:
        raise _CannotCut("a value that is not known")
    count, at = _number(update, at)
    for _ in range(count):
        if kind == _ANY_OBJECT:
            at = _end_of_bytes(update, at)
        at = _end_of_any(update, at, depth + 1)
    return at


def _end_of_bytes(update: bytes, at: int) -> int:
    size_bytes, at = _number(update, at)
    end = at + size_bytes
    if end > len(update):
        raise _CannotCut("it ends in the middle")
    return end


def _number(update: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins ``at``, and where it ends."""
    byte = update[at]
    at += 1
    if byte < _END_OF_NUMBER:
        return byte, at
    number, shift = byte & 0x7F, 7
    while (byte := update[at]) >= _END_OF_NUMBER:
        number |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if shift > 63:
            raise _CannotCut("a number that is too large")
    return number | byte << shift, at + 1


def _write(piece: bytearray, number: int) -> None:
    while number >= _END_OF_NUMBER:
        piece.append(number & 0x7F | _END_OF_NUMBER)
        number >>= 7
    piece.append(number)
