"""What the browser tests share: one Chromium, windows that may not complain, and servers that outlive their windows."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from servers import DEADLINE_S, Hazoom, hazoom, program, pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]

# A container's root may not use the sandbox; the rest keeps the browser from talking to anyone but the tests' servers.
_CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
expect.set_options(timeout=DEADLINE_S * 1000)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One headless Chromium for all tests of this folder.

    Playwright's synchronous API keeps an asyncio loop running in the thread that uses it, in which no other test could
    start one: so this is not a fixture of the session.
    """
    path = program("TEST_CHROMIUM", "chromium", "chromium-browser", "google-chrome", "chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(params=["eventlet", "threading"], scope="module")
def async_mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def server(async_mode: str) -> Iterator[Hazoom]:
    """A server for tests that keep to rooms of their own. A typing indicator ends there only if its page says so."""
    limits = {"HAZOOM_RATE_LIMIT_PER_S": "0", "HAZOOM_TYPING_EXPIRY_S": "600"}
    with hazoom(async_mode=async_mode, demo=True, env=limits) as server:
        yield server


@pytest.fixture
def start_server() -> Iterator[Callable[..., Hazoom]]:
    """Return `servers.hazoom` as a function; what it started ends after the test's windows."""
    with ExitStack() as servers:
        yield lambda **options: servers.enter_context(hazoom(**options))


@pytest.fixture
def open_window(browser: Browser, start_server: Callable[..., Hazoom]) -> Iterator[Callable[..., Page]]:
    """Return a function that opens a URL in a window of its own, which shares nothing with the others.

    ``may_log``: a pattern of the browser's own complaints that belong to the test; any other complaint on the console,
    and any exception in a script, fails it. ``prepare`` is called with the empty page. ``options``: Playwright's of a
    browser context, such as the size of the window.
    """
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def open_window(
        url: str, *, may_log: str = "(?!)", prepare: Callable[[Page], None] | None = None, **options: Any
    ) -> Page:
        def check(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning") and not re.search(may_log, message.text):
                problems.append(f"console {message.type}: {message.text}")

        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(DEADLINE_S * 1000)
        page = context.new_page()
        page.on("console", check)
        page.on("pageerror", lambda error: problems.append(f"exception: {error}"))
        if prepare:
            prepare(page)
        page.goto(url)
        return page

    yield open_window
    for context in contexts:
        context.close()
    assert problems == []
