"""What the namespaces of other projects' protocols may say, and how fast: boards, and documents beside them."""

from collections.abc import Callable
from typing import Any

import pytest

from clients import MakeApp
from visitors import Visitor

PARTS = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
BURST_COUNT = 3
Enter = Callable[..., Visitor]


@pytest.fixture
def enter(make_app: MakeApp) -> Enter:
    """Return a function that connects somebody to a namespace of an application that allows very little."""
    app = make_app(
        rate_limit_per_s=0.001,
        rate_limit_burst_count=BURST_COUNT,
        rate_limit_burst_bytes=1000,
        relay_rate_limit_per_s=0.001,
        relay_rate_limit_burst_count=BURST_COUNT,
    )
    visitors: list[Visitor] = []

    def enter(namespace: str) -> Visitor:
        visitor = Visitor(app)
        visitors.append(visitor)
        visitor.send(f"40{namespace},")
        assert visitor.said()[1].startswith(f"40{namespace},")
        return visitor

    yield enter
    for visitor in visitors:
        visitor.close()


def draw(visitor: Visitor, event: str, size_bytes: int = 2) -> None:
    visitor.send(f'452-/excalidraw,["{event}","b",{PARTS}]', bytes(size_bytes), b"iv")


def said_of(visitor: Visitor, event: str) -> list[Any]:
    return [packet for packet in visitor.said() if f'["{event}"' in packet]


def on_board(enter: Enter) -> tuple[Visitor, Visitor]:
    ann, bob = (enter("/excalidraw") for _ in range(2))
    for visitor in (ann, bob):
        visitor.send('42/excalidraw,["join-room","b"]')
    for visitor in (ann, bob):
        visitor.said()
    return ann, bob


def test_what_is_drawn_has_a_rate_of_its_own_over_which_pointers_are_lost(enter: Enter) -> None:
    ann, bob = on_board(enter)
    for _ in range(BURST_COUNT + 1):
        draw(ann, "server-volatile-broadcast", 5000)  # far more bytes than events may have
    assert len(said_of(bob, "client-broadcast")) == BURST_COUNT
    assert ann.said() == []
    draw(bob, "server-broadcast")
    assert len(said_of(ann, "client-broadcast")) == 1, "each client has its own"


def test_a_change_over_the_rate_is_refused_by_name(enter: Enter) -> None:
    ann, bob = on_board(enter)
    for _ in range(BURST_COUNT + 1):
        draw(ann, "server-broadcast")
    assert len(said_of(bob, "client-broadcast")) == BURST_COUNT
    (refusal,) = said_of(ann, "error")
    assert '"code":"rate_limited"' in refusal
    assert '"event":"server-broadcast"' in refusal


def is_over_the_rate(visitor: Visitor) -> bool:
    """Ask for one event more."""
    visitor.send("40/stats,")
    return "rate_limited" in "".join(visitor.said())


@pytest.mark.parametrize("namespace", ["/excalidraw", "/yjs|x"])
def test_json_without_parts_counts_like_any_event(enter: Enter, namespace: str) -> None:
    visitor = enter(namespace)
    visitor.send(*[f'42{namespace},["x",{{"a":1}}]'] * BURST_COUNT)
    assert is_over_the_rate(visitor)


@pytest.mark.parametrize("namespace", ["/excalidraw", "/yjs|x"])
def test_parts_count_where_their_sender_is_not(enter: Enter, namespace: str) -> None:
    visitor = enter("/rooms")
    for _ in range(BURST_COUNT):
        visitor.send(f'452-{namespace},["server-broadcast","b",{PARTS}]', b"data", b"iv")
    assert is_over_the_rate(visitor)


def test_updates_of_a_document_count_for_no_rate(enter: Enter) -> None:
    ann = enter("/yjs|x")
    for clock in range(BURST_COUNT * 3):  # the letter x at the front of the text, by the client 5
        update = b"\x01\x01\x05" + bytes([clock]) + b"\x04\x01\x07content\x01x\x00"
        ann.send('451-/yjs|x,["sync-update",{"_placeholder":true,"num":0}]', update)
    assert ann.session.is_open
    assert not is_over_the_rate(ann)


def test_what_is_drawn_counts_for_its_address_and_a_whole_drawing_as_the_longest_event(make_app: MakeApp) -> None:
    app = make_app(
        event_limit_bytes=13_107,
        rate_limit_per_s=50,
        rate_limit_bytes_per_s=65_536,
        address_rate_limit_per_s=0.001,
        address_rate_limit_burst_count=60,
        allow_open=True,
    )
    here = {"REMOTE_ADDR": "198.51.100.1"}
    visitors = [Visitor(app, **here) for _ in range(3)]
    for visitor in visitors:
        visitor.send("40/excalidraw,", '42/excalidraw,["join-room","b"]')  # costs 1 each: 57 are left
        visitor.said()
    for visitor in visitors:
        for _ in range(4):
            draw(visitor, "server-broadcast", 50_000)  # costs 10
    refused = [text for visitor in visitors for text in said_of(visitor, "error")]
    assert len(refused) == 12 - 5
    assert all("events of your address" in text for text in refused)
    for visitor in visitors:
        visitor.close()
