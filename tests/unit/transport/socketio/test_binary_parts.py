"""Binary parts in and out, of a polling session of an application, without sockets."""

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from socketio import packet as stock

import hazoom_ws
from hazoom_ws.events.base import PLACEHOLDERS
from hazoom_ws.features import ClientPayload, Feature, ServerEvent, handles
from hazoom_ws.settings import Settings
from hazoom_ws.transport.serving.blocking import BlockingWebSocket
from hazoom_ws.transport.socketio import binary_parts
from hazoom_ws.transport.socketio.binary_parts import put_in_place
from hazoom_ws.transport.socketio.packet import Packet
from servers import wait_until
from visitors import Visitor

ZERO, ONE = '{"_placeholder":true,"num":0}', '{"_placeholder":true,"num":1}'


class Stroke(ClientPayload, frozen=True):
    event = "stroke"
    takes_parts = True
    points: bytes
    more: Any = None


class Name(ClientPayload, frozen=True):
    event = "name"
    name: str


class Drawn(ServerEvent, frozen=True):
    event = "drawn"
    has_parts = True
    parts: tuple[bytes, ...]

    def split(self) -> tuple[Any, tuple[bytes, ...]]:
        return {"parts": PLACEHOLDERS[: len(self.parts)]}, self.parts


class Drawing(Feature):
    name = "drawing"
    events = (Drawn,)

    @handles(Stroke)
    def stroke(self, sender: Any, payload: Stroke) -> None:
        parts = (payload.points,) if payload.more is None else (payload.points, payload.more)
        self.chat.push(sender, Drawn(parts=parts))

    @handles(Name)
    def name_it(self, sender: Any, payload: Name) -> None: ...


@pytest.fixture
def app() -> Iterator[Flask]:
    app = hazoom_ws.create_app(Settings(log_url="memory://", rate_limit_per_s=0), features=[Drawing])
    yield app
    app.extensions["hazoom_ws"].close()


@pytest.fixture
def enter(app: Flask) -> Callable[[], Visitor]:
    def enter() -> Visitor:
        visitor = Visitor(app)
        visitor.send("40")
        visitor.said()
        return visitor

    return enter


@pytest.fixture
def ann(enter: Callable[[], Visitor]) -> Visitor:
    return enter()


def error_of(visitor: Visitor) -> dict[str, Any]:
    assert visitor.session.is_open
    (payload,) = visitor.events("error")
    return payload


def test_parts_come_and_go_in_the_place_of_their_placeholders(ann: Visitor) -> None:
    ann.send(f'452-["stroke",{{"more":{ZERO},"points":{ONE}}}]', b"zero", b"one")
    assert ann.said_with_parts() == [f'452-["drawn",{{"parts":[{ZERO},{ONE}]}}]', b"one", b"zero"]


def test_a_part_may_be_empty_and_an_event_acknowledged(ann: Visitor) -> None:
    ann.send(f'451-7["stroke",{{"points":{ZERO}}}]', b"")
    assert ann.said_with_parts() == [f'451-["drawn",{{"parts":[{ZERO}]}}]', b"", '437[{"ok":true}]']


def test_an_event_that_could_have_parts_and_has_none_is_an_ordinary_one(ann: Visitor) -> None:
    from hazoom_ws.transport.socketio.event_frames import framed_event
    from hazoom_ws.transport.websocket import frames

    assert frames.opened(framed_event("/drawing", Drawn(parts=()))).data == '42/drawing,["drawn",{"parts":[]}]'


def test_ten_parts_may_be_sent_and_not_eleven() -> None:
    from hazoom_ws.transport.socketio.event_frames import framed_event

    framed = framed_event("/", Drawn(parts=(b"x",) * 10))
    assert framed.endswith(b"\x82\x01x" * 10)
    with pytest.raises(ValueError, match="11 binary parts in one event, the limit is 10"):
        framed_event("/", Drawn(parts=(b"x",) * 11))


@pytest.mark.parametrize(
    "said",
    [
        f'["stroke",{{"points":{ZERO}}}]',  # one of the two is nowhere
        f'["stroke",{{"points":{ZERO},"more":{ZERO}}}]',
        '["stroke",{"points":' + ZERO + ',"more":{"_placeholder":true,"num":2}}]',
        '["stroke",{"points":' + ZERO + ',"more":{"_placeholder":true,"num":-1}}]',
        '["stroke",{"points":' + ZERO + ',"more":{"_placeholder":true,"num":1.0}}]',
        '["stroke",{"points":' + ZERO + ',"more":{"_placeholder":true,"num":true}}]',
        '["stroke",{"points":' + ZERO + ',"more":{"_placeholder":1,"num":1}}]',
        '["stroke",{"points":' + ZERO + ',"more":{"_placeholder":true,"num":1,"x":1}}]',
        '["stroke",{"points":' + ZERO + ',"more":{"_placeholder":true}}]',
        f'["stroke",{{"points":{ZERO},"more":{ONE},"x":[{{"_placeholder":false}}]}}]',
    ],
)
def test_wrong_placeholders_are_refused_and_the_connection_stays(ann: Visitor, said: str) -> None:
    ann.send(f"452-{said}", b"zero", b"one")
    error = error_of(ann)
    assert (error["code"], error["event"]) == ("bad_payload", "stroke")
    assert "placeholder" in error["message"]


@pytest.mark.parametrize("event", ["name", "message", "nobody_knows_it"])
def test_a_part_in_any_other_event_is_refused_by_its_name_and_the_connection_stays(ann: Visitor, event: str) -> None:
    ann.send(f'451-["{event}",{{"name":{ZERO}}}]', b"zero")
    error = error_of(ann)
    assert (error["code"], error["event"]) == ("bad_payload", event)
    assert "binary parts" in error["message"]
    assert ann.call("message", {"message": "hi"})["ok"] is True


def test_text_is_not_taken_for_bytes(ann: Visitor) -> None:
    assert "points: expected bytes" in ann.call("stroke", {"points": "aGk="})["error"]["message"]
    assert ann.call("stroke", {"points": [1]})["ok"] is False


@pytest.mark.parametrize("damage", ["NaN", "[" * 40 + "]" * 40, "1e999"])
def test_json_that_may_not_be_is_refused_beside_parts_too(ann: Visitor, damage: str) -> None:
    ann.send(f'451-["stroke",{{"points":{ZERO},"x":{damage}}}]', b"zero")
    assert error_of(ann)["code"] == "bad_payload"


@pytest.mark.parametrize(
    "packets",
    [
        (b"a part of nothing",),
        ('453-["stroke",{}]',),
        (f'450-["stroke",{{"points":{ZERO}}}]',),
        (f'451-["stroke",{{"points":{ZERO}}}]', '42["message",{"message":"x"}]'),
        (f'451-["stroke",{{"points":{ZERO}}}]', f'451-["stroke",{{"points":{ZERO}}}]'),
        (f'451-["stroke",{{"points":{ZERO}}}]', b"zero", b"one"),
        (f'452-["stroke",{{"points":{ZERO},"more":{ONE}}}]', b"zero", "41"),
        (f'451-["stroke",{{"points":{ZERO}}}', b"zero"),
        (f"451-[{ZERO}]", b"zero"),
        (f"461-[{ZERO}]", b"zero"),
        (f"451-{ZERO}", b"zero"),
    ],
)
def test_what_breaks_the_protocol_ends_the_session(ann: Visitor, enter: Callable[[], Visitor], packets: Any) -> None:
    ann.send(*packets)
    assert not ann.session.is_open
    assert enter().call("message", {"message": "hi"})["ok"] is True


def test_a_heartbeat_may_come_between_a_header_and_its_parts(ann: Visitor) -> None:
    ann.send(f'451-["stroke",{{"points":{ZERO}}}]', "3", b"zero")
    assert ann.said_with_parts()[1] == b"zero"


def test_header_and_parts_together_are_bounded_as_one_message(ann: Visitor, enter: Callable[[], Visitor]) -> None:
    limit_bytes = ann.engine.max_http_buffer_size
    header = f'51-["stroke",{{"points":{ZERO}}}]'
    ann.send("4" + header, bytes(limit_bytes - len(header)))
    assert len(ann.said_with_parts()[1]) == limit_bytes - len(header)
    ann.send("4" + header, bytes(limit_bytes - len(header) + 1))
    assert not ann.session.is_open
    assert ann.engine.unfinished.total_bytes == 0


def test_parts_that_do_not_come_in_time_end_the_session(ann: Visitor, enter: Callable[[], Visitor]) -> None:
    bob, now_s = enter(), ann.engine.clock()
    ann.send(f'452-["stroke",{{"points":{ZERO},"more":{ONE}}}]', b"zero")
    bob.send(f'451-["stroke",{{"points":{ZERO}}}]', b"zero")
    assert ann.engine.unfinished.total_bytes > 0
    sweep = ann.engine.sweeps
    for one in sweep:
        one(now_s + binary_parts.TIMEOUT_S - 1)
    assert ann.session.is_open
    for one in sweep:
        if one.__qualname__.startswith("IncompletePackets"):
            one(now_s + binary_parts.TIMEOUT_S + 1)
    assert not ann.session.is_open
    assert bob.session.is_open
    assert ann.engine.unfinished.total_bytes == 0


def masked_frame(first: int, payload: bytes, announced_bytes: int) -> bytes:
    """Return the beginning of a client's frame that announces more than it has, with a mask of zero."""
    return bytes([first, 0xFF]) + announced_bytes.to_bytes(8) + bytes(4) + payload


@pytest.mark.parametrize("namespace", ["/yjs|x", "/drawing"])
def test_a_part_that_may_be_large_may_come_slowly_and_one_that_does_not_come_ends_the_session(
    app: Flask, namespace: str
) -> None:
    engine = app.extensions["socketio"].server.eio
    ours, theirs = socket.socketpair()
    with theirs:
        session = engine.open({})
        session.websocket = BlockingWebSocket(engine, session, ours)
        reader = threading.Thread(target=session.websocket.serve, args=(b"",))
        reader.start()
        half = b"x" * 500_000
        for text in (f"40{namespace},", f'451-{namespace},["sync-update",{ZERO}]'):
            theirs.sendall(masked_frame(0x81, text.encode(), len(text)))
        theirs.sendall(masked_frame(0x82, half, 900_000))
        incomplete = engine.handlers["message"].__self__._incomplete
        wait_until(lambda: session.id in incomplete and engine.unfinished.total_bytes > len(half), "half of it has come")
        sweep = next(one for one in engine.sweeps if one.__qualname__.startswith("IncompletePackets"))
        sweep(engine.clock() + binary_parts.TIMEOUT_S + 1)
        assert session.is_open == (namespace == "/yjs|x")
        theirs.sendall(half[:400_000])
        wait_until(lambda: session.id not in incomplete, "it is whole, or its session has ended")
        assert session.is_open == (namespace == "/yjs|x")
        engine.close(session, "test is over")
    reader.join()
    ours.close()


def test_a_header_is_held_as_what_it_takes_of_memory(ann: Visitor) -> None:
    ann.send(f'451-["x",{ZERO},"{"a" * 100_000}"]')
    assert 100_000 < ann.engine.unfinished.total_bytes < 101_000
    ann.engine.close(ann.session, "test")
    assert ann.engine.unfinished.total_bytes == 0


def test_one_wide_character_makes_a_header_four_times_as_large(ann: Visitor) -> None:
    ann.send(f'451-["x",{ZERO},"{"a" * 100_000}\U0001f986"]')
    assert ann.engine.unfinished.total_bytes >= sys.getsizeof("\U0001f986" + "a" * 100_000) - 100


def test_bytes_of_parts_count_in_the_rate(make_app: Any) -> None:
    app = make_app(rate_limit_burst_bytes=1000, rate_limit_bytes_per_s=0.001)
    visitor = Visitor(app)
    visitor.send("40")
    visitor.said()
    visitor.send(f'451-["message",{{"message":{ZERO}}}]', bytes(1001))
    assert error_of(visitor)["code"] == "bad_payload"  # more than there is, but the burst was full
    visitor.send('42["message",{"message":"hi"}]')
    assert error_of(visitor)["code"] == "rate_limited"
    visitor.close()


def test_who_wants_to_be_called_back_gets_the_parts_of_an_acknowledgement(app: Flask, ann: Visitor) -> None:
    called: list[Any] = []
    app.extensions["socketio"].emit("ask", {"x": 1}, callback=lambda *arguments: called.append(arguments))
    (asked,) = ann.said()
    identifier = asked.removeprefix("42").partition("[")[0]
    ann.send(f'461-{identifier}["a",{{"b":{ZERO}}}]', b"zero")
    assert called == [("a", {"b": b"zero"})]
    ann.send(f'461-999["a",{{"b":{ZERO}}}]', b"zero")  # of nothing
    ann.send(f'461-{identifier}["a",{{"b":1}}]', b"zero")
    assert len(called) == 1
    assert ann.session.is_open


def test_handlers_of_others_get_parts_and_acknowledge_with_them(app: Flask, ann: Visitor) -> None:
    app.extensions["socketio"].on("echo", namespace="/mine")(lambda *arguments: (*arguments, "x"))
    visitor = Visitor(app)
    visitor.send("40/mine,")
    visitor.said()
    visitor.send(f'452-/mine,7["echo",{ONE},{ZERO}]', b"zero", b"one")
    assert visitor.said_with_parts() == [f'462-/mine,7[{ZERO},{ONE},"x"]', b"one", b"zero"]
    visitor.close()


values = st.recursive(
    st.none() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])) | st.binary(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from("abc"), children, max_size=3),
    max_leaves=6,
)


@given(arguments=st.lists(values, max_size=4))
def test_what_the_stock_encoder_takes_apart_is_put_together(arguments: list[Any]) -> None:
    data, parts = stock.Packet.deconstruct_binary(["x", *arguments])
    data = json.loads(json.dumps(data))
    assert put_in_place(data, parts)
    assert data == ["x", *arguments]


@given(arguments=st.lists(st.binary() | st.integers(0, 9) | st.text("ab"), max_size=8))
def test_what_is_sent_with_parts_is_as_the_stock_decoder_expects_it(arguments: list[Any]) -> None:
    encoded = Packet(stock.EVENT, data=["x", *arguments], namespace="/a", id=7).encode()
    texts = encoded if isinstance(encoded, list) else [encoded]
    read = stock.Packet(encoded_packet=texts[0])
    for part in texts[1:]:
        read.add_attachment(part)
    assert (read.data, read.namespace, read.id) == (["x", *arguments], "/a", 7)
