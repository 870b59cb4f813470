"""The fan-out: rooms that cost what they hold, broadcasts that are encoded and framed once."""

from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
from flask_socketio import Namespace, SocketIO

from hazoom_ws.events.base import ServerEvent
from hazoom_ws.transport.bounds.outbox import DroppableFrame
from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.session import EngineSession, WebSocket
from hazoom_ws.transport.socketio.fan_out import FanOut
from hazoom_ws.transport.socketio.flask_socketio_test_client import finder
from hazoom_ws.transport.socketio.packet import Packet
from hazoom_ws.transport.websocket.frames import CloseCode, opened


class RecordingCarrier(WebSocket):
    """A WebSocket that keeps what is delivered to it."""

    def __init__(self, engine: Engine, session: EngineSession) -> None:
        super().__init__(engine, session)
        self.framed: list[bytes] = []

    def send_frame(self, framed: bytes) -> None:
        self.framed.append(framed)

    def close(self, code: CloseCode) -> None:
        """Nothing is there to be closed."""

    def texts(self) -> list[str]:
        """Return the message packets since the last call."""
        texts = [text[1:] for text in (opened(framed).data for framed in self.framed) if text.startswith("4")]
        self.framed.clear()
        return texts


class Accepting(Namespace):
    """Lets everybody in, after what its owner does meanwhile."""

    def __init__(self, namespace: str, owner: "Server") -> None:
        super().__init__(namespace)
        self.owner = owner

    def trigger_event(self, event: str, *args: Any) -> Any:
        if event == "connect":
            self.owner.on_connect(args[0])
        return True


class CountingPacket(Packet):
    """Counts what is encoded."""

    encoded_count = 0

    def encode(self) -> str:
        CountingPacket.encoded_count += 1
        return super().encode()


class Said(ServerEvent):
    event = "said"
    feature = "rooms"
    text: Any


class Seen(Said):
    event = "seen"
    if_slow = "dropped"


class Server:
    """Flask-SocketIO with our engine and fan-out below, and nothing else of ours."""

    def __init__(self) -> None:
        self.fan_out = FanOut()
        self.app = flask.Flask("fan_out")
        self.socketio = SocketIO(
            self.app, async_mode="threading", async_handlers=False, serializer=CountingPacket, client_manager=self.fan_out
        )
        self.engine = Engine(async_mode="threading", async_handlers=False)
        self.engine.install(self.socketio.server)
        self.fan_out.find_stranger = finder(self.socketio.server)
        self.on_connect: Callable[[str], None] = lambda _sid: None
        for namespace in ("/", "/other"):
            self.socketio.on_namespace(Accepting(namespace, self))

    def connect(self, *rooms: str, namespace: str = "/") -> tuple[str, RecordingCarrier]:
        """Return the sid and the WebSocket of a new client that is in ``rooms``."""
        session = self.engine.open()
        websocket = RecordingCarrier(self.engine, session)
        session.websocket = websocket
        self.engine.receive(session, "40" if namespace == "/" else f"40{namespace},")
        sid = self.fan_out.sid_from_eio_sid(session.id, namespace)
        for room in rooms:
            self.fan_out.enter_room(sid, namespace, room)
        websocket.framed.clear()
        return sid, websocket


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of which nothing is left once all have gone."""
    server = Server()
    yield server
    for session in list(server.engine.sessions.values()):
        server.engine.close(session, "the test is over")
    fan_out = server.fan_out
    assert not fan_out.rooms
    assert not fan_out.callbacks
    assert not fan_out._clients
    assert not fan_out._by_session
    assert not list(fan_out.get_namespaces())
    assert not server.socketio.server.environ


def test_an_event_for_nobody_is_not_even_encoded(server):
    server.connect("room")
    cannot_be_encoded = object()
    for namespace, room in (("/", "empty"), ("/other", "room"), ("/other", None), ("/nowhere", "room"), ("/nowhere", None)):
        server.socketio.server.emit("said", cannot_be_encoded, to=room, namespace=namespace)
        if room:
            server.fan_out.send(Said(text=cannot_be_encoded), namespace, room)
    with pytest.raises(TypeError):
        server.socketio.server.emit("said", cannot_be_encoded, to="room")
    with pytest.raises(TypeError):
        server.fan_out.send(Said(text=cannot_be_encoded), "/", "room")


def test_when_everybody_is_skipped_nothing_is_encoded(server):
    sid, websocket = server.connect("room")
    server.socketio.server.emit("said", object(), to="room", skip_sid=sid)
    server.fan_out.send(Said(text=object()), "/", "room", [sid])
    assert websocket.framed == []


def test_a_broadcast_is_encoded_once_and_everybody_gets_the_same_bytes(server):
    websockets = [server.connect("room")[1] for _ in range(40)]
    CountingPacket.encoded_count = 0
    server.socketio.server.emit("said", {"text": "hi"}, to="room")
    assert CountingPacket.encoded_count == 1
    server.fan_out.send(Said(text="hi"), "/", "room")
    for number in range(2):
        assert len({id(websocket.framed[number]) for websocket in websockets}) == 1
    assert websockets[0].texts() == ['2["said",{"text":"hi"}]'] * 2


def test_what_goes_to_several_rooms_is_framed_once_for_all_of_them(server):
    (_, first), (skipped, second), (_, third) = (server.connect(room) for room in ("one", "two", "two"))
    server.fan_out.send(Said(text="hi"), "/", ("one", "nobody", "two"), [skipped])
    assert first.framed[0] is third.framed[0]
    assert (first.texts(), second.texts()) == (['2["said",{"text":"hi"}]'], [])


def test_what_is_sent_quickly_is_what_emit_sends(server):
    for namespace in ("/", "/other"):
        _, websocket = server.connect("room", namespace=namespace)
        server.socketio.server.emit("said", {"text": 'ü"😀'}, to="room", namespace=namespace)
        server.fan_out.send(Said(text='ü"😀'), namespace, "room")
        first, second = websocket.texts()
        assert first == second


def test_only_an_event_that_says_so_may_be_dropped(server):
    _, websocket = server.connect("room")
    server.fan_out.send(Said(text="hi"), "/", "room")
    server.fan_out.send(Seen(text="hi"), "/", "room")
    assert [type(framed) for framed in websocket.framed] == [bytes, DroppableFrame]


def test_one_or_several_can_be_skipped(server):
    clients = [server.connect("room") for _ in range(4)]
    sids = [sid for sid, _ in clients]
    server.socketio.server.emit("said", 1, to="room", skip_sid=sids[0])
    server.socketio.server.emit("said", 2, to="room", skip_sid=sids[:2])
    server.fan_out.send(Said(text=3), "/", "room", [sids[2], None])
    received = [websocket.texts() for _, websocket in clients]
    one, two, three = '2["said",1]', '2["said",2]', '2["said",{"text":3}]'
    assert received == [[three], [one, three], [one, two], [one, two, three]]


def test_a_name_that_is_a_clients_sid_means_this_client(server):
    sid, websocket = server.connect("room")
    _, other = server.connect("room")
    server.socketio.server.emit("said", 1, to=sid)
    server.fan_out.send(Said(text=2), "/", sid)
    assert len(websocket.texts()) == 2
    assert other.texts() == []


def test_without_a_room_everybody_in_the_namespace_who_was_let_in_gets_it(server):
    _, ann = server.connect()
    _, elsewhere = server.connect(namespace="/other")
    server.on_connect = lambda _sid: server.socketio.server.emit("said", 1)
    server.connect()
    assert ann.texts() == ['2["said",1]']
    assert elsewhere.texts() == []


def test_rooms_of_the_same_name_in_two_namespaces_are_two_rooms(server):
    _, here = server.connect("room")
    _, there = server.connect("room", namespace="/other")
    server.fan_out.send(Said(text=1), "/other", "room")
    assert here.texts() == []
    assert there.texts() == ['2/other,["said",{"text":1}]']


class NoWalk(dict):
    """A dictionary that can be asked for one entry and not for all."""

    def _refuse(self, *_: object) -> Any:
        raise AssertionError("it walks over all")

    __iter__ = keys = values = items = _refuse


def test_entering_leaving_and_going_cost_the_clients_own_rooms_however_many_there_are(server):
    for number in range(50):
        server.connect(f"room {number}")
    session = server.engine.open()
    session.websocket = RecordingCarrier(server.engine, session)
    walkable = {name: getattr(server.fan_out, name) for name in ("_clients", "_by_session", "rooms")}
    for name, mapping in walkable.items():
        setattr(server.fan_out, name, NoWalk(mapping))
    dict.__setitem__(server.fan_out.rooms, "/", NoWalk(server.fan_out.rooms["/"]))
    server.engine.receive(session, "40")
    sid = server.fan_out.sid_from_eio_sid(session.id, "/")
    for room in ("room 1", "room 2", "mine"):
        server.fan_out.enter_room(sid, "/", room)
    server.fan_out.send(Said(text=1), "/", "room 1")
    server.fan_out.leave_room(sid, "/", "room 1")
    server.engine.close(session, "gone")
    rooms = dict.__getitem__(server.fan_out.rooms, "/")
    assert len(rooms) == 50
    assert len(rooms["room 2"]) == 1
    for name in walkable:
        setattr(server.fan_out, name, dict(dict.items(getattr(server.fan_out, name))))
    server.fan_out.rooms["/"] = dict(dict.items(rooms))


def test_who_leaves_a_room_gets_nothing_of_it_and_keeps_the_others(server):
    sid, websocket = server.connect("a", "b")
    server.fan_out.leave_room(sid, "/", "a")
    server.fan_out.leave_room(sid, "/", "a")
    server.fan_out.leave_room(sid, "/", "never entered")
    assert server.fan_out.get_rooms(sid, "/") == [sid, "b"]
    server.fan_out.send(Said(text=1), "/", "a")
    assert websocket.texts() == []
    server.fan_out.send(Said(text=2), "/", "b")
    assert len(websocket.texts()) == 1


def test_entering_twice_is_being_there_once(server):
    sid, websocket = server.connect("room", "room")
    server.fan_out.send(Said(text=1), "/", "room")
    assert len(websocket.texts()) == 1
    server.fan_out.leave_room(sid, "/", "room")
    assert not server.fan_out.rooms


def test_a_room_that_is_closed_is_left_by_all(server):
    clients = [server.connect("room", "other room") for _ in range(3)]
    server.socketio.server.close_room("room")
    assert [server.fan_out.get_rooms(sid, "/") for sid, _ in clients] == [[sid, "other room"] for sid, _ in clients]


def test_participants_are_those_of_a_room_of_one_client_or_of_the_namespace(server):
    (ann, _), (bob, _) = server.connect("room"), server.connect()
    server.connect(namespace="/other")

    def sids(room):
        return [sid for sid, _ in server.fan_out.get_participants("/", room)]

    assert (sids("room"), sids(bob), sids(None), sids("empty")) == ([ann], [bob], [ann, bob], [])
    assert all(server.engine.sessions[eio_sid] for _, eio_sid in server.fan_out.get_participants("/", None))


def test_nobody_enters_a_room_of_a_namespace_he_is_not_in(server):
    sid, _ = server.connect()
    for stranger, namespace in ((sid, "/other"), ("nobody", "/")):
        with pytest.raises(ValueError, match="not connected"):
            server.fan_out.enter_room(stranger, namespace, "room")
    assert not server.fan_out.rooms


def test_a_callback_gets_the_acknowledgement_of_each_client_and_is_then_forgotten(server):
    _, ann = server.connect("room")
    _, bob = server.connect("room")
    answers = []
    server.socketio.server.emit("asked", {"x": 1}, to="room", callback=lambda *args: answers.append(args))
    for websocket, text in ((ann, "yes"), (bob, "no")):
        assert websocket.texts() == ['21["asked",{"x":1}]']
        for _ in range(2):  # the second is an acknowledgement of nothing
            server.engine.receive(websocket.session, f'431["{text}"]')
    assert answers == [("yes",), ("no",)]


def test_whoever_goes_takes_his_callbacks_along(server):
    sid, websocket = server.connect("room")
    server.socketio.server.emit("asked", 1, to=sid, callback=lambda *_: None)
    assert sid in server.fan_out.callbacks
    server.engine.close(websocket.session, "gone")
    assert not server.fan_out.callbacks


def test_a_second_connect_to_the_same_namespace_changes_nothing(server):
    sid, websocket = server.connect("room")
    server.engine.receive(websocket.session, "40")
    assert server.fan_out.sid_from_eio_sid(websocket.session.id, "/") == sid
    assert list(server.fan_out._clients) == [sid]


def test_a_client_that_leaves_one_namespace_stays_in_the_other(server):
    sid, websocket = server.connect("room")
    server.engine.receive(websocket.session, "40/other,")
    server.engine.receive(websocket.session, "41")
    assert not server.fan_out.is_connected(sid, "/")
    assert list(server.fan_out.get_namespaces()) == ["/other"]
    assert not server.fan_out.rooms
    assert websocket.session.is_open


def test_flask_socketios_test_client_works_with_it(server):
    client = server.socketio.test_client(server.app)
    sid = server.fan_out.sid_from_eio_sid(client.eio_sid, "/")
    server.fan_out.enter_room(sid, "/", "room")
    _, websocket = server.connect("room")
    server.socketio.server.emit("said", {"text": 1}, to="room")
    server.fan_out.send(Said(text=2), "/", "room")
    assert [(event["name"], event["args"][0]) for event in client.get_received()] == [
        ("said", {"text": 1}),
        ("said", {"text": 2}),
    ]
    assert len(websocket.texts()) == 2
    client.disconnect()
    assert not server.fan_out.is_connected(sid, "/")
    server.socketio.server._handle_eio_disconnect(client.eio_sid, "gone")
