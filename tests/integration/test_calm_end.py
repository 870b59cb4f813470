"""A stop that nobody has to fear: who is connected hears of it and comes back, answers end or are handed on, status 0."""

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from protocol_client import Polling
from raw_client import RawClient, raw_client
from servers import DEADLINE_S, Backend, Hazoom, OfficialClient, Socket, free_port, hazoom, unique, wait_until

TRANSPORTS = (["websocket"], ["polling"], ["polling", "websocket"])
QUICKLY = {"reconnectionDelay": 20, "reconnectionDelayMax": 200}


def connected(client: OfficialClient, server: Hazoom, transports: list[str], **options: object) -> Socket:
    user = client.connect(server.url, transports=transports, auth={"user_name": unique("Ann")}, **options)
    if len(transports) > 1:
        user.wait_for("upgrade")
    return user


def ready(server: Hazoom) -> tuple[int, str]:
    answer = requests.get(f"{server.url}/ready", timeout=DEADLINE_S)
    return answer.status_code, answer.json().get("reason", "")


def is_stopping(server: Hazoom) -> bool:
    return ready(server) == (503, "shutting down")


def rest_of(raw: RawClient) -> list[str]:
    """Return what still comes until the connection ends."""
    texts = []
    with suppress(EOFError, ConnectionError):
        while True:
            texts.append(raw.receive())
    return texts


def file_in(folder: Path) -> dict[str, str]:
    return {"HAZOOM_LOG_URL": f"sqlite:///{folder}/messages.sqlite3"}


def test_everybody_hears_why_and_when_to_come_back(async_mode: str, client: OfficialClient) -> None:
    with hazoom(async_mode=async_mode) as server:
        users = [connected(client, server, transports, reconnection=False) for transports in TRANSPORTS for _ in range(3)]
        typing = users[0].open_namespace("/typing")
        begun_s = time.monotonic()
        assert server.child.stop() == 0
        assert time.monotonic() - begun_s < 8
        for user in (*users, typing):
            assert user.wait_for("disconnect")["reason"] == "transport close"
        byes = [user.received("bye") for user in users]
    assert [len(bye) for bye in byes] == [1] * len(users)
    assert typing.received("bye") == byes[0]
    assert all((bye["reason"], bye["reconnect"]) == ("shutting_down", True) for (bye,) in byes)
    times_ms = sorted(bye["retry_after_ms"] for (bye,) in byes)
    # Each has two milliseconds of its own, after a second.
    assert [(time_ms - 1000) // 2 for time_ms in times_ms] == list(range(len(users)))


def test_who_is_in_the_middle_of_an_upgrade_notices_and_comes_back(
    async_mode: str, client: OfficialClient, tmp_path: Path
) -> None:
    """It polled no more then, and its WebSocket was none yet: it came back after its heartbeat, 45 s later."""
    port = free_port()
    with hazoom(async_mode=async_mode, port=port, env=file_in(tmp_path)) as server:
        users = [client.connect(server.url, **QUICKLY) for _ in range(10)]  # and not waited for the upgrade
        assert server.child.stop() == 0
    with hazoom(async_mode=async_mode, port=port, env=file_in(tmp_path)):
        for user in users:
            client.wait(lambda user=user: len(user.received("connect")) == 2, "it is back")


def test_documents_and_who_has_joined_nothing_are_closed_too(async_mode: str) -> None:
    with hazoom(async_mode=async_mode) as server, raw_client(server, join=False) as silent:
        with raw_client(server, join=False) as editor:
            editor.send("40/yjs|notes,")
            assert editor.receive().startswith("40/yjs|notes,")
            assert server.child.stop() == 0
            assert editor.wait_until_closed() == 1001
        assert silent.wait_until_closed() == 1001


def test_a_client_that_reads_slowly_gets_all_that_was_said_to_it_before_it_is_closed(async_mode: str) -> None:
    """What waited for it was thrown away: acknowledgements too."""
    with (
        hazoom(async_mode=async_mode, env={"HAZOOM_RATE_LIMIT_PER_S": "0"}) as server,
        raw_client(server, user_name="Snail", stalls=True) as snail,
    ):
        # More than a kernel of this size of buffers takes, less than the outbox does.
        for number in range(40):
            snail.send(f'42{number}["message",{{"message":"{"x" * 20_000}"}}]')
        wait_until(lambda: server.stats()["messages_total"] == 40, "all of it is said")
        server.child.process.send_signal(signal.SIGTERM)
        snail.read_on()
        texts = rest_of(snail)
        assert server.child.wait() == 0
    assert sum(text.startswith("43") for text in texts) == 40
    assert texts[-1].startswith('42["bye",')


def test_a_poll_that_is_open_and_one_that_comes_later_are_answered(async_mode: str) -> None:
    with hazoom(async_mode=async_mode) as server:
        polling = Polling(server.url)
        polling.send("40")
        polling.receive(2)
        server.child.process.send_signal(signal.SIGTERM)
        said: list[str] = []
        while "1" not in said:
            said += polling.poll().packets
        assert next(packet for packet in said if "bye" in packet).startswith('42["bye",{"reason":"shutting_down"')
        assert server.child.wait() == 0


def test_while_answers_run_nothing_new_is_taken_and_they_end(
    async_mode: str, client: OfficialClient, backend: Backend
) -> None:
    gate = unique("gate")
    with hazoom(async_mode=async_mode, llm_url=backend.chat_url) as server:
        users = [connected(client, server, transports, reconnection=False) for transports in TRANSPORTS]
        ann = users[0]
        assert ann.emit("llm_request", {"message": f"do:gated {gate}"})["ok"] is True
        backend.release(gate)
        ann.wait_for("llm_token")
        begun_s = time.monotonic()
        server.child.process.send_signal(signal.SIGTERM)
        wait_until(lambda: is_stopping(server), "it says so")
        handshake = requests.get(f"{server.url}/socket.io/?EIO=4&transport=polling", timeout=DEADLINE_S)
        assert (handshake.status_code, handshake.json()["message"]) == (503, "The server is stopping")
        newcomer = client.try_to_connect(server.url, transports=["websocket"], reconnection=False)
        newcomer.wait_for("connect_error")
        for user in users:
            refused = user.emit("llm_request", {"message": "one more"})["error"]
            assert (refused["code"], refused["retry"]) == ("shutting_down", True)
            assert user.emit("message", {"message": "they talk on"})["ok"] is True
        while not ann.received("llm_complete"):
            backend.release(gate)
        assert ann.received("llm_complete")[0]["finish_reason"] == "stop"
        assert server.child.wait() == 0
        assert time.monotonic() - begun_s < 8
        for user in users:
            assert len(user.received("bye")) == 1


def test_an_answer_that_takes_too_long_is_handed_on(
    async_mode: str, client: OfficialClient, backend: Backend, tmp_path: Path
) -> None:
    env = {"HAZOOM_SHUTDOWN_GRACE_S": "2", **file_in(tmp_path)}
    port = free_port()
    request_id = unique("request")
    with hazoom(async_mode=async_mode, port=port, llm_url=backend.chat_url, env=env) as server:
        ann = connected(client, server, ["websocket"], **QUICKLY)
        assert ann.emit("llm_request", {"message": f"do:endless {request_id}", "request_id": request_id})["ok"] is True
        ann.wait_for("llm_token")
        begun_s = time.monotonic()
        assert server.child.stop() == 0
        assert time.monotonic() - begun_s < 2
    assert ann.received("llm_error") == []
    with hazoom(async_mode=async_mode, port=port, llm_url=backend.chat_url, env=env):
        error = ann.wait_for("llm_error")
        assert (error["request_id"], error["retry"]) == (request_id, True)
        assert ann.received("connect")[-1]["recovered"] is True
        assert ann.received("llm_complete") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(
    async_mode: str, client: OfficialClient, backend: Backend, number: signal.Signals
) -> None:
    with hazoom(async_mode=async_mode, llm_url=backend.chat_url, env={"HAZOOM_SHUTDOWN_GRACE_S": "600"}) as server:
        ann = connected(client, server, ["websocket"], reconnection=False)
        ann.emit("llm_request", {"message": f"do:endless {unique('flood')}"})
        ann.wait_for("llm_token")
        server.child.process.send_signal(signal.SIGTERM)
        wait_until(lambda: is_stopping(server), "it waits for the answer")
        assert server.child.stop(number) == -number
        assert ann.received("bye") == []


HANGS = """
import time
from eventlet import patcher
from hazoom_ws.features import ClientPayload, Feature, handles

class Hang(ClientPayload, frozen=True):
    event = "hang"

class Hangs(Feature):
    name = "hangs"

    @handles(Hang)
    def hang(self, sender, payload):
        print("hangs", flush=True)
        patcher.original("time").sleep(600)
"""


def test_what_hangs_does_not_keep_it_from_ending_in_time(async_mode: str, client: OfficialClient, tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)
    env = {"PYTHONPATH": str(tmp_path), "HAZOOM_SHUTDOWN_GRACE_S": "2"}
    with hazoom(async_mode=async_mode, env=env, args=("--feature", "hangs:Hangs")) as server:
        ann = client.connect(server.url, transports=["websocket"], reconnection=False)
        ann.start_to_emit("hang", {})
        server.child.wait_for_output("hangs\n")
        assert server.child.stop() == 0
        assert "stopping takes too long and is cut off" in server.log


def test_what_was_acknowledged_is_there_and_official_clients_come_back_recovered(
    async_mode: str, client: OfficialClient, tmp_path: Path
) -> None:
    port = free_port()
    run: Callable[..., object] = lambda: hazoom(async_mode=async_mode, port=port, env=file_in(tmp_path))  # noqa: E731
    with run() as server:
        users = [connected(client, server, transports, **QUICKLY) for transports in TRANSPORTS]
        for number, user in enumerate(users):
            assert user.emit("message", {"message": f"before {number}"})["ok"] is True
        assert server.child.stop() == 0
    with run():
        for user in users:
            client.wait(lambda user=user: len(user.received("connect")) == 2, "it is back")
            assert user.received("connect")[1]["recovered"] is True
        assert users[0].emit("message", {"message": "after"})["ok"] is True
        for user in users:
            user.wait_for("new_message", lambda said: said["message"] == "after")
            assert [said["message"] for said in user.received("new_message")] == [
                "before 0",
                "before 1",
                "before 2",
                "after",
            ]
