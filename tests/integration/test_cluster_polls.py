"""Clients that poll, whose requests come to any of several processes: that one has them answered by who has the session."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from protocol_client import NOOP, WEBSOCKET, Answer, Polling, Request, ask, refusal
from redis_server import Databases, databases
from servers import DEADLINE_S, Hazoom, OfficialClient, child_process, free_port, hazoom, program, talk, unique, wait_until

__all__ = ["databases"]
pytestmark = pytest.mark.redis

UNKNOWN = Answer(400, '{"code":1,"message":"Session ID unknown"}')
COMES_BACK = {"reconnectionDelay": 20, "reconnectionDelayMax": 200}
LONG = "x" * 100_000
WARNING = "a client that polls has its session at another process"
# By turns, one request to the one process and the next to the other.
NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; {user}
events {{ }}
http {{
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi; access_log off;
    upstream hazoom_ws {{ server 127.0.0.1:{first}; server 127.0.0.1:{second}; keepalive 64; }}
    map $http_upgrade $hazoom_connection {{ default upgrade; '' ''; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://hazoom_ws; proxy_http_version 1.1; proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $hazoom_connection;
            proxy_buffering off; proxy_next_upstream off;
        }}
    }}
}}
"""


@contextmanager
def by_turns(servers: Sequence[Hazoom], folder: Path) -> Iterator[str]:
    """Run an nginx that keeps no client with a process; yield its URL."""
    port = free_port()
    first, second = (server.port for server in servers)
    user = "user root;" if Path("/proc/self").exists() and Path("/proc/self").stat().st_uid == 0 else ""
    text = NGINX.format(folder=folder, first=first, second=second, port=port, user=user)
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    command = [program("TEST_NGINX", "nginx", "/usr/sbin/nginx"), "-c", str(folder / "nginx.conf")]
    with child_process("nginx", [*command, "-e", str(folder / "first.log")]):
        url = f"http://127.0.0.1:{port}"

        def is_up() -> bool:
            try:
                return requests.get(f"{url}/ready", timeout=DEADLINE_S).ok
            except requests.ConnectionError:
                return False

        wait_until(is_up, "nginx passes on")
        yield url


@pytest.fixture(scope="module")
def env(databases: Databases) -> dict[str, str]:
    limits = {"HAZOOM_MESSAGE_LIMIT_BYTES": "200000", "HAZOOM_RATE_LIMIT_PER_S": "0"}
    limits |= {"HAZOOM_TRUSTED_PROXIES": "127.0.0.1", "HAZOOM_CONNECT_RATE_LIMIT_PER_S": "0.001"}
    limits |= {"HAZOOM_CONNECT_RATE_LIMIT_BURST_COUNT": "3"}  # for the addresses that a proxy names, and none does but one
    return {"HAZOOM_LOG_URL": databases.next_url(), "HAZOOM_DEFAULT_ROOM": "", **limits}


@pytest.fixture(scope="module")
def servers(env: dict[str, str]) -> Iterator[tuple[Hazoom, Hazoom]]:
    with (
        hazoom(async_mode="eventlet", demo=True, env=env) as first,
        hazoom(async_mode="threading", demo=True, env=env) as second,
    ):
        yield first, second


@pytest.fixture
def third(env: dict[str, str]) -> Iterator[Hazoom]:
    """Return one more process of these, which the test may end."""
    with hazoom(env=env) as server:
        yield server


@pytest.fixture(scope="module")
def url(servers: tuple[Hazoom, Hazoom], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with by_turns(servers, tmp_path_factory.mktemp("nginx")) as url:
        yield url


@pytest.fixture
def client() -> Iterator[OfficialClient]:
    with OfficialClient() as client:
        yield client


def joined(server: Hazoom) -> Polling:
    """Return a session that has heard what a client is told first."""
    polling = Polling(server.url)
    polling.send("40")
    while '"status"' not in polling.poll().body:
        pass
    return polling


def process_of(sid: str) -> str:
    name, _, random = sid.partition("-")
    assert (len(name), len(random)) == (16, 30)
    return name


@pytest.mark.parametrize("transports", [["polling"], ["polling", "websocket"]], ids=" then ".join)
def test_official_clients_chat_through_a_proxy_that_keeps_them_with_no_process(
    servers: tuple[Hazoom, Hazoom], url: str, client: OfficialClient, transports: list[str]
) -> None:
    room = unique("room")
    names = [f"user {number}" for number in range(6)]
    users = [
        client.connect(url, transports=transports, reconnection=False, auth={"user_name": name, "room": room})
        for name in names
    ]
    for user in users:
        assert user.emit("join_room", {"room": room})["ok"]
    talk(users, room, LONG)
    if len(transports) == 1:
        assert users[0].emit("llm_request", {"message": "hello", "room": room})["ok"]
        answers = set()
        for user in users:
            user.wait_for("llm_complete")
            answers.add("".join(token["token"] for token in user.received("llm_token")))
        assert len(answers) == 1
    orders = [[(data["seq"], data["message"]) for data in user.received("new_message")] for user in users]
    assert all(order == orders[0] for order in orders)
    if len(transports) > 1:
        # The WebSocket of half of them has come to the other process: that is refused, and they go on polling.
        assert {user.transport() for user in users} <= {"polling", "websocket"}
    leaver, *others = users
    leaver.disconnect()
    for user in others:
        user.wait_for("user_left", lambda event: event["user"] == names[0])
        assert user.received("disconnect") == []


@pytest.mark.parametrize("place", [0, 1])
def test_a_request_that_comes_elsewhere_is_answered_as_where_its_session_is(
    servers: tuple[Hazoom, Hazoom], place: int
) -> None:
    here, there = servers[place], servers[1 - place]
    polling, again, large = joined(here), joined(here), joined(here)
    for one in (polling, again, large):
        one.url = there.url
    assert refusal(there.url, f"{WEBSOCKET}&sid={polling.sid}") == UNKNOWN
    polling.send('420["get_rooms",{}]')
    assert polling.poll().body.startswith("430[{")
    assert ask(there.url, polling.query, "PUT").status in (400, 405)
    # Two polls at once, what is no packet, and what is too large end a session, wherever each request has come.
    polls = [
        Request(server.url, polling.query) for server in (here, there, there)
    ]  # for one of them there may be something
    assert 400 in [poll.answer().status for poll in polls]
    assert again.post(b"\xff") == Answer(400, '{"code":3,"message":"Bad request"}')
    assert large.post("4" * 1_000_001).status == 413
    for one in (polling, again, large):
        wait_until(lambda one=one: ask(here.url, one.query, "POST", "4") == UNKNOWN, "it is over")
        assert one.post("4") == UNKNOWN
    assert there.log.count(WARNING) == 1


def test_made_up_ids_are_unknown(servers: tuple[Hazoom, Hazoom]) -> None:
    name = process_of(Polling(servers[0].url).sid)
    for sid in (f"{name}-{'0' * 30}", f"2-{name}-{'0' * 30}", f"{'0' * 16}-{'0' * 30}", f"{name}-", name, "0" * 5000):
        for server in servers:
            assert ask(server.url, f"EIO=4&transport=polling&sid={sid}") == UNKNOWN


@pytest.mark.parametrize("place", [0, 1])
def test_who_makes_up_many_ids_is_refused(servers: tuple[Hazoom, Hazoom], place: int) -> None:
    here, there = servers[place], servers[1 - place]
    sid = f"{process_of(Polling(there.url).sid)}-{'0' * 30}"
    url, headers = f"{here.url}/socket.io/?EIO=4&transport=polling&sid={sid}", {"X-Forwarded-For": f"198.51.100.{place}"}
    answers = [requests.post(url, LONG, headers=headers, timeout=DEADLINE_S) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [400, 400, 400, 429, 429]
    assert int(answers[-1].headers["Retry-After"]) > 900


def test_when_a_process_ends_calmly_who_polls_by_way_of_it_goes_on_and_its_own_clients_hear_goodbye(
    servers: tuple[Hazoom, Hazoom], third: Hazoom
) -> None:
    stays, ends = servers[0], third
    passing, own = joined(stays), joined(ends)
    by_way, waits = Request(ends.url, passing.query), Request(stays.url, own.query)
    wait_until(lambda: WARNING in ends.log and WARNING in stays.log, "both are asked for elsewhere")
    ends.child.process.send_signal(signal.SIGTERM)
    assert by_way.answer() == Answer(200, NOOP)
    assert '"shutting_down"' in waits.answer().body
    own.url = stays.url
    assert own.poll() == Answer(200, "1")
    assert ends.child.wait() == 0
    passing.send('420["get_rooms",{}]')
    assert passing.poll().body.startswith("430[{")
    assert own.poll() == UNKNOWN


def test_clients_of_a_process_that_is_killed_come_back_and_miss_nothing(
    servers: tuple[Hazoom, Hazoom], third: Hazoom, client: OfficialClient, tmp_path: Path
) -> None:
    stays, dies = servers[0], third
    room = unique("room")
    with by_turns((stays, dies), tmp_path) as url:
        users = [
            client.connect(url, transports=one, auth={"user_name": unique("Ann")}, **COMES_BACK)
            for one in (["polling"], ["polling"], ["polling", "websocket"], ["polling", "websocket"])
        ]
        teller = client.connect(stays.url, transports=["websocket"], auth={"user_name": "Teller"})
        for user in (*users, teller):
            assert user.emit("join_room", {"room": room})["ok"]
        waits = joined(dies)
        waits.url = stays.url
        waiting = Request(stays.url, waits.query)
        dies.child.kill()
        # Redis knows that it hears no more, long before its lease is over.
        assert waiting.answer() == waits.post("4") == UNKNOWN
        for number in range(20):
            assert teller.emit("message", {"message": f"{number}", "room": room})["ok"]
        for user in users:
            user.wait_for("new_message", lambda data: data["message"] == "19")
            assert [data["message"] for data in user.received("new_message")] == [*map(str, range(20))]
            assert all(connect["recovered"] for connect in user.received("connect")[1:])
