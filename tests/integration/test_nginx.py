"""config/nginx.conf as it is, but for names, ports and paths: nginx takes it, and official clients get through it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import trustme

from redis_server import Databases, databases
from servers import (
    DEADLINE_S,
    ROOT,
    Backend,
    Hazoom,
    OfficialClient,
    child_process,
    django_runserver,
    free_port,
    hazoom,
    program,
    run_hazoom,
    unique,
    wait_until,
)

__all__ = ["databases"]

CONFIG = ROOT / "config" / "nginx.conf"
TRANSPORTS = (["websocket"], ["polling"], ["polling", "websocket"])
KEY = "key-of-the-tests-of-nginx-0123456789"
# Whose address nginx believes: in these tests all clients are on one machine.
ADDRESSES = "set_real_ip_from 127.0.0.0/8; real_ip_header X-Test-Address;"
MAIN = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log info; {user}
events {{ }}
http {{
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {addresses}
    include {folder}/hazoom.conf;
}}
"""


class Proxy:
    """A running nginx. ``ca`` is the certificate that its clients trust, as a file."""

    def __init__(self, url: str, plain_url: str, folder: Path, authority: trustme.CA) -> None:
        self.url = url
        self.plain_url = plain_url
        self.folder = folder
        self.ca = folder / "ca.pem"
        self.trusts = {"ca": authority.cert_pem.bytes().decode()}

    def get(self, path: str, **options: object) -> requests.Response:
        return requests.get(f"{self.url}{path}", verify=str(self.ca), timeout=DEADLINE_S, **options)


def configure(folder: Path, server: Hazoom, authority: trustme.CA, port: int) -> int:
    """Write the configuration for this machine, with TLS on ``port``; return the port without TLS."""
    plain_port = free_port()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(folder / "site.key")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(folder / "site.pem", append=True)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    text = CONFIG.read_text(encoding="utf-8")
    for written, here in {
        "listen 80;": f"listen 127.0.0.1:{plain_port};",
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "server 127.0.0.1:5000;": f"server 127.0.0.1:{server.port};",
        "/etc/nginx/chat.example.com.pem": f"{folder}/site.pem",
        "/etc/nginx/chat.example.com.key": f"{folder}/site.key",
        "/var/log/nginx/hazoom_ws.access.log": f"{folder}/access.log",
        "/var/log/nginx/hazoom_ws.error.log": f"{folder}/own-error.log",
    }.items():
        assert text.count(written) == 1, written
        text = text.replace(written, here)
    (folder / "hazoom.conf").write_text(text.replace("chat.example.com", "localhost"), encoding="utf-8")
    user = "user root;" if Path("/proc/self").exists() and Path("/proc/self").stat().st_uid == 0 else ""
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, addresses=ADDRESSES, user=user), encoding="utf-8")
    return plain_port


@contextmanager
def nginx(folder: Path, server: Hazoom, port: int) -> Iterator[Proxy]:
    """Run nginx in front of a server."""
    authority = trustme.CA()
    plain_port = configure(folder, server, authority, port)
    command = [program("TEST_NGINX", "nginx", "/usr/sbin/nginx"), "-c", str(folder / "nginx.conf")]
    command += ["-e", str(folder / "first.log")]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert tested.returncode == 0, tested.stderr
    assert "warn" not in tested.stderr
    with child_process("nginx", command):
        proxy = Proxy(f"https://localhost:{port}", f"http://localhost:{plain_port}", folder, authority)

        def is_ready() -> bool:
            try:
                return proxy.get("/ready").ok
            except requests.ConnectionError:
                return False

        wait_until(is_ready, "nginx passes on")
        yield proxy


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with django_runserver() as backend:
        yield backend


@pytest.fixture(scope="module")
def tls_port(async_mode: str) -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(async_mode: str, backend: Backend, tls_port: int) -> Iterator[Hazoom]:
    env = {
        "HAZOOM_TRUSTED_PROXIES": "127.0.0.1/32",
        "HAZOOM_CORS_ORIGINS": f"https://chat.example.com,https://localhost:{tls_port}",
        "HAZOOM_API_KEYS": KEY,
        "HAZOOM_LLM_STREAMS_LIMIT": "2",
    }
    with hazoom(async_mode=async_mode, llm_url=backend.chat_url, env=env) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(server: Hazoom, tmp_path_factory: pytest.TempPathFactory, tls_port: int) -> Iterator[Proxy]:
    with nginx(tmp_path_factory.mktemp("nginx"), server, tls_port) as proxy:
        yield proxy


@pytest.mark.parametrize("transports", TRANSPORTS, ids=" then ".join)
def test_official_clients_chat_through_it(
    server: Hazoom, proxy: Proxy, client: OfficialClient, transports: list[str]
) -> None:
    room = unique("room")
    ann, bob = (client.connect(proxy.url, transports=transports, **proxy.trusts) for _ in range(2))
    for user in (ann, bob):
        assert user.emit("join_room", {"room": room})["ok"]
    if len(transports) > 1:
        assert ann.wait_for("upgrade") == {"transport": "websocket"}
    assert ann.transport() == transports[-1]
    for size in (10, 60_000):
        assert ann.emit("message", {"message": "x" * size, "room": room})["ok"]
        assert bob.wait_for("new_message", lambda data, size=size: len(data["message"]) == size)["room"] == room


def test_pages_of_the_site_may_use_it_and_others_may_not(proxy: Proxy) -> None:
    poll = "/socket.io/?EIO=4&transport=polling"
    assert proxy.get(poll, headers={"Origin": "https://chat.example.com"}).status_code == 200
    assert proxy.get(poll, headers={"Origin": "https://evil.example"}).status_code == 400


def test_addresses_are_seen_as_they_are(proxy: Proxy, backend: Backend, client: OfficialClient) -> None:
    """Of two places for answers of the AI an address may have one: the second one of the same address waits."""
    question = f"do:endless {unique('quack')}"

    def ask(transports: list[str], address: str, **headers: str) -> str:
        headers = {"X-Test-Address": address, **headers}
        user = client.connect(
            proxy.url,
            transports=transports,
            extraHeaders=headers,
            transportOptions={"websocket": {"extraHeaders": headers}},
            auth={"user_name": unique("Ann")},
            **proxy.trusts,
        )
        asked = user.emit("llm_request", {"message": question})
        assert asked["ok"], asked
        client.wait(lambda: user.received("llm_started") or user.received("llm_queued"), "the question has a place")
        users.append((user, asked["request_id"]))
        return "runs" if user.received("llm_started") else "waits"

    users: list = []
    assert ask(["websocket"], "192.0.2.1") == "runs"
    assert ask(["polling"], "192.0.2.1") == "waits"
    assert ask(["websocket"], "192.0.2.1", **{"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}) == "waits"
    assert ask(["polling"], "198.51.100.7") == "runs"
    for user, request_id in reversed(users):
        assert user.emit("llm_cancel", {"request_id": request_id})["ok"]
    wait_until(lambda: question not in backend.open_streams(), "the answers have ended")


def test_what_is_said_of_the_server_needs_a_key(proxy: Proxy) -> None:
    assert proxy.get("/api/v1/status").status_code == 401
    assert proxy.get("/", auth=("anyone", KEY)).status_code == 200
    health = proxy.get("/health")
    assert "version" not in health.json()
    assert health.headers["Server"] == "nginx"
    assert health.headers["X-Content-Type-Options"] == "nosniff"
    assert "max-age" in health.headers["Strict-Transport-Security"]


def test_without_tls_one_is_sent_to_it(proxy: Proxy) -> None:
    answer = requests.get(f"{proxy.plain_url}/board?room=a", timeout=DEADLINE_S, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (301, "https://localhost/board?room=a")


def test_its_logs_show_no_key(proxy: Proxy) -> None:
    for path in ("/", "/nothing", "/socket.io/", "/health"):
        proxy.get(path, params={"api_key": KEY}, headers={"Referer": f"{proxy.url}/?api_key={KEY}"})
    access = proxy.folder / "access.log"
    wait_until(lambda: '"GET /nothing" 404' in access.read_text(encoding="utf-8"), "the requests are logged")
    for log in (access, proxy.folder / "own-error.log"):
        assert KEY not in log.read_text(encoding="utf-8")


def test_check_finds_what_is_right_and_what_is_not_at_the_public_url(server: Hazoom, proxy: Proxy) -> None:
    port = ("--demo", "--port", server.port)
    env = {"HAZOOM_TRUSTED_PROXIES": "127.0.0.1/32", "HAZOOM_CORS_ORIGINS": proxy.url, "SSL_CERT_FILE": str(proxy.ca)}
    right = run_hazoom("check", *port, "--public-url", proxy.url, **env)
    assert f"ok       public     {proxy.url} leads to hazoom_ws, in " in right.stdout
    assert f"ok       websocket  a WebSocket to {proxy.url} gets through" in right.stdout
    assert f"the certificate of {proxy.url} ends on " in right.stdout
    # The authority of tests is unknown without SSL_CERT_FILE, and 127.0.0.1 is not in the certificate.
    untrusted = run_hazoom("check", *port, "--public-url", proxy.url, HAZOOM_CORS_ORIGINS=proxy.url)
    assert f"problem  tls        browsers refuse the certificate of {proxy.url}: " in untrusted.stdout
    by_address = proxy.url.replace("localhost", "127.0.0.1")
    other = run_hazoom("check", *port, "--public-url", by_address, **env)
    assert "problem  origins    pages of " in other.stdout
    assert "problem  tls        browsers refuse" in other.stdout
    assert (untrusted.returncode, other.returncode) == (1, 1)
    for report in (right, untrusted, other):
        assert "could not be checked" not in report.stdout
        assert report.stderr == ""


def test_several_workers_need_nothing_of_it(client: OfficialClient, databases: Databases, tmp_path: Path) -> None:
    """Its connections to the server are shared by clients of both workers, and each request finds its own."""
    tls_port = free_port()
    env = {
        "HAZOOM_LOG_URL": databases.next_url(),
        "HAZOOM_TRUSTED_PROXIES": "127.0.0.1/32",
        "HAZOOM_CORS_ORIGINS": f"https://localhost:{tls_port}",
    }
    with hazoom(args=("--workers", 2), env=env) as server, nginx(tmp_path, server, tls_port) as proxy:
        for transports in TRANSPORTS:
            users = [client.connect(proxy.url, transports=transports, reconnection=False, **proxy.trusts) for _ in range(4)]
            for user in users:
                if len(transports) > 1:
                    assert user.wait_for("upgrade") == {"transport": "websocket"}
                for text in ("short", "x" * 60_000):
                    assert user.emit("message", {"message": text})["ok"]
                    user.wait_for("new_message", lambda data, text=text: data["message"] == text)
                assert user.received("disconnect") == []
