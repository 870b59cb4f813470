"""Users and not sockets; who is gone for a moment is not gone."""

import pytest

from clients import Client, MakeApp

GRACE_S = 5.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock()


@pytest.fixture
def room(make_app: MakeApp, clock: Clock):
    """Return a function that connects a user to an application whose clock stands still, and one that lets time pass."""
    app = make_app(presence_grace_s=GRACE_S)
    hub, delivery = app.extensions["hazoom_ws"].hub, app.extensions["hazoom_ws"].delivery
    hub._clock = lambda: clock.now_s
    hub._wake = lambda: None

    def pass_time(seconds: float) -> None:
        clock.now_s += seconds
        with delivery.turn():
            hub.run_due()

    def connect(name: str) -> Client:
        return Client(app, user_name=name)

    yield connect, pass_time
    for eio_sid in list(app.extensions["socketio"].server.environ):
        app.extensions["socketio"].server._handle_eio_disconnect(eio_sid, "test is over")
    pass_time(GRACE_S + 1)


def drop(client: Client) -> None:
    """End a connection as a closed tab does."""
    server = client.app.extensions["socketio"].server
    server._handle_eio_disconnect(client.socket.eio_sid, server.reason.TRANSPORT_CLOSE)


def told(client: Client) -> list[tuple[str, str, int]]:
    names = ("user_joined", "user_left")
    return [(event, data["user"], data["user_count"]) for event, data in client.received() if event in names]


def test_a_reload_is_not_told(room):
    connect, pass_time = room
    ann, bob = connect("Ann"), connect("Bob")
    ann.received()
    drop(bob)
    pass_time(GRACE_S - 1)
    again = connect("Bob")
    pass_time(GRACE_S + 1)
    assert told(ann) == []
    assert again.call("join_room", {})["users"] == ["Ann", "Bob"]


def test_who_stays_away_is_told_once_and_counted_until_then(room):
    connect, pass_time = room
    ann, bob = connect("Ann"), connect("Bob")
    ann.received()
    drop(bob)
    assert ann.call("join_room", {})["user_count"] == 2
    ann.received()
    pass_time(GRACE_S + 0.1)
    assert told(ann) == [("user_left", "Bob", 1)]
    assert ann.call("join_room", {})["users"] == ["Ann"]
    connect("Bob")
    assert told(ann) == [("user_joined", "Bob", 2)]


def test_the_last_of_two_tabs_counts(room):
    connect, pass_time = room
    ann, first, second = connect("Ann"), connect("Bob"), connect("Bob")
    ann.received()
    drop(first)
    pass_time(GRACE_S * 2)
    assert told(ann) == []
    drop(second)
    pass_time(GRACE_S * 2)
    assert told(ann) == [("user_left", "Bob", 1)]


def test_who_leaves_a_room_is_gone_at_once(room):
    connect, _ = room
    ann, bob = connect("Ann"), connect("Bob")
    ann.received()
    assert bob.call("leave_room", {})["ok"] is True
    assert told(ann) == [("user_left", "Bob", 1)]


def test_a_guest_that_loads_its_page_anew_is_the_same_and_nobody_hears_of_it(room):
    connect, pass_time = room
    ann, guest = connect("Ann"), connect("")
    [status] = guest.received("status")
    told(ann)
    drop(guest)
    pass_time(GRACE_S - 1)
    again = Client(guest.app, guest_key=status["guest_key"])
    another_tab = Client(guest.app, guest_key=status["guest_key"])
    statuses = [client.received("status")[0] for client in (again, another_tab)]
    assert {status["user"] for status in statuses} == {status["user"]}
    pass_time(GRACE_S + 1)
    assert told(ann) == []
    assert ann.call("join_room", {})["user_count"] == 2
