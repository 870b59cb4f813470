"""Floods of connections and of events, bad tokens, rooms that are guessed: what scripts/hostile.py does for longer.

How long others wait meanwhile is for that script to say, on a machine with nothing else to do; here nobody is closed or
refused who has done nothing, no more is let in than the limits say, and nothing is left of it.
"""

import sys
from pathlib import Path

import pytest

from servers import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from hostile import floods, tokens, trial

OF_TIME = {"calm", "/health"}
SECONDS = 4.0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it needs /proc and all of 127.0.0.0/8")
@pytest.mark.parametrize("attack", [*floods.ATTACKS, *tokens.ATTACKS], ids=lambda attack: attack.name)
def test_an_attack_takes_no_more_than_its_share(attack: floods.Attack) -> None:
    row = trial.run(attack, Path(sys.executable), "eventlet", SECONDS)
    assert set(row.broken) <= OF_TIME, row
