"""An acknowledged message is kept, whatever dies; one that cannot be kept is refused, until it can be kept again."""

import resource
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest
import requests

from servers import Hazoom, OfficialClient, free_port, hazoom, wait_until

Run = Callable[..., AbstractContextManager[Hazoom]]
BURST = 1000
FILED_AT_ONCE = 512


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "messages.sqlite3"


@pytest.fixture
def log_fsync() -> str:
    return "normal"


@pytest.fixture
def run(async_mode: str, file: Path, log_fsync: str) -> Run:
    """Return a function that runs the server on one port with one file."""
    port = free_port()
    env = {"HAZOOM_RATE_LIMIT_PER_S": "0", "HAZOOM_LOG_URL": f"sqlite:///{file}", "HAZOOM_LOG_FSYNC": log_fsync}
    return lambda **options: hazoom(async_mode=async_mode, port=port, env=env, **options)


def everything(url: str, client: OfficialClient) -> list[dict]:
    """Return all that the default room's history holds, page by page."""
    socket = client.connect(url, forceNew=True)
    messages, after = [], 0
    while True:
        page = socket.emit("get_history", {"after": after, "limit": 500})
        messages += page["messages"]
        if page["complete"]:
            socket.disconnect()
            return messages
        after = messages[-1]["seq"]


# With "full" every batch is waited for in a thread.
@pytest.mark.parametrize("log_fsync", ["normal", "full"])
def test_what_was_acknowledged_before_a_kill_is_there_once_after_it(run: Run, client: OfficialClient) -> None:
    with run() as server:
        ann = client.connect(server.url, auth={"user_name": "Ann"}, reconnection=False)
        calls = [
            ann.start_to_emit("message", {"message": str(number), "client_id": str(number)}) for number in range(BURST)
        ]
        client.wait(lambda: len(client.replies()) > BURST / 4, "a part of the burst is acknowledged")
        server.child.kill()
        ann.wait_for("disconnect")
        acknowledged = [reply for call, reply in client.replies().items() if call in calls and reply.get("ok")]
    assert acknowledged
    with run() as server:
        kept = everything(server.url, client)
        assert [entry["seq"] for entry in kept] == sorted({entry["seq"] for entry in kept})
        kept_ids = [entry["id"] for entry in kept]
        assert len(set(kept_ids)) == len(kept_ids)
        assert {reply["id"] for reply in acknowledged} <= set(kept_ids)
        ann = client.connect(server.url, auth={"user_name": "Ann"})
        again = {number: ann.emit("message", {"message": str(number), "client_id": str(number)}) for number in range(100)}
        assert all(reply["ok"] for reply in again.values())
        kept_by_text = {entry["message"]: entry for entry in kept}
        for number, reply in again.items():
            if str(number) in kept_by_text:
                assert (reply["id"], reply["duplicate"]) == (kept_by_text[str(number)]["id"], True)
        after = everything(server.url, client)
        assert len({entry["message"] for entry in after}) == len(after)


def test_what_a_guest_sent_before_a_kill_is_there_once_though_its_session_is_lost(
    run: Run, file: Path, client: OfficialClient
) -> None:
    """A guest has no name to be known by, only what its client was given. A namesake with the same id is another."""
    said = {"message": "hi", "user_name": "Ann", "client_id": "1"}
    with run() as server:
        guest = client.connect(server.url, reconnectionDelay=20, reconnectionDelayMax=100)
        first = guest.emit("message", said)
        server.child.kill()
        guest.wait_for("disconnect")
    with closing(sqlite3.connect(file, isolation_level=None)) as kept:
        kept.execute("DELETE FROM sessions")
        kept.execute("UPDATE tail SET sessions = '{}', changes = '{}'")
    with run() as server:
        wait_until(lambda: len(guest.received("status")) == 2, "the guest is back")
        assert guest.received("status")[1]["recovered"] is False
        assert guest.emit("message", said) == {**first, "duplicate": True}
        namesake = client.connect(server.url)
        assert namesake.emit("message", said)["duplicate"] is False
        assert [(entry["user"], entry["message"]) for entry in everything(server.url, client)] == [("Ann", "hi")] * 2


def test_a_burst_is_put_in_its_place_when_there_is_nothing_to_write(run: Run, file: Path, client: OfficialClient) -> None:
    with run() as server:
        ann, bob = (client.connect(server.url, auth={"user_name": name}) for name in ("Ann", "Bob"))
        calls = [ann.start_to_emit("message", {"message": str(number)}) for number in range(BURST)]
        answers = [bob.emit("message", {"message": f"amid {number}"}) for number in range(20)]
        assert all(answer["ok"] for answer in answers)
        client.wait(lambda: all(call in client.replies() for call in calls), "the burst is acknowledged")
        with sqlite3.connect(file) as kept:
            wait_until(lambda: _count(kept, "messages") > BURST - FILED_AT_ONCE, "most of it is filed")
            assert _count(kept, "tail") < FILED_AT_ONCE
        kept.close()
        messages = everything(server.url, client)
        assert len(messages) == BURST + len(answers)
        assert [entry["seq"] for entry in messages] == sorted(entry["seq"] for entry in messages)


def _count(kept: sqlite3.Connection, table: str) -> int:
    return kept.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_a_file_that_cannot_be_written_refuses_messages_until_it_can(run: Run, file: Path, client: OfficialClient) -> None:
    with run() as server:
        ann, bob = (client.connect(server.url, auth={"user_name": name}) for name in ("Ann", "Bob"))
        assert ann.emit("message", {"message": "before"})["ok"] is True
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        refused = ann.emit("message", {"message": "meanwhile"})
        assert (refused["ok"], refused["error"]["code"], refused["error"]["retry"]) == (False, "internal", True)
        ready = requests.get(f"{server.url}/ready", timeout=20)
        assert (ready.status_code, "locked" in ready.json()["reason"]) == (503, True)
        ann.send("message", {"message": "unasked"})
        assert ann.wait_for("error")["code"] == "internal"
        assert bob.emit("typing", {}) == {"ok": True}  # the rest is served
        holder.execute("ROLLBACK")
        holder.close()
        wait_until(lambda: requests.get(f"{server.url}/ready", timeout=20).status_code == 200, "the log is well again")
        assert ann.emit("message", {"message": "after"})["ok"] is True
        assert bob.wait_for("new_message", lambda data: data["message"] == "after")
        assert [data["message"] for data in bob.received("new_message")] == ["before", "after"]
        assert [entry["message"] for entry in everything(server.url, client)] == ["before", "after"]


def test_a_full_disk_refuses_messages_until_there_is_room(run: Run, file: Path, client: OfficialClient) -> None:
    with run() as server:
        ann = client.connect(server.url, auth={"user_name": "Ann"})
        assert ann.emit("message", {"message": "before"})["ok"] is True
        size_bytes = max(path.stat().st_size for path in file.parent.iterdir())
        _, hard = resource.prlimit(server.child.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.child.process.pid, resource.RLIMIT_FSIZE, (size_bytes + 200_000, hard))
        text = "x" * 50_000

        def is_refused() -> bool:
            reply = ann.emit("message", {"message": text})
            return reply["ok"] is False and reply["error"]["code"] == "internal" and reply["error"]["retry"]

        wait_until(is_refused, "the disk is full")
        assert requests.get(f"{server.url}/ready", timeout=20).status_code == 503
        resource.prlimit(server.child.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        wait_until(lambda: ann.emit("message", {"message": "after"})["ok"], "there is room again")
        kept = everything(server.url, client)
        assert (kept[0]["message"], kept[-1]["message"]) == ("before", "after")


def test_a_deleted_file_is_made_anew_with_what_was_acknowledged(run: Run, file: Path, client: OfficialClient) -> None:
    """The server went on acknowledging messages, and they were lost with it."""
    with run() as server:
        ann = client.connect(server.url, auth={"user_name": "Ann"}, reconnection=False)
        assert ann.emit("message", {"message": "before"})["ok"] is True
        for path in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
            path.unlink()
        acknowledged = ["before"]

        def is_noticed() -> bool:
            text = str(len(acknowledged))
            if ann.emit("message", {"message": text})["ok"]:
                acknowledged.append(text)
            ready = requests.get(f"{server.url}/ready", timeout=20)
            return ready.status_code == 503 and ready.json()["reason"] == "message log: the file was deleted or replaced"

        wait_until(is_noticed, "the file is missed")
        wait_until(lambda: requests.get(f"{server.url}/ready", timeout=20).status_code == 200, "the log is well again")
        assert file.exists()
        assert ann.emit("message", {"message": "after"})["ok"] is True
        server.child.kill()
    with run() as server:
        assert [entry["message"] for entry in everything(server.url, client)] == [*acknowledged, "after"]


def reason(server: Hazoom) -> str:
    """Return why a server is not ready, "" if it is."""
    ready = requests.get(f"{server.url}/ready", timeout=20)
    return "" if ready.ok else ready.json()["reason"]


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_file_that_was_read_only_is_used_when_it_is_not(
    run: Run, file: Path, client: OfficialClient, is_restarted: bool
) -> None:
    """It stayed unusable after `chmod u+w`, across restarts."""
    with run() as server:
        ann = client.connect(server.url, auth={"user_name": "Ann"}, reconnectionDelay=20, reconnectionDelayMax=100)
        assert ann.emit("message", {"message": "before"})["ok"] is True
    file.chmod(0o400)
    with run(is_bound_by_modes=True) as server:
        ann.wait_until_connected()
        assert reason(server) == f"message log: {file.name} is read-only"
        refused = ann.emit("message", {"message": "meanwhile"})
        assert (refused["ok"], refused["error"]["code"], refused["error"]["retry"]) == (False, "internal", True)
        file.chmod(0o600)
        if not is_restarted:
            wait_until(lambda: not reason(server), "the log is well again")
            assert ann.emit("message", {"message": "after"})["ok"] is True
    with run(is_bound_by_modes=True) as server:
        assert not reason(server)
        kept = [entry["message"] for entry in everything(server.url, client)]
        assert kept == (["before"] if is_restarted else ["before", "after"])


@pytest.mark.parametrize("how", ["deleted", "replaced", "folder moved"])
def test_a_server_that_nobody_asks_misses_its_file(run: Run, file: Path, how: str) -> None:
    """It was noticed by the next message, which was refused for it, or by who asked `/ready`."""
    with run() as server:
        if how == "deleted":
            file.unlink()
        elif how == "replaced":
            file.with_name("empty").touch(0o600)
            file.with_name("empty").replace(file)
        else:
            file.parent.rename(file.parent.with_name(f"{file.parent.name} elsewhere"))
        wait_until(lambda: "the file was deleted or replaced" in server.log, "the file is missed")
        wait_until(lambda: "messages are kept again" in server.log, "the file is made anew")
        assert file.stat().st_size > 0


def test_who_is_connected_when_the_file_is_lost_comes_back_after_a_restart(
    run: Run, file: Path, client: OfficialClient
) -> None:
    """Sessions were saved into the new file only when they changed: others could not be recovered."""
    with run() as server:
        ann = client.connect(server.url, auth={"user_name": "Ann"}, reconnectionDelay=20, reconnectionDelayMax=100)
        assert ann.emit("join_room", {"room": "team"})["ok"] is True
        assert ann.emit("message", {"message": "before", "room": "team"})["ok"] is True
        file.unlink()
        wait_until(lambda: "messages are kept again" in server.log, "the file is made anew")

        def is_saved() -> bool:
            with closing(sqlite3.connect(file)) as kept:
                rows = kept.execute("SELECT sessions FROM tail").fetchall()
                return _count(kept, "sessions") > 0 or any("Ann" in sessions for (sessions,) in rows)

        wait_until(is_saved, "the session is saved anew")
        server.child.kill()
    with run():
        assert ann.wait_for("status")["recovered"] is True
        assert ann.emit("message", {"message": "after", "room": "team"})["ok"] is True, "it is in its room"
