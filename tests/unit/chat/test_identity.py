"""Who a guest is: known again by the key of its pid, or by its guest_key for a day."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from hazoom_ws.chat.identity import PID_CHARS, Shown, guest_key_of, identify
from hazoom_ws.chat.presence import User

NOW = 1_800_000_000.0
DAY_S = 86_400


def guest(guest_key: str = "", now: float = NOW, pid: str = "", user_name: str = "") -> tuple[User, str]:
    user, key = identify(None, user_name or UNSET, Shown(pid, guest_key, now), set())
    return user, guest_key_of(user, key, now)


def test_a_guest_is_the_same_one_for_a_day_and_longer_who_comes_meanwhile() -> None:
    user, guest_key = guest()
    again, next_key = guest(guest_key, NOW + DAY_S)
    assert (again, again.name) == (user, user.name)
    assert guest(guest_key, NOW + DAY_S + 3600)[0] != user
    assert guest(next_key, NOW + 2 * DAY_S)[0] == user


def test_a_key_says_nothing_to_who_has_a_name() -> None:
    user, guest_key = guest()
    assert guest(guest_key, user_name="Ann") == (User.named("Ann"), "")
    known, key = identify(User.identified("7", "Ann"), UNSET, Shown(guest_key=guest_key, now=NOW), set())
    assert (known.checked_id, guest_key_of(known, key, NOW)) == ("7", "")
    assert user.is_guest


def test_the_pid_and_the_key_of_a_guest_are_of_the_same_one() -> None:
    user, key = identify(None, UNSET, Shown(now=NOW), set())
    assert guest(pid="x" * PID_CHARS + key)[0] == user
    assert guest(guest_key_of(user, key, NOW))[0] == user


def test_what_is_no_key_makes_a_new_guest() -> None:
    user, key = guest()
    for shown in (key[:-1], key + "0" * 9, "!" + key[1:], key.upper(), ""):
        assert guest(shown)[0] != user


def test_a_key_of_tomorrow_is_none() -> None:
    user, guest_key = guest(now=NOW + DAY_S)
    assert guest(guest_key, NOW)[0] != user


@given(st.text())
def test_whatever_is_shown_makes_a_guest(text: str) -> None:
    user, guest_key = guest(text)
    assert user.is_guest
    assert len(user.name) == 10
    assert guest(guest_key)[0] == user
