"""``hazoom-ws tail`` and ``say`` against a real server, as they are typed."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from hazoom_ws.commands import link
from minting import SECRET, token
from servers import (
    DEADLINE_S,
    Child,
    Hazoom,
    OfficialClient,
    child_process,
    command_of_hazoom,
    free_port,
    hazoom,
    run_hazoom,
    wait_until,
)

KEY = "key-of-the-tests-of-commands-0123456789"


@pytest.fixture(scope="module")
def server() -> Iterator[Hazoom]:
    with hazoom(demo=True, env={"HAZOOM_API_KEYS": KEY}) as server:
        yield server


@contextmanager
def tail(server: Hazoom, *arguments: str) -> Iterator[Child]:
    command = command_of_hazoom("tail", *arguments, "--url", server.url)
    with child_process("hazoom-ws tail", command) as child:
        yield child


def shown(child: Child) -> list[str]:
    """Return the messages that a tail with --json has shown."""
    return [json.loads(line)["message"] for line in child.stdout.splitlines()]


def test_it_shows_what_was_said_then_what_is_said_and_ends_by_ctrl_c(server: Hazoom, client: OfficialClient) -> None:
    ann = client.connect(server.url, auth={"user_name": "Ann"})
    ann.emit("join_room", {"room": "tea"})
    for number in range(5):
        ann.emit("message", {"room": "tea", "message": f"early {number}"})
    with tail(server, "tea", "--lines", "2") as child:
        child.wait_for_output("Ann: early 4\n")
        ann.emit("message", {"room": "general", "message": "elsewhere"})
        ann.emit("message", {"room": "tea", "message": "\x1b[2J\ntwo"})
        child.wait_for_output("two\n")
        ann.emit("llm_request", {"room": "tea", "message": "Why?"})
        child.wait_for_output(r"Assistant \(AI\): .*demo.*\n")
        assert child.stop(signal.SIGINT) == 0
        written = child.stdout.splitlines()
        assert child.log == ""
    lines = [line.split(" ", 2)[-1] for line in written]
    assert lines[:2] == ["Ann: early 3", "Ann: early 4"]
    assert lines[2] == r"Ann: \x1b[2J"
    assert written[3] == "    two"
    assert lines[4] == "Ann asks the AI: Why?"
    assert lines[5].startswith("Assistant (AI): ")
    assert len(lines) == 6


def test_after_a_restart_it_has_each_message_once(tmp_path: Path) -> None:
    port, env = free_port(), {"HAZOOM_LOG_URL": f"sqlite:///{tmp_path}/messages.sqlite3"}

    def say(text: str) -> None:
        said = run_hazoom("say", "tea", text, "--url", f"http://127.0.0.1:{port}")
        assert (said.returncode, said.stdout, said.stderr) == (0, "", "")

    with hazoom(port=port, env=env) as server:
        say("one")
        with tail(server, "tea", "--json", "--lines", "0") as child:
            # What is said before it has joined would not be shown.
            wait_until(lambda: server.stats()["rooms"].get("tea") == 1, "it is there")
            say("two")
            child.wait_for_output('"two"')
            server.child.stop()
            child.wait_for_output("the connection was lost")
            with hazoom(port=port, env=env):
                say("three")
                child.wait_for_output('"three"')
                say("four")
                child.wait_for_output('"four"')
                assert shown(child) == ["two", "three", "four"]
                assert child.stop(signal.SIGINT) == 0


def test_a_question_is_answered_as_it_streams(server: Hazoom, client: OfficialClient) -> None:
    ann = client.connect(server.url, auth={"user_name": "Ann"})
    ann.emit("join_room", {"room": "answers"})
    command = command_of_hazoom("say", "answers", "--ask", "nano", "Why", "so?", "--name", "Bob", "--url", server.url)
    with child_process("hazoom-ws say", command) as child:
        child.wait_for_output("nano")
        assert child.wait() == 0
        answer = child.stdout
    assert ann.wait_for("new_message")["message"] == "Why so?"
    assert answer.rstrip("\n") == ann.wait_for("new_message")["message"]
    assert [message["user"] for message in ann.received("new_message")] == ["Bob", "Assistant"]


def test_standard_input_is_said_and_a_key_says_it_as_a_backend_does(
    server: Hazoom, client: OfficialClient, tmp_path: Path
) -> None:
    ann = client.connect(server.url, auth={"user_name": "Ann"})
    ann.emit("join_room", {"room": "tee/grün"})
    (tmp_path / "key").write_text(f"# of the tests\n{KEY}\n", encoding="utf-8")
    to = ("--url", server.url)
    for arguments, variables in (
        (("--name", "Bob"), {}),
        (("--name", "Shop", "--api-key-file", str(tmp_path / "key")), {}),
        (("--name", "Shop"), {"HAZOOM_CLIENT_API_KEY": KEY}),
    ):
        done = run_hazoom("say", "tee/grün", "-", *arguments, *to, said="Grüße\n  two\n", **variables)
        assert (done.returncode, done.stderr) == (0, "")
        assert ann.wait_for("new_message")["message"] == "Grüße\n  two"
    assert [message["user"] for message in ann.received("new_message")] == ["Bob", "Shop", "Shop"]
    entered = [(joined["room"], joined["user"]) for joined in ann.received("user_joined")]
    assert entered == [("general", "Bob"), ("tee/grün", "Bob")]


def test_a_refusal_is_said_in_words_with_status_1(server: Hazoom) -> None:
    to = ("--url", server.url)
    refusals = (
        (run_hazoom("say", "tea", " ", *to), "message: "),
        (run_hazoom("say", "r" * 200, "x", *to), "room: "),
        (run_hazoom("tail", "r" * 200, *to), "room: "),
        (run_hazoom("say", "tea", "x", *to, HAZOOM_CLIENT_API_KEY="k" * 20), "not let in"),
        (run_hazoom("tail", "tea", "--url", f"http://127.0.0.1:{free_port()}"), "no server can be reached"),
        (run_hazoom("say", "tea", "x", "--url", f"http://127.0.0.1:{free_port()}"), "Connection refused"),
    )
    for ended, words in refusals:
        assert (ended.returncode, ended.stdout) == (1, ""), ended
        assert words in ended.stderr
        assert ended.stderr.startswith("hazoom_ws: ")
        assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [("tail",), ("say", "tea"), ("tail", "tea", "--lines", "501"), ("tail", "tea", "--url", "127.0.0.1:5000")],
)
def test_a_command_line_that_cannot_be_understood_has_status_2(arguments: tuple[str, ...]) -> None:
    ended = run_hazoom(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1


def test_who_needs_a_token_shows_it_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(token(sub="7", name="Ann") + "\n", encoding="utf-8")
    with hazoom(env={"HAZOOM_AUTH": "jwt", "HAZOOM_JWT_SECRET": SECRET}) as server:
        to = ("--url", server.url)
        assert run_hazoom("say", "tea", "hello", *to, "--token-file", str(file)).returncode == 0
        assert run_hazoom("say", "tea", "again", *to, HAZOOM_CLIENT_TOKEN=file.read_text()).returncode == 0
        ended = run_hazoom("tail", "tea", *to, HAZOOM_CLIENT_TOKEN=token(lives_s=-100))
        assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
        with tail(server, "tea", "--token-file", str(file)) as child:
            child.wait_for_output("Ann: again\n")
            assert child.stdout.count("Ann: ") == 2


def test_what_nobody_takes_waits_in_its_order_and_in_bounded_memory(
    server: Hazoom, client: OfficialClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library gave each event a thread: a tail showed them in any order, and left out what came too late."""
    monkeypatch.setattr(link, "_WAITING_LIMIT_COUNT", 2)
    ann = client.connect(server.url, auth={"user_name": "Ann"})
    ann.emit("join_room", {"room": "slow"})
    reader = link.Link(server.url, {"recover": False})
    try:
        reader.call("join_room", {"room": "slow"})
        for number in range(20):
            assert ann.emit("message", {"room": "slow", "message": f"{number}"})["ok"]
        events = reader.events()
        taken = [next(payload for event, payload in events if event == "new_message") for _ in range(10)]
        assert [message["message"] for message in taken] == [f"{number}" for number in range(10)]
        wait_until(reader._events.full, "no more is taken")
        before = threading.active_count()
    finally:
        reader.close()  # though its reader waits
    assert threading.active_count() < before
    wait_until(lambda: server.stats()["rooms"]["slow"] == 1, "it has left")


def test_who_is_logged_out_is_told_and_does_not_come_back(server: Hazoom) -> None:
    with tail(server, "tea", "--name", "Tess") as child:
        wait_until(lambda: server.stats()["rooms"].get("tea"), "it is there")
        url = f"{server.url}/api/v1/users/Tess/disconnect"
        requests.post(url, headers={"X-API-Key": KEY}, timeout=DEADLINE_S).raise_for_status()
        assert child.wait() == 1
        assert child.log.startswith("hazoom_ws: the server has ended this: ")
        assert child.log.count("\n") == 1
