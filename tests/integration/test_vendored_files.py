"""What the pages need of npm is in the package, byte by byte as the locked npm packages have it."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import vendor  # noqa: E402


def test_vendored_files_are_those_of_the_locked_packages() -> None:
    expected = vendor.contents(ROOT / "scripts" / "npm" / "node_modules")
    assert {path.name: path.read_bytes() for path in vendor.FOLDER.iterdir()} == expected
