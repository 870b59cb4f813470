"""Relay as clients see it, in one process: what the door checks, who gets what, and when it is told who goes."""

from typing import Any

import pytest

from clients import Client, Connect, MakeApp
from servers import wait_until


def data_of(client: Client, *, namespace: str = "/") -> list[Any]:
    return [item["data"] for event in client.received("relay", namespace=namespace) for item in event["items"]]


def test_what_one_relays_the_others_get(ann: Client, bob: Client) -> None:
    assert ann.call("relay", {"channel": "cursor", "key": "me", "data": {"x": 1}}) == {"ok": True}
    (event,) = bob.received("relay")
    (item,) = event["items"]
    assert event.keys() == {"room", "at", "items"}
    assert event["room"] == "general"
    assert isinstance(event["at"], float)
    assert item == {"user": "Ann", "client": item["client"], "channel": "cursor", "key": "me", "data": {"x": 1}}
    assert ann.received("relay") == []


def test_the_client_is_the_one_that_status_says_and_no_sid(make_app: MakeApp) -> None:
    app = make_app(rate_limit_per_s=0)
    ann, bob = Client(app, user_name="Ann"), Client(app, user_name="Ann")
    said = [client.received("status")[0] for client in (ann, bob)]
    assert said[0]["client"] != said[1]["client"]
    assert said[0]["client"] not in said[0]["sid"]
    ann.call("relay", {"channel": "c", "key": "k", "data": 1})
    (event,) = bob.received("relay")
    assert event["items"][0]["client"] == said[0]["client"]


@pytest.mark.parametrize(
    ("payload", "code", "names"),
    [
        ({"data": 1}, "bad_payload", "channel: is required"),
        ({"channel": "c"}, "bad_payload", "data: is required"),
        ({"channel": "", "data": 1}, "bad_payload", "channel"),
        ({"channel": "c" * 129, "data": 1}, "bad_payload", "128"),
        ({"channel": "c", "key": "k" * 129, "data": 1}, "bad_payload", "128"),
        ({"channel": "c", "key": 5, "data": 1}, "bad_payload", "key"),
        ({"channel": "c", "data": 1, "room": "elsewhere"}, "not_in_room", "elsewhere"),
        ({"channel": "c", "data": "x" * 16_383}, "too_large", "16384"),
        ({"channel": "c", "data": {"a": [{"_placeholder": True}]}}, "bad_payload", "_placeholder"),
    ],
)
def test_what_cannot_be_relayed_is_refused_and_changes_nothing(
    ann: Client, bob: Client, payload: dict[str, Any], code: str, names: str
) -> None:
    refused = ann.call("relay", payload)["error"]
    assert (refused["code"], refused["event"], refused["retry"]) == (code, "relay", False)
    assert names in refused["message"]
    ann.emit("relay", payload)
    assert ann.received("error")[0]["code"] == code
    assert bob.received("relay") == []


@pytest.mark.parametrize(
    "data", [None, False, 0, "", "_placeholder", ["_placeholder"], {"a": '{"_placeholder":1}'}, "x" * 16_382, {}]
)
def test_all_other_json_is_relayed_as_it_is(ann: Client, bob: Client, data: object) -> None:
    assert ann.call("relay", {"channel": "c" * 128, "data": data}) == {"ok": True}
    assert data_of(bob) == [data]


def test_over_its_rate_a_key_is_still_conflated_and_the_rest_refused(make_app: MakeApp) -> None:
    app = make_app(
        rate_limit_per_s=0.001, rate_limit_burst_count=5, relay_rate_limit_per_s=0.001, relay_rate_limit_burst_count=2
    )
    ann, bob = Client(app, user_name="Ann"), Client(app, user_name="Bob")
    for number in range(2):
        assert ann.call("relay", {"channel": "c", "data": number}) == {"ok": True}
    refused = ann.call("relay", {"channel": "c", "data": 2})["error"]
    assert (refused["code"], refused["retry"]) == ("rate_limited", True)
    assert "0.001 relayed items without a key per second" in refused["message"]
    assert "retry_at" in refused
    for number in range(10):
        assert ann.call("relay", {"channel": "c", "key": "k", "data": number}) == {"ok": True}
    wait_until(lambda: 9 in data_of(bob), "the newest value is told")
    assert ann.call("message", {"message": "what is relayed has not counted as events"})["ok"] is True


def test_only_where_it_is_served_it_has_a_rate_of_its_own(make_app: MakeApp) -> None:
    ann = Client(make_app(rate_limit_per_s=0.001, rate_limit_burst_count=3), namespace="/rooms")
    codes = [ann.call("relay", {"channel": "c", "data": 1}, namespace="/rooms")["error"]["code"] for _ in range(4)]
    assert codes == ["unknown_event"] * 3 + ["rate_limited"]


def test_who_leaves_takes_its_keys_along_and_gets_nothing_more(ann: Client, bob: Client, connect: Connect) -> None:
    for client in (ann, bob):
        client.call("join_room", {"room": "board"})
    ann.call("relay", {"room": "board", "channel": "c", "key": "k", "data": 1})
    assert data_of(bob) == [1]
    ann.call("leave_room", {"room": "board"})
    assert bob.wait_for("relay")["items"][0]["data"] is None
    assert bob.call("join_room", {"room": "board"})["ok"] is True
    bob.call("relay", {"room": "board", "channel": "c", "key": "k", "data": 2})
    cid = connect(user_name="Cid")
    cid.call("join_room", {"room": "board"})
    assert data_of(cid) == [2]
    assert data_of(ann) == []


def test_the_keys_of_who_drops_are_null_before_presence_says_so(make_app: MakeApp) -> None:
    app = make_app(presence_grace_s=0.2)
    hub = app.extensions["hazoom_ws"].hub
    ann, bob = Client(app, user_name="Ann"), Client(app, user_name="Bob")
    tab = Client(app, user_name="Ann")
    ann.call("relay", {"channel": "c", "key": "k", "data": 1})
    for client in (bob, tab):
        assert data_of(client) == [1]
    ann.socket.disconnect()
    for client in (bob, tab):
        assert client.wait_for("relay")["items"][0]["data"] is None
    tab.call("relay", {"channel": "c", "key": "k", "data": 2})
    tab.socket.disconnect()
    events = bob.wait_for_any("user_left")
    assert [item["data"] for name, event in events if name == "relay" for item in event["items"]][-1] is None
    bob.socket.disconnect()
    wait_until(lambda: len(hub.rooms) == 0, "nobody is waited for")


def test_who_connects_gets_the_newest_values_after_its_status(ann: Client) -> None:
    ann.call("relay", {"channel": "c", "key": "k", "data": 1})
    for namespace in ("/", "/live"):
        new = Client(ann.app, namespace, user_name="New")
        assert [name for name, _ in new.received(namespace=namespace)][:2] == ["status", "relay"]
    rooms = Client(ann.app, "/rooms", user_name="New")
    assert [name for name, _ in rooms.received(namespace="/rooms")] == ["status"]


def test_it_is_served_on_a_namespace_of_its_own(ann: Client, connect: Connect) -> None:
    live = connect("/live", user_name="Bob")
    ann.call("relay", {"channel": "c", "data": 1})
    assert data_of(live, namespace="/live") == [1]
    live.call("relay", {"channel": "c", "data": 2}, namespace="/live")
    assert ann.wait_for("relay")["items"][0]["data"] == 2


def test_nothing_is_held_when_everybody_has_gone(make_app: MakeApp) -> None:
    app = make_app()
    ann, bob = Client(app, user_name="Ann"), Client(app, user_name="Bob")
    ann.call("relay", {"channel": "c", "key": "k", "data": 1})
    ann.socket.disconnect()
    bob.wait_for_any("relay")
    bob.socket.disconnect()
    wait_until(lambda: app.extensions["hazoom_ws"].relay.is_empty, "nothing is held")
