"""Boards whose members are connected to several processes, with a hash that all share."""

from collections import deque
from collections.abc import Callable, Collection
from typing import Any

import pytest

from hazoom_ws.cluster.boards import SharedBoards
from hazoom_ws.cluster.news import News
from hazoom_ws.errors import HazoomError, LogUnavailable
from hazoom_ws.live.boards import MEMBERS_LIMIT_COUNT, Boards
from hazoom_ws.message_log.peers import Heard

Sent = tuple[str, str, tuple[Any, ...]]


class Redis:
    """The hashes, and the channels of all processes."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[bytes, bytes]] = {}
        self.processes: list[Process] = []


class Process:
    """One process: as `Peers`, and as all else that its boards need."""

    def __init__(self, name: str, redis: Redis) -> None:
        self.name = name
        self.redis = redis
        self.queued_bytes = 0
        self.on_back: list[Callable[[], object]] = []
        self.followed = {f"process:{name}"}
        self.sent: list[Sent] = []
        self.refused: list[str] = []
        self.beside: deque[Callable[[], None]] = deque()
        self.is_away = False
        self.boards = Boards(self.send, boards_limit_count=3)
        self.news = News(lambda _: None, decoded=lambda _: None)
        self.shared = SharedBoards(
            self.boards,
            self,  # type: ignore[arg-type]
            self.news,
            run_beside=self.run_beside,
            refuse=self.refuse,
            wake=lambda: None,
            clock=lambda: 0.0,
        )
        redis.processes.append(self)

    def send(self, sids: Collection[str], event: str, arguments: tuple[Any, ...], *, is_volatile: bool = False) -> None:
        self.sent += [(sid, event, arguments) for sid in sids]

    def refuse(self, sid: str, error: HazoomError) -> None:
        self.refused.append(f"{sid}: {error.code}")

    def run_beside(self, function: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        def run() -> None:
            try:
                result = function()
            except LogUnavailable as error:
                done(None, error)
            else:
                done(result, None)

        self.beside.append(run)

    def publish(self, channel: str, kind: bytes, data: bytes) -> None:
        for other in self.redis.processes:
            if other is not self and channel in other.followed and not (self.is_away or other.is_away):
                other.news.tell(Heard(channel, self.name, kind, data))

    def follow(self, channels: Collection[str]) -> None:
        self.followed.update(channels)

    def unfollow(self, channels: Collection[str]) -> None:
        self.followed.difference_update(channels)

    def ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        if self.is_away:
            raise LogUnavailable("away")
        answers: list[Any] = []
        for word, key, *rest in commands:
            there = self.redis.hashes.setdefault(key, {})
            if word == "HSET":
                there.update({sid.encode(): name.encode() for sid, name in zip(rest[::2], rest[1::2], strict=True)})
            elif word == "HDEL":
                for sid in rest:
                    there.pop(sid.encode(), None)
            answers.append(dict(there) if word == "HGETALL" else None)
        return answers

    def alive(self) -> set[str]:
        return {process.name for process in self.redis.processes}

    def join(self, sid: str, board: str = "b") -> None:
        self.boards.enter(sid)
        self.boards.join(sid, board)

    def take(self, event: str) -> list[tuple[str, tuple[Any, ...]]]:
        """Return what was sent of an event since this was called last."""
        taken = [(sid, arguments) for sid, name, arguments in self.sent if name == event]
        self.sent = [each for each in self.sent if each[1] != event]
        return taken

    def die(self) -> None:
        self.redis.processes.remove(self)
        for other in self.redis.processes:
            other.shared.lose(self.name)


def settle(*processes: Process) -> None:
    while any(process.beside for process in processes):
        for process in processes:
            if process.beside:
                process.beside.popleft()()


@pytest.fixture
def both() -> tuple[Process, Process]:
    redis = Redis()
    return Process("here", redis), Process("there", redis)


def members(process: Process) -> dict[str, set[str]]:
    """Return for each client who is there, as it was told last."""
    return {sid: set(arguments[0]) for sid, arguments in process.take("room-user-change")}


def test_of_those_who_join_at_once_one_is_first(both: tuple[Process, Process]) -> None:
    here, there = both
    here.join("ann")
    there.join("bob")
    settle(here, there)
    firsts = [*here.take("first-in-room"), *there.take("first-in-room")]
    assert len(firsts) == 1
    assert [*here.take("new-user"), *there.take("new-user")] == [("ann", ("bob",))]
    assert (members(here), members(there)) == ({"ann": {"ann", "bob"}}, {"bob": {"ann", "bob"}})


def test_who_is_on_a_board_is_forgotten_when_it_goes_or_its_process_dies(both: tuple[Process, Process]) -> None:
    here, there = both
    for process, sid in ((here, "ann"), (there, "bob"), (there, "cid")):
        process.join(sid)
        settle(here, there)
    there.boards.leave("bob")
    settle(here, there)
    assert members(here) == {"ann": {"ann", "cid"}}
    there.die()
    settle(here)
    assert members(here) == {"ann": {"ann"}}
    here.boards.leave("ann")
    settle(here)
    assert (here.redis.hashes, here.followed) == ({"{hazoom}:board:b": {}}, {"process:here"})


def test_what_was_left_by_a_process_that_has_died_unseen_is_nobody(both: tuple[Process, Process]) -> None:
    here, there = both
    there.join("bob")
    settle(there)
    here.redis.processes.remove(there)
    here.join("ann")
    settle(here)
    assert here.take("first-in-room") == [("ann", ())]
    assert here.redis.hashes == {"{hazoom}:board:b": {b"ann": b"here"}}


def test_while_redis_is_away_a_board_goes_on_and_all_meet_again(both: tuple[Process, Process]) -> None:
    here, there = both
    there.join("bob")
    settle(there)
    here.is_away = True
    here.join("ann")
    settle(here)
    assert here.take("first-in-room") == [("ann", ())], "nobody else can be known"
    here.is_away = False
    here.shared.run_due()
    settle(here, there)
    assert here.take("new-user") == [("ann", ("bob",))]
    assert there.take("new-user") == [("bob", ("ann",))]
    assert members(here)["ann"] == members(there)["bob"] == {"ann", "bob"}


def test_cursors_are_left_out_when_too_much_waits_and_drawings_are_not(both: tuple[Process, Process]) -> None:
    here, there = both
    for process, sid in ((here, "ann"), (there, "bob")):
        process.join(sid)
        settle(here, there)
    here.queued_bytes = 2_000_000
    here.boards.say("b", [], (b"cursor", b"iv"), is_volatile=True)
    here.boards.say("b", [], (b"drawn", b"iv"), is_volatile=False)
    assert there.take("client-broadcast") == [("bob", (b"drawn", b"iv"))]


def test_who_follows_somebody_elsewhere_is_known_there(both: tuple[Process, Process]) -> None:
    here, there = both
    for process, sid in ((here, "ann"), (there, "bob")):
        process.join(sid)
        settle(here, there)
    there.boards.follow("bob", {"userToFollow": {"socketId": "ann"}, "action": "FOLLOW"})
    assert here.take("user-follow-room-change") == [("ann", (["bob"],))]
    here.boards.say("follow@ann", here.boards.recipients("ann", "follow@ann"), (b"where", b"iv"), is_volatile=True)
    assert there.take("client-broadcast") == [("bob", (b"where", b"iv"))]
    there.boards.leave("bob")
    settle(here, there)
    assert here.take("broadcast-unfollow") == [("ann", ())]


def test_a_board_has_as_many_members_as_one_process_would_let_in(both: tuple[Process, Process]) -> None:
    here, there = both
    for number in range(MEMBERS_LIMIT_COUNT):
        there.join(f"there {number}")
    settle(here, there)
    here.join("ann")
    settle(here, there)
    assert here.refused == ["ann: rate_limited"]
    assert len(members(there)["there 0"]) == MEMBERS_LIMIT_COUNT
