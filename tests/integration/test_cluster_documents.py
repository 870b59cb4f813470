"""Documents that are open on several processes at once, with the editors that users have."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from redis_server import RedisServer, running_redis
from servers import Hazoom, hazoom, unique, wait_until
from yjs import Editor, Editors

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """Return a Redis that loses nothing when it is killed."""
    with running_redis("--appendonly", "yes", "--appendfsync", "always") as redis:
        yield redis


def start(redis: RedisServer, stack: ExitStack, *async_modes: str) -> list[Hazoom]:
    env = {"HAZOOM_LOG_URL": redis.url(), "HAZOOM_DOCUMENT_IDLE_S": "1", "HAZOOM_LOG_REDIS_TIMEOUT_S": "1"}
    return [stack.enter_context(hazoom(async_mode=mode, env=env, demo=True)) for mode in async_modes]


@pytest.fixture(scope="module")
def servers(redis: RedisServer) -> Iterator[list[Hazoom]]:
    with ExitStack() as stack:
        yield start(redis, stack, "eventlet", "threading")


@pytest.fixture
def editors() -> Iterator[Editors]:
    with Editors() as editors:
        yield editors


def number_in(answer: bytes) -> int:
    return int(answer.removeprefix(b":"))


def all_have(editors: list[Editor], length: int) -> None:
    for editor in editors:
        editor.wait(lambda editor=editor: editor.state()["length"] == length, f"{length} characters are here")
    assert len({editor.text for editor in editors}) == 1


def test_who_types_at_the_same_time_on_two_processes_ends_with_the_same_text(
    redis: RedisServer, servers: list[Hazoom], editors: Editors
) -> None:
    document = unique("doc")
    people = [editors.open(server.url, document) for server in servers for _ in range(2)]
    for number in range(100):
        for editor in people:
            editor.type(f"{number:9} ", at=0 if number % 2 else -1)
    all_have(people, 100 * len(people) * 10)
    people[0].delete(0, 1000)
    people[3].type("!")
    all_have(people, 100 * len(people) * 10 - 999)
    late = editors.open(servers[1].url, document)
    assert late.text == people[0].text
    key = f"{{hazoom}}:updates:{document}"
    wait_until(lambda: number_in(redis.ask("XLEN", key)) < 200, "snapshots have replaced most updates")


def test_who_is_here_comes_and_goes_on_all_processes(servers: list[Hazoom], editors: Editors) -> None:
    document = unique("doc")
    here, there = (server.url for server in servers)
    ann, bob = editors.open(here, document, user="Ann"), editors.open(there, document, user="Bob")
    ann.wait_for_others("Bob")
    bob.wait_for_others("Ann")
    bob.drop()
    ann.wait_for_others()
    ann.wait_for_others("Bob")
    bob.wait_for_others("Ann")
    bob.set_user("Bobby")
    ann.wait_for_others("Bobby")
    with Editors() as others:
        cid = others.open(there, document, user="Cid")
        cid.wait_for_others("Ann", "Bobby")
        ann.wait_for_others("Bobby", "Cid")
    ann.wait_for_others("Bobby")
    bob.leave()
    ann.wait_for_others()
