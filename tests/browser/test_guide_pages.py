"""The guides in a browser: nothing that axe complains about, nothing wider than a phone, all in reach of the keyboard."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from hazoom_ws.web import handbook
from servers import ROOT, Hazoom

AXE = ROOT / "scripts" / "npm" / "node_modules" / "axe-core" / "axe.min.js"
PATHS = ["/guides", *(f"/guides/{name}" for names in handbook.guides().values() for name in names)]
PHONE, DESKTOP = {"width": 390, "height": 700}, {"width": 1280, "height": 800}

OpenWindow = Callable[..., Page]


@pytest.fixture(params=["eventlet"], scope="module")
def async_mode(request: pytest.FixtureRequest) -> str:
    """The pages are the same in either way to serve."""
    return request.param


@pytest.mark.parametrize(("scheme", "size"), [("light", DESKTOP), ("dark", PHONE)], ids=["light", "dark phone"])
def test_axe_finds_nothing_to_complain_about_and_no_page_is_wider_than_its_window(
    server: Hazoom, open_window: OpenWindow, scheme: str, size: dict[str, int]
) -> None:
    window = open_window(server.url + PATHS[0], color_scheme=scheme, viewport=size)
    for path in PATHS:
        window.goto(server.url + path)
        window.evaluate(AXE.read_text(encoding="utf-8"))
        violations = window.evaluate("axe.run().then(({ violations }) => violations)")
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in violations] == [], path
        assert window.evaluate("document.documentElement.scrollWidth") <= size["width"], path


def test_a_reader_finds_a_section_by_keyboard_and_by_link(server: Hazoom, open_window: OpenWindow) -> None:
    window = open_window(f"{server.url}/guides/operating", viewport=DESKTOP)
    window.keyboard.press("Tab")
    expect(window.get_by_role("link", name="To the text")).to_be_focused()
    window.keyboard.press("Enter")
    expect(window.locator("#text")).to_be_focused()
    guides = window.get_by_role("navigation", name="Guides")
    expect(guides.get_by_role("link", name="Operating")).to_have_attribute("aria-current", "page")
    guides.get_by_role("link", name="The log").click()
    expect(window.get_by_role("heading", name="The log")).to_be_in_viewport()
    guides.get_by_role("link", name="Events: the contract").click()
    expect(window).to_have_title("Events: the contract – hazoom_ws " + handbook.__version__)


def test_on_a_phone_the_list_of_guides_is_one_tap_away(server: Hazoom, open_window: OpenWindow) -> None:
    window = open_window(f"{server.url}/guides/live", viewport=PHONE)
    window.get_by_role("link", name="All guides").click()
    expect(window.get_by_role("navigation", name="Guides").get_by_role("link", name="The Django side")).to_be_in_viewport()
