"""What only a Redis can do to a log: hang, be full, be taken over, lose what it had; and whom it must not be used by."""

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import MessageLog, NotLoaded, revoke
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.message_log.redis import resent
from hazoom_ws.namespaces.replies import unkept
from hazoom_ws.settings import Settings, SettingsError
from redis_server import Databases, Patient, RedisServer, running_redis
from servers import ROOT, free_port, wait_until

pytestmark = pytest.mark.redis
PASSWORD = "not to be shown"
GUIDES = ROOT / "src" / "hazoom_ws" / "web" / "guides"


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """Return a Redis that these tests may let hang."""
    with running_redis(password=PASSWORD) as server:
        yield server


@pytest.fixture
def open_redis(redis: RedisServer, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    redis.ask("FLUSHALL")
    opened: list[MessageLog] = []

    def make(**options: Any) -> Any:
        settings = Settings(**{"log_url": redis.url(), "log_redis_timeout_s": 0.3} | options)
        opened.append(open_log(settings, tmp_path))
        return Patient(opened[-1])

    yield make
    for log in opened:
        log.close()


@contextmanager
def hanging(redis: RedisServer) -> Iterator[None]:
    redis.stop()
    try:
        yield
    finally:
        redis.go_on()


def say(log: Any, text: str, **fields: Any) -> NewMessage:
    entry: NewMessage = log.append(room="a", user="Ann", message=text, timestamp=time.time(), **fields)
    return entry


def write(log: Any) -> None:
    log.write(log.pop_batch())


def mend(log: Any) -> None:
    def is_well() -> bool:
        log.reopen()
        return log.problem is None

    wait_until(is_well, "the log is well again")


def texts(log: Any) -> list[str]:
    return [entry.message for entry in log.read("a", limit=50, newest=True).messages]


@pytest.mark.parametrize("is_done_first", [False, True])
def test_what_was_not_answered_is_there_once_when_it_is_sent_again(
    redis: RedisServer, open_redis: Callable[..., Any], is_done_first: bool
) -> None:
    """Whether Redis has done it or not: nobody knew, so its senders were refused."""
    log = open_redis()
    say(log, "1")
    log.states.set("a", {"x": b"1"}, user="Ann", timestamp=1.0)
    write(log)
    with hanging(redis):
        say(log, "2", client_id="c")
        unnamed = log.append(room="b", user="Ann", message="may be there", timestamp=1.0)
        log.states.set("a", {"x": b"2"}, user="Bob", timestamp=2.0, client_id="c")
        batch = log.pop_batch()
        with pytest.raises(LogUnavailable):
            log.write(batch)
        assert log.problem == "Redis does not answer"
        assert unkept(batch.messages[0]).retry, "it has a client_id"
        assert not unkept(unnamed).retry, "it may be there twice if it is sent again"
        log.forget(batch)
        for entry in batch.entries():
            revoke(entry)  # as those do who refuse it
        with pytest.raises(LogUnavailable):
            say(log, "3")
    if is_done_first:  # else it may be done at the same time, or never
        wait_until(lambda: redis.ask("XLEN", "{hazoom}:messages:a") == b":2", "Redis does what it was sent")
    mend(log)
    heard = [entry.seq for entry in log.news()]
    assert len(heard) == (2 if is_done_first else len(heard)), "who is here hears of it as of what another process says"
    again = say(log, "2", client_id="c")
    change = log.states.set("a", {"x": b"2"}, user="Bob", timestamp=2.0, client_id="c")
    write(log)
    assert ([-again.seq, -change.seq] == heard) or not heard
    for _ in range(2):
        assert texts(log) == ["1", "2"]
        assert {key: value.value for key, value in log.states.read("a").values.items()} == {"x": b"2"}
        log.close()
        log = open_redis()


def test_nothing_in_a_turn_waits_for_a_redis_that_hangs(redis: RedisServer, open_redis: Callable[..., Any]) -> None:
    """What is not in memory is said to be so, at once; the rest is answered."""
    log = open_redis()
    say(log, "1")
    write(log)
    log.close()
    log = open_redis(log_redis_timeout_s=60.0)._inner
    with hanging(redis):
        for ask in (
            lambda: log.read("a", limit=5, newest=True),
            lambda: log.states.get("a", "x"),
        ):
            with pytest.raises(NotLoaded):
                ask()
        assert log.find_resent("a", "Ann", "new") is None
        say(log, "2")
        assert log.news() == []
        log.look()


def test_a_redis_that_nobody_writes_to_is_looked_after(redis: RedisServer, open_redis: Callable[..., Any]) -> None:
    log = open_redis()
    assert not log.is_dirty
    wait_until(lambda: log.look() or log.is_dirty, "it is time to look")
    assert not log.is_pressing, "nobody waits for it"
    write(log)
    assert not log.is_dirty
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        wait_until(lambda: log.look() or log.is_dirty, "it is time to look")
        with pytest.raises(LogUnavailable):
            write(log)
        assert log.problem == "Redis is full"
        log.reopen()
        assert log.problem == "Redis is full"
    finally:
        redis.ask("CONFIG", "SET", "maxmemory", "0")
    mend(log)


def test_a_process_that_was_taken_for_dead_says_nothing_before_it_has_begun_anew(
    redis: RedisServer, open_redis: Callable[..., Any]
) -> None:
    first, second = open_redis(), open_redis()
    say(first, "1")
    write(first)
    assert second.peers.alive() == {first.peers.name, second.peers.name}
    redis.ask("DEL", f"{{hazoom}}:process:{first.peers.name}")  # as if nothing had been heard of it for long
    assert second.peers.alive() == {second.peers.name}
    say(first, "lost")
    batch = first.pop_batch()
    with pytest.raises(LogUnavailable):
        first.write(batch)
    first.forget(batch)
    assert first.problem == "the lease of this process has run out"
    mend(first)
    say(first, "2")
    write(first)
    assert texts(second) == texts(first) == ["1", "2"]
    first.close()
    assert second.peers.alive() == {second.peers.name}


def test_a_process_that_hears_no_more_is_known_by_that_before_its_lease_is_over(
    redis: RedisServer, open_redis: Callable[..., Any]
) -> None:
    first, second = open_redis(), open_redis()
    names = [first.peers.name, second.peers.name, "0" * 16]
    assert second.peers.deaf(names) == {"0" * 16}
    redis.client().client_kill_filter(_type="pubsub")
    wait_until(lambda: second.peers.deaf(names) == set(names), "Redis has found out")
    assert second.peers.alive() == set(names[:2])


def test_what_was_heard_before_somebody_listens_keeps_nothing_from_being_told(open_redis: Callable[..., Any]) -> None:
    log, other = open_redis()._inner, open_redis()
    told: list[bool] = []
    log.listen(lambda: told.append(True), list, lambda: None)
    other.peers.publish(f"process:{log.peers.name}", b"k", b"hello")
    wait_until(lambda: told and [heard.data for heard in log.news()] == [b"hello"], "it is told")


def test_what_does_not_fit_into_memory_is_looked_up(
    open_redis: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_redis()
    entries = [say(log, str(number), client_id=str(number)) for number in range(20)]
    write(log)
    log.close()
    monkeypatch.setattr(resent, "KNOWN_LIMIT_COUNT", 10)
    monkeypatch.setattr("hazoom_ws.message_log.redis.store.KNOWN_LIMIT_COUNT", 10)
    log = open_redis()
    assert log.find_resent("a", "Ann", "3") == entries[3]
    assert log.find_resent("a", "Ann", "20") is None


def test_rooms_are_trimmed_and_who_was_away_for_longer_is_told(open_redis: Callable[..., Any]) -> None:
    log = open_redis(history_room_limit_count=5)
    entries = []
    for number in range(12):
        entries.append(say(log, str(number)))
        write(log)
    for _ in range(2):
        assert texts(log) == [str(number) for number in range(7, 12)]
        assert log.read("a", after=entries[3].seq, limit=50, newest=True).gap is True
        assert log.read("a", after=entries[6].seq, limit=50, newest=True).gap is False
        log.close()
        log = open_redis(history_room_limit_count=5)
    log.close()
    log = open_redis(history_room_limit_count=2)  # a bound that was lowered
    while log.is_untidy:
        log.tidy()
    assert texts(log) == ["10", "11"]


def test_each_message_is_published_with_the_one_before(redis: RedisServer, open_redis: Callable[..., Any]) -> None:
    """So that who listens sees a gap."""
    log = open_redis()
    with socket.create_connection(("127.0.0.1", redis.port), timeout=20) as listener:
        listener.sendall(f"AUTH '{PASSWORD}'\r\nSUBSCRIBE {{hazoom}}:{log.epoch}:room:a\r\n".encode())
        lines = listener.makefile("rb")
        while lines.readline() != b":1\r\n":  # it is listening
            pass
        entries = [say(log, "1"), say(log, "2")]
        write(log)
        published = [[lines.readline() for _ in range(7)][-1] for _ in entries]
    first, second = (entry.seq for entry in entries)
    assert [each.split(b" ")[1:4] for each in published] == [
        [b"m", b"0", b"%d" % first],
        [b"m", b"%d" % first, b"%d" % second],
    ]
    assert b'"message":"2"' in published[1]


def test_what_is_no_message_is_left_out(redis: RedisServer, open_redis: Callable[..., Any]) -> None:
    log = open_redis()
    say(log, "1")
    write(log)
    log.close()
    assert redis.ask("XADD", "{hazoom}:messages:a", "8000000000000000-1", "d", "{}").startswith(b"$")
    assert texts(open_redis()) == ["1"]


def test_another_program_says_something_by_a_function_of_redis(redis: RedisServer, open_redis: Callable[..., Any]) -> None:
    log = open_redis(message_limit_bytes=20)
    say(log, "1")
    write(log)
    call = ["FCALL", "hazoom_publish", "0", "a", "Shop"]
    assert redis.ask(*call, 'sale \u2603/"\\', "order-1") == b"*2"
    assert redis.ask(*call, "again", "order-1") == b"*2"
    say(log, "2")
    write(log)
    page = log.read("a", limit=9, newest=True).messages
    assert [entry.message for entry in page] == ["1", 'sale \u2603/"\\', "2"]
    assert [entry.seq for entry in page] == sorted(entry.seq for entry in page)
    assert (page[1].user, page[1].client_id, abs(page[1].timestamp - time.time()) < 60) == ("Shop", "order-1", True)
    for arguments, expected in [
        (["x" * 21], b"-ERR message has 21 bytes; the limit is 20"),
        ([""], b"-ERR room, user and message are needed, and none may be empty"),
    ]:
        assert redis.ask(*call, *arguments).startswith(expected)
    [user] = re.findall("^user (shop .*)", (GUIDES / "several-machines.md").read_text(), re.MULTILINE)
    with redis.client() as client:
        client.execute_command("ACL", "SETUSER", *user.split(" "))
        client.execute_command("AUTH", "shop", "another-long-password")
        assert client.execute_command(*call, "by few rights", "order-2")[1] == 0
    broken = b"*6\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in [*map(str.encode, call), b"\xff"])
    assert b"not UTF-8" in redis.send(broken)


def test_a_redis_that_must_not_be_used_is_refused_and_no_password_shown(
    redis: RedisServer, open_redis: Callable[..., Any]
) -> None:
    nowhere = free_port()
    refused = [
        ({}, "maxmemory-policy allkeys-lru"),
        ({"log_url": f"redis://127.0.0.1:{redis.port}/0"}, "wants a password, or another one"),
        ({"log_url": f"redis://:secret@127.0.0.1:{redis.port}/0"}, "wants a password, or another one"),
        ({"log_url": f"redis://:secret@127.0.0.1:{nowhere}/0"}, "Redis cannot be reached"),
        ({"log_url": f"redis://:secret@127.0.0.1:{redis.port}/0?ssl_nonsense=1"}, "an option that a Redis of this kind"),
    ]
    redis.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        for options, expected in refused:
            with pytest.raises(SettingsError, match=expected) as caught:
                open_redis(**options)
            assert "secret" not in str(caught.value)
            assert PASSWORD not in str(caught.value)
    finally:
        redis.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_a_database_of_a_redis_is_a_log_of_its_own(databases: Databases, tmp_path: Path) -> None:
    one, other = (Patient(open_log(Settings(log_url=databases.next_url()), tmp_path)) for _ in range(2))
    say(one, "1")
    write(one)
    assert texts(other) == []
    for log in (one, other):
        log.close()
