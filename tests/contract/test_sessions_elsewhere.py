"""Whose a session is that one process has taken over from another, as both find it in one Redis."""

import importlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from hazoom_ws.cluster.sessions import SessionsElsewhere
from hazoom_ws.message_log.contract import StoredSession
from hazoom_ws.message_log.redis.log import RedisLog
from hazoom_ws.settings import Settings
from redis_server import Databases
from servers import wait_until

pytestmark = pytest.mark.redis


class Process:
    """A process that has a log in Redis; ``opened`` as of its sessions, what it has ``saved`` again and ``lost``."""

    def __init__(self, url: str) -> None:
        self.log = RedisLog(Settings(log_url=url), importlib.import_module)
        self.name = self.log.peers.name
        self.opened: dict[str, float] = {}
        self.saved: list[str] = []
        self.lost: list[str] = []
        recoverable = SimpleNamespace(opened=lambda: list(self.opened.items()), save_again=self.saved.append)
        hub: Any = SimpleNamespace(recoverable=recoverable, hand_over=self.lost.append, adopt=lambda *_: None)
        self.elsewhere = SessionsElsewhere(hub, self.log.peers, self.log.take_over, _at_once)

    def save(self, key: str, opened_at_s: float) -> None:
        self.opened[key] = opened_at_s
        session = StoredSession(user_id="u", user_name="Ann", conversation_id="s", since=1, rooms=["a"])
        self.log.save_session(key, replace(session, opened_at_s=opened_at_s))
        batch = self.log.pop_batch()
        self.log.write(batch)
        self.log.note_kept(batch)

    def lose_lease(self) -> None:
        self.log.peers.ask(("DEL", f"{{hazoom}}:process:{self.name}"))

    def begin_anew(self) -> None:
        self.log.reopen()
        for heard in self.log.news():
            self.hear(heard)

    def hear(self, heard: Any) -> None:
        if getattr(heard, "kind", b"") == b"c":
            self.elsewhere.heard_claim(heard)

    def holders(self) -> dict[str, str]:
        [found] = self.log.peers.ask(("HGETALL", "{hazoom}:holders"))
        return {key.decode(): holder.decode().partition(" ")[0] for key, holder in found.items()}


def _at_once(function: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
    done(function(), None)


@pytest.fixture
def two(databases: Databases) -> Iterator[list[Process]]:
    url = databases.next_url()
    processes = [Process(url) for _ in range(2)]
    yield processes
    for process in processes:
        process.log.close()


def test_a_process_that_was_only_paused_has_its_sessions_again_but_for_those_whose_clients_have_moved(
    two: list[Process],
) -> None:
    paused, other = two
    for key in ("stays", "moves"):
        paused.save(key, 100.5)
    other.elsewhere.gone(paused.name)
    assert set(other.holders().values()) == {paused.name}, "it lives"
    paused.lose_lease()
    other.elsewhere.gone(paused.name)
    assert set(other.holders().values()) == {other.name}
    other.save("moves", 120.0)
    paused.begin_anew()
    assert other.holders() == {"stays": paused.name, "moves": other.name}
    assert (paused.saved, paused.lost) == (["stays"], ["moves"])

    def has_heard() -> bool:
        for heard in other.log.news():
            other.hear(heard)
        return other.lost == ["stays"]

    wait_until(has_heard, "the other one has let go of it")
    paused.opened.pop("moves")
    paused.begin_anew()
    assert (paused.saved, paused.lost) == (["stays"], ["moves"]), "that was once"
