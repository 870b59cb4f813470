"""Floods of connections and of events, bad tokens, rooms that are guessed: what scripts/hostile.py does for longer.

How long others wait meanwhile is for that script to say, on a machine with nothing else to do; here nobody is closed or
refused who has done nothing, no more is let in than the limits say, and nothing is left of it.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from servers import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from hostile import floods, tokens, trial

ATTACKS = {attack.name: attack for attack in (*floods.ATTACKS, *tokens.ATTACKS)}
OF_TIME = {"calm", "/health"}
SECONDS = 4.0
AT_ONCE = 4  # each waits for most of its time

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it needs /proc and all of 127.0.0.0/8")


@pytest.fixture(scope="module")
def rows() -> dict[str, trial.Row]:
    """Attack, some servers at once, and return what came of it."""

    def attack(name: str) -> trial.Row:
        return trial.run(ATTACKS[name], Path(sys.executable), "eventlet", SECONDS)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(ATTACKS, pool.map(attack, ATTACKS), strict=True))


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_takes_no_more_than_its_share(rows: dict[str, trial.Row], name: str) -> None:
    assert set(rows[name].broken) <= OF_TIME, rows[name]
