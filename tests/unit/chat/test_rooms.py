"""The list of rooms, page by page: one's own first, then others that one may enter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazoom_ws.chat import rooms as module
from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.chat.rights import EVERYTHING, Rights
from hazoom_ws.chat.rooms import Rooms
from hazoom_ws.settings import Settings

NAMES = st.text(alphabet="ab-", min_size=1, max_size=4)


def rooms_with(own: set[str], others: set[str], rights: Rights) -> tuple[Rooms, Connection]:
    rooms = Rooms(Settings(presence_grace_s=0), lambda _: None, wake=lambda: None)
    ann, bob = Connection("1", User.named("Ann"), "", rights), Connection("2", User.named("Bob"), "")
    for connection, names in ((ann, own), (bob, others)):
        for name in names:
            rooms.enter(connection, name, 0.0)
    return rooms, ann


def pages(rooms: Rooms, connection: Connection, prefix: str, limit_count: int) -> list[str]:
    listed: list[str] = []
    after: str | None = None
    for _ in range(1000):
        names, after = rooms.listed(connection, prefix, after, limit_count)
        assert len(names) <= limit_count
        listed += names
        if after is None:
            return listed
    raise AssertionError("pages without an end")


@given(st.sets(NAMES), st.sets(NAMES), st.sampled_from(["", "a", "ab", "c"]), st.integers(1, 7), st.booleans())
def test_all_pages_have_each_room_once_in_order(
    own: set[str], others: set[str], prefix: str, limit_count: int, is_restricted: bool
) -> None:
    rights = Rights(["a*", "-b"]) if is_restricted else EVERYTHING
    rooms, ann = rooms_with(own, others, rights)
    expected = sorted(room for room in own if room.startswith(prefix))
    expected += sorted(room for room in others - own if room.startswith(prefix) and rights.may_enter(room))
    assert pages(rooms, ann, prefix, limit_count) == expected


def test_many_that_one_may_not_enter_end_a_page_and_not_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOKED_AT_COUNT", 10)
    others = {f"{number:03}" for number in range(95)} | {"zoo"}
    rooms, ann = rooms_with({"own"}, others, Rights(["own", "zoo", "050"]))
    names, after = rooms.listed(ann, "", None, 50)
    assert (names, after) == (["own"], "009")
    assert pages(rooms, ann, "", 50) == ["own", "050", "zoo"]


def test_a_room_that_everybody_has_left_is_listed_no_more() -> None:
    rooms, ann = rooms_with({"a", "b"}, {"b", "c"}, EVERYTHING)
    for room in ("a", "b"):
        rooms.leave(ann, room, 0.0, has_dropped=False)
    assert pages(rooms, ann, "", 10) == ["b", "c"]
