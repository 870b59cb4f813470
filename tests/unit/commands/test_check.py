"""How the checks are run: whatever one does, all others are told, in time and without a traceback."""

import argparse
import threading
from collections.abc import Iterator

import pytest

from hazoom_ws.commands import check
from hazoom_ws.commands.checks import Configuration, Finding
from hazoom_ws.commands.checks.backend import health_url_of
from hazoom_ws.commands.checks.machine import check_open_files
from hazoom_ws.commands.checks.public import address_of
from hazoom_ws.settings import Settings

CONFIGURATION = Configuration(Settings(), argparse.Namespace(), "")


def check_that_is_quick(_: Configuration) -> Iterator[Finding]:
    yield Finding("quick", "ok", "fine")


def check_that_fails(_: Configuration) -> Iterator[Finding]:
    yield Finding("fails", "ok", "so far")
    raise RuntimeError("token=geheim \x1b[31m")


def test_a_check_that_waits_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()

    def check_that_waits(_: Configuration) -> Iterator[Finding]:
        never.wait()
        yield Finding("waits", "ok", "fine")

    monkeypatch.setattr(check, "LIMIT_S", 0.1)
    try:
        [found] = check._all((check_that_waits,), CONFIGURATION)
    finally:
        never.set()
    assert (found.topic, found.level) == ("that_waits", "problem")
    assert "not over within" in found.found


def test_a_check_that_raises_is_a_problem_without_a_secret_beside_what_it_and_others_found() -> None:
    so_far, failed, other = check._all((check_that_fails, check_that_is_quick), CONFIGURATION)
    assert (so_far.found, other.found) == ("so far", "fine")
    assert failed.level == "problem"
    assert failed.found == r"this could not be checked: RuntimeError: token=*** \x1b[31m"


@pytest.mark.parametrize(
    ("llm_url", "health_url"),
    [
        ("http://a:1/quantum-goose-app/api/llm/chat/", "http://a:1/quantum-goose-app/api/llm/health/"),
        ("http://a:1/quantum-goose-app/api/chat/", "http://a:1/quantum-goose-app/api/llm/health/"),
        ("http://a:1/chat?key=x", "http://a:1/llm/health/"),
        ("http://a:1/ask/", None),
    ],
)
def test_the_health_of_a_backend_is_beside_its_chat(llm_url: str, health_url: str | None) -> None:
    assert health_url_of(llm_url) == health_url


def test_a_public_url_leads_to_a_host_and_an_origin() -> None:
    assert address_of("https://Chat.Example.com/") == (True, "chat.example.com", 443, "https://chat.example.com")
    assert address_of("http://[::1]:8080") == (False, "::1", 8080, "http://[::1]:8080")
    for url in ("chat.example.com", "ftp://a", "https://", "https://a:x"):
        with pytest.raises(ValueError, match=r".+"):
            address_of(url)


@pytest.mark.parametrize(("most", "level"), [(None, "ok"), (10_240, "ok"), (1024, "warning")])
def test_few_open_files_are_a_warning(monkeypatch: pytest.MonkeyPatch, most: int | None, level: str) -> None:
    monkeypatch.setattr("hazoom_ws.commands.checks.machine.raised_limit", lambda: most)
    [finding] = check_open_files(CONFIGURATION)
    assert finding.level == level
