"""What processes tell each other of how many there are."""

from hazoom_ws.access.shares import Shares
from hazoom_ws.cluster.counts import COUNTS, Counts
from hazoom_ws.events.stats import ProcessStats
from hazoom_ws.message_log.peers import Heard


class Peers:
    """Gives what is published to the others at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.on_back: list = []
        self.others: list[Counts] = []

    def publish(self, _channel: str, kind: bytes, data: bytes) -> None:
        assert kind == COUNTS
        for other in self.others:
            other.heard(Heard("processes", self.name, kind, data))


class Process:
    def __init__(self, name: str) -> None:
        self.now_s = 0.0
        self.peers = Peers(name)
        self.users, self.addresses = (Shares(whose, 0, 1, remembered_count=10) for whose in ("user", "address"))
        stats = ProcessStats(
            name=name, users=0, connections=0, messages_total=0, llm_active=0, llm_queued=0, uptime_s=0, rss_mb=0
        )
        self.counts = Counts(self.peers, self.users, self.addresses, lambda: stats, clock=lambda: self.now_s)


def two() -> tuple[Process, Process]:
    one, other = Process("one"), Process("other")
    one.peers.others, other.peers.others = [other.counts], [one.counts]
    return one, other


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
