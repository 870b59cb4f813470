"""Several processes on one port: every client finds its own, they are started again, and end together.

They need a Redis of their own for each server. Linux only, like the setting.
"""

import http.client
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest
import requests
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from protocol_client import POLLING, Answer, Polling, ask
from redis_server import Databases, databases
from servers import DEADLINE_S, Hazoom, OfficialClient, Socket, hazoom, run_hazoom, talk, unique, wait_until

__all__ = ["databases"]

TRANSPORTS = (["websocket"], ["polling"], ["polling", "websocket"])
COMES_BACK = {"reconnectionDelay": 20, "reconnectionDelayMax": 200}
LONG = "x" * 60_000


@pytest.fixture(scope="module")
def env(databases: Databases) -> Iterator[dict[str, str]]:
    return {"HAZOOM_LOG_URL": databases.next_url(), "HAZOOM_RATE_LIMIT_PER_S": "0"}


@pytest.fixture(scope="module")
def server(env: dict[str, str]) -> Iterator[Hazoom]:
    with hazoom(args=("--workers", 2), env=env) as server:
        yield server


@pytest.fixture
def own_server(databases: Databases) -> Iterator[Hazoom]:
    """Return a server that the test may break."""
    with hazoom(args=("--workers", 2), env={"HAZOOM_LOG_URL": databases.next_url()}) as server:
        yield server


@pytest.fixture
def client() -> Iterator[OfficialClient]:
    with OfficialClient() as client:
        yield client


def workers_of(server: Hazoom) -> list[psutil.Process]:
    """Return the processes that serve or begin to, in the order of their numbers."""
    found = {}
    for child in psutil.Process(server.child.process.pid).children():
        with suppress(psutil.Error, KeyError):  # it has just ended, or is about to become one
            found[child.environ()["HAZOOM_WORKER_NUMBER"]] = child
    return [found[number] for number in sorted(found)]


def number_of(sid: str) -> str:
    """Return the number of the worker that has a session."""
    return re.fullmatch(r"([1-9])-[0-9a-f]{16}-[0-9a-f]{30}", sid)[1]


def one_of_each(server: Hazoom) -> list[Polling]:
    """Return a session that polls for each of two workers, the first one's first."""
    found: dict[str, Polling] = {}

    def have_both() -> bool:
        polling = Polling(server.url)
        found.setdefault(number_of(polling.sid), polling)
        return len(found) == 2

    wait_until(have_both, "each worker has had one of the connections")
    return [found[number] for number in "12"]


def connection_to(server: Hazoom, number: str) -> requests.Session:
    """Return an HTTP client with a connection to one worker, which it keeps."""
    while True:
        session = requests.Session()
        opened = session.get(f"{server.url}/socket.io/?{POLLING}", timeout=DEADLINE_S).text
        if f'"sid":"{number}-' in opened:
            return session
        session.close()


def scrape_when(server: Hazoom, ready: dict[str, float], session: requests.Session | None = None) -> dict[str, Metric]:
    """Return what is scraped as soon as it says so of the workers, by the names of the families.

    ``session``: over its connection. A machine that is busy may keep a worker from answering in time.
    """

    def scrape() -> dict[str, Metric] | None:
        reply = (session or requests).get(f"{server.url}/metrics", timeout=DEADLINE_S)
        reply.raise_for_status()
        found = {family.name: family for family in text_string_to_metric_families(reply.text)}
        return found if by_worker(found["hazoom_ready"]) == ready else None

    return wait_until(scrape, f"{ready} is told")


def by_worker(family: Metric) -> dict[str, float]:
    return {sample.labels["worker"]: sample.value for sample in family.samples}


def said_by(server: Hazoom, text: str) -> bool:
    return wait_until(lambda: text in server.log, f"{text!r} is logged")


def test_whichever_worker_is_scraped_tells_of_all(server: Hazoom) -> None:
    one_of_each(server)
    counted: dict[tuple[str, str], float] = {}
    for _ in range(10):  # each from a worker by chance
        found = scrape_when(server, {"1": 1, "2": 1})
        started = [worker.create_time() for worker in workers_of(server)]
        assert by_worker(found["process_start_time_seconds"]) == pytest.approx(dict(zip("12", started, strict=True)))
        for family in found.values():
            assert {sample.labels["worker"] for sample in family.samples} <= {"1", "2"}
            for sample in family.samples if family.type in ("counter", "histogram") else []:
                key = (sample.name, str(sorted(sample.labels.items())))
                assert sample.value >= counted.get(key, 0), "it falls, which Prometheus takes for a restart"
                counted[key] = sample.value
    assert all(count >= 1 for count in by_worker(found["hazoom_sessions_opened"]).values())
    for _ in range(6):
        passed_on = {"X-Forwarded-For": "192.0.2.1"}
        assert requests.get(f"{server.url}/metrics", headers=passed_on, timeout=DEADLINE_S).status_code == 401


@pytest.mark.parametrize("transports", TRANSPORTS, ids=" then ".join)
def test_official_clients_chat_whichever_worker_their_requests_come_to(
    server: Hazoom, client: OfficialClient, transports: list[str]
) -> None:
    """Each of a client's requests has a connection of its own: half of them come to the other worker."""
    room = unique("room")
    users = [client.connect(server.url, transports=transports, reconnection=False) for _ in range(6)]
    for user in users:
        if len(transports) > 1:
            assert user.wait_for("upgrade") == {"transport": "websocket"}
        assert user.transport() == transports[-1]
        assert user.emit("join_room", {"room": room})["ok"]
    talk(users, room, LONG)
    assert [user.received("disconnect") for user in users] == [[]] * len(users)


def test_requests_of_clients_of_different_workers_may_share_a_connection(server: Hazoom) -> None:
    """As a proxy's do, and those of a browser's tabs."""
    sessions = one_of_each(server)
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=DEADLINE_S)

    def request(session: Polling, method: str, body: str | None = None) -> Answer:
        connection.request(method, f"/socket.io/?{session.query}", body)
        response = connection.getresponse()
        return Answer(response.status, response.read().decode())

    connection.connect()
    address = connection.sock.getsockname()
    for session in sessions:
        assert request(session, "POST", "40").body == "ok"
        assert '42["status"' in request(session, "GET").body
    for number in range(6):
        for session in sessions:
            body = f'42{number}["message",{{"message":"{LONG}"}}]'
            assert request(session, "POST", body).body == "ok"
            said = ""
            while f"43{number}[" not in said:
                said += request(session, "GET").body
        connection.request("GET", "/health")
        assert connection.getresponse().read().startswith(b"{")
    assert connection.sock.getsockname() == address, "it was closed, and opened again"
    connection.close()


def test_a_websocket_finds_the_session_that_it_takes_over(server: Hazoom) -> None:
    for session in one_of_each(server):
        for _ in range(8):  # the second one, and all further, are refused by whoever has the session
            with session.websocket() as websocket:
                websocket.probe()


def test_a_session_may_be_polled_by_way_of_another_machine(server: Hazoom, env: dict[str, str]) -> None:
    with hazoom(env=env) as other:
        ways = [(one, other.url) for one in one_of_each(server)] + [(Polling(other.url), server.url)]
        for polling, url in ways:
            polling.url = url
            polling.send("40")
            for _ in range(4):  # whichever worker it comes to
                polling.send("6")
            assert "40{" in polling.poll().body


def test_a_session_that_is_none_is_unknown_at_once(server: Hazoom) -> None:
    for sid in ("1-00", "2-00", "3-00", "999-00", "0-00", "1", "-1", "2-", "00"):
        query = f"EIO=4&transport=polling&sid={sid}"
        for _ in range(4):
            assert ask(server.url, query) == Answer(400, '{"code":1,"message":"Session ID unknown"}')


def test_workers_share_the_connections_evenly(server: Hazoom) -> None:
    numbers = [number_of(Polling(server.url).sid) for _ in range(100)]
    assert 25 <= numbers.count("1") <= 75  # outside of it once in ten million runs


def test_one_that_dies_is_missed_by_nobody_but_its_own_clients_and_is_started_again(
    own_server: Hazoom, client: OfficialClient
) -> None:
    server = own_server
    users = [client.connect(server.url, transports=["websocket"], **COMES_BACK) for _ in range(8)]
    of_first, of_second = one_of_each(server)
    first, second = workers_of(server)
    first.kill()
    said_by(server, "worker 1 has ended with status -9 and is started again in 1 s")
    wait_until(lambda: len(workers_of(server)) == 2, "it is started again")
    workers_of(server)[0].suspend()  # so that it does not serve yet
    for _ in range(20):  # half of them come to the socket of who is not there
        assert number_of(Polling(server.url).sid) == "2"
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            of_first.poll()
    found = scrape_when(server, {"1": 0, "2": 1})
    assert by_worker(found["hazoom_connections"]).keys() == {"2"}
    assert of_second.post("40").body == "ok"
    workers_of(server)[0].resume()
    wait_until(lambda: number_of(Polling(server.url).sid) == "1", "it serves again")
    scrape_when(server, {"1": 1, "2": 1})
    assert of_first.poll().status == 400
    with connection_to(server, "2") as to_second:
        workers_of(server)[0].suspend()  # it hangs
        found = scrape_when(server, {"1": 0, "2": 1}, to_second)
    assert by_worker(found["hazoom_connections"]).keys() == {"2"}
    workers_of(server)[0].kill()
    said_by(server, "worker 1 has ended with status -9 and is started again in 2 s")
    assert workers_of(server)[-1] == second
    for user in users:
        client.wait(lambda user=user: user.received("connect"), "it is back")
        assert user.emit("message", {"message": "still here"})["ok"]
    assert server.child.stdout.count("ready") == 1


def connected(client: OfficialClient, server: Hazoom) -> list[Socket]:
    return [client.connect(server.url, transports=one, reconnection=False) for one in TRANSPORTS for _ in range(3)]


def test_a_signal_that_each_process_gets_ends_all_of_them_calmly(own_server: Hazoom, client: OfficialClient) -> None:
    """A service manager, and Ctrl-C, send theirs to all processes: the supervisor's word must not be a second one."""
    server = own_server
    users, workers = connected(client, server), workers_of(server)
    os.killpg(server.child.process.pid, signal.SIGINT)
    assert server.child.wait() == 0
    assert not any(worker.is_running() for worker in workers)
    assert "stopping 2 workers on SIGINT" in server.log
    assert server.child.stdout.count("\n") == 1
    heard = []
    for user in users:
        user.wait_for("disconnect")
        heard.append([bye["reason"] for bye in user.received("bye")])
    # The next poll of one who polls may come to a worker that has ended before its own.
    assert all(byes == ["shutting_down"] for byes in heard[: len(users) // len(TRANSPORTS)])
    assert all(byes in ([], ["shutting_down"]) for byes in heard)


def test_a_second_signal_ends_all_of_them_at_once(own_server: Hazoom) -> None:
    server, workers = own_server, workers_of(own_server)
    for worker in workers:
        worker.suspend()  # it could not end calmly
    server.child.process.send_signal(signal.SIGTERM)
    said_by(server, "stopping 2 workers on SIGTERM")
    assert server.child.stop() == -signal.SIGTERM
    psutil.wait_procs(workers, DEADLINE_S)
    assert not any(worker.is_running() for worker in workers)


def test_a_supervisor_that_is_killed_takes_its_workers_with_it(own_server: Hazoom, client: OfficialClient) -> None:
    """They end as they do at its word."""
    server = own_server
    users, workers = connected(client, server), workers_of(server)
    server.child.process.kill()
    for user in users:
        assert user.wait_for("bye")["reason"] == "shutting_down"
    psutil.wait_procs(workers, DEADLINE_S)
    assert not any(worker.is_running() for worker in workers)
    with socket.create_server(("127.0.0.1", server.port)):
        pass  # the port is free again


def test_what_keeps_one_from_serving_is_said_once_and_ends_the_command() -> None:
    ended = run_hazoom("--port", 0, "--workers", 2, HAZOOM_LOG_URL="redis://127.0.0.1:1/0")
    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = [line for line in ended.stderr.splitlines() if " INFO " not in line]
    assert line.startswith("hazoom_ws: log_url: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--workers", 2), "--workers is 2, and several processes need a Redis"),
        (("--workers", 2, "--async-mode", "threading"), "needs the async mode eventlet"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments: tuple[object, ...], words: str) -> None:
    url = "redis://127.0.0.1:1/0" if "threading" in arguments else "memory://"
    for command in ((), ("check",)):
        ended = run_hazoom(*command, "--port", 0, *arguments, HAZOOM_LOG_URL=url)
        assert words in (ended.stdout if command else ended.stderr)
        assert ended.returncode == (1 if command else 2)
        assert command or ended.stderr.count("\n") == 1


def test_two_servers_cannot_share_a_port(server: Hazoom, env: dict[str, str]) -> None:
    ended = run_hazoom("--port", server.port, "--workers", 2, **env)
    assert (ended.returncode, "is taken by another program" in ended.stderr) == (2, True)
