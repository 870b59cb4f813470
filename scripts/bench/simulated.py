"""What many processes of hazoom_ws do to one Redis, without clients.

``simulated.py port=6379 processes=100 seconds=4 cores=0,1``; the cores are those of Redis and of this program.

Each simulated process is a thread with the parts of a real one that talk to Redis: its `Store`, which writes batches by
the same script, its `RedisPeers`, which publishes in a thread of its own, `Processes`, which looks who lives,
`Counts`, which tells all others once a second how many connections users have, `Presence`. What it has not: clients, and a
loop; and what it hears is counted and thrown away, by one thread for all, since only Redis is measured. So a process has
one connection that listens, as a real one has, and two that write and read. An empty batch is written each second whatever
else is: a real one leaves that out, and then what a message costs would be less by what it spares.

Writes JSON: what Redis counted in a window of each load.
"""

import importlib
import json
import logging
import os
import random
import selectors
import socket
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec

from hazoom_ws.access.shares import Shares
from hazoom_ws.chat.presence import StandIn, User
from hazoom_ws.chat.rooms import Rooms
from hazoom_ws.cluster import answer_notes
from hazoom_ws.cluster.answer_claims import Claims
from hazoom_ws.cluster.answers import KIND
from hazoom_ws.cluster.counts import Counts
from hazoom_ws.cluster.presence import Presence
from hazoom_ws.cluster.processes import EVERYBODY, Processes
from hazoom_ws.cluster.relay import RELAYED
from hazoom_ws.cluster.room_sizes import INTERVAL_S, SIZES
from hazoom_ws.cluster.typing import TYPED
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.events.stats import ProcessStats
from hazoom_ws.message_log.contract import Batch, StoredSession
from hazoom_ws.message_log.redis.bus import Bus
from hazoom_ws.message_log.redis.peers import RedisPeers
from hazoom_ws.message_log.redis.server import Server
from hazoom_ws.message_log.redis.store import Store
from hazoom_ws.settings import Settings

PROCESSES_LIMIT_COUNT = 300  # threads of one Python: it would be what is measured
ROOMS_COUNT = 10_000  # of four members each
_KNOWN_COUNT = 10_000  # users whose memory is measured
_WARM_UP_S = 1.5
_HEARD_LIMIT_S = 1.0
_PROBE_INTERVAL_S = 1.0
_LOOK_INTERVAL_S = 0.1  # at the load that is on, and at what is due once a second
_SUBSCRIBED_AT_ONCE_COUNT = 500
_TEXT = ("what somebody says to the others in the room " * 5)[:200]
_MESSAGE, _SUBSCRIBED = b"$7\r\nmessage\r\n", b"$9\r\nsubscribe\r\n"
_pack = msgspec.msgpack.Encoder().encode


class Load(NamedTuple):
    """What all processes do together, beside what they do when nothing happens.

    ``spread``: on how many processes a room has members, 0 for all. ``batch_count``: so many messages a process writes
    at once. ``events_per_s``: publications of what is not kept, each of a room's tick: a third of them typing, a third
    relayed positions of four people, a third tokens of an answer. ``visits_per_s``: users who come into a room that
    nobody of their process is in, and go again.
    """

    name: str
    messages_per_s: float = 0
    spread: int = 4
    batch_count: int = 1
    events_per_s: float = 0
    visits_per_s: float = 0


LOADS = (
    Load("idle"),
    Load("1,000 messages/s in rooms on 1 process each", messages_per_s=1000, spread=1),
    Load("1,000 messages/s in rooms on 4 processes each", messages_per_s=1000),
    Load("4,000 messages/s the same, 16 in a batch", messages_per_s=4000, batch_count=16),
    Load("100 messages/s in a room on all processes", messages_per_s=100, spread=0),
    Load("1,000 typing, relay, tokens/s in rooms on 4 processes each", events_per_s=1000),
    Load("200 users/s come into rooms on 4 processes, and go", visits_per_s=200),
)


class Ears:
    """All connections that listen: counts what they hear, in a thread of its own."""

    def __init__(self, port: int) -> None:
        self.heard_count = self.subscribed_count = 0
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._tails: dict[socket.socket, bytes] = {}

    def open(self) -> socket.socket:
        """Return a new connection that listens."""
        connection = socket.create_connection(("127.0.0.1", self._port))
        self._tails[connection] = b""
        self._selector.register(connection, selectors.EVENT_READ)
        return connection

    def run(self) -> None:
        """Hear until Redis has closed a connection, which it does if that does not keep up."""
        while self.hear():
            pass

    def hear(self) -> bool:
        """Hear what has come, or wait for it; return whether all connections are open."""
        for key, _ in self._selector.select(_HEARD_LIMIT_S):
            connection: Any = key.fileobj
            received = connection.recv(1_048_576)
            data = self._tails[connection] + received
            self.heard_count += data.count(_MESSAGE)
            self.subscribed_count += data.count(_SUBSCRIBED)
            self._tails[connection] = data[1 - len(_SUBSCRIBED) :]
            if _MESSAGE in self._tails[connection]:
                self.heard_count -= 1  # else it would count twice
            if not received:
                return False
        return True

    def close(self) -> None:
        self._selector.close()
        for connection in self._tails:
            connection.close()

    def wait_until_subscribed(self, count: int) -> None:
        """Return when so many channels are confirmed."""
        while self.subscribed_count < count:
            time.sleep(0.01)


class Process:
    """One simulated process. ``rooms``: by `Load.spread`, those that it has members in; ``others_rooms``: in which not."""

    def __init__(self, number: int, url: str, ears: Ears, rooms: dict[int, list[str]], others_rooms: list[str]) -> None:
        settings = Settings(log_url=url)
        timeout_s = 10 * settings.log_redis_timeout_s
        self._rooms = rooms
        self._others_rooms = others_rooms
        self.messages_count = self.things_count = 0  # said; said, told or visited
        self._name = f"{number:016x}"
        self._server = server = Server(url, self._name, timeout_s=timeout_s)
        self._store = Store(server, settings, wall_clock=time.time)
        self._store.begin(epoch="simulated", start_seq=int(time.time() * 1e6))
        self._ears = ears.open()
        bus = Bus(server, importlib.import_module, timeout_s=timeout_s)  # which is never connected: `Ears` is instead
        self._peers = peers = RedisPeers(server, bus, importlib.import_module, lambda: self._store.channels, lambda: None)
        self._users, self._addresses = (Shares(whose, 0, 1, remembered_count=1000) for whose in ("user", "address"))
        self._processes = Processes(
            peers, _run_at_once, problem=lambda: None, grace_s=settings.presence_grace_s, clock=time.monotonic
        )
        self._processes.on_looked.append(Claims(peers, lambda: None, time.monotonic).died)
        self._counts = Counts(peers, self._users, self._addresses, self._describe, clock=time.monotonic)
        # Of rooms and relays, what a process does to itself when it hears of somebody elsewhere: nothing here.
        nobody: Any = SimpleNamespace(
            forget=lambda _: None,
            values_here=lambda _: [],
            add_elsewhere=lambda *_: None,
            remove_elsewhere=lambda *_: None,
        )
        self._presence = Presence(peers, nobody, nobody, wake=lambda: None, clock=time.monotonic)
        self._sizes: dict[str, int] = {}
        self._visitors: list[tuple[str, str, User]] = []
        self._number = 0
        self._probed_at_s = 0.0
        self.subscribed_count = self._subscribe(
            [EVERYBODY, f"process:{self._name}", *(f"room:{room}" for each in rooms.values() for room in each)]
        )

    def _describe(self) -> ProcessStats:
        return ProcessStats(
            name=self._name,
            users=9000,
            connections=10_000,
            messages_total=self._number,
            llm_active=10,
            llm_queued=0,
            uptime_s=time.monotonic(),
            rss_mb=120.5,
        )

    def _subscribe(self, channels: list[str], *, word: bytes = b"SUBSCRIBE") -> int:
        for start in range(0, len(channels), _SUBSCRIBED_AT_ONCE_COUNT):
            part = channels[start : start + _SUBSCRIBED_AT_ONCE_COUNT]
            command = [word, *((self._store.channels + channel).encode() for channel in part)]
            self._ears.sendall(b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in command))
        return len(channels)

    def run(self, load: Callable[[], Load], share: float) -> None:
        """Do this process' share of the load that is on, for ever."""
        due_s = {what: time.monotonic() + random.random() for what in ("keep", "sizes", "messages", "events", "visits")}  # noqa: S311
        while True:
            now_s, on = time.monotonic(), load()
            rates = {
                "keep": 1 / _LOOK_INTERVAL_S,
                "sizes": 1 / INTERVAL_S,
                "messages": on.messages_per_s * share / on.batch_count,
                "events": on.events_per_s * share,
                "visits": on.visits_per_s * share,
            }
            for what, per_s in rates.items():
                if not per_s:
                    due_s[what] = now_s + random.random() / 10  # noqa: S311 - processes are not to begin as one
                    continue
                count = 0  # what has become due since, up to a second of it, is done as one batch
                due_s[what] = max(due_s[what], now_s - 1)
                while due_s[what] <= now_s:
                    count += 1
                    due_s[what] += 1 / per_s
                if count:
                    getattr(self, f"do_{what}")(on, count)
            time.sleep(max(0.0, min(*due_s.values(), now_s + _LOOK_INTERVAL_S) - time.monotonic()))

    def do_keep(self, on: Load, count: int) -> None:  # noqa: ARG002
        now_s = time.monotonic()
        self._processes.sweep(now_s)
        self._counts.run_due()
        if now_s - self._probed_at_s >= _PROBE_INTERVAL_S:
            self._probed_at_s = now_s
            self._write(Batch([], {}, {}, 0))

    def do_sizes(self, on: Load, count: int) -> None:  # noqa: ARG002
        sizes, self._sizes = self._sizes, {}
        if sizes:
            self._peers.publish(EVERYBODY, SIZES, _pack(sizes))

    def do_messages(self, on: Load, count: int) -> None:
        messages = []
        for _ in range(count * on.batch_count):
            self._number += 1
            messages.append(
                NewMessage(
                    user="Somebody with a name",
                    message=_TEXT,
                    timestamp=time.time(),
                    room=self._room(on),
                    id="",
                    seq=self._number,
                    client_id=f"{self._name}{self._number:016x}",
                )
            )
        self._write(Batch(messages, {}, {}, 0))
        self.messages_count += len(messages)
        self.things_count += len(messages)

    def do_events(self, on: Load, count: int) -> None:
        for _ in range(count):
            self._number += 1
            self.things_count += 1
            room, kind = f"room:{self._room(on)}", self._number % 3
            if kind == 0:
                self._peers.publish(room, TYPED, _pack([(("u" * 20, "Somebody with a name"), True)]))
            elif kind == 1:
                position = b'{"x":123.4,"y":567.8}'
                item = ("u" * 20, "Somebody with a name", "c" * 8, "cursors", "position", position, False)
                self._peers.publish(room, RELAYED, _pack((0, [item] * 4)))
            else:
                tokens = answer_notes.Tokens("r" * 32, self._number, [" token", " after"])
                self._peers.publish(room, KIND, answer_notes.encode(tokens))

    def do_visits(self, on: Load, count: int) -> None:  # noqa: ARG002
        going, self._visitors = self._visitors, []
        sessions: dict[str, StoredSession | None] = {key: None for _, key, _ in going}
        for room, _, user in going:
            self._presence.let_go(room, user, is_last=True)
            self._presence.forget([room])
            self._subscribe([f"room:{room}"], word=b"UNSUBSCRIBE")
            self._sizes[room] = 0
        for _ in range(count):
            self._number += 1
            self.things_count += 1
            room = random.choice(self._others_rooms)  # noqa: S311
            key, user = f"{self._name}{self._number:016x}", User(self._name, "A guest")
            self._subscribe([f"room:{room}"])
            self._presence.load([room])()  # as one who follows a room does
            self._store.last_seq()
            self._peers.publish(f"room:{room}", KIND, answer_notes.encode(answer_notes.WatchRoom()))
            self._presence.held(room, user, is_first=True)
            self._sizes[room] = 5
            self._visitors.append((room, key, user))
            sessions[key] = StoredSession(
                user_id=user.id, user_name=user.name, conversation_id="c" * 32, since=self._number, rooms=[room]
            )
        self._write(Batch([], sessions, {}, 0))

    def _room(self, on: Load) -> str:
        return random.choice(self._rooms[on.spread])  # noqa: S311

    def close(self) -> None:
        self._peers.close()
        self._server.close()

    def _write(self, batch: Batch) -> None:
        self._number += 1
        self._store.write(batch, str(self._number), floor_seq=0, conditions={})


def _run_at_once(call: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
    done(call(), None)


def rooms_of(number: int, processes_count: int) -> dict[int, list[str]]:
    """Return the rooms that a process has members in."""

    def spread(over: int, count: int) -> list[str]:
        wanted = min(over, processes_count)
        return [f"{over} {room}" for room in range(count) if (number - room) % processes_count < wanted]

    return {0: ["all"], 1: spread(1, ROOMS_COUNT // 4), 4: spread(4, ROOMS_COUNT)}


class Counted(NamedTuple):
    """What had been up to a moment."""

    at_s: float
    redis_cpu_s: float
    client_cpu_s: float
    others_cpu_s: float
    publications: int
    deliveries: int
    in_bytes: int
    out_bytes: int
    messages: int
    things: int


def count(control: Server, ears: Ears, processes: Iterable[Process], cores: str) -> Counted:
    """Return what there was up to now. ``cores``: of Redis and this program, as in ``0,1``."""
    told = control.command("INFO", "everything")
    redis_cpu_s = told["used_cpu_user_main_thread"] + told["used_cpu_sys_main_thread"]
    all_of_redis_s = told["used_cpu_user"] + told["used_cpu_sys"]
    client_cpu_s = time.process_time()
    return Counted(
        time.monotonic(),
        redis_cpu_s,
        client_cpu_s,
        _busy_s(cores) - client_cpu_s - all_of_redis_s,
        told.get("cmdstat_publish", {"calls": 0})["calls"],
        ears.heard_count,
        told["total_net_input_bytes"],
        told["total_net_output_bytes"],
        sum(process.messages_count for process in processes),
        sum(process.things_count for process in processes),
    )


def _busy_s(cores: str) -> float:
    """Return for how long cores were not idle since the machine has started."""
    wanted = {f"cpu{core}" for core in cores.split(",")}
    busy = 0
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        name, *ticks = line.split()
        if name in wanted:
            user, nice, system, _, _, *interrupts = map(int, ticks[:8])
            busy += user + nice + system + sum(interrupts)
    return busy / os.sysconf("SC_CLK_TCK")


def known_bytes() -> dict[str, float]:
    """Return what a process has in its memory of each user of the others: of one who is connected, of one in a room."""
    names = [(f"a user's id {number:08}", f"A name {number:08}") for number in range(_KNOWN_COUNT)]

    def connected() -> object:
        shares = Shares("user", 200, 400, remembered_count=1000)
        shares.set_elsewhere("another", {user_id: 1 for user_id, _ in names})
        return shares

    def in_a_room() -> object:
        rooms = Rooms(Settings(log_url="memory://"), lambda _: None, wake=lambda: None)
        others: Any = SimpleNamespace(changed=lambda _: None)
        rooms.others = others
        for user_id, name in names:
            rooms.add_elsewhere("room", StandIn("another", User(user_id, name)), 0.0)
        return rooms

    result = {}
    for name, fill in (("connected", connected), ("in a room", in_a_room)):
        tracemalloc.start()
        kept = fill()
        # Their names are strings of the process' own, too.
        result[name] = tracemalloc.get_traced_memory()[0] / _KNOWN_COUNT + sys.getsizeof(names[0][0])
        tracemalloc.stop()
        del kept
    return result


def main() -> int:
    options = dict(argument.split("=", 1) for argument in sys.argv[1:])
    processes_count, seconds = int(options["processes"]), float(options["seconds"])
    if not 1 <= processes_count <= PROCESSES_LIMIT_COUNT:
        print(f"processes is 1 to {PROCESSES_LIMIT_COUNT}", file=sys.stderr)
        return 2
    logging.disable()  # of how Redis is set up here
    url = f"redis://127.0.0.1:{options['port']}/0"
    control = Server(url, "control", timeout_s=10)
    ears = Ears(int(options["port"]))
    before_bytes = control.command("INFO", "memory")["used_memory"]
    hearing = threading.Thread(target=ears.run, daemon=True)
    hearing.start()
    processes = [
        Process(
            number,
            url,
            ears,
            rooms_of(number, processes_count),
            rooms_of(number + processes_count // 2, processes_count)[4] if processes_count >= 8 else ["others"],
        )
        for number in range(processes_count)
    ]
    subscribed_count = sum(process.subscribed_count for process in processes)
    ears.wait_until_subscribed(subscribed_count)
    told = control.command("INFO", "everything")
    result = {
        "processes": processes_count,
        "redis": told["redis_version"],
        "connections": told["connected_clients"],
        "subscriptions": subscribed_count,
        "subscribed_memory_bytes": told["used_memory"] - before_bytes,
        "known_bytes": known_bytes(),
        "loads": {},
    }
    load = LOADS[0]
    for process in processes:
        threading.Thread(target=process.run, args=(lambda: load, 1 / processes_count), daemon=True).start()
    for load in LOADS:
        time.sleep(_WARM_UP_S)
        begun = count(control, ears, processes, options["cores"])
        time.sleep(seconds)
        ended = count(control, ears, processes, options["cores"])
        window = {name: getattr(ended, name) - getattr(begun, name) for name in Counted._fields}
        result["loads"][load.name] = {**window, "wanted_messages_per_s": load.messages_per_s}
    if not hearing.is_alive():
        print("the simulation did not hear fast enough, and Redis has closed a connection", file=sys.stderr)
        os._exit(1)
    print(json.dumps(result), flush=True)
    os._exit(0)  # its threads would go on


if __name__ == "__main__":
    sys.exit(main())
