"""What counts for a session for as long as it lasts, and what a connection that has ended may do: nothing."""

import json

from clients import MakeApp
from hazoom_ws.events.connecting import Limits
from visitors import Visitor


def code_of(answer: dict) -> str | None:
    return answer.get("data", {}).get("code")


def test_leaving_and_connecting_again_gives_no_new_share(make_app: MakeApp) -> None:
    visitor = Visitor(make_app(rate_limit_per_s=0.001, rate_limit_burst_count=4))
    assert "sid" in visitor.connect()
    assert visitor.call("get_stats")["ok"]
    visitor.send("41")
    assert "sid" in visitor.connect()
    assert visitor.call("get_stats")["ok"]
    assert visitor.call("get_stats")["error"]["code"] == "rate_limited"
    visitor.send("41")
    refused = visitor.connect()
    assert code_of(refused) == "rate_limited"
    assert refused["data"]["retry_at"] > 0


def test_what_is_sent_before_connecting_counts_too(make_app: MakeApp) -> None:
    visitor = Visitor(make_app(rate_limit_per_s=0.001, rate_limit_burst_count=2))
    visitor.send('42["get_stats"]', '42["get_stats"]', '42["get_stats"]')
    assert "sid" in visitor.connect()
    assert visitor.call("get_stats")["error"]["code"] == "rate_limited"


def test_a_user_shares_one_rate_over_all_connections_and_namespaces(make_app: MakeApp) -> None:
    app = make_app(user_rate_limit_per_s=0.001, user_rate_limit_burst_count=4, allow_open=True)
    tabs = [Visitor(app, REMOTE_ADDR=f"198.51.100.{number}") for number in range(3)]
    for tab in tabs:
        assert "sid" in tab.connect(user_name="Ann")
    answers = [tabs[number % 3].call("typing", {}) for number in range(6)]
    assert [answer["ok"] for answer in answers] == [True] * 4 + [False] * 2
    error = answers[-1]["error"]
    assert (error["code"], error["event"], error["retry"]) == ("rate_limited", "typing", True)
    assert error["retry_at"] > 0
    relayed = tabs[0].call("relay", {"channel": "c", "key": "k", "data": 1})
    assert relayed["error"]["code"] == "rate_limited", "nor is this a way around it"
    bob = Visitor(app)
    bob.connect(user_name="Bob")
    assert bob.call("get_stats")["ok"]
    for tab in [*tabs, bob]:
        tab.close()


def test_one_connection_more_than_a_user_may_have_is_refused_until_one_goes(make_app: MakeApp) -> None:
    app = make_app(connections_per_user_limit=2)
    tabs = [Visitor(app) for _ in range(3)]
    assert ["sid" in tab.connect(user_name="Ann") for tab in tabs] == [True, True, False]
    refused = tabs[2].connect(user_name="Ann")
    assert code_of(refused) == "rate_limited"
    assert refused["data"]["retry"] is True
    assert "sid" in tabs[0].connect("/rooms,", user_name="Ann"), "a connection is one, whatever namespaces it has"
    guests = [Visitor(app) for _ in range(3)]
    assert all("sid" in guest.connect() for guest in guests)
    tabs[0].close()
    assert "sid" in tabs[2].connect(user_name="Ann")
    for visitor in [*tabs, *guests]:
        visitor.close()


def test_status_says_what_the_limits_are(make_app: MakeApp) -> None:
    app = make_app(user_rate_limit_per_s=12.5, message_limit_bytes=1234)
    visitor = Visitor(app)
    (status,) = [json.loads(text[2:])[1] for text in visitor.connect()["packets"] if text.startswith('42["status"')]
    limits = status["limits"]
    assert set(limits) == set(Limits.__struct_fields__)
    assert (limits["events_per_s"], limits["user_events_per_s"], limits["message_bytes"]) == (50, 12.5, 1234)
    assert all(name.endswith(("_per_s", "_count", "_bytes", "_chars")) for name in limits)
    unlimited = Visitor(make_app(rate_limit_per_s=0))
    (status,) = [json.loads(text[2:])[1] for text in unlimited.connect()["packets"] if text.startswith('42["status"')]
    assert {status["limits"][f"{name}_per_s"] for name in ("events", "bytes", "user_events")} == {0}
    visitor.close()
    unlimited.close()


def test_events_have_a_budget_of_bytes(make_app: MakeApp) -> None:
    visitor = Visitor(make_app(rate_limit_bytes_per_s=0.001, rate_limit_burst_bytes=10_000))
    visitor.connect()
    assert visitor.call("message", {"message": "x" * 9_000})["ok"]
    error = visitor.call("message", {"message": "y" * 9_000})["error"]
    assert (error["code"], error["event"], error["retry"]) == ("rate_limited", "message", True)
    assert "bytes" in error["message"]
    assert error["retry_at"] > 0
    visitor.send('42["message",{"message":"' + "z" * 9_000 + '"}]')
    assert [error["code"] for error in visitor.events("error")] == ["rate_limited"]
    assert visitor.call("get_history", {})["messages"][-1]["message"] == "x" * 9_000


def test_a_session_is_one_user_whatever_it_says_later(make_app: MakeApp) -> None:
    app = make_app()
    guest = Visitor(app)
    status = [json.loads(text[2:])[1] for text in guest.connect()["packets"] if text.startswith("42")]
    guest.send("41")
    again = guest.connect(user_name="Mallory")
    assert [json.loads(text[2:])[1]["user"] for text in again["packets"] if "status" in text] == [status[0]["user"]]
    named = Visitor(app)
    named.connect(user_name="Ann")
    named.send("41")
    again = named.connect(user_name="Bob")
    assert any('"user":"Ann"' in text for text in again["packets"])
    another = Visitor(app)
    assert any('"user":"Bob"' in text for text in another.connect(user_name="Bob")["packets"])


def test_a_guest_whose_session_is_over_is_the_same_sender(make_app: MakeApp) -> None:
    """As often as it comes back: what it sent before must not be there twice. Nobody else is, whatever he shows."""
    app = make_app(recovery_window_s=60)
    said = {"message": "hi", "client_id": "1"}
    guest = Visitor(app)
    pid = guest.connect()["pid"]
    first = guest.call("message", said)
    for _ in range(3):
        guest.send("41")  # whoever says goodbye has no session any more
        guest.close()
        guest = Visitor(app)
        before, pid = pid, guest.connect(pid=pid)["pid"]
        assert pid != before  # else the client would believe that it has missed nothing
        assert guest.call("message", said) == {**first, "duplicate": True}
    unknown = [{}, {"pid": pid[:-1] + ("A" if pid[-1] != "A" else "B")}, {"pid": pid[:35]}, {"pid": "\ud800" * 51}]
    for auth in [*unknown, {"pid": pid, "user_name": "Ann"}]:
        other = Visitor(app)
        other.connect(**auth)
        assert other.call("message", said)["duplicate"] is False
        other.send("41")
    guest.send("41")


def test_a_guest_who_connects_anew_over_one_session_is_the_same_sender(make_app: MakeApp) -> None:
    app = make_app(recovery_window_s=60)
    said = {"message": "hi", "client_id": "1"}
    guest = Visitor(app)
    pid = guest.connect()["pid"]
    first = guest.call("message", said)
    guest.send("41")
    pid = guest.connect(pid=pid)["pid"]
    assert guest.call("message", said) == {**first, "duplicate": True}
    guest.send("41")
    guest.close()
    guest = Visitor(app)
    guest.connect(pid=pid)
    assert guest.call("message", said) == {**first, "duplicate": True}
    guest.send("41")


def test_a_session_does_not_become_another_user_by_a_pid(make_app: MakeApp) -> None:
    app = make_app(recovery_window_s=60)
    ann = Visitor(app)
    pid = ann.connect(user_name="Ann")["pid"]
    ann.close()
    bob = Visitor(app)
    bob.connect(user_name="Bob")
    bob.send("41")
    assert bob.connect(user_name="Ann", pid=pid)["pid"] != pid
    ann = Visitor(app)
    assert ann.connect(user_name="Ann", pid=pid)["pid"] == pid


def test_what_was_missed_is_replayed_once_for_each_namespace(make_app: MakeApp) -> None:
    app = make_app(recovery_window_s=60)
    writer = Visitor(app)
    writer.connect(user_name="Writer")
    ann = Visitor(app)
    pid = ann.connect(user_name="Ann")["pid"]
    ann.close()
    writer.call("message", {"message": "while she was away"})
    ann = Visitor(app)
    for namespace in ("", "/rooms,"):
        answer = ann.connect(namespace, user_name="Ann", pid=pid, offset="0")
        assert answer["pid"] == pid
        assert sum("while she was away" in text for text in answer["packets"]) == 1
    for _ in range(3):
        ann.send("41/rooms,")
        answer = ann.connect("/rooms,", user_name="Ann", pid=pid, offset="0")
        assert "pid" not in answer  # else the client would believe that it has missed nothing
        assert not any("while she was away" in text for text in answer["packets"])
        assert any('"recovered":false' in text for text in answer["packets"])


def test_a_connection_that_another_has_taken_over_does_nothing_any_more(make_app: MakeApp) -> None:
    app = make_app(recovery_window_s=60)
    parts = app.extensions["hazoom_ws"]
    first = Visitor(app)
    pid = first.connect(user_name="Ann")["pid"]
    with parts.delivery.turn():  # what closes the first one leaves at the end of the turn, or later if the log takes longer
        parts.hub.recover("another", pid, "Ann")
        first.send('421["join_room",{"room":"haunted"}]', '422["message",{"message":"boo"}]', "40/rooms,")
        assert "haunted" not in parts.hub.rooms.sizes()
    assert not first.session.is_open
    assert len(parts.hub.rooms) == 1
    assert parts.log.messages_total == 0
    parts.hub.disconnect(parts.hub._connections["another"])
    with parts.delivery.turn():
        pass


def test_a_page_goes_out_once_and_no_larger_than_the_connection_can_take(make_app: MakeApp) -> None:
    app = make_app(rate_limit_per_s=0, outbox_limit_bytes=400_000)
    writer = Visitor(app)
    writer.connect()
    rooms = [f"room {number}" for number in range(10)]
    for room in rooms:
        writer.call("join_room", {"room": room})
        for _ in range(3):
            writer.call("message", {"room": room, "message": "\u00fc" * 20_000})
    reader = Visitor(app)
    reader.connect()
    for number, room in enumerate(rooms):  # in one burst: nothing is taken meanwhile
        reader.send(f'42{number}["join_room",{{"room":"{room}"}}]')
    assert reader.session.is_open
    packets = reader.said()
    joined = [json.loads(text[2:])[1] for text in packets if text.startswith('42["room_joined"')]
    assert [event["room"] for event in joined] == rooms
    assert all("messages" not in event for event in joined)
    pages = [json.loads(text[text.index("[") :])[0] for text in packets if text.startswith("43")]
    assert len(pages[0]["messages"]) == 3
    assert pages[0]["complete"] is True
    assert pages[-1]["messages"] == []
    assert pages[-1]["complete"] is False
    assert sum(map(len, packets)) < 300_000
    assert reader.call("get_history", {"room": "room 9"})["messages"][0]["message"].startswith("\u00fc")  # it has taken all
    reader.send('42["join_room",{"room":"room 0"}]')  # without an acknowledgement the event has them
    assert len(reader.events("room_joined")[0]["messages"]) == 3


def test_history_that_the_connection_has_not_taken_is_not_sent_again_and_again(make_app: MakeApp) -> None:
    app = make_app(rate_limit_per_s=0, outbox_limit_bytes=200_000)
    reader = Visitor(app)
    reader.connect()
    reader.call("message", {"message": "x" * 60_000})
    for number in range(10):
        reader.send(f'42{number}["get_history",{{}}]')
    assert reader.session.is_open
    answers = [json.loads(text[text.index("[") :])[0] for text in reader.said() if text.startswith("43")]
    assert [answer["ok"] for answer in answers] == [True, True] + [False] * 8
    assert answers[-1]["error"]["code"] == "rate_limited"
    assert answers[-1]["error"]["retry"] is True
    assert reader.call("get_history", {})["ok"] is True
