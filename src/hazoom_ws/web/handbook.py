"""The guides as pages: Markdown to HTML, once for each guide, with links between them that work here.

Raw HTML in a guide is shown as text. A link into the source, which is no page here, is left out, but not its text. Ids of
headings are GitHub's, so that links to a section work in both places. Making all pages takes a tenth of a second, in which
others have their turns.
"""

import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import flask
from flask import Blueprint, Response
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from hazoom_ws.version import __version__

FOLDER = Path(__file__).parent / "guides"
# In the order in which somebody new reads them; one that is not named comes last.
GROUPS = {
    "Building": ("react", "django", "live", "features", "embedding"),
    "The contract": ("events", "guarantees", "security", "settings"),
    "Running": ("deploying", "several-machines", "operating", "troubleshooting"),
    "The project": ("comparing", "architecture", "contributing", "changes"),
}
_OTHERS = "More"
_LISTED_LEVELS = ("h2",)  # of the headings that the side list shows of the guide at hand

_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
_renderer = RendererHTML()
# Finds paragraphs, tables and so on, and leaves what is in them as it is.
_blocks = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["inline", "text_join"])
# A long name in a narrow cell is broken where people would do it.
_INLINE_CODE, _MAY_BREAK = re.compile(r"(?<=<code>)[^<]{9,}(?=</code>)"), re.compile(r"([_/=,]+)(?=\w)")
_TURN_COUNT = 20  # texts, each a paragraph or a cell, after which others have their turn: about a millisecond


class Heading(NamedTuple):
    """A section that can be linked: its id, and its text as HTML."""

    id: str
    html: str


class Guide(NamedTuple):
    """A guide as it is shown. ``title``, ``summary`` and ``body`` are HTML; ``title`` and ``summary`` without links."""

    name: str
    title: str
    summary: str
    headings: list[Heading]
    body: str


def guides() -> dict[str, list[str]]:
    """Return the names of all guides, by group, as they are listed."""
    there = {path.stem for path in FOLDER.glob("*.md")}
    listed = {group: [name for name in names if name in there] for group, names in GROUPS.items()}
    others = sorted(there.difference(*listed.values()))
    return listed | ({_OTHERS: others} if others else {})


def make_guide(name: str, give_way: Callable[[], object] = lambda: None) -> Guide:
    """Return one of `guides`, and call ``give_way`` now and then."""
    tokens = _blocks.parse((FOLDER / f"{name}.md").read_text(encoding="utf-8"))
    for count, inline in enumerate(token for token in tokens if token.type == "inline"):
        inline.children = list(_linked(_markdown.parseInline(inline.content)[0].children or []))
        if count % _TURN_COUNT == 0:
            give_way()
    headings: list[Heading] = []
    for position, token in enumerate(tokens):
        inline = tokens[position + 1] if position + 1 < len(tokens) else token
        if token.type == "heading_open":
            token.attrSet("id", _new_id(inline.content, {heading.id for heading in headings}))
            headings.append(Heading(str(token.attrs["id"]), _text_of(inline)))
        elif token.type in ("fence", "code_block"):
            token.attrSet("tabindex", "0")  # so that the keyboard can scroll what is too wide
    levels = [token.tag for token in tokens if token.type == "heading_open"]
    listed = [heading for heading, level in zip(headings, levels, strict=True) if level in _LISTED_LEVELS]
    first = next(position for position, token in enumerate(tokens) if token.type == "paragraph_open")
    return Guide(name, headings[0].html, _text_of(tokens[first + 1]), listed, _html_of(tokens))


def add_guides(
    blueprint: Blueprint,
    may_see: Callable[[], bool],
    ask_for_key: Callable[[], Response],
    give_way: Callable[[], object],
) -> None:
    """Serve the guides at ``/guides``, to whom ``may_see()`` says. ``give_way()`` lets others have their turn."""
    made: dict[str, Guide] = {}  # which change with the version only

    def guide(name: str) -> Guide:
        if name not in made:
            made[name] = make_guide(name, give_way)
        return made[name]

    def page(shown: Guide | None) -> Response:
        if not may_see():
            return ask_for_key()
        groups = {group: [guide(name) for name in names] for group, names in guides().items()}
        html = flask.render_template("guide.html", shown=shown, groups=groups, version=__version__)
        response = flask.make_response(html)
        response.headers["Cache-Control"] = "no-cache"
        return response

    @blueprint.get("/guides", strict_slashes=False)
    def all_guides() -> Response:
        return page(None)

    @blueprint.get("/guides/<name>")
    def one_guide(name: str) -> Response:
        if not any(name in names for names in guides().values()):
            flask.abort(HTTPStatus.NOT_FOUND)
        return page(guide(name))


def _new_id(heading: str, taken: set[str]) -> str:
    plain = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
    found, number = plain, 0
    while found in taken:
        number += 1
        found = f"{plain}-{number}"
    return found


def _linked(tokens: list[Token]) -> Iterator[Token]:
    """Yield the tokens of a text with links that work from one guide to another; what else they link is text only."""
    is_kept: list[bool] = []
    for token in tokens:
        if token.type == "link_open":
            target = str(token.attrs["href"])
            page, mark, anchor = target.partition("#")
            name = page.removesuffix(".md")
            is_guide = page.endswith(".md") and "/" not in page and (FOLDER / page).is_file()
            is_kept.append(is_guide or not page or target.startswith(("https://", "http://")))
            if is_guide:
                token.attrSet("href", f"{name}{mark}{anchor}")  # relative, whatever the application is mounted under
        is_shown = token.type not in ("link_open", "link_close") or is_kept[-1]
        if token.type == "link_close":
            is_kept.pop()
        if is_shown:
            yield token


def _text_of(inline: Token) -> str:
    """Return a text as HTML that may stand within a link."""
    tokens = [token for token in inline.children or [] if token.type not in ("link_open", "link_close")]
    return _renderer.renderInline(tokens, _markdown.options, {})


def _html_of(tokens: list[Token]) -> str:
    html = _renderer.render(tokens, _markdown.options, {})
    html = html.replace("<th></th>", "<td></td>")  # nothing heads no column
    html = _INLINE_CODE.sub(lambda code: _MAY_BREAK.sub(r"\1<wbr>", code[0]), html)
    html = html.replace("<table>", '<div class="table" role="group" aria-label="Table" tabindex="0"><table>')
    return html.replace("</table>", "</table></div>")
