"""When an identity ends: told at once, closed 25 s later, unless there is another one."""

import pytest

from hazoom_ws.access.expiry import Expiry
from hazoom_ws.access.identities import Identity
from hazoom_ws.access.limits import Account
from hazoom_ws.chat.presence import User
from hazoom_ws.chat.rights import EVERYTHING
from hazoom_ws.settings import Settings


class Scene:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self.accounts: dict[str, Account] = {}
        self.log: list[str] = []
        self.expiry = Expiry(
            tell=lambda account: self.log.append(f"told {account.id}"),
            end=lambda account: self.log.append(f"ended {account.id}"),
            find=self.accounts.get,
            wake=lambda: None,
            clock=lambda: self.now_s,
            wall_clock=lambda: self.now_s,
        )

    def enter(self, name: str, expires_at: float | None) -> Account:
        account = self.accounts.setdefault(name, Account(Settings(), "", lambda: self.now_s, session_id=name))
        account.identity = Identity(User.identified(name, name), EVERYTHING, expires_at)
        self.expiry.watch(account)
        return account

    def at(self, now_s: float) -> list[str]:
        self.now_s = now_s
        self.expiry.run_due()
        said, self.log[:] = list(self.log), []
        return said


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_who_is_over_is_told_and_ended_25_s_later(scene: Scene) -> None:
    scene.enter("ann", 1010)
    scene.enter("bob", None)
    assert scene.expiry.run_due() == 10
    assert scene.at(1009.9) == []
    assert scene.at(1010) == ["told ann"]
    assert scene.at(1034.9) == []
    assert scene.at(1035) == ["ended ann"]
    assert scene.expiry.run_due() is None


def test_another_token_counts_instead(scene: Scene) -> None:
    scene.enter("ann", 1010)
    assert scene.at(1005) == []
    scene.enter("ann", 1020)
    assert scene.at(1010) == []
    assert scene.at(1020) == ["told ann"]
    scene.enter("ann", 1100)
    assert scene.at(1050) == []
    scene.enter("ann", None)
    assert scene.at(1200) == []
    assert len(scene.expiry) == 0


def test_who_has_gone_is_forgotten(scene: Scene) -> None:
    ann, bob = scene.enter("ann", 1010), scene.enter("bob", 1010)
    scene.expiry.forget(ann)
    del scene.accounts["ann"]
    assert scene.at(1010) == ["told bob"]
    scene.expiry.forget(bob)
    assert scene.at(1100) == []


def test_tokens_that_are_refreshed_for_ever_take_no_more_memory(scene: Scene) -> None:
    scene.enter("ann", 1e6)
    for number in range(10_000):
        scene.enter("bob", 1e6 + number)
    assert len(scene.expiry._moments) < 2000
    assert scene.at(1e6 + 9999) == ["told ann", "told bob"]
