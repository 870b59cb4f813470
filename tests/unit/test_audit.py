"""scripts/audit.py: what is made of what pip-audit says. Whether it can say anything is not the tests' to decide."""

import json
import subprocess
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from servers import ROOT

NOT_KNOWN = {"name": "a", "skip_reason": "Dependency not found on PyPI and could not be audited: a (1)"}
WELL = {"name": "b", "version": "2", "vulns": []}
BAD = {"name": "c", "version": "3", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1"], "aliases": []}]}


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import audit

    monkeypatch.setattr(audit, "installed", lambda: "a==1\nb==2\nc==3\n")
    return audit


def let_say(audit: ModuleType, monkeypatch: pytest.MonkeyPatch, **said: Any) -> None:
    """Let each service say that: packages, any other text, or an exception."""

    def run(command: list[str], **_: Any) -> Any:
        answer = said[command[command.index("--vulnerability-service") + 1]]
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(stdout=json.dumps({"dependencies": answer}) if isinstance(answer, list) else answer)

    monkeypatch.setattr(audit, "subprocess", SimpleNamespace(run=run, TimeoutExpired=subprocess.TimeoutExpired))


def test_a_vulnerability_fails_and_is_named(audit, monkeypatch, capsys):
    let_say(audit, monkeypatch, pypi=[NOT_KNOWN, WELL, BAD])
    assert audit.audit() == 1
    said = capsys.readouterr().out
    assert "c 3: PYSEC-1, mended in 3.1" in said
    assert "1 vulnerabilities in 2 packages that PyPI knows; 1 it does not know" in said


def test_none_is_none(audit, monkeypatch, capsys):
    let_say(audit, monkeypatch, pypi=[WELL])
    assert audit.audit() == 0
    assert "0 vulnerabilities in 1 packages that PyPI knows; 2 it does not know" in capsys.readouterr().out


@pytest.mark.parametrize("nothing", [[NOT_KNOWN], [], "", "[]", subprocess.TimeoutExpired("pip-audit", 1)])
def test_where_the_data_cannot_be_had_the_other_service_is_asked_and_then_it_is_said(audit, monkeypatch, capsys, nothing):
    let_say(audit, monkeypatch, pypi=nothing, osv=[BAD])
    assert audit.audit() == 1
    let_say(audit, monkeypatch, pypi=nothing, osv=nothing)
    assert audit.audit() == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("audit: NOT DONE")


def test_what_is_audited_is_what_is_installed(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import audit

    names = {line.partition("==")[0].lower() for line in audit.installed().splitlines()}
    assert {"flask", "python-socketio", "eventlet", "msgspec", "werkzeug"} <= names
