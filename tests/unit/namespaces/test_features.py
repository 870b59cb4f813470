"""What features of an application may count on; how they look from outside is in tests/integration/test_features.py."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from msgspec import Struct

from clients import Client
from hazoom_ws import create_app
from hazoom_ws.features import (
    UNSET,
    Chat,
    ClientPayload,
    Feature,
    Identifier,
    LogUnavailable,
    NotInRoom,
    Sender,
    ServerEvent,
    TooLarge,
    UnsetType,
    User,
    handles,
)
from hazoom_ws.settings import Settings
from servers import wait_until


class Draw(ClientPayload, frozen=True):
    event = "draw"
    what: str = "line"
    room: str | UnsetType = UNSET
    client_id: Identifier | UnsetType = UNSET


class Ask(ClientPayload, frozen=True):
    event = "ask"
    what: str


class Drawn(ServerEvent, frozen=True):
    event = "drawn"
    is_kept = True
    what: str


class Shown(ServerEvent, frozen=True):
    event = "shown"
    what: str


class Drawing(Struct, frozen=True):
    what: str
    note: str | UnsetType = UNSET


class Boards(Feature):
    """Its handlers do what a test has given it."""

    name = "boards"
    events = (Drawn, Shown)

    def __init__(self, chat: Chat) -> None:
        super().__init__(chat)
        self.on_ask: Callable[[Sender, str], Any] = lambda *_: None
        self.have_left: list[tuple[str, str]] = []
        self.is_closed = False

    @handles(Draw)
    def draw(self, sender: Sender, payload: Draw) -> Drawing:
        room = self.chat.room_of(sender, payload.room)
        kept = self.chat.broadcast(room, Drawn(payload.what), sender=sender, client_id=payload.client_id)
        assert kept is not None
        return Drawing(kept.event.what)

    @handles(Ask)
    def ask(self, sender: Sender, payload: Ask) -> Any:
        return self.on_ask(sender, payload.what)

    def left(self, room: str, user: User) -> None:
        self.have_left.append((room, user.name))
        self.chat.broadcast(room, Drawn(f"{user.name} has left"))

    def close(self) -> None:
        self.is_closed = True


class Scene:
    """An application with boards. Flask-SocketIO's test clients are served by threads."""

    def __init__(self, **settings: Any) -> None:
        options = {"log_url": "memory://", "presence_grace_s": 0, "recovery_window_s": 0, "rate_limit_per_s": 0}
        self.app: Flask = create_app(Settings(**options | settings), features=[Boards])
        self.parts = self.app.extensions["hazoom_ws"]
        server = self.app.extensions["socketio"].server
        self.boards: Boards = server.namespace_handlers["/boards"]._registry.features[-1]
        self.chat = self.boards.chat

    def connect(self, name: str, namespace: str = "/") -> Client:
        client = Client(self.app, namespace, user_name=name)
        client.received(namespace=namespace)
        return client


@pytest.fixture
def make_scene() -> Iterator[Callable[..., Scene]]:
    scenes: list[Scene] = []

    def make(**settings: Any) -> Scene:
        scenes.append(Scene(**settings))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.parts.close()
        assert scene.boards.is_closed


@pytest.fixture
def scene(make_scene: Callable[..., Scene]) -> Scene:
    return make_scene()


@pytest.fixture
def ann(scene: Scene) -> Client:
    return scene.connect("Ann")


def in_task(scene: Scene, function: Callable[[], Any]) -> Any:
    """Return what a task of a feature returns, or raise what it raises."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append((function(), None))
        except Exception as error:
            results.append((None, error))

    scene.chat.start(run)
    [(result, error)] = wait_until(lambda: results, "the task has ended")
    if error is not None:
        raise error
    return result


def test_an_acknowledgement_has_the_fields_and_the_place_of_what_was_kept(scene: Scene, ann: Client) -> None:
    reply = ann.call("draw", {"what": "line"})
    assert reply == {"ok": True, "what": "line", "seq": scene.parts.log.last_seq}
    assert ann.received("drawn") == [{"what": "line"}]
    assert [(kept.event, kept.seq) for kept in scene.chat.kept("general", Drawn)] == [(Drawn("line"), reply["seq"])]


def test_the_same_client_id_is_the_same_event_and_no_message(scene: Scene, ann: Client) -> None:
    said = ann.call("message", {"message": "hi", "client_id": "1"})
    first, again = (ann.call("draw", {"what": what, "client_id": "1"}) for what in ("line", "circle"))
    assert said["duplicate"] is False
    assert again == {"ok": True, "what": "line"}
    assert ann.received("drawn") == [{"what": "line"}]
    assert scene.connect("Bob").call("draw", {"what": "square", "client_id": "1"})["seq"] > first["seq"]
    assert ann.call("message", {"message": "hi", "client_id": "1"})["duplicate"] is True


def test_a_handler_is_refused_for_another_room(ann: Client) -> None:
    assert ann.call("draw", {"room": "elsewhere"})["error"]["code"] == "not_in_room"
    assert ann.call("draw", {"room": "x" * 129})["error"]["code"] == "bad_payload"


def test_what_cannot_be_kept_is_refused_and_shown_to_nobody(
    make_scene: Callable[..., Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hazoom_ws.message_log.sqlite.writer._BUSY_TIMEOUT_S", 0)
    scene = make_scene(log_url=f"sqlite:///{tmp_path}/m.sqlite3")
    ann, bob = scene.connect("Ann"), scene.connect("Bob")
    holder = sqlite3.connect(tmp_path / "m.sqlite3", isolation_level=None)
    with closing(holder), holder:
        holder.execute("BEGIN IMMEDIATE")
        error = ann.call("draw", {})["error"]
        assert (error["code"], error["event"], error["retry"]) == ("internal", "draw", True)
    assert (ann.received("drawn"), bob.received("drawn"), scene.chat.kept("general", Drawn)) == ([], [], [])


def test_a_task_hears_that_it_could_not_be_kept(
    make_scene: Callable[..., Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hazoom_ws.message_log.sqlite.writer._BUSY_TIMEOUT_S", 0)
    scene = make_scene(log_url=f"sqlite:///{tmp_path}/m.sqlite3")
    kept = in_task(scene, lambda: scene.chat.broadcast("general", Drawn("line")))
    with closing(sqlite3.connect(tmp_path / "m.sqlite3")) as connection:
        in_file = [*connection.execute("SELECT messages FROM tail"), *connection.execute("SELECT seq FROM messages")]
        assert str(kept.seq) in str(in_file)
    holder = sqlite3.connect(tmp_path / "m.sqlite3", isolation_level=None)
    with closing(holder), holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogUnavailable):
            in_task(scene, lambda: scene.chat.broadcast("general", Drawn("circle")))


def test_what_is_kept_has_a_limit(make_scene: Callable[..., Scene]) -> None:
    scene = make_scene(message_limit_bytes=100)
    fits = "x" * (100 - len('{"what":""}'))
    assert in_task(scene, lambda: scene.chat.broadcast("a", Drawn(fits))).event.what == fits
    with pytest.raises(TooLarge, match="drawn: 101 bytes of UTF-8, the limit is 100"):
        in_task(scene, lambda: scene.chat.broadcast("a", Drawn(fits + "x")))
    assert scene.connect("Ann").call("draw", {"what": fits + "x"})["error"]["code"] == "too_large"


def test_an_event_goes_to_one_client_to_a_user_or_to_a_room(scene: Scene, ann: Client) -> None:
    again, bob = scene.connect("Ann"), scene.connect("Bob")
    ways: dict[str, Callable[[Sender], Any]] = {
        "client": lambda sender: scene.chat.push(sender, Shown("1")),
        "user": lambda sender: scene.chat.push_user(sender.user, Shown("2")),
        "room": lambda _: scene.chat.broadcast("general", Shown("3")),
        "others": lambda sender: scene.chat.broadcast("general", Shown("4"), skip=[sender]),
        "nobody": lambda _: scene.chat.broadcast("nowhere", Shown("5")),
    }

    def say(sender: Sender, what: str) -> None:
        ways[what](sender)

    scene.boards.on_ask = say
    for way in ways:
        assert ann.call("ask", {"what": way}) == {"ok": True}
    shown = [[event["what"] for event in client.received("shown")] for client in (ann, again, bob)]
    assert shown == [["1", "2", "3"], ["2", "3", "4"], ["3", "4"]]
    assert scene.chat.push_user(User("name:Cid", "Cid"), Shown("6")) == 0


def test_a_sender_is_known(scene: Scene, ann: Client) -> None:
    senders: list[Sender] = []
    scene.boards.on_ask = lambda sender, _: senders.append(sender)
    ann.call("join_room", {"room": "a"})
    for _ in range(2):
        assert ann.call("ask", {"what": ""})["ok"]
    first, second = senders
    assert first is second
    assert (first.user, first.rooms, first.is_open) == (User("name:Ann", "Ann"), ("general", "a"), True)
    assert scene.chat.room_of(first) == "general"
    with pytest.raises(NotInRoom):
        scene.chat.room_of(first, "b")
    scene.connect("Bob")
    assert [user.name for user in scene.chat.members("general")] == ["Ann", "Bob"]
    assert scene.chat.members("b") == ()
    ann.socket.disconnect()
    assert not first.is_open
    scene.chat.push(first, Shown("too late"))


def test_what_clients_would_not_get_is_a_mistake(scene: Scene, ann: Client) -> None:
    senders: list[Any] = []
    scene.boards.on_ask = lambda sender, _: senders.append(sender)
    ann.call("ask", {"what": ""})

    class Other(ServerEvent, frozen=True):
        event = "other"

    with pytest.raises(TypeError, match="in the events of no feature"):
        scene.chat.broadcast("general", Other())
    with pytest.raises(TypeError, match="kept, which rooms do"):
        scene.chat.push(senders[0], Drawn("line"))
    with pytest.raises(TypeError, match="no sender"):
        scene.chat.push("Ann", Shown(""))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        scene.chat.broadcast("general", Shown(object()))  # type: ignore[arg-type]


def test_a_room_is_found_by_its_name_in_any_form(scene: Scene, ann: Client) -> None:
    ann.call("join_room", {"room": "caf\u00e9"})
    for name in ("caf\u00e9", "cafe\u0301"):
        scene.chat.broadcast(name, Shown("tea"))
        in_task(scene, lambda name=name: scene.chat.broadcast(name, Drawn("cup")))
        assert [user.name for user in scene.chat.members(name)] == ["Ann"]
    assert (len(ann.received("shown")), len(scene.chat.kept("cafe\u0301", Drawn))) == (2, 2)


def test_what_is_said_in_one_turn_goes_out_together(scene: Scene, ann: Client) -> None:
    def say() -> list[int]:
        counts = []
        with scene.chat.turn():
            for number in range(3):
                scene.chat.broadcast("general", Drawn(str(number)))
                counts.append(len(ann.received("drawn")))
        return counts

    assert in_task(scene, say) == [0, 0, 0]
    assert [event["what"] for event in ann.received("drawn")] == ["0", "1", "2"]


def test_nothing_waits_in_a_turn(scene: Scene, ann: Client) -> None:
    scene.boards.on_ask = lambda *_: scene.chat.publish("general", "hi", user_name="Shop")
    assert ann.call("ask", {"what": ""})["error"]["code"] == "internal"
    assert ann.received("new_message") == []
    assert in_task(scene, lambda: scene.chat.publish("general", "hi", user_name="Shop")).duplicate is False
    assert [entry["message"] for entry in ann.received("new_message")] == ["hi"]


def test_what_is_kept_is_read_in_pages(scene: Scene, ann: Client) -> None:
    for number in range(5):
        ann.call("draw", {"what": str(number)})
        ann.call("message", {"message": "hi"})
    newest = scene.chat.kept("general", Drawn, limit=2)
    assert [kept.event.what for kept in newest] == ["3", "4"]
    older = scene.chat.kept("general", Drawn, before=newest[0].seq)
    assert [kept.event.what for kept in older] == ["0", "1", "2"]
    assert scene.chat.kept("general", Drawn, before=older[0].seq) == scene.chat.kept("a", Drawn) == []


def test_what_is_not_of_its_type_any_more_is_left_out(scene: Scene, ann: Client) -> None:
    ann.call("draw", {"what": "line"})
    with scene.chat.turn():
        scene.parts.log.append(room="general", user="", message='{"was":1}', timestamp=1.5, event_name="drawn")
    assert [kept.event.what for kept in scene.chat.kept("general", Drawn, limit=1)] == ["line"]


def test_a_user_has_left_with_the_last_connection(scene: Scene, ann: Client) -> None:
    again, bob = scene.connect("Ann"), scene.connect("Bob")
    again.call("join_room", {"room": "a"})
    ann.call("leave_room", {"room": "general"})
    assert scene.boards.have_left == []
    again.socket.disconnect()
    assert scene.boards.have_left == [("general", "Ann"), ("a", "Ann")]
    assert bob.received("drawn") == [{"what": "Ann has left"}]


def test_who_may_be_back_in_a_moment_has_not_left(make_scene: Callable[..., Scene]) -> None:
    scene = make_scene(presence_grace_s=60)
    scene.connect("Ann").socket.disconnect()
    assert scene.boards.have_left == []
    assert [user.name for user in scene.chat.members("general")] == ["Ann"]
    scene.connect("Ann").call("leave_room", {})
    assert scene.boards.have_left == [("general", "Ann")]


def test_tasks_are_counted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hazoom_ws.namespaces.tasks.LIMIT_COUNT", 2)
    gate = threading.Event()
    for _ in range(2):
        scene.chat.start(gate.wait)
    with pytest.raises(Exception, match="the server is waiting for 2 events"):
        scene.chat.start(gate.wait)
    gate.set()
    wait_until(lambda: not scene.chat._tasks._count, "no task is counted")
    assert in_task(scene, lambda: 1) == 1


def test_a_task_that_cannot_start_is_not_counted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def start_task(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(scene.chat._tasks, "_start_task", start_task)
    with pytest.raises(RuntimeError):
        scene.chat.start(print)
    assert scene.chat._tasks._count == 0


def test_a_feature_that_does_not_begin_leaves_nothing_open(tmp_path: Path) -> None:
    class Broken(Boards):
        def __init__(self, chat: Chat) -> None:
            super().__init__(chat)
            raise OSError("no database")

    settings = Settings(log_url=f"sqlite:///{tmp_path}/m.sqlite3")
    with pytest.raises(OSError, match="no database"):
        create_app(settings, features=[Broken])
    create_app(settings, features=[Boards]).extensions["hazoom_ws"].close()


def test_two_applications_share_nothing(scene: Scene, make_scene: Callable[..., Scene]) -> None:
    other = make_scene()
    assert other.boards is not scene.boards
    ann, bob = scene.connect("Ann"), other.connect("Bob")
    assert ann.call("draw", {})["ok"]
    assert bob.received("drawn") == []
    assert other.chat.kept("general", Drawn) == []
