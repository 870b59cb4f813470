"""Restarts a server under load and counts what became of the messages and answers. For tests, and scripts/restart.py.

Official clients, with the delays that they have as they come, say messages at an even pace, each with a ``client_id`` of
its own, and send again by themselves what was not acknowledged; some ask the AI. The server gets a SIGTERM, and when it has
ended another one is started with its file and port, as a supervisor does. One half of the answers ends while the server
waits for that, the others would take longer than it may.
"""

import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from servers import OfficialClient, Socket, django_runserver, free_port, hazoom, wait_until

ROOM_SIZE = 10  # clients of each room; each is in two
TRANSPORTS = (["websocket"], ["websocket"], ["polling", "websocket"], ["polling"])
RETRIES = {"retries": 1000, "ackTimeout": 5000}
PACE_S = 0.02


class Findings(NamedTuple):
    """What a run has found. ``lost``, ``doubled`` and ``odd`` are empty if the server keeps its promise.

    ``stop_s``: from the signal to the end of the process; ``back_s``: from the next one's ready line until all are back.
    """

    status: int
    stop_s: float
    back_s: float
    said: int
    acknowledged: int
    shown: int  # to all clients together
    completed: int  # answers that ended before the process did
    handed_on: int
    lost: frozenset[str]
    doubled: frozenset[str]
    odd: tuple[str, ...]  # what else should not be, in words


class Person:
    """A user of the official client, who says numbered texts in two rooms."""

    def __init__(self, client: OfficialClient, url: str, number: int, rooms: int) -> None:
        self.name = f"user {number}"
        self.rooms = sorted({f"room {number % rooms}", f"room {(number + 1) % rooms}"})
        self.texts: dict[int, str] = {}  # by the key of the acknowledgement
        transports = TRANSPORTS[number % len(TRANSPORTS)]
        self.socket: Socket = client.connect(url, auth={"user_name": self.name}, transports=transports, **RETRIES)
        for room in self.rooms:
            assert self.socket.emit("join_room", {"room": room, "history": 0})["ok"] is True

    def say(self) -> None:
        text = f"{self.name}: {len(self.texts)}"
        payload = {"room": random.choice(self.rooms), "message": text, "client_id": text}
        self.texts[self.socket.start_to_emit("message", payload)] = text

    def seen(self) -> list[dict]:
        """Return the messages of people that it was shown, those of a room's page included."""
        pages = [joined.get("messages") or [] for joined in self.socket.received("room_joined")]
        said = [*self.socket.received("new_message"), *(entry for page in pages for entry in page)]
        return [entry for entry in said if "kind" not in entry]


class Load:
    """Lets people talk, so many messages a second, for as long as it is driven."""

    def __init__(self, people: list[Person], messages_per_s: float) -> None:
        self._people = people
        self._interval_s = 1 / messages_per_s
        self._next_s = time.monotonic()
        self._turn = 0

    def drive(self) -> None:
        """Say what is due."""
        while self._next_s <= time.monotonic():
            self._people[self._turn % len(self._people)].say()
            self._turn += 1
            self._next_s += self._interval_s

    def drive_for(self, seconds: float) -> None:
        ends_at_s = time.monotonic() + seconds
        while time.monotonic() < ends_at_s:
            self.drive()
            time.sleep(PACE_S)


def restart_under_load(
    *, async_mode: str, clients: int, messages_per_s: float, answers: int, grace_s: float, seconds: float, folder: Path
) -> Findings:
    """Restart a server once, with so much load for some ``seconds`` before, and until all are back."""
    port = free_port()
    env = {
        "HAZOOM_LOG_URL": f"sqlite:///{folder}/messages.sqlite3",
        "HAZOOM_RATE_LIMIT_PER_S": "0",
        "HAZOOM_DEFAULT_ROOM": "",
        "HAZOOM_SHUTDOWN_GRACE_S": str(grace_s),
    }
    rooms = max(2, clients // ROOM_SIZE)
    with OfficialClient() as client, django_runserver() as backend:
        with hazoom(async_mode=async_mode, port=port, env=env, llm_url=backend.chat_url) as server:
            people = [Person(client, server.url, number, rooms) for number in range(clients)]
            load = Load(people, messages_per_s)
            for number, asker in enumerate(people[:answers]):
                kind = "gated" if number % 2 else "endless"
                request = {"message": f"do:{kind} gate-{number}", "request_id": f"request {number}"}
                assert asker.socket.emit("llm_request", request)["ok"] is True
                if kind == "gated":
                    backend.release(f"gate-{number}")
                asker.socket.wait_for("llm_token")
            load.drive_for(seconds)
            signalled_s = time.monotonic()
            server.child.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not server.is_ready(), "it is about to stop")
            load.drive()
            for number in range(1, answers, 2):
                for _ in range(50):
                    backend.release(f"gate-{number}")
            while server.child.process.poll() is None:
                load.drive()
                time.sleep(PACE_S)
            status, stop_s = server.child.wait(), time.monotonic() - signalled_s
        with hazoom(async_mode=async_mode, port=port, env=env, llm_url=backend.chat_url):
            ready_s = time.monotonic()
            while not all(len(person.socket.received("connect")) > 1 for person in people):
                load.drive()
                time.sleep(PACE_S)
                assert time.monotonic() - ready_s < 60, "not everybody is back"
            back_s = time.monotonic() - ready_s
            load.drive_for(1.0)
            keys = {key: text for person in people for key, text in person.texts.items()}
            client.wait(lambda: client.replies().keys() >= keys.keys(), "everything is answered")
            replies = client.replies()
            acknowledged = {text for key, text in keys.items() if replies[key].get("ok")}
            found = history(people, rooms)
            expected = Counter(room for room in found.values())
            for person in people:
                count = sum(expected[room] for room in person.rooms)
                wait_until(
                    lambda person=person, count=count: len({e["id"] for e in person.seen()}) >= count, "all is shown"
                )
            for asker in people[0:answers:2]:
                asker.socket.wait_for("llm_error")
            return judge(people[:], answers, found, acknowledged, status=status, stop_s=stop_s, back_s=back_s)


def history(people: list[Person], rooms: int) -> dict[tuple[str, str], str]:
    """Return the room of each message that is kept, by its text and id."""
    found: dict[tuple[str, str], str] = {}
    for room in (f"room {number}" for number in range(rooms)):
        reader = next(person for person in people if room in person.rooms)
        after = 0
        while True:
            page = reader.socket.emit("get_history", {"room": room, "after": after, "limit": 500})
            if not page["ok"]:
                assert page["error"]["code"] == "rate_limited", page
                continue
            found |= {(entry["message"], entry["id"]): room for entry in page["messages"]}
            if page["complete"]:
                break
            after = page["messages"][-1]["seq"]
    return found


def judge(
    people: list[Person],
    answers: int,
    found: dict[tuple[str, str], str],
    acknowledged: set[str],
    *,
    status: int,
    stop_s: float,
    back_s: float,
) -> Findings:
    """Compare what was said with what was kept, shown and told."""
    said = [text for person in people for text in person.texts.values()]
    kept = Counter(text for text, _ in found)
    lost = {text for text in said if text not in kept or text not in acknowledged}
    doubled = {text for text, count in kept.items() if count > 1}
    odd: list[str] = []
    completed = handed_on = shown = 0
    for number, person in enumerate(people):
        mine = {identifier for (_, identifier), room in found.items() if room in person.rooms}
        seen = [entry["id"] for entry in person.seen()]
        shown += len(seen)
        lost |= {f"{identifier} is not shown to {person.name}" for identifier in mine - set(seen)}
        doubled |= {f"{one} is shown twice to {person.name}" for one, count in Counter(seen).items() if count > 1}
        byes = [bye["reason"] for bye in person.socket.received("bye")]
        if byes != ["shutting_down"]:
            odd.append(f"{person.name} heard {byes}")
        if not all(connect["recovered"] for connect in person.socket.received("connect")[1:]):
            odd.append(f"{person.name} is not recovered")
        if number < answers:
            ends = [end["finish_reason"] for end in person.socket.received("llm_complete")]
            errors = [error["retry"] for error in person.socket.received("llm_error")]
            completed += ends == ["stop"]
            handed_on += errors == [True]
            if (ends, errors) != ((["stop"], []) if number % 2 else ([], [True])):
                odd.append(f"{person.name}'s answer ended by {ends} and {errors}")
    return Findings(
        status=status,
        stop_s=stop_s,
        back_s=back_s,
        said=len(said),
        acknowledged=len(acknowledged),
        shown=shown,
        completed=completed,
        handed_on=handed_on,
        lost=frozenset(lost),
        doubled=frozenset(doubled),
        odd=tuple(odd),
    )
