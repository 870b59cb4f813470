"""What an application sends that is not kept, from two servers with one Redis."""

from collections.abc import Iterator

import pytest
import requests

from redis_server import Databases, databases
from servers import DEADLINE_S, OfficialClient, feature_server, unique

__all__ = ["databases"]
pytestmark = pytest.mark.redis


@pytest.fixture
def client() -> Iterator[OfficialClient]:
    with OfficialClient() as client:
        yield client


def test_clients_of_all_processes_get_it(databases: Databases, client: OfficialClient) -> None:
    url, room = databases.next_url(), unique("room")
    with feature_server("eventlet", LOG_URL=url) as first, feature_server("threading", LOG_URL=url) as second:
        ann = client.connect(first.url, auth={"user_name": "Ann"})
        bob = client.connect(second.url, auth={"user_name": "Bob"})
        eve = client.connect(second.url, auth={"user_name": "Eve"})
        for person in (ann, bob):
            person.emit("join_room", {"room": room})
        ann_there = client.connect(second.url, auth={"user_name": "Ann"})
        assert ann.emit("cheer", {"room": room})["ok"]
        assert bob.wait_for("cheered") == {"room": room, "by": "Ann"}
        for person in (ann, ann_there):
            person.wait_for("thanks")
        assert requests.post(f"{second.url}/alarm/{room}", timeout=DEADLINE_S).ok
        for person in (ann, bob):
            assert person.wait_for("alarm") == {"room": room}
        ann.emit("message", {"room": room, "message": "after it"})
        bob.wait_for("new_message", lambda said: said["message"] == "after it")
        assert [len(person.received("alarm")) for person in (ann, bob, eve)] == [1, 1, 0]
        assert [len(person.received("cheered")) for person in (ann, bob, eve)] == [0, 1, 0]
        assert [len(person.received("thanks")) for person in (ann, ann_there, bob)] == [1, 1, 0]
