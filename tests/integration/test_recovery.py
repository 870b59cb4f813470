"""Who drops comes back as who it was, and gets what it missed: the official client, with no code of its own."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from hazoom_ws.chat.replay import REPLAY_LIMIT_COUNT
from protocol_client import Polling
from servers import Hazoom, OfficialClient, Socket, free_port, hazoom, unique, wait_until
from tcp_proxy import TcpProxy, tcp_proxy

QUICKLY = {"reconnectionDelay": 20, "reconnectionDelayMax": 100}
Run = Callable[[], AbstractContextManager[Hazoom]]


def runner(async_mode: str, folder: Path) -> Run:
    """Return a function that runs the server on one port with one file."""
    port = free_port()
    env = {"HAZOOM_RATE_LIMIT_PER_S": "0", "HAZOOM_LOG_URL": f"sqlite:///{folder}/messages.sqlite3"}
    return lambda: hazoom(async_mode=async_mode, port=port, env=env)


@pytest.fixture(scope="module")
def server(async_mode: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hazoom]:
    with runner(async_mode, tmp_path_factory.mktemp("log"))() as server:
        yield server


@pytest.fixture
def proxy(server: Hazoom) -> Iterator[TcpProxy]:
    with tcp_proxy(int(server.url.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.fixture
def room() -> str:
    return unique("room")


def member(client: OfficialClient, url: str, room: str, **auth: object) -> Socket:
    """Return a user of the official client who is in ``room``."""
    socket = client.connect(url, auth=auth, **QUICKLY)
    assert socket.emit("join_room", {"room": room, "history": 0})["ok"] is True
    return socket


def said(socket: Socket, room: str) -> list[str]:
    return [data["message"] for data in socket.received("new_message") if data["room"] == room]


def away(proxy: TcpProxy, socket: Socket) -> None:
    proxy.go_down()
    socket.wait_for("disconnect")


def back(proxy: TcpProxy, socket: Socket) -> dict:
    """Let a client come back and return its status."""
    number = len(socket.received("connect"))
    proxy.come_up()
    status = socket._client.wait(lambda: socket.received("status")[number:], "it is back")[0]
    socket._client.wait(lambda: socket.received("connect")[number:], "it is connected")
    return status


@pytest.mark.parametrize("transports", [["websocket"], ["polling"]])
def test_what_was_said_while_a_client_was_away_reaches_it_once_and_in_order(server, proxy, client, room, transports):
    ann = client.connect(proxy.url, auth={"user_name": unique("Ann")}, transports=transports, **QUICKLY)
    ann.emit("join_room", {"room": room, "history": 0})
    bob = member(client, server.url, room, user_name=unique("Bob"))
    bob.emit("message", {"room": room, "message": "before"})
    ann.wait_for("new_message")
    away(proxy, ann)
    for number in range(20):
        bob.emit("message", {"room": room, "message": str(number)})
    status = back(proxy, ann)
    assert status["recovered"] is True
    assert set(status["rooms"]) == {"general", room}
    assert [data["recovered"] for data in ann.received("connect")] == [False, True]
    bob.emit("message", {"room": room, "message": "after"})
    ann.wait_for("new_message", lambda data: data["message"] == "after")
    assert said(ann, room) == ["before", *map(str, range(20)), "after"]
    assert ann.emit("message", {"room": room, "message": "I am here"})["ok"] is True
    fresh = [data for data in ann.received("room_joined") if data["room"] == room][-1]
    assert (fresh["messages"], fresh["complete"], fresh["user_count"]) == ([], True, 2)


def test_a_guest_who_received_nothing_is_the_same_guest_again(server, proxy, client, room):
    guest = client.connect(proxy.url, **QUICKLY)
    name = guest.received("status")[0]["user"]
    away(proxy, guest)
    bob = client.connect(server.url, auth={"user_name": unique("Bob")})
    bob.emit("message", {"message": "missed"})
    status = back(proxy, guest)
    assert (status["recovered"], status["user"]) == (True, name)
    guest.wait_for("new_message", lambda data: data["message"] == "missed")


def test_each_namespace_of_a_connection_gets_what_it_missed(server, proxy, client, room):
    ann = member(client, proxy.url, room, user_name=unique("Ann"))
    rooms = ann.open_namespace("/rooms", auth={"user_name": "ignored"})
    bob = member(client, server.url, room, user_name=unique("Bob"))
    away(proxy, ann)
    bob.emit("message", {"room": room, "message": "missed"})
    back(proxy, ann)
    for socket in (ann, rooms):
        socket.wait_for("new_message", lambda data: data["message"] == "missed")
    bob.emit("message", {"room": room, "message": "after"})
    for socket in (ann, rooms):
        socket.wait_for("new_message", lambda data: data["message"] == "after")
        assert said(socket, room) == ["missed", "after"]


def test_more_than_can_be_replayed_is_said_for_the_room(server, proxy, client, room):
    ann = member(client, proxy.url, room, user_name=unique("Ann"))
    other = unique("room")
    ann.emit("join_room", {"room": other, "history": 0})
    bob = member(client, server.url, room, user_name=unique("Bob"))
    bob.emit("join_room", {"room": other, "history": 0})
    away(proxy, ann)
    calls = [bob.start_to_emit("message", {"room": room, "message": str(n)}) for n in range(REPLAY_LIMIT_COUNT + 1)]
    bob.emit("message", {"room": other, "message": "few"})
    client.wait(lambda: set(calls) <= client.replies().keys(), "all are acknowledged")
    assert back(proxy, ann)["recovered"] is True
    joined = ann.wait_for("room_joined", lambda data: data["room"] == room and not data["complete"])
    assert [entry["message"] for entry in joined["messages"]] == [str(n) for n in range(1, REPLAY_LIMIT_COUNT + 1)]
    assert said(ann, room) == []
    assert said(ann, other) == ["few"]


def test_who_does_not_want_to_recover_gets_events_of_one_argument(server, proxy, client, room):
    plain = member(client, proxy.url, room, user_name=unique("Ann"), recover=False)
    bob = member(client, server.url, room, user_name=unique("Bob"))
    bob.emit("message", {"room": room, "message": "hi"})
    plain.wait_for("new_message")
    bob.wait_for("new_message")
    assert plain.session() == {}
    assert set(bob.session()) == {"pid", "offset"}
    away(proxy, plain)
    assert back(proxy, plain)["recovered"] is False


def test_a_pid_is_good_for_its_user_only(server, client, room):
    ann = member(client, server.url, room, user_name=unique("Ann"))
    session = ann.session()
    thief = client.connect(server.url, auth={"user_name": "Thief", **session}, **QUICKLY)
    assert thief.received("status")[0]["recovered"] is False
    assert thief.received("status")[0]["rooms"] == ["general"]
    assert ann.emit("message", {"room": room, "message": "still here"})["ok"] is True


def test_a_pid_is_held_by_one_connection_at_a_time(server, client, room):
    name = unique("Ann")
    ann = client.connect(server.url, auth={"user_name": name}, reconnection=False)
    ann.emit("join_room", {"room": room, "history": 0})
    second = client.connect(server.url, auth={"user_name": name, **ann.session()}, reconnection=False)
    assert second.received("status")[0]["recovered"] is True
    ann.wait_for("disconnect")
    assert second.emit("message", {"room": room, "message": "it is me"})["ok"] is True


@pytest.mark.parametrize("transports", [["websocket"], ["polling"]])
def test_who_was_replaced_is_told_and_stays_away_on_every_namespace(server, client, room, transports):
    """Two tabs with one pid ended each other for ever."""
    ann = client.connect(server.url, auth={"user_name": unique("Ann")}, transports=transports, **QUICKLY)
    typing = ann.open_namespace("/typing", auth={"user_name": ann.received("status")[0]["user"], **ann.session()})
    second = client.connect(server.url, auth={"user_name": ann.received("status")[0]["user"], **ann.session()}, **QUICKLY)
    assert second.received("status")[0]["recovered"] is True
    for replaced in (ann, typing):
        assert replaced.wait_for("disconnect")["reason"] == "io server disconnect"
        assert replaced.received("bye") == [{"reason": "replaced", "reconnect": False, "retry_after_ms": 0}]
    # Longer than it takes to come back: what a client that came back in the meantime would have ended is still here.
    other = client.connect(server.url, auth={"user_name": unique("Bob")}, transports=transports, **QUICKLY)
    server_said = {"reason": "replaced", "reconnect": False, "retry_after_ms": 0}
    third = client.connect(server.url, auth={"user_name": ann.received("status")[0]["user"], **second.session()}, **QUICKLY)
    assert second.wait_for("bye") == server_said
    assert third.emit("message", {"message": "it is me"})["ok"] is True
    other.wait_for("new_message", lambda said: said["message"] == "it is me")
    assert [len(each.received("connect")) for each in (ann, typing, second, third)] == [1, 1, 1, 1]


def test_who_said_goodbye_does_not_come_back_as_who_it_was(server, client, room):
    ann = member(client, server.url, room, user_name="Ann")
    session = ann.session()
    ann.disconnect()
    again = client.connect(server.url, auth={"user_name": "Ann", **session})
    assert again.received("status")[0]["recovered"] is False


@pytest.mark.parametrize(("goodbye", "may_return"), [([], True), (["41"], False)])
def test_a_connection_that_is_closed_is_no_goodbye(server: Hazoom, goodbye: list[str], may_return: bool) -> None:
    """The official client closes a connection over which a poll has failed, and comes back."""
    first = Polling(server.url)
    first.send('40{"recover":true}')
    pid = json.loads(first.poll().packets[0].removeprefix("40"))["pid"]
    first.send(*goodbye, "1")
    again = Polling(server.url)
    again.send(f'40{{"recover":true,"pid":"{pid}","offset":"0"}}')
    answer, status, *_ = again.poll().packets
    assert (json.loads(answer.removeprefix("40"))["pid"] == pid) is may_return
    assert json.loads(status.removeprefix("42"))[1]["recovered"] is may_return


def test_what_a_cut_connection_said_is_read_too_late_to_end_the_next_one(server: Hazoom) -> None:
    """Of what lies in two sockets the newer may be read first; the client that came back was sent away for good."""
    first = Polling(server.url)
    first.send('40{"recover":true}')
    pid = json.loads(first.poll().packets[0].removeprefix("40"))["pid"]
    back = f'40{{"recover":true,"pid":"{pid}","offset":"0"}}'
    cut, living = Polling(server.url), Polling(server.url)
    living.send(back)
    assert json.loads(living.poll().packets[1].removeprefix("42"))[1]["recovered"] is True
    cut.send(back)
    [refusal] = cut.poll().packets
    assert json.loads(refusal.removeprefix("44"))["data"]["code"] == "forbidden"
    living.send('420["get_rooms"]')
    assert living.poll().packets[-1].startswith('430[{"ok":true')


@pytest.mark.parametrize(
    "session", [{"pid": 1, "offset": {}}, {"pid": "unknown", "offset": "x"}, {"pid": "", "offset": "9" * 40}]
)
def test_a_session_that_is_none_is_a_new_one(server, client, session):
    status = client.connect(server.url, auth=session).received("status")[0]
    assert (status["connected"], status["recovered"]) == (True, False)


def test_a_restart_loses_nothing(async_mode, tmp_path, client, room):
    run = runner(async_mode, tmp_path)
    with run() as first, tcp_proxy(int(first.url.rpartition(":")[2])) as proxy:
        ann = member(client, proxy.url, room, user_name=unique("Ann"))
        guest = member(client, proxy.url, room)
        name = guest.received("status")[0]["user"]
        ann.emit("message", {"room": room, "message": "before"})
        guest.wait_for("new_message")
        joined_last = unique("late")
        ann.emit("join_room", {"room": joined_last})
        first.child.kill()
        ann.wait_for("disconnect")
        with run() as second:
            wait_until(lambda: len(ann.received("status")) == 2, "Ann is back")
            wait_until(lambda: len(guest.received("status")) == 2, "the guest is back")
            assert [ann.received("status")[1]["recovered"], guest.received("status")[1]["recovered"]] == [True, True]
            assert guest.received("status")[1]["user"] == name
            assert joined_last in ann.received("status")[1]["rooms"]
            bob = member(client, second.url, room, user_name=unique("Bob"))
            bob.emit("message", {"room": room, "message": "after"})
            for socket in (ann, guest):
                socket.wait_for("new_message", lambda data: data["message"] == "after")
                assert said(socket, room) == ["before", "after"]
