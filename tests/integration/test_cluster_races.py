"""Moments in which two processes on one Redis meet: logs of both in this process, and each step of a turn made by hand.

`LogOfProcess` is the log of one process. Its turns are the calls of this test: nothing is heard but in `LogOfProcess.news`.
"""

import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import Batch, NotLoaded
from hazoom_ws.message_log.redis.bus import Published
from hazoom_ws.message_log.redis.followed import AHEAD_LIMIT
from hazoom_ws.message_log.redis.log import RedisLog
from hazoom_ws.message_log.redis.scripts import GAP
from hazoom_ws.message_log.redis.server import AWAY, Refused
from hazoom_ws.settings import Settings
from redis_server import Databases, databases, loaded, running_redis
from servers import unique, wait_until

__all__ = ["databases"]
pytestmark = pytest.mark.redis


class LogOfProcess(RedisLog):
    """A log whose turns a test makes; ``told`` are the texts that it has told, in their order."""

    def __init__(self, url: str) -> None:
        super().__init__(Settings(log_url=url, log_redis_timeout_s=2), importlib.import_module)
        self.told: list[str] = []
        self.listen(lambda: None, list, self.tell)

    def tell(self) -> None:
        self.told += [each.message for each in self.news() if isinstance(each, NewMessage)]

    def follow_now(self, room: str) -> None:
        loaded(self.follow, [room])

    def begin_to_say(self, room: str, text: str, **fields: Any) -> Batch:
        self.append(**{"room": room, "user": "Ann", "message": text, "timestamp": time.time()} | fields)
        return self.pop_batch()

    def say(self, room: str, text: str, **fields: Any) -> NewMessage:
        batch = self.begin_to_say(room, text, **fields)
        self.write(batch)
        self.note_kept(batch)
        return batch.messages[0]

    def has_heard(self, text: str) -> Callable[[], bool]:
        """Return whether something is in the inbox, whether it was applied or not."""
        return lambda: any(isinstance(item, Published) and text.encode() in item.data for item in list(self._bus._inbox))

    def texts(self, room: str) -> list[str]:
        page = loaded(self.read, room, limit=100, newest=True)
        return [entry.message for entry in page.messages]


@pytest.fixture
def room() -> str:
    return unique("room")


@pytest.fixture
def logs(databases: Databases) -> Iterator[tuple[LogOfProcess, LogOfProcess]]:
    """Return the logs of two processes."""
    url = databases.next_url()
    one, other = LogOfProcess(url), LogOfProcess(url)
    yield one, other
    one.close()
    other.close()


def test_what_others_say_after_a_batch_is_told_after_it(logs: tuple[LogOfProcess, LogOfProcess], room: str) -> None:
    """`news` told it at once, and so before the batch was sent: clients of two processes saw two orders."""
    one, other = logs
    for log in logs:
        log.follow_now(room)
    woken: list[bool] = []
    one.listen(lambda: woken.append(True), list, one.tell)
    batch = one.begin_to_say(room, "first")
    one.write(batch)
    one.tell()  # a turn, in which nothing of the batch is told, nor what comes after it
    other.say(room, "second")
    wait_until(one.has_heard("second"), "it is heard")
    woken.clear()
    one.note_kept(batch)
    assert one.news(is_before_kept=True) == []
    assert woken or one._bus._is_told, "somebody tells the rest"
    one.tell()
    assert one.told == ["second"]
    assert one.texts(room) == other.texts(room) == ["first", "second"]


def test_what_redis_has_though_it_did_not_say_so_is_shown(logs: tuple[LogOfProcess, LogOfProcess], room: str) -> None:
    """A turn had taken it out of the inbox for what the process says itself; when that was refused, nobody showed it."""
    one, _ = logs
    one.follow_now(room)
    run = one._store.write

    def lose_the_answer(*arguments: object, **options: object) -> None:
        run(*arguments, **options)  # type: ignore[arg-type]
        wait_until(one.has_heard("said"), "it is heard")
        one.tell()  # a turn
        raise Refused(AWAY, is_unknown=True)

    one._store.write = lose_the_answer  # type: ignore[method-assign, assignment]
    batch = one.begin_to_say(room, "said")
    with pytest.raises(LogUnavailable):
        one.write(batch)
    one._store.write = run  # type: ignore[method-assign]
    one.reopen()
    one.tell()
    assert (one.problem, one.told, one.texts(room)) == (None, ["said"], ["said"])


def test_a_room_is_whole_that_is_talked_in_while_it_is_loaded(logs: tuple[LogOfProcess, LogOfProcess], room: str) -> None:
    """What was said after the highest number was read, and heard before the room was followed, was neither in memory nor
    looked for in Redis; and the next message showed a gap, for which the log began anew.
    """
    one, other = logs
    read = one._store.last_seq

    def last_seq() -> int:
        seq = read()
        other.say(room, "meanwhile")
        return seq

    one._store.last_seq = last_seq  # type: ignore[method-assign]
    one.follow_now(room)
    assert one.texts(room) == ["meanwhile"]
    other.say(room, "later")
    wait_until(lambda: one.tell() or "later" in one.told, "it is told")
    assert (one.problem, one.texts(room)) == (None, ["meanwhile", "later"])


def test_what_is_heard_while_something_is_loaded_is_told_before_the_turn_goes_on(
    logs: tuple[LogOfProcess, LogOfProcess], room: str
) -> None:
    """It was in memory and not told yet, so who came in that turn had it in the page, and was sent it too."""
    one, other = logs
    one.follow_now(room)
    other.say(room, "said")
    wait_until(one.has_heard("said"), "it is heard")
    with pytest.raises(NotLoaded) as missing:
        one.follow([unique("another")])
    missing.value.load()()
    assert one.told == one.texts(room) == ["said"]


def test_a_connection_that_ends_while_the_log_begins_anew_is_noticed(
    logs: tuple[LogOfProcess, LogOfProcess], databases: Databases
) -> None:
    """The log was called well again, and heard nothing more of what others said."""
    one, _ = logs
    one.problem = AWAY
    run = one._store.write

    def cut_off(*arguments: object, **options: object) -> object:
        databases.server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        wait_until(lambda: one._bus._connection is None, "it is noticed")
        return run(*arguments, **options)  # type: ignore[arg-type]

    one._store.write = cut_off  # type: ignore[method-assign, assignment]
    one.reopen()
    assert one.problem == AWAY
    one._store.write = run  # type: ignore[method-assign]
    one.reopen()
    assert one.problem is None


def test_what_was_missed_is_told_though_nobody_here_says_anything(
    databases: Databases, logs: tuple[LogOfProcess, LogOfProcess], room: str
) -> None:
    """It was taken for a batch of this process: it waited for one that was written, or was not told at all."""
    one, other = logs
    one.follow_now(room)
    databases.server.ask("CLIENT", "KILL", "TYPE", "pubsub")
    for log in logs:
        wait_until(lambda log=log: log.problem is not None, "it is noticed")
    other.reopen()
    other.say(room, "meanwhile")
    one.reopen()
    one.tell()
    assert one.told == one.texts(room) == ["meanwhile"]


def test_what_is_heard_while_the_log_begins_anew_is_nothing_that_redis_has_lost(
    logs: tuple[LogOfProcess, LogOfProcess], room: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The number that Redis had named was compared with what was heard since."""
    one, other = logs
    one.follow_now(room)
    begin = one._store.begin

    def begin_slowly(**options: Any) -> object:
        about = begin(**options)
        other.say(room, "said")
        wait_until(lambda: one.tell() or "said" in one.told, "a turn has told it")
        return about

    one._store.begin = begin_slowly  # type: ignore[method-assign, assignment]
    one.reopen()
    assert (one.problem, one.documents.losses_count) == (None, 0)
    assert "had lost" not in caplog.text


def test_no_number_is_given_twice_and_what_redis_has_lost_is_given_back_though_others_have_gone_on(
    room: str,
) -> None:
    """Numbers may be ahead of the clock: then that does not keep a Redis from giving those again that it has lost."""
    with running_redis() as redis:
        one, other = LogOfProcess(redis.url()), LogOfProcess(redis.url())
        redis.ask("HSET", "{hazoom}:about", "last", str(one.last_seq + 10**12))  # many have said much
        assert redis.ask("SAVE") == b"+OK"
        one.follow_now(room)
        lost = one.say(room, "lost")
        other._bus.on_broken = lambda _: None  # it has not noticed yet, and could write by a new connection
        redis.kill()
        redis.start()
        with pytest.raises(Refused):
            other.say(room, "too soon")
        with redis.client() as client:
            number, _ = client.fcall("hazoom_publish", 0, "another room", "Shop", "by a program")
        assert int(number) > lost.seq
        wait_until(lambda: one.problem is not None, "it is noticed")
        other.reopen()
        assert other.say("another room", "after that").seq > int(number)
        one.reopen()
        assert (one.problem, other.texts(room)) == (None, ["lost"])
        other.say(room, "and that")
        wait_until(lambda: one.tell() or one.told, "it is heard")
        assert one.texts(room) == ["lost", "and that"]
        one.close()
        other.close()


def test_what_is_said_after_many_tokens_is_after_them(logs: tuple[LogOfProcess, LogOfProcess], room: str) -> None:
    """A number is a token's place too, by which its client comes back to any process."""
    one, other = logs
    one.follow_now(room)
    began_at_s = time.monotonic()
    tokens = [one.next_offset() for _ in range(2 * GAP)]
    wait_until(lambda: time.monotonic() - began_at_s > len(tokens) / 1e6, "the clock has gone on as far as the numbers")
    other.say(room, "after that")
    wait_until(lambda: one.tell() or one.told, "it is heard")
    for log in (one, other):
        page = loaded(log.read, room, after=tokens[-1], limit=10, newest=False)
        assert [entry.message for entry in page.messages] == ["after that"]


def test_a_number_that_nobody_can_have_heard_is_in_nobodys_way(logs: tuple[LogOfProcess, LogOfProcess], room: str) -> None:
    one, other = logs
    one.follow_now(room)
    assert loaded(one.read, room, after=2**53, limit=10, newest=False).gap
    one._server.command("HSET", "{hazoom}:about", "last", one.last_seq + 10 * AHEAD_LIMIT)
    seen = other.say("another room", "much later").seq
    assert not loaded(one.read, room, after=seen, limit=10, newest=False).gap


def test_a_connection_that_listens_does_not_come_back_by_itself(logs: tuple[LogOfProcess, LogOfProcess]) -> None:
    """redis-py connects again by itself, and what was listened to is not listened to then."""
    one, _ = logs
    connection = one._bus._connection
    connection.disconnect()  # as redis-py does when something could not be sent
    wait_until(lambda: one.problem is not None, "it is noticed")
    with pytest.raises(one._server._errors.ConnectionError):
        connection.send_command("PING")


@pytest.mark.parametrize("of_somebody_else", [{"sender": "guest:1"}, {"sender": "cheer name:Ann", "event_name": "cheer"}])
def test_what_somebody_else_says_under_the_same_name_and_client_id_is_no_duplicate(
    logs: tuple[LogOfProcess, LogOfProcess], room: str, of_somebody_else: dict[str, str]
) -> None:
    """Who has sent what is heard is not known, and it was taken for whoever shows the name: their own was not kept."""
    one, other = logs
    one.follow_now(room)
    other.say(room, "theirs", client_id="1", **of_somebody_else)
    wait_until(one.has_heard("theirs"), "it is heard")
    one.tell()
    assert loaded(one.find_resent, room, "Ann", "1") is None
    mine = one.say(room, "mine", client_id="1")
    assert one.find_resent(room, "Ann", "1") is mine
    page = loaded(one.read, room, limit=9, newest=True, event_name=None)
    assert [entry.message for entry in page.messages] == ["theirs", "mine"]


def test_what_was_said_before_over_another_process_is_acknowledged_as_that(
    logs: tuple[LogOfProcess, LogOfProcess], room: str
) -> None:
    one, other = logs
    first = other.say(room, "said", client_id="1", timestamp=1000.5)
    again = one.say(room, "said", client_id="1")
    assert (-again.seq, again.id, again.timestamp) == (first.seq, first.id, 1000.5)
    assert one.texts(room) == ["said"]


def test_what_fails_while_it_is_found_out_what_was_missed_is_tried_again(
    logs: tuple[LogOfProcess, LogOfProcess], caplog: pytest.LogCaptureFixture
) -> None:
    """What others were not told while Redis was away was never told again, if that failed by anything but Redis."""
    one, _ = logs
    calls: list[str] = []

    def fail_once() -> None:
        calls.append("before")
        if len(calls) == 1:
            raise RuntimeError

    one.peers.before_back.append(fail_once)
    one.peers.on_back.append(lambda: calls.append("back"))
    one.peers._has_lost = True
    one.peers.publish("processes", b"n", b"")
    wait_until(lambda: one.tell() or calls[-1:] == ["back"], "it is told")
    assert calls == ["before", "before", "back"]
    assert "not told" in caplog.text
