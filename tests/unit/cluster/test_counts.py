"""What processes tell each other of how many there are, and of what these spend of their rates."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazoom_ws.access.shares import Share, Shares
from hazoom_ws.cluster.counts import COUNTS, INTERVAL_S, Counts
from hazoom_ws.events.stats import ProcessStats
from hazoom_ws.message_log.peers import Heard


class Peers:
    """Gives what is published to the others at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.on_back: list = []
        self.others: list[Counts] = []
        self.told: list[bytes] = []

    def publish(self, _channel: str, kind: bytes, data: bytes) -> None:
        assert kind == COUNTS
        self.told.append(data)
        for other in self.others:
            other.heard(Heard("processes", self.name, kind, data))


class Process:
    """Its users have ``rate_per_s`` and twice of that at once, its addresses as many handshakes."""

    def __init__(self, name: str, rate_per_s: float = 0.0, now_s: float = 0.0) -> None:
        self.now_s = now_s
        self.peers = Peers(name)
        burst_count = int(2 * rate_per_s) or 1
        self.users = Shares("user", rate_per_s, burst_count, remembered_count=3000)
        self.addresses = Shares(
            "address",
            0,
            1,
            handshakes_per_s=rate_per_s,
            handshakes_burst_count=burst_count,
            remembered_count=10,
        )
        stats = ProcessStats(
            name=name, users=0, connections=0, messages_total=0, llm_active=0, llm_queued=0, uptime_s=0, rss_mb=0
        )
        self.counts = Counts(self.peers, self.users, self.addresses, lambda: stats, clock=lambda: self.now_s)

    def spend(self, share: Share, tries: int, cost: float = 1.0) -> int:
        """Return how many events of so many at once are allowed."""
        return sum(share.spend(self.now_s, cost) == 0 for _ in range(tries))


def joined(*processes: Process) -> tuple[Process, ...]:
    for each in processes:
        each.peers.others = [other.counts for other in processes if other is not each]
    return processes


def two(rate_per_s: float = 0.0) -> tuple[Process, ...]:
    return joined(Process("one", rate_per_s), Process("other", rate_per_s))


def after(seconds: float, *processes: Process) -> None:
    """Let time pass; all have told each other what there was then."""
    for each in processes:
        each.now_s += seconds
    for each in processes:
        each.counts.run_due()


def test_connections_of_a_user_are_counted_everywhere_within_a_second():
    one, other = two()
    shares = [one.users.open("ann", 0.0) for _ in range(3)]
    other.users.open("ann", 0.0)
    one.users.open("bob", 0.0)
    one.now_s += 1
    assert 0 < one.counts.run_due() <= 1
    assert (one.users.connection_count("ann"), other.users.connection_count("ann")) == (3, 4)
    assert other.counts.shared_users_count() == 1
    shares[0].close(0.0)
    assert one.counts.run_due() > 0, "it is not time yet"
    assert other.users.connection_count("ann") == 4
    one.now_s += 1
    one.counts.run_due()
    assert other.users.connection_count("ann") == 3
    other.counts.gone("one")
    assert (other.users.connection_count("ann"), other.counts.processes()) == (1, [])
    assert other.counts.shared_users_count() == 0


def test_who_begins_is_told_all_and_forgets_what_was_told_before():
    one, other = two()
    for number in range(2500):
        one.users.open(f"user {number}", 0.0)
    one.addresses.open("10.0.0.1", 0.0)
    other.users.set_elsewhere("one", {"gone": 1})
    one.counts.tell_all("process:other")
    assert sum(other.users.connection_count(f"user {number}") for number in range(2500)) == 2500
    assert other.users.connection_count("gone") == 0
    assert other.addresses.connection_count("10.0.0.1") == 1
    assert [each.name for each in other.counts.processes()] == ["one"]


def test_what_a_user_spends_at_one_process_is_missing_at_the_others_which_may_owe_something_then():
    one, other = two(rate_per_s=10)
    here, there = one.users.open("ann", 0.0), other.users.open("ann", 0.0)
    after(1, one, other)
    assert (one.spend(here, 30), other.spend(there, 15)) == (20, 15), "each allows a burst until it has been told"
    after(1, one, other)  # and 20 + 10 - 35 are left for both
    assert [share.spend(one.now_s, 1.0) for share in (here, there)] == pytest.approx([0.6, 0.6])
    after(0.6, one, other)
    assert (one.spend(here, 30), other.spend(there, 30)) == (1, 1)


def test_nothing_is_told_of_who_is_at_one_process_only():
    one, other = two(rate_per_s=10)
    share = one.users.open("ann", 0.0)
    after(1, one, other)
    assert one.spend(share, 15) == 15
    after(1, one, other)
    assert other.users.find("ann") is None
    there = other.users.open("ann", other.now_s)
    after(1, one, other)
    assert other.spend(there, 30) == 20, "what was missing at the first is there again"
    assert one.spend(share, 30) == 20
    after(1, one, other)
    assert [each.spend(one.now_s, 1.0) for each in (share, there)] == pytest.approx([1.1, 1.1])


def test_who_comes_to_another_process_as_well_has_nothing_new_there():
    one, other = two(rate_per_s=10)
    share = one.users.open("ann", 0.0)
    for _ in range(5):
        after(1, one, other)
        one.spend(share, 100)
    there = other.users.open("ann", other.now_s)
    after(1, other, one)  # the first hears of the second, and tells
    assert (one.spend(share, 100), other.spend(there, 100)) == (10, 0)


def test_who_leaves_a_process_has_nothing_new_at_another_and_what_is_owed_is_remembered_until_it_is_paid():
    one, other = two(rate_per_s=10)
    share = one.users.open("ann", 0.0)
    assert one.spend(share, 1, cost=50) == 1, "more than the bucket holds"
    share.close(0.0)
    after(1, one, other)
    there = other.users.find("ann")
    assert there is not None
    after(2.5, one, other)  # the time in which a bucket is filled, for who owes nothing
    for each in (one, other):
        each.users.sweep(each.now_s)
    assert (len(one.users), len(other.users)) == (1, 1)
    assert there.spend(other.now_s, 1.0) == pytest.approx(0.6)
    after(10, one, other)
    for each in (one, other):
        each.users.sweep(each.now_s)
    assert (len(one.users), len(other.users)) == (0, 0)


def test_handshakes_of_an_address_are_those_of_all_processes():
    one, other = two(rate_per_s=10)
    share, there = one.addresses.open("10.0.0.1", 0.0), other.addresses.open("10.0.0.1", 0.0)
    after(1, one, other)
    for _ in range(15):
        share.spend_handshake(one.now_s)
        there.spend_handshake(other.now_s)
    after(1, one, other)
    assert [each.handshakes.wait_s(one.now_s) for each in (share, there)] == pytest.approx([0.1, 0.1])
    one.addresses.remember("10.0.0.2", one.now_s).spend_handshake(one.now_s)
    after(1, one, other)
    assert other.addresses.find("10.0.0.2") is not None, "one that has shaken hands and gone"


def test_any_number_of_those_who_have_spent_something_is_told_and_each_once():
    one, other = two(rate_per_s=10)
    for number in range(2500):
        share = one.users.open(f"user {number}", 0.0)
        one.spend(share, 1, cost=15)
        share.close(0.0)
    after(1, one, other)
    assert len(one.peers.told) == 3
    assert len(other.users) == 2500
    assert {share.spend(1.0, 10.0) for share in map(other.users.find, map("user {}".format, range(2500)))} == {0.5}
    one.counts.tell_all("process:other")
    after(1, one, other)
    assert {share.spend(2.0, 15.0) for share in map(other.users.find, map("user {}".format, range(2500)))} == {0.0}


def test_without_rates_nothing_of_them_is_told():
    one, other = two()
    share = one.users.open("ann", 0.0)
    assert one.spend(share, 5) == 5
    share.close(0.0)
    after(1, one, other)
    assert msgspec.msgpack.decode(one.peers.told[-1])[4:] == [{}, {}]


def test_processes_of_the_version_before_which_tell_nothing_of_rates_are_understood():
    one, other = two()
    one.users.open("ann", 0.0)
    after(1, one, other)
    told = msgspec.msgpack.decode(one.peers.told[-1])
    other.counts.heard(Heard("processes", "old", COUNTS, msgspec.msgpack.encode(told[:4])))
    assert other.users.connection_count("ann") == 2


# What the user does at each of three processes, and how many tenths of a second pass then.
MOMENTS = st.tuples(st.tuples(*[st.sampled_from(["", "come", "say", "say all", "say all and go"])] * 3), st.integers(0, 12))


@given(st.lists(MOMENTS, min_size=5, max_size=40), st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_whoever_goes_from_process_to_process_gets_no_more_than_the_rate_and_a_burst_at_each(moments, phases):
    """``phases``: when within a second each process tells."""
    processes = joined(*(Process(str(number), 10.0, now_s=phase) for number, phase in enumerate(phases)))
    tabs: list[Share | None] = [None, None, None]
    said, passed_s = 0, 0.0
    for actions, tenths in moments:
        for number, (process, action) in enumerate(zip(processes, actions, strict=True)):
            tab = tabs[number]
            if action and tab is None:
                tab = tabs[number] = process.users.open("ann", process.now_s)
            if action.startswith("say"):
                said += process.spend(tab, 1 if action == "say" else 100)
            if action.endswith("go"):
                tab.close(process.now_s)
                tabs[number] = None
        for _ in range(tenths):
            passed_s += 0.1
            after(0.1, *processes)
        assert said <= 10 * passed_s + 3 * (20 + 10 * (INTERVAL_S + 0.1))


def test_who_keeps_to_the_rate_with_several_processes_is_never_refused():
    processes = joined(*(Process(str(number), 10.0, now_s=number / 3) for number in range(3)))
    tabs = [process.users.open("ann", process.now_s) for process in processes]
    for step in range(300):
        process, tab = processes[step % 3], tabs[step % 3]
        assert process.spend(tab, 1) == 1
        if step % 20 == 7:  # a reload
            tab.close(process.now_s)
            tabs[step % 3] = process.users.open("ann", process.now_s)
        after(0.1, *processes)
