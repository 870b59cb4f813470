"""Events as the frames that carry them: made once, whoever gets them."""

from functools import cache, lru_cache
from typing import Any, Literal, Protocol, cast

import msgspec
from socketio import packet

from hazoom_ws.transport.bounds.outbox import DroppableFrame, PatientFrame, Piece, TokenFrame
from hazoom_ws.transport.engineio.python_engineio_overrides import text_message_frame
from hazoom_ws.transport.socketio.binary_parts import checked, placeholder
from hazoom_ws.transport.socketio.packet import encoded
from hazoom_ws.transport.websocket import frames

_encode_json = msgspec.json.Encoder().encode


class Event(Protocol):
    """A struct that is sent as an event. ``if_slow``: what becomes of it while its reader is slow.

    "kept": it waits. "dropped": it may be lost. "joined": it is a `Piece`, and waits joined with others. "patient": it is
    part of an answer whose size others bound, and has a ``request_id``. ``has_parts``: it is `Split`.
    """

    @property
    def event(self) -> str: ...

    @property
    def if_slow(self) -> Literal["kept", "dropped", "joined", "patient"]: ...

    @property
    def has_parts(self) -> bool: ...


class Split(Protocol):
    """An event with binary parts."""

    def split(self) -> tuple[Any, tuple[bytes, ...]]:
        """Return the struct that is sent as JSON, with placeholders, and the parts."""


def framed_event(namespace: str, event: Event, offset: bytes = b"") -> bytes:
    """Return the frame that `FanOut.send` sends, of the kind that an outbox is to treat as its event allows."""
    if_slow = event.if_slow
    if if_slow == "joined":
        return TokenFrame.of(_frame_of, namespace, cast(Piece, event), offset)
    framed = _frame_of(namespace, event, offset)
    if if_slow == "dropped":
        return DroppableFrame(framed)
    if if_slow == "patient":
        framed = PatientFrame(framed)
        framed.stream = (namespace, cast(Piece, event).request_id)
    return framed


def _frame_of(namespace: str, event: Event, offset: bytes) -> bytes:
    """Return the frame of an event; of one with parts theirs too, in one piece: nothing comes between them."""
    suffix = b',"%b"]' % offset if offset else b"]"
    if event.has_parts:
        said, parts = cast(Split, event).split()
        prefix = _prefix(namespace, event.event)
        if checked(parts):
            prefix = b"45%d-%b" % (len(parts), prefix[2:])
        text = frames.frame(frames.TEXT, prefix + _encode_json(said) + suffix)
        return b"".join([text, *(frames.frame(frames.BINARY, part) for part in parts)])
    return frames.frame(frames.TEXT, _prefix(namespace, event.event) + _encode_json(event) + suffix)


@lru_cache(maxsize=1024)
def header_of_bytes(namespace: str, event: str) -> bytes:
    return text_message_frame(encoded(packet.EVENT, namespace, None, [event, placeholder(0)], part_count=1))


@cache
def _prefix(namespace: str, name: str) -> bytes:
    return (f'42["{name}",' if namespace == "/" else f'42{namespace},["{name}",').encode()
