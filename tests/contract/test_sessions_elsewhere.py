"""Whose a session is that one process has taken over from another, as both find it in one Redis."""

import importlib
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from hazoom_ws.cluster.sessions import SessionsElsewhere
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.contract import StoredSession
from hazoom_ws.message_log.redis.log import RedisLog
from hazoom_ws.message_log.redis.server import SILENT, Refused
from hazoom_ws.settings import Settings
from redis_server import Databases
from servers import wait_until

pytestmark = pytest.mark.redis


class Process:
    """A process that has a log in Redis; ``opened`` as of its sessions, what it has ``saved`` again, ``lost``, ``adopted``.

    ``turns``: what is to be called in a turn, if that is to wait.
    """

    def __init__(self, url: str) -> None:
        self.log = RedisLog(Settings(log_url=url), importlib.import_module)
        self.name = self.log.peers.name
        self.opened: dict[str, float] = {}
        self.saved: list[str] = []
        self.lost: list[str] = []
        self.adopted: list[str] = []
        self.turns: list[Callable[[], object]] | None = None
        recoverable = SimpleNamespace(opened=lambda: list(self.opened.items()), save_again=self.saved.append)
        hub: Any = SimpleNamespace(recoverable=recoverable, hand_over=self.lost.append, adopt=self.adopt)
        self.elsewhere = SessionsElsewhere(hub, self.log.peers, self.log.take_over, self.run_beside)

    def adopt(self, key: str, _session: StoredSession) -> None:
        self.adopted.append(key)

    def run_beside(self, function: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        try:
            end = partial(done, function(), None)
        except LogUnavailable as error:
            end = partial(done, None, error)
        if self.turns is None:
            end()
        else:
            self.turns.append(end)

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

    def hears_that_it_has_lost(self, keys: list[str]) -> Callable[[], bool]:
        def has_heard() -> bool:
            for heard in self.log.news():
                self.hear(heard)
            return self.lost == keys

        return has_heard

    def holders(self) -> dict[str, str]:
        [found] = self.log.peers.ask(("HGETALL", "{hazoom}:holders"))
        return {key.decode(): holder.decode().partition(" ")[0] for key, holder in found.items()}


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
    wait_until(other.hears_that_it_has_lost(["stays"]), "the other one has let go of it")
    paused.opened.pop("moves")
    paused.begin_anew()
    assert (paused.saved, paused.lost) == (["stays"], ["moves"]), "that was once"


@pytest.mark.parametrize("what", ["is not done", "is done, and not answered", "comes without a lease"])
def test_sessions_are_claimed_back_again_if_that_has_failed(two: list[Process], what: str) -> None:
    """They stayed with the other process, and what changed in them here was not kept, until Redis was away once more."""
    paused, other = two
    paused.save("stays", 100.5)
    paused.save("moves", 100.5)
    paused.lose_lease()
    other.elsewhere.gone(paused.name)
    other.save("moves", 120.0)
    claim_back = paused.elsewhere._claim_back

    def fail(arguments: list[Any]) -> Any:
        if what == "comes without a lease":
            paused.lose_lease()
            return claim_back(arguments)
        if what == "is done, and not answered":
            claim_back(arguments)
            paused.opened["stays"] = 99.0  # Redis has a later one, but with this process
        raise Refused(SILENT, is_unknown=True)

    paused.elsewhere._claim_back = fail
    paused.begin_anew()
    assert (paused.saved, paused.lost) == ([], [])
    paused.log.peers.ask(("SET", f"{{hazoom}}:process:{paused.name}", paused.log._store._text))
    paused.elsewhere._claim_back = claim_back
    paused.elsewhere.looked()
    assert (paused.saved, paused.lost) == (["stays"], ["moves"])
    assert other.holders() == {"stays": paused.name, "moves": other.name}
    wait_until(other.hears_that_it_has_lost(["stays"]), "the other one has let go of it")
    paused.elsewhere.looked()
    assert (paused.saved, paused.lost) == (["stays"], ["moves"]), "that was once"


def test_a_session_that_was_claimed_back_before_it_is_adopted_is_not_adopted(two: list[Process]) -> None:
    """Two processes had it: the claim was heard first, and then the session was adopted with its rooms of before."""
    paused, other = two
    paused.save("stays", 100.5)
    paused.lose_lease()
    other.turns = []
    other.elsewhere.gone(paused.name)
    paused.begin_anew()
    wait_until(other.hears_that_it_has_lost(["stays"]), "the claim is heard")
    [adopt] = other.turns
    adopt()
    assert other.adopted == []
    other.turns = None
    paused.lose_lease()
    other.elsewhere.gone(paused.name)
    assert other.adopted == ["stays"], "now it has died"
