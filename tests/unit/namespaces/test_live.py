"""Relay as clients see it, in one process: what the door checks, who gets what, and when it is told who goes."""

from clients import Client


def test_what_one_relays_the_others_get(ann: Client, bob: Client) -> None:
    assert ann.call("relay", {"channel": "cursor", "key": "me", "data": {"x": 1}}) == {"ok": True}
    (event,) = bob.received("relay")
    (item,) = event["items"]
    assert event["room"] == "general"
    assert isinstance(event["at"], float)
    assert item == {"user": "Ann", "client": item["client"], "channel": "cursor", "key": "me", "data": {"x": 1}}
    assert ann.received("relay") == []
