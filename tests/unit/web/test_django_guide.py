"""What the guide shows for Django is what the Django project of the tests runs."""

import re
from pathlib import Path

import pytest

import hazoom_ws
from servers import ROOT

GUIDE = Path(hazoom_ws.__file__).parent / "web" / "guides" / "django.md"
PROJECT = ROOT / "tests" / "django_project"
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.search(r"def (\w+)", block)[1])
def test_what_is_shown_is_what_runs(block: str) -> None:
    assert any(block in path.read_text(encoding="utf-8") for path in PROJECT.rglob("*.py"))


def test_it_shows_something() -> None:
    assert len(BLOCKS) == 5
