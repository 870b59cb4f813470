"""What a stranger sends leaves nothing behind, without the garbage collector, which looks at what is old too seldom."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from werkzeug.test import create_environ

from clients import MakeApp
from visitors import Visitor

LONG = "a" * 50_000

REFUSED = {
    "NaN behind a long text": f'42["x","{LONG}",NaN]',
    "NaN with an acknowledgement": f'427["message",{{"message":"{LONG}","x":NaN}}]',
    "half a character": f'42["x","{LONG}\\udc00",NaN]',
    "too deep": f'42["x","{LONG}",{"[" * 40}{"]" * 40}]',
    "much too deep": f'42["x","{LONG}",{"[" * 5000}{"]" * 5000}]',
    "a number out of range": f'42["x","{LONG}",1e999]',
    "too large": f'42["message",{{"message":"{LONG * 3}"}}]',
    "a message that is too large": f'42["message",{{"message":"{LONG * 2}"}}]',
    "no binary parts": f'450-["x","{LONG}"]',
    "an unknown event": f'42["{LONG}",1]',
    "no payload of ours": f'42["message","{LONG}"]',
    "a blank room": f'42["join_room",{{"room":" ","x":"{LONG}"}}]',
    "a second CONNECT": f'40{{"x":"{LONG}"}}',
    "NaN in the auth": f'40/rooms,{{"x":"{LONG}","y":NaN}}',
    "an auth that is none": f'40/rooms,["{LONG}"]',
    "a namespace that is not there": f'40/nowhere,{{"x":"{LONG}"}}',
    "an acknowledgement of nothing": f'431["{LONG}"]',
}


@contextmanager
def nothing_left(*, but: str = "") -> Iterator[None]:
    """Check that all that was made in the block, and is not used any more, was freed by counting references.

    ``but``: a library's function that makes a cycle with its own closure.
    """
    gc.collect()
    gc.disable()
    gc.freeze()  # applications of other tests, which end when their tasks do
    try:
        yield
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = {id(one): one for one in gc.garbage}
        for one in [one for one in gc.garbage if but and getattr(one, "__qualname__", "").startswith(but)]:
            for part in (one, one.__closure__, *one.__closure__, *(cell.cell_contents for cell in one.__closure__)):
                left.pop(id(part), None)
        left = [type(one).__qualname__ for one in left.values()]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.enable()
    assert left == []


def enter(app: Flask) -> Visitor:
    """Return a visitor who is in the namespace ``/``."""
    visitor = Visitor(app)
    visitor.send("40")
    visitor.said()
    return visitor


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in REFUSED.items()])
@pytest.mark.parametrize("is_limited", [False, True], ids=["", "over the rate"])
def test_a_packet_that_is_refused_leaves_nothing(make_app: MakeApp, text: str, is_limited: bool) -> None:
    app = make_app(rate_limit_per_s=0.001 if is_limited else 0, rate_limit_burst_count=1)
    visitor = enter(app)
    visitor.send(text, text)  # what is made once may stay
    visitor.said()
    with nothing_left():
        visitor.send(text, text, text)
        said = "".join(visitor.said())
    assert visitor.session.is_open
    assert ("rate_limited" in said) == (is_limited and text.startswith(("42", "45", "40")))
    assert said or text.startswith("43")
    visitor.close()


def test_binary_parts_that_are_refused_leave_nothing(make_app: MakeApp) -> None:
    visitor = enter(make_app(rate_limit_per_s=0))
    packets = f'451-["x","{LONG}",{{"_placeholder":true,"num":0}}]', LONG.encode()
    visitor.send(*packets)
    visitor.said()
    with nothing_left():
        visitor.send(*packets, *packets)
        said = "".join(visitor.said())
    assert said.count("bad_payload") == 2
    visitor.close()


@pytest.mark.parametrize("text", ['42["x"', "4x", "42[]", "5", f'42["{LONG}'])
def test_a_packet_that_ends_its_session_leaves_nothing(make_app: MakeApp, text: str) -> None:
    app = make_app()
    enter(app).send(text)
    with nothing_left():
        visitor = enter(app)
        visitor.send(text)
        assert not visitor.session.is_open
        del visitor


def test_who_comes_and_goes_leaves_nothing(make_app: MakeApp) -> None:
    app = make_app()

    def visit() -> None:
        visitor = enter(app)
        visitor.send('42["join_room",{"room":"team"}]', '421["message",{"message":"hi"}]', "40/rooms,", "41/rooms,", "41")
        visitor.send("40", "1")
        assert not visitor.session.is_open

    visit()
    with nothing_left():
        for _ in range(3):
            visit()


def test_a_page_that_is_not_there_leaves_nothing(make_app: MakeApp) -> None:
    app = make_app()

    def ask() -> None:
        environ = create_environ("/nowhere/" + LONG)
        assert b"".join(app(environ, lambda *_: None)).startswith(b"<!doctype html>")

    ask()
    with nothing_left(but="StateMachineMatcher.match"):  # werkzeug's, a few objects that hold nothing
        ask()
