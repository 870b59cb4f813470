"""What users and addresses share, how long it is remembered, and what a million of them cost."""

import tracemalloc
from itertools import count

import pytest

from hazoom_ws.access.accounts import Accounts
from hazoom_ws.access.api_keys import ApiKeys
from hazoom_ws.access.limits import Account
from hazoom_ws.chat.presence import User
from hazoom_ws.errors import TooManyConnections
from hazoom_ws.settings import Settings

ANN, BOB, GUEST = User.named("Ann"), User.named("Bob"), User("guest:1", "Guest-aaaa")
NO_LIMIT = {"rate_limit_per_s": 1e6, "rate_limit_burst_count": 1_000_000}


class Door:
    """The accounts of an application, and a clock."""

    def __init__(self, **settings) -> None:
        self.now_s = 0.0
        self._numbers = count()
        self.accounts = Accounts(Settings(**settings), ApiKeys(), lambda: self.now_s)

    def admit(self, address: str = "198.51.100.1") -> float:
        return self.accounts.admit({"REMOTE_ADDR": address})

    def open(self, address: str = "198.51.100.1", user: User | None = None) -> Account:
        account = self.accounts.open(f"{next(self._numbers)}", {"REMOTE_ADDR": address})
        if user is not None:
            account.set_user(user)
        return account

    @property
    def remembered(self) -> tuple[int, int]:
        return len(self.accounts.users), len(self.accounts.addresses)


def allowed(*accounts: Account, tries: int = 50, size_bytes: int = 1, has_own_rate: bool = False) -> int:
    """Return how many events of so many, taken in turns, are not refused."""
    return sum(
        accounts[number % len(accounts)].charge(size_bytes, is_connect=False, has_own_rate=has_own_rate) is None
        for number in range(tries)
    )


def reason(account: Account) -> str:
    problem = account.charge(1, is_connect=False)
    assert problem is not None
    error = problem()
    assert (error.code, error.retry) == ("rate_limited", True)
    assert error.retry_after_s > 0
    return str(error)


def test_all_connections_of_a_user_share_one_bucket_from_wherever_they_come():
    door = Door(user_rate_limit_per_s=1, user_rate_limit_burst_count=10)
    tabs = [door.open(f"198.51.100.{number}", ANN) for number in range(5)]
    assert allowed(*tabs) == 10
    assert "1 events of your user per second" in reason(tabs[0])
    assert allowed(door.open(user=BOB)) == 10
    door.now_s = 2.0
    assert allowed(*tabs) == 2


def test_all_connections_from_an_address_share_one_bucket_whoever_they_are():
    door = Door(address_rate_limit_per_s=1, address_rate_limit_burst_count=10)
    accounts = [door.open(user=user) for user in (ANN, BOB, GUEST, None)]
    assert allowed(*accounts) == 10
    assert "1 events of your address per second" in reason(accounts[0])
    assert allowed(door.open("198.51.100.2", ANN)) == 10


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_is_not_limited_as_an_address(address):
    door = Door(
        address_rate_limit_per_s=1,
        address_rate_limit_burst_count=1,
        connect_rate_limit_per_s=1,
        connect_rate_limit_burst_count=1,
        connections_per_address_limit=1,
    )
    accounts = [door.open(address) for _ in range(5)]
    assert allowed(*accounts) == 50
    assert [door.admit(address) for _ in range(5)] == [0] * 5
    assert door.remembered == (0, 0)


def test_guests_are_limited_by_their_addresses_only():
    door = Door(user_rate_limit_per_s=1, user_rate_limit_burst_count=1, connections_per_user_limit=1)
    guests = [door.open(user=GUEST) for _ in range(5)]
    assert allowed(*guests) == 50
    assert door.remembered == (0, 1)


def test_the_own_bucket_comes_first_and_takes_nothing_from_the_others():
    door = Door(rate_limit_per_s=1, rate_limit_burst_count=5, user_rate_limit_per_s=1, user_rate_limit_burst_count=8)
    greedy, other = door.open(user=ANN), door.open(user=ANN)
    assert allowed(greedy) == 5
    assert allowed(other) == 3


def test_what_is_long_costs_a_share_as_many_events_as_its_bytes_would_be():
    rates = {"rate_limit_per_s": 50, "rate_limit_bytes_per_s": 50_000, "rate_limit_burst_bytes": 1_000_000}
    door = Door(user_rate_limit_per_s=1, user_rate_limit_burst_count=100, **rates)
    assert allowed(door.open(user=ANN), size_bytes=10_000) == 10
    assert allowed(door.open(user=BOB), size_bytes=999) == 50


def test_what_is_relayed_costs_a_share_its_part_of_an_event_or_its_bytes():
    rates = {"rate_limit_per_s": 50, "relay_rate_limit_per_s": 200, "rate_limit_bytes_per_s": 50_000}
    door = Door(user_rate_limit_per_s=1, user_rate_limit_burst_count=10, rate_limit_burst_bytes=1_000_000, **rates)
    assert allowed(door.open(user=ANN), has_own_rate=True) == 40
    assert allowed(door.open(user=BOB), has_own_rate=True, size_bytes=1000) == 10
    unlimited = Door(relay_rate_limit_per_s=0, user_rate_limit_per_s=1, user_rate_limit_burst_count=1)
    assert allowed(unlimited.open(user=ANN), has_own_rate=True) == 50


def test_without_a_rate_limit_of_connections_nothing_is_counted():
    door = Door(rate_limit_per_s=0, user_rate_limit_per_s=1, user_rate_limit_burst_count=1)
    account = door.open(user=ANN)
    assert not account.is_limited
    assert allowed(account) == 50
    assert account.charge_shares(1_000_000, is_relayed=True) is None


def test_a_user_has_so_many_connections_and_one_more_is_refused_until_one_goes():
    door = Door(connections_per_user_limit=3)
    tabs = [door.open(user=ANN) for _ in range(3)]
    one_more = door.open()
    with pytest.raises(TooManyConnections, match="3 connections") as refused:
        one_more.set_user(ANN)
    assert (refused.value.code, refused.value.retry) == ("rate_limited", True)
    assert one_more.user is None
    tabs[0].close()
    tabs[0].close()  # counts once
    one_more.set_user(ANN)
    assert one_more.user == ANN
    with pytest.raises(TooManyConnections):
        door.open(user=ANN)
    door.open(user=BOB)


def test_an_address_has_so_many_connections_and_one_more_is_refused_until_one_goes():
    door = Door(connections_per_address_limit=3)
    assert [door.admit() for _ in range(3)] == [0] * 3
    accounts = [door.open() for _ in range(3)]
    assert door.admit() > 0
    assert door.admit("198.51.100.2") == 0
    accounts[0].close()
    assert door.admit() == 0


def test_an_address_makes_so_many_handshakes():
    door = Door(connect_rate_limit_per_s=10, connect_rate_limit_burst_count=3)
    assert [door.admit() for _ in range(3)] == [0] * 3
    assert door.admit() == pytest.approx(0.1)
    assert door.admit("2001:db8::1") == 0
    assert [door.admit("2001:db8::2"), door.admit("2001:db8::3")] == [0, 0]
    assert door.admit("2001:db8::4") > 0, "an IPv6 address is its /64"
    door.now_s = 0.1
    assert door.admit() == 0
    assert door.admit() > 0


def test_all_addresses_together_make_so_many_handshakes_and_one_that_is_refused_takes_none():
    door = Door(
        connect_total_rate_limit_per_s=10,
        connect_total_rate_limit_burst_count=5,
        connect_rate_limit_per_s=1,
        connect_rate_limit_burst_count=2,
    )
    assert [door.admit() > 0 for _ in range(100)] == [False] * 2 + [True] * 98
    assert [door.admit(f"198.51.100.{number}") > 0 for number in range(2, 9)] == [False] * 3 + [True] * 4
    assert door.remembered == (0, 4), "who is not let in is not remembered"
    door.now_s = 0.1
    assert door.admit("198.51.100.9") == 0


def test_a_rate_of_zero_lets_all_in():
    door = Door(connect_rate_limit_per_s=0, connect_total_rate_limit_per_s=0)
    assert {door.admit() for _ in range(20_000)} == {0}


def test_who_leaves_and_comes_back_has_nothing_new():
    door = Door(user_rate_limit_per_s=1, user_rate_limit_burst_count=10, connect_rate_limit_per_s=1)
    door.admit()
    first = door.open(user=ANN)
    assert allowed(first) == 10
    first.close()
    assert allowed(door.open(user=ANN)) == 0


def test_who_is_gone_is_forgotten_when_the_buckets_are_full_again_and_not_while_connected():
    rates = {"user_rate_limit_per_s": 1, "user_rate_limit_burst_count": 10}
    door = Door(address_rate_limit_per_s=1, address_rate_limit_burst_count=20, connect_rate_limit_per_s=50, **rates)
    door.admit()
    account, other = door.open(user=ANN), door.open(user=ANN)
    account.close()
    door.now_s = 100.0
    door.accounts.sweep(door.now_s)
    assert door.remembered == (1, 1)
    other.close()
    door.now_s = 109.0
    door.accounts.sweep(door.now_s)
    assert door.remembered == (1, 1)
    door.now_s = 110.0
    door.accounts.sweep(door.now_s)
    assert door.remembered == (0, 1)
    door.now_s = 120.0
    door.accounts.sweep(door.now_s)
    assert door.remembered == (0, 0)


def visits(door: Door, count: int) -> int:
    """Let so many addresses come and go, a quarter of them with a connection; return the most that were remembered."""
    most = 0
    for number in range(count):
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        assert door.admit(address) == 0
        if number % 4 == 0:
            door.open(address).close()
        most = max(most, door.remembered[1])
    return most


def patient_door(limit_count: int) -> Door:
    """Return a door where no bucket is ever full again."""
    rates = {"address_rate_limit_per_s": 1, "address_rate_limit_burst_count": 1_000_000}
    return Door(address_limit_count=limit_count, connect_total_rate_limit_per_s=0, **rates)


def test_a_hundred_thousand_addresses_are_no_more_than_the_setting_says():
    door = patient_door(2_000)
    held = door.open("203.0.113.1")
    assert visits(door, 100_000) == 2_000 + 1
    assert door.accounts.addresses.find("203.0.113.1") is not None, "who is connected is never forgotten"
    held.close()


@pytest.mark.long
def test_each_address_that_is_remembered_takes_half_a_kilobyte():
    sizes_bytes = []
    tracemalloc.start()
    try:
        for limit_count in (1_000, 11_000):  # beside the caches of texts, which are full after 4,096
            door = patient_door(limit_count)
            before_bytes = tracemalloc.get_traced_memory()[0]
            assert visits(door, 30_000) == limit_count
            sizes_bytes.append(tracemalloc.get_traced_memory()[0] - before_bytes)
    finally:
        tracemalloc.stop()
    assert sizes_bytes[1] - sizes_bytes[0] < 600 * 10_000


def test_the_first_to_have_gone_are_forgotten_first():
    door = Door(address_limit_count=2, connect_rate_limit_per_s=1, connect_rate_limit_burst_count=1)
    for number in (1, 2, 3):
        assert door.admit(f"198.51.100.{number}") == 0
    assert door.admit("198.51.100.3") > 0
    assert door.admit("198.51.100.2") > 0
    assert door.admit("198.51.100.1") == 0
