"""The guides as pages: whole, linked with each other, safe, and for those who may see pages."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from hazoom_ws.version import __version__
from hazoom_ws.web import handbook

NAMES = sorted(path.stem for path in handbook.FOLDER.glob("*.md"))


class Page(HTMLParser):
    """What a page links, and the ids that it has."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.tags.add(tag)
        self.attributes |= said.keys()
        self.links += [said["href"]] if tag == "a" and said.get("href") else []
        self.ids += [said["id"]] if said.get("id") else []


def page_of(app: Flask, path: str) -> Page:
    response = app.test_client().get(path)
    assert response.status_code == 200, path
    return Page(response.text)


def test_all_guides_are_listed_each_once_and_the_known_ones_in_their_order(app):
    listed = [name for names in handbook.guides().values() for name in names]
    assert sorted(listed) == NAMES
    assert "More" not in handbook.guides(), "a new guide has a place in GROUPS"
    links = [link for link in page_of(app, "/guides").links if link.startswith("/guides/")]
    assert links == [f"/guides/{name}" for name in listed] * 2, "in the text and at the side"


@pytest.mark.parametrize("name", NAMES)
def test_every_link_of_a_guide_leads_to_a_page_and_a_section_that_are_there(app, name: str):
    page = page_of(app, f"/guides/{name}")
    assert len(set(page.ids)) == len(page.ids)
    others: dict[str, Page] = {"": page}
    for link in page.links:
        target, _, anchor = link.partition("#")
        if target.startswith("https://"):
            continue
        if target and target not in others:
            others[target] = page_of(app, target if target.startswith("/") else f"/guides/{target}")
        assert not anchor or anchor in others[target].ids, link


@pytest.mark.parametrize("name", NAMES)
def test_a_guide_has_a_title_a_sentence_of_what_is_in_it_and_its_version(app, name: str):
    guide, text = handbook.make_guide(name), app.test_client().get(f"/guides/{name}").text
    assert guide.body.startswith('<h1 id="')
    assert guide.body.count("<h1") == 1
    assert guide.summary.endswith("."), "the list of guides shows the first paragraph"
    assert "<a " not in guide.title + guide.summary
    assert f"hazoom_ws {__version__}</title>" in text
    assert 'aria-current="page"' in text


def test_a_page_needs_no_script_no_style_within_it_and_no_other_host(app):
    page = page_of(app, "/guides/events")
    assert not page.tags & {"script", "style"}
    assert not {"style", "onclick"} & page.attributes


def test_html_in_a_guide_is_text_and_links_into_the_source_keep_only_their_text(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(handbook, "FOLDER", tmp_path)
    (tmp_path / "other.md").write_text("# Other\n\nText.\n", encoding="utf-8")
    (tmp_path / "odd.md").write_text(
        "# `Odd` & [other](other.md)\n\nSee [*the* other](other.md#text), [source](../../cli.py), [none](gone.md), "
        "[site](https://example.com), [below](#same), [x](javascript:alert(1)).\n\n"
        "<script>alert(1)</script>\n\n## Same\n\n## Same\n\n| a | b |\n|---|---|\n| 1 | <b>2</b> |\n\n```js\n<x>\n```\n"
        "`HAZOOM_LONG_NAME`\n",
        encoding="utf-8",
    )
    turns: list[int] = []
    guide = handbook.make_guide("odd", lambda: turns.append(1))
    assert turns, "others have their turn"
    assert (guide.title, guide.summary[:13]) == ("<code>Odd</code> &amp; other", "See <em>the</")
    assert [heading.id for heading in guide.headings] == ["same", "same-1"]
    links = re.findall(r'<a href="([^"]*)"', guide.body)
    assert links == ["other", "other#text", "https://example.com", "#same"]
    assert "source, none" in guide.body
    assert "&lt;script&gt;" in guide.body
    assert "<td>&lt;b&gt;2&lt;/b&gt;</td>" in guide.body
    assert '<code tabindex="0" class="language-js">&lt;x&gt;' in guide.body
    assert "<code>HAZOOM_<wbr>LONG_<wbr>NAME</code>" in guide.body


def test_guides_are_for_those_who_may_see_pages(make_app):
    key = "a-key-of-sixteen-characters"
    http = make_app(host="0.0.0.0", auth="jwt", jwt_secret="s" * 32, api_keys=(key,)).test_client()
    for path in ("/guides", "/guides/events"):
        assert http.get(path).status_code == 401
        assert http.get(path, headers={"X-API-Key": key}).status_code == 200


@pytest.mark.parametrize("name", ["none", "..%2f..%2fcli", "../routes.py", "events.md", "Events"])
def test_there_are_no_other_pages(app, name: str):
    assert app.test_client().get(f"/guides/{name}").status_code == 404
