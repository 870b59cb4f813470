"""The options that the server and its commands share."""

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import sys
sys.path[:] = [path for path in sys.path if path]
from hazoom_ws.commands.options import load_features
print(load_features(["votes:Votes"])[0].name)
"""
VOTES = """
from hazoom_ws.features import Feature

class Votes(Feature):
    name = "votes"
"""


def test_a_feature_of_the_current_folder_is_found_by_the_installed_script_too(tmp_path: Path) -> None:
    """Only ``python -m`` puts that folder where modules are looked for."""
    (tmp_path / "votes.py").write_text(VOTES, encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "votes\n"
