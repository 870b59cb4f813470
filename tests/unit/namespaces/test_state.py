"""The state that a room shares, as clients see it in one process: setting, comparing, limits, what is kept."""

from typing import Any

import pytest

from clients import Client, Connect, MakeApp
from hazoom_ws.live.shared_state import KEYS_LIMIT_COUNT, ROOM_LIMIT_BYTES, VALUE_LIMIT_BYTES

GONE = {"ok": True, "room": "general", "values": {}, "complete": True}


def set_state(client: Client, values: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return client.call("state_set", {"values": values, **fields})


def get_state(client: Client, **fields: Any) -> dict[str, Any]:
    return client.call("state_get", fields)


def test_what_is_set_everybody_in_the_room_gets_its_sender_included(ann: Client, bob: Client) -> None:
    reply = set_state(ann, {"score": 1, "shape": {"x": [1, None]}})
    assert reply == {"ok": True, "seq": reply["seq"], "duplicate": False}
    event = {"room": "general", "seq": reply["seq"], "values": {"score": 1, "shape": {"x": [1, None]}}, "user": "Ann"}
    assert ann.received("state") == bob.received("state") == [event]
    page = {"ok": True, "room": "general", "seq": reply["seq"], "values": event["values"], "complete": True}
    assert get_state(bob) == page


def test_its_number_is_in_the_order_of_messages(ann: Client) -> None:
    seqs = [set_state(ann, {"k": 1})["seq"], ann.call("message", {"message": "m"})["seq"], set_state(ann, {"k": 2})["seq"]]
    assert seqs == sorted(set(seqs))


def test_null_deletes_and_what_has_changed_since_is_told(ann: Client) -> None:
    first = set_state(ann, {"a": 1, "b": 2, "c": 3})["seq"]
    second = set_state(ann, {"a": None, "b": 4})["seq"]
    assert get_state(ann)["values"] == {"c": 3, "b": 4}
    page = get_state(ann, since=first)
    assert (page["values"], page["seq"], page["complete"]) == ({"a": None, "b": 4}, second, True)
    assert get_state(ann, since=second)["values"] == {}
    assert ann.received("state")[-1]["values"] == {"a": None, "b": 4}


def test_deleting_what_is_not_there_is_no_news(ann: Client, bob: Client) -> None:
    assert set_state(ann, {"never": None})["ok"] is True
    assert bob.received("state") == []


def test_with_if_seq_a_key_is_set_only_if_it_is_as_the_sender_has_seen_it(ann: Client, bob: Client) -> None:
    seq = set_state(ann, {"a": "one"}, if_seq={"a": 0})["seq"]
    bob.received("state")
    refused = set_state(bob, {"a": "two", "b": "two"}, if_seq={"a": seq - 1}, client_id="c")
    error = refused.pop("error")
    assert refused == {"ok": False}
    assert error.pop("message")
    told = {"code": "conflict", "event": "state_set", "retry": False, "key": "a", "seq": seq, "value": "one"}
    assert error == told
    assert bob.received("state") == []
    assert get_state(bob)["values"] == {"a": "one"}
    accepted = set_state(bob, {"a": "two"}, if_seq={"a": seq}, client_id="c")  # which is still free
    assert (accepted["ok"], accepted["duplicate"]) == (True, False)


def test_a_key_that_is_not_there_has_the_number_0(ann: Client) -> None:
    error = set_state(ann, {"a": 1}, if_seq={"a": 7})["error"]
    assert (error["code"], error["key"], error["seq"], error["value"]) == ("conflict", "a", 0, None)
    seq = set_state(ann, {"a": 1}, if_seq={"a": 0, "not set": 0})["seq"]
    error = set_state(ann, {"a": 2}, if_seq={"a": 0})["error"]
    assert (error["seq"], error["value"]) == (seq, 1)
    set_state(ann, {"a": None})
    assert set_state(ann, {"a": 3}, if_seq={"a": 0})["ok"] is True


def test_a_conflict_that_nobody_waits_for_is_told_by_an_event(ann: Client) -> None:
    ann.emit("state_set", {"values": {"a": 1}, "if_seq": {"a": 7}})
    (error,) = ann.received("error")
    assert (error["code"], error["event"], error["key"], error["seq"], error["value"]) == (
        "conflict",
        "state_set",
        "a",
        0,
        None,
    )


def test_the_same_client_id_again_sets_nothing_and_returns_the_first(ann: Client, bob: Client) -> None:
    first = set_state(ann, {"a": 1}, client_id="x")
    again = set_state(ann, {"a": 2}, client_id="x", if_seq={"a": 12345})
    assert again == {**first, "duplicate": True}
    assert set_state(bob, {"b": 1}, client_id="x")["duplicate"] is False
    assert ann.call("message", {"message": "m", "client_id": "x"})["duplicate"] is False
    assert get_state(ann)["values"] == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("payload", "code", "names"),
    [
        ({}, "bad_payload", "values: is required"),
        ({"values": {}}, "bad_payload", "values"),
        ({"values": []}, "bad_payload", "values"),
        ({"values": {"": 1}}, "bad_payload", "values: expected str of length >= 1"),
        ({"values": {"k" * 129: 1}}, "bad_payload", "values: expected str of length <= 128"),
        ({"values": {"k": 1}, "if_seq": {"k": -1}}, "bad_payload", "if_seq"),
        ({"values": {"k": 1}, "if_seq": {"k": "1"}}, "bad_payload", "if_seq"),
        ({"values": {"k": 1}, "client_id": ""}, "bad_payload", "client_id"),
        ({"values": {"k": 1}, "room": "elsewhere"}, "not_in_room", "elsewhere"),
        ({"values": {"ok": 1, "k": "x" * (VALUE_LIMIT_BYTES - 1)}}, "too_large", str(VALUE_LIMIT_BYTES)),
    ],
)
def test_what_cannot_be_set_is_refused_and_changes_nothing(
    ann: Client, bob: Client, payload: dict[str, Any], code: str, names: str
) -> None:
    error = ann.call("state_set", payload)["error"]
    assert (error["code"], error["event"], error["retry"]) == (code, "state_set", False)
    assert names in error["message"]
    assert bob.received("state") == []
    assert get_state(ann)["values"] == {}


def test_a_room_has_so_many_keys_and_no_more(ann: Client) -> None:
    assert set_state(ann, {str(number): number for number in range(KEYS_LIMIT_COUNT)})["ok"] is True
    error = set_state(ann, {"0": "changed", "one more": 1})["error"]
    assert (error["code"], error["retry"]) == ("too_large", False)
    assert "1001 keys, the limit is 1000" in error["message"]
    assert get_state(ann)["values"]["0"] == 0
    assert set_state(ann, {"0": None, "one more": 1})["ok"] is True


def test_a_room_has_so_many_bytes_and_no_more(ann: Client, connect: Connect) -> None:
    value = "x" * (VALUE_LIMIT_BYTES - 2)
    count = ROOM_LIMIT_BYTES // (VALUE_LIMIT_BYTES + 4)
    for start in range(0, count, 7):
        values = {f"k{number:03}": value for number in range(start, min(start + 7, count))}
        assert set_state(ann, values)["ok"] is True
    error = set_state(ann, {"kmax": value})["error"]
    assert error["code"] == "too_large"
    assert f"the limit is {ROOM_LIMIT_BYTES}" in error["message"]
    left = ROOM_LIMIT_BYTES - count * (VALUE_LIMIT_BYTES + 4)
    assert set_state(ann, {"kfit": "x" * (left - 6)})["ok"] is True
    assert set_state(ann, {"k": 1})["error"]["code"] == "too_large"
    assert set_state(ann, {"k000": "short", "k": 1})["ok"] is True
    assert len(get_state(ann)["values"]) == count + 2


def test_reading_needs_membership_and_a_number(ann: Client) -> None:
    assert get_state(ann, room="elsewhere")["error"]["code"] == "not_in_room"
    assert get_state(ann, since=-1)["error"]["code"] == "bad_payload"


def test_it_is_served_on_the_namespace_of_what_is_live(ann: Client, connect: Connect) -> None:
    live = connect("/live", user_name="Bob")
    assert live.call("state_set", {"values": {"a": 1}}, namespace="/live")["ok"] is True
    assert live.received("state", namespace="/live")[0]["values"] == {"a": 1}
    assert ann.received("state")[0]["values"] == {"a": 1}


def test_a_room_joined_is_as_it_was(ann: Client) -> None:
    set_state(ann, {"a": 1})
    assert ann.call("join_room", {}).keys() == {"ok", "room", "user_count", "users", "messages", "complete"}
    assert ann.call("get_history", {})["messages"] == []


def test_what_was_set_stays_when_everybody_has_left(make_app: MakeApp) -> None:
    app = make_app()
    ann = Client(app, user_name="Ann")
    set_state(ann, {"a": 1})
    ann.socket.disconnect()
    assert get_state(Client(app, user_name="Bob"))["values"] == {"a": 1}
