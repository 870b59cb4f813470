"""The command, as users type it."""

import signal
import socket
import subprocess
from pathlib import Path

import pytest
import requests

import hazoom_ws
from servers import (
    DEADLINE_S,
    OfficialClient,
    command_of_hazoom,
    free_port,
    hazoom,
    run_hazoom,
    wait_until,
)


def refused(*arguments: object, **variables: str) -> str:
    """Run a command that must not start; return its one line."""
    ended = run_hazoom(*arguments, **variables)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("hazoom_ws: ")
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr


def test_the_ready_line_comes_first_and_names_the_real_port(async_mode: str) -> None:
    with hazoom(async_mode=async_mode) as server:
        assert server.child.stdout == f"hazoom_ws ready on http://127.0.0.1:{server.port}\n"
        assert server.port != 0
        assert requests.get(f"{server.url}/ready", timeout=DEADLINE_S).status_code == 200


def test_a_start_without_trouble_logs_nothing_but_information(async_mode: str) -> None:
    with hazoom(async_mode=async_mode) as server:
        assert [line for line in server.log.splitlines() if " INFO " not in line] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("transports", [["websocket"], ["polling"]])
def test_a_signal_ends_it_with_status_0_whoever_is_connected(
    async_mode: str, number: signal.Signals, transports: list[str], client: OfficialClient
) -> None:
    with hazoom(async_mode=async_mode, demo=True) as server:
        user = client.connect(server.url, transports=transports, reconnection=False)
        user.emit("llm_request", {"message": "hello"})
        user.wait_for("llm_token")
        assert server.child.stop(number) == 0
        assert user.wait_for("disconnect")["reason"] in ("transport close", "transport error")
        assert f"stopping on {number.name}" in server.log


def test_its_port_is_free_again_at_once(async_mode: str, client: OfficialClient) -> None:
    with hazoom(async_mode=async_mode) as server:
        client.connect(server.url, reconnection=False)
        port = server.port
        server.child.stop()
        with hazoom(async_mode=async_mode, port=port) as again:
            assert again.port == port


def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refused("--port", port)
    assert f"port {port} on 127.0.0.1 is taken" in line
    assert "--port" in line.partition("taken")[2]


def test_two_servers_cannot_share_a_port() -> None:
    with hazoom() as server:
        assert "is taken" in refused("--port", server.port)


def test_two_servers_cannot_share_a_file_of_messages(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/messages.sqlite3"
    with hazoom(env={"HAZOOM_LOG_URL": url}):
        assert "another hazoom_ws uses" in refused("--port", 0, HAZOOM_LOG_URL=url)


def test_a_file_of_messages_where_none_can_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = refused("--port", 0, HAZOOM_LOG_URL=f"sqlite:///{tmp_path}/file/messages.sqlite3")
    assert "log_url: cannot use" in line
    for url in ("postgres://x", "sqlite:///", "messages.sqlite3"):
        assert "it is memory://, sqlite:/// and the path of a file, or redis://" in refused("--port", 0, HAZOOM_LOG_URL=url)


def test_a_host_that_is_not_ours_is_named() -> None:
    assert "cannot listen on 192.0.2.1" in refused("--host", "192.0.2.1", HAZOOM_ALLOW_OPEN="true")


@pytest.mark.parametrize("host", ["a..b", f"{'a' * 64}.example", "[::1]", "http://127.0.0.1"])
def test_a_host_that_is_none_is_named(host: str) -> None:
    assert f"cannot listen on {host!r}: " in refused("--host", host)


def test_a_proxy_that_cannot_be_used_is_named_without_its_password() -> None:
    """Each question failed as if the backend were down, and the log spoke of missing dependencies."""
    variables = {"HAZOOM_LLM_URL": "http://llm.example.com:9001", "NO_PROXY": "", "no_proxy": ""}
    line = refused("--port", 0, ALL_PROXY="socks5://ann:secret@proxy.example.com:1080", **variables)
    assert line == (
        "hazoom_ws: ALL_PROXY is a SOCKS proxy, and the AI backend is asked through HTTP proxies only; "
        "set HTTP_PROXY to one, or add the backend's host to NO_PROXY\n"
    )


VOTES = """
from hazoom_ws.features import ClientPayload, Feature, ServerEvent, handles

class Vote(ClientPayload, frozen=True):
    event = "vote"
    option: str

class Voted(ServerEvent, frozen=True):
    event = "voted"
    option: str

class Votes(Feature):
    name = "votes"
    events = (Voted,)

    @handles(Vote)
    def vote(self, sender, payload):
        self.chat.broadcast("general", Voted(payload.option))

class Rooms(Feature):
    name = "rooms"
"""


def test_a_feature_is_served_by_its_name(async_mode: str, client: OfficialClient, tmp_path: Path) -> None:
    (tmp_path / "votes.py").write_text(VOTES)
    with hazoom(async_mode=async_mode, env={"PYTHONPATH": str(tmp_path)}, args=("--feature", "votes:Votes")) as server:
        ann = client.connect(server.url)
        assert ann.emit("vote", {"option": "tea"}) == {"ok": True}
        assert ann.wait_for("voted") == {"option": "tea"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none_such:Votes", ["none_such:Votes", "no module"]),
        ("votes", ["votes", "MODULE:CLASS"]),
        ("votes:Nothing", ["votes:Nothing", "MODULE:CLASS"]),
        (":Votes", [":Votes", "MODULE:CLASS"]),
        ("votes:Vote", ["--feature", "Vote"]),
        ("votes:Rooms", ["--feature", "rooms"]),
    ],
)
def test_a_feature_that_cannot_be_served_is_explained(tmp_path: Path, name: str, words: list[str]) -> None:
    (tmp_path / "votes.py").write_text(VOTES)
    line = refused("--feature", name, PYTHONPATH=str(tmp_path))
    assert all(word in line for word in words), line


def test_a_backend_that_cannot_be_called_is_explained() -> None:
    assert "HAZOOM_LLM_URL cannot be used: its port" in refused(HAZOOM_LLM_URL="http://localhost:99999")


def test_no_line_and_no_log_repeats_a_secret() -> None:
    for line in (
        refused("--llm-url", "http://u:geheim@host"),
        refused("--host", "http://u:geheim@host"),
        refused(HAZOOM_LLM_URL="https://u:geheim@host:x"),
    ):
        assert "geheim" not in line
    with hazoom(env={"HAZOOM_LLM_URL": "http://u:geheim@127.0.0.1:9001/chat/?key=geheim"}) as server:
        assert "AI answers come from http://127.0.0.1:9001/chat/\n" in server.log
        assert "geheim" not in server.log


def test_it_starts_where_kubernetes_has_a_service_of_its_name() -> None:
    variables = {
        f"{service}_{name}": value
        for service in ("HAZOOM_WS", "HAZOOM")
        for name, value in {"SERVICE_HOST": "10.0.0.1", "PORT": "tcp://10.0.0.1:5000", "PORT_5000_TCP_PORT": "5000"}.items()
    }
    with hazoom(env=variables):
        assert "HAZOOM_PORT" in refused(**variables, HAZOOM_PROT="1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 1", ["'prot'", "did you mean port"]),
        ("port = ", ["TOML", "Invalid value"]),
        ('port = "x"', ["port", "'x'"]),
        ("port = 70000", ["port", "65535"]),
    ],
)
def test_a_config_that_cannot_be_used_is_explained(tmp_path: Path, text: str, words: list[str]) -> None:
    config = tmp_path / "hazoom.toml"
    config.write_text(text, encoding="utf-8")
    line = refused("--config", config)
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (["--config", "nowhere.toml"], {}, ["nowhere.toml", "cannot read"]),
        ([], {"HAZOOM_PROT": "1"}, ["HAZOOM_PROT", "HAZOOM_PORT"]),
        ([], {"HAZOOM_PORT": "many"}, ["HAZOOM_PORT", "'many'"]),
        ([], {"HAZOOM_CORS_ORIGINS": "localhost:3000"}, ["HAZOOM_CORS_ORIGINS", "localhost:3000"]),
        (["--port", "x"], {}, ["--port", "'x'"]),
        (["--port"], {}, ["--port"]),
        (["--prot", "1"], {}, ["--prot"]),
        (["--async-mode"], {}, ["--async-mode"]),
        (["--async-mode", "asyncio"], {}, ["asyncio", "eventlet", "threading"]),
        (["--log-level", "loud"], {}, ["loud", "debug, info"]),
    ],
)
def test_what_cannot_be_used_is_explained(arguments: list[str], variables: dict[str, str], words: list[str]) -> None:
    line = refused(*arguments, **variables)
    assert all(word in line for word in words), line


def test_a_flag_wins_over_the_environment_over_the_file(tmp_path: Path, client: OfficialClient) -> None:
    config = tmp_path / "hazoom.toml"
    config.write_text(
        f'port = {free_port()}\nhost = "192.0.2.1"\nallow_open = true\ndefault_room = "lobby"\n', encoding="utf-8"
    )
    port, other = free_port(), free_port()
    variables = {"HAZOOM_PORT": str(other), "HAZOOM_HOST": "127.0.0.1"}
    with hazoom(port=port, env=variables, args=("--config", config)) as server:
        assert server.port == port
        assert client.connect(server.url).received("status")[0]["rooms"] == ["lobby"]


def test_the_demo_answers_and_says_what_it_is(async_mode: str, client: OfficialClient) -> None:
    with hazoom(async_mode=async_mode, demo=True) as server:
        user = client.connect(server.url)
        user.emit("llm_request", {"message": "Grüße 🦆"})
        complete = user.wait_for("llm_complete")
        tokens = user.received("llm_token")
    assert "demo" in complete["response"]
    assert "Grüße 🦆" in complete["response"]
    assert "".join(token["token"] for token in tokens) == complete["response"]
    assert complete["token_count"] == len(tokens) > 20


def test_it_says_that_it_is_open_when_it_is(async_mode: str) -> None:
    with hazoom(async_mode=async_mode, args=("--host", "0.0.0.0"), env={"HAZOOM_ALLOW_OPEN": "true"}) as server:
        wait_until(lambda: "open to everyone" in server.log, "warning")


def test_help_and_version() -> None:
    for flag, words in (
        ("--help", ["--demo", "--async-mode", "config/hazoom.toml"]),
        ("--version", [hazoom_ws.__version__]),
    ):
        ended = subprocess.run(command_of_hazoom(flag), capture_output=True, text=True, timeout=DEADLINE_S, check=True)
        assert all(word in ended.stdout for word in words)
        assert ended.stderr == ""


def test_a_command_that_there_is_not_is_named_with_those_that_there_are() -> None:
    for line in (refused("chekc", "--json"), refused("serve")):
        assert "there is no command" in line
        assert "--help" in line


def test_http_routes_tell_what_is_true(async_mode: str, client: OfficialClient) -> None:
    with hazoom(async_mode=async_mode) as server:
        user = client.connect(server.url, auth={"user_name": "Ann"})
        health = requests.get(f"{server.url}/health", timeout=DEADLINE_S).json()
        assert health == {
            "status": "healthy",
            "service": "hazoom_ws",
            "version": hazoom_ws.__version__,
            "active_connections": 1,
            "rooms": 1,
        }
        status = server.stats()
        assert {"ok", *status} == {"service", "version", "status", *user.emit("get_stats")}
        user.disconnect()
        wait_until(lambda: server.stats()["total_connections"] == 0, "nobody is connected")
        assert requests.get(f"{server.url}/nothing", timeout=DEADLINE_S).status_code == 404
