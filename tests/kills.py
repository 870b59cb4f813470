"""Kills a server at random moments under load and counts what became of the messages. For tests, and scripts/kill.py.

Official clients say messages without a pause, some at once, each with a ``client_id`` of its own, and say again what was
not acknowledged when they are back. Beside that each counts in a key of its own of a room's state. The server is killed
(SIGKILL: no handler runs, what the system has of the file stays), some of the time while it starts, and started again with
the same file. Power is not cut: what was not yet on the disk is not lost that way.
"""

import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from servers import ROOT, OfficialClient, Socket, clean_environment, command_of_hazoom, free_port, hazoom, wait_until

USERS = 8
ROOMS = ("one", "two", "three")
AT_ONCE = 12  # messages of each user that wait for their acknowledgement
# Seconds after it is ready: some kills come while the clients are on their way back, most while they talk.
EARLY_S, LATE_S = (0.0, 0.1), (0.1, 0.7)
EARLY_SHARE = STARTING_SHARE = 0.25
STARTING_S = (0.1, 1.0)  # after the process has begun
TALK_INTERVAL_S = 0.002
OPTIONS = {"reconnectionDelay": 20, "reconnectionDelayMax": 100, "transports": ["websocket"]}


class Findings(NamedTuple):
    """What a run has found; ``lost`` and ``doubled`` hold texts, and are empty if the server keeps its promise.

    Who has counted further than the state of the room says is ``lost`` by name.
    """

    kills: int
    kills_while_starting: int
    said: int
    said_again: int
    acknowledged: int
    known_again: int  # acknowledged with ``duplicate: true``
    found: int
    counted: int  # how often a key was set, and that acknowledged
    lost: frozenset[str]
    doubled: frozenset[str]


Message = tuple[str, str]  # its text and its id


def lost(acknowledged: Iterable[Message], found: Iterable[Message]) -> set[str]:
    """Return the texts that were acknowledged and are not there, or not by the id that was acknowledged."""
    return {text for text, _ in set(acknowledged) - set(found)}


def doubled(found: Iterable[Message]) -> set[str]:
    """Return the texts that are there more than once."""
    return {text for text, count in Counter(text for text, _ in found).items() if count > 1}


class Talker:
    """A user of the official client, who says numbered texts, each again until it is acknowledged."""

    def __init__(self, client: OfficialClient, url: str, name: str, chance: random.Random) -> None:
        self.said = self.said_again = self.known_again = 0
        self.id_of: dict[str, str] = {}  # of what was acknowledged: the message's id by its text
        self._client = client
        self._socket = client.try_to_connect(url, auth={"user_name": name}, **OPTIONS)
        self._name = name
        self._chance = chance
        self._waiting: dict[int, dict[str, str]] = {}  # payloads by the key of their acknowledgement
        self.name = name
        self.counted = 0  # up to here it was acknowledged
        self._counting: int | None = None  # the key of the acknowledgement of the next one

    def join(self) -> None:
        """Be in the rooms: recovery keeps one there."""
        self._socket.wait_until_connected()
        for room in ROOMS:
            assert self._socket.emit("join_room", {"room": room, "history": 0})["ok"] is True

    def is_connected(self) -> bool:
        states = [event for event, _ in list(self._socket.history) if event in ("connect", "disconnect")]
        return states[-1:] == ["connect"]

    def talk(self, replies: dict[int, dict], *, goes_on: bool = True) -> bool:
        """Take what was answered, say again what was not kept, and if it ``goes_on`` more; return whether all is kept."""
        for key in [key for key in self._waiting if key in replies]:
            payload, reply = self._waiting.pop(key), replies[key]
            if reply.get("ok"):
                self.id_of[payload["message"]] = reply["id"]
                self.known_again += reply["duplicate"]
            else:
                assert "lost" in reply or reply["error"]["retry"], reply
                self.said_again += 1
                self._say(payload)
        if self._counting is not None and self._counting in replies:
            reply, self._counting = replies[self._counting], None
            if reply.get("ok"):
                self.counted += 1
            else:
                assert "lost" in reply or reply["error"]["retry"], reply
                self._count()
        elif self._counting is None and goes_on:
            self._count()
        while goes_on and len(self._waiting) < AT_ONCE:
            self.said += 1
            text = f"{self._name} {self.said}"
            self._say({"room": self._chance.choice(ROOMS), "message": text, "client_id": text})
        return not self._waiting and self._counting is None

    def _count(self) -> None:
        payload = {"room": ROOMS[0], "values": {self.name: self.counted + 1}, "client_id": str(self.counted + 1)}
        self._counting = self._socket.start_to_emit("state_set", payload)

    def _say(self, payload: dict[str, str]) -> None:
        self._waiting[self._socket.start_to_emit("message", payload)] = payload


def kill_at_random(*, async_mode: str, log_fsync: str, kills: int, seed: int, folder: Path) -> Findings:
    """Kill a server ``kills`` times under load, whose file is in ``folder``; return what was found.

    ``async_mode`` is one of `servers.ASYNC_MODES`. The same ``seed`` chooses the same moments, which meet another load.
    """
    chance = random.Random(seed)  # the clients have their own: how often they need it depends on the load
    port = free_port()
    env = {
        "HAZOOM_LOG_URL": f"sqlite:///{folder}/messages.sqlite3",
        "HAZOOM_LOG_FSYNC": log_fsync,
        "HAZOOM_RATE_LIMIT_PER_S": "0",
        "HAZOOM_DEFAULT_ROOM": "",
    }
    kills_while_starting = 0
    all_lost: set[str] = set()
    all_doubled: set[str] = set()
    found: list[Message] = []

    def look() -> None:
        acknowledged = [message for talker in talkers for message in list(talker.id_of.items())]
        counted = {talker.name: talker.counted for talker in talkers}
        found[:], state = everything(client, server.url)
        all_lost.update(lost(acknowledged, found))
        all_lost.update(name for name, number in counted.items() if state.get(name, 0) < number)
        all_doubled.update(doubled(found))

    with OfficialClient() as client:
        talkers = [
            Talker(client, f"http://127.0.0.1:{port}", f"user {number}", random.Random(number)) for number in range(USERS)
        ]
        for number in range(kills):
            if number and chance.random() < STARTING_SHARE:
                kill_while_starting(async_mode, port, env, chance.uniform(*STARTING_S))
                kills_while_starting += 1
            with hazoom(async_mode=async_mode, port=port, env=env) as server:
                is_early = number > 0 and chance.random() < EARLY_SHARE
                if number == 0:
                    for talker in talkers:
                        talker.join()
                elif not is_early:
                    look()
                talk_until(client, talkers, time.monotonic() + chance.uniform(*(EARLY_S if is_early else LATE_S)))
                server.child.kill()
            client.wait(lambda: not any(talker.is_connected() for talker in talkers), "all have noticed")
            talk_until(client, talkers, 0.0)  # takes what was acknowledged before it
        with hazoom(async_mode=async_mode, port=port, env=env) as server:
            look()
            wait_until(lambda: is_all_kept(client, talkers), "all that was said is acknowledged")
            look()
    return Findings(
        kills=kills,
        kills_while_starting=kills_while_starting,
        said=sum(talker.said for talker in talkers),
        said_again=sum(talker.said_again for talker in talkers),
        acknowledged=sum(len(talker.id_of) for talker in talkers),
        known_again=sum(talker.known_again for talker in talkers),
        found=len(found),
        counted=sum(talker.counted for talker in talkers),
        lost=frozenset(all_lost),
        doubled=frozenset(all_doubled),
    )


def talk_until(client: OfficialClient, talkers: Iterable[Talker], ends_at_s: float) -> None:
    """Let all talk until that moment, once at least."""
    while True:
        replies = client.replies()
        for talker in talkers:
            talker.talk(replies)
        if time.monotonic() >= ends_at_s:
            return
        time.sleep(TALK_INTERVAL_S)


def is_all_kept(client: OfficialClient, talkers: Iterable[Talker]) -> bool:
    replies = client.replies()
    waiting = [talker for talker in talkers if not talker.talk(replies, goes_on=False)]
    return not waiting


def everything(client: OfficialClient, url: str) -> tuple[list[Message], dict[str, int]]:
    """Return all that the rooms' histories hold, page by page, and the state of the first room.

    Raises AssertionError if the order of the histories is broken.
    """
    reader = client.connect(url, reconnection=False, transports=["websocket"])
    messages: list[dict] = []
    for room in ROOMS:
        assert reader.emit("join_room", {"room": room, "history": 0})["ok"] is True
        after = 0
        while True:
            page = wait_until(partial(page_after, reader, room, after), "there is a page")
            messages += page["messages"]
            assert [entry["seq"] for entry in page["messages"]] == sorted({entry["seq"] for entry in page["messages"]})
            if page["complete"]:
                break
            after = page["messages"][-1]["seq"]
    state = wait_until(partial(state_of, reader, ROOMS[0]), "there is a state")
    reader.disconnect()
    assert len({entry["seq"] for entry in messages}) == len({entry["id"] for entry in messages}) == len(messages)
    return [(entry["message"], entry["id"]) for entry in messages], state["values"]


def page_after(reader: Socket, room: str, after: int) -> dict | None:
    """Return a page, None if it has to be asked for again: what was sent before has not arrived."""
    page = reader.emit("get_history", {"room": room, "after": after, "limit": 500})
    assert page["ok"] or page["error"]["code"] == "rate_limited", page
    return page if page["ok"] else None


def state_of(reader: Socket, room: str) -> dict | None:
    """Return the reply with a room's state, None if it has to be asked for again."""
    state = reader.emit("state_get", {"room": room})
    assert state["ok"] or state["error"]["retry"], state
    return state if state["ok"] else None


def kill_while_starting(async_mode: str, port: int, env: dict[str, str], after_s: float) -> None:
    """Start a server, and kill it so long after that, whatever it does then."""
    command = command_of_hazoom("--port", port, "--async-mode", async_mode.partition(" ")[0])
    process = subprocess.Popen(
        command, env=clean_environment(**env), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(after_s)
    finally:
        process.kill()
        process.wait()
