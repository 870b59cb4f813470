"""Real servers and the official client for the tests: started as users start them, ended without leftovers.

Everything is a context manager. Helpers wait for a condition, up to `DEADLINE_S`, which matters only when something is
broken; nothing here depends on how fast the machine is. What a child process logged is shown with a test that fails.
"""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests

from file_modes import bound_by_modes

ROOT = Path(__file__).resolve().parent.parent
DEADLINE_S = 20.0
_POLL_INTERVAL_S = 0.01
_DJANGO_PROJECT = ROOT / "tests" / "django_project"
_API = "quantum-goose-app/api"

T = TypeVar("T")
_children: list["Child"] = []

# The ways to serve; the second is what eventlet does on Windows and macOS.
ASYNC_MODES = ("eventlet", "eventlet without epoll", "threading")
_WITHOUT_EPOLL = """
import runpy, sys, warnings
with warnings.catch_warnings(action="ignore"):
    from eventlet import patcher
select = patcher.original("select")
del select.epoll, select.poll
sys.argv.pop(0)
{run}
"""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show with a failed test what the servers that still run have logged. For import into a conftest.py."""
    report = yield
    if report.failed:
        for child in _children:
            report.sections.append((f"output of {child.name}, still running", child.output))
    return report


def wait_until(condition: Callable[[], T], what: str) -> T:
    """Return the first true result of ``condition``."""
    ends_at_s = time.monotonic() + DEADLINE_S
    while not (result := condition()):
        if time.monotonic() > ends_at_s:
            raise AssertionError(f"not within {DEADLINE_S:g} s: {what}")
        time.sleep(_POLL_INTERVAL_S)
    return result


def unique(name: str) -> str:
    """Return a name that no other test uses."""
    return f"{name}-{uuid.uuid4().hex[:8]}"


# Below those that systems give to whoever asks for any (from 16,000 on in some containers).
_PORTS = range(10_000, 16_000)
_next_ports = cycle(_PORTS)
for _ in range(random.randrange(len(_PORTS))):  # others may look for one too
    next(_next_ports)
_held: list[socket.socket] = []


def free_port() -> int:
    """Return a port that nothing listens on, and that is given to nobody else while the tests run."""
    for port in islice(_next_ports, len(_PORTS)):
        holder = socket.socket()
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            holder.close()
            continue
        if sys.platform != "linux":
            holder.close()
            return port
        # Linux lets others listen on a port that is held so, and gives it to no connection that wants any.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _held.append(holder)
        return port
    raise AssertionError("no port is free")


def program(variable: str, *names: str) -> str:
    """Return a program that the tests need, as scripts/test.py found it; a test without it fails."""
    found = os.environ.get(variable) or next(filter(None, map(shutil.which, names)), None)
    return found or pytest.fail(f"{names[0]} is missing; python scripts/test.py installs it", pytrace=False)


def clean_environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without settings of the server, and with ``variables``."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HAZOOM_")} | variables


class Child:
    """A child process that leads a process group; its output is kept in files, so that no pipe can fill up."""

    def __init__(self, name: str, command: list[str], folder: Path, env: dict[str, str], cwd: Path) -> None:
        self.name = name
        self._stdout_path, self._stderr_path = folder / "stdout", folder / "stderr"
        with self._stdout_path.open("wb") as stdout, self._stderr_path.open("wb") as stderr:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def stdout(self) -> str:
        return self._stdout_path.read_text(encoding="utf-8", errors="replace")

    @property
    def log(self) -> str:
        return self._stderr_path.read_text(encoding="utf-8", errors="replace")

    @property
    def output(self) -> str:
        return f"{self.stdout}{self.log}"

    def wait_for_output(self, pattern: str) -> re.Match[str]:
        """Return the first match of ``pattern`` in what was written so far."""
        wait_until(lambda: re.search(pattern, self.output) or self.process.poll() is not None, f"{self.name}: {pattern}")
        match = re.search(pattern, self.output)
        if match is None:
            raise AssertionError(f"{self.name} ended with status {self.process.returncode} before it wrote {pattern!r}")
        return match

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Return the exit status."""
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """End the whole group at once."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.wait()


@contextmanager
def _child(name: str, command: list[str], *, env: dict[str, str], cwd: Path = ROOT) -> Iterator[Child]:
    with tempfile.TemporaryDirectory() as folder:
        child = Child(name, command, Path(folder), env, cwd)
        _children.append(child)
        try:
            yield child
        finally:
            child.kill()
            _children.remove(child)
            print(f"--- output of {name}\n{child.output}--- end of output of {name}")


class Hazoom:
    """A running server."""

    def __init__(self, child: Child, url: str) -> None:
        self.child = child
        self.url = url
        self.port = int(url.rpartition(":")[2])
        self.log_may_have_traceback = False

    @property
    def log(self) -> str:
        return self.child.log

    def is_ready(self) -> bool:
        """Return whether it takes traffic."""
        try:
            return requests.get(f"{self.url}/ready", timeout=DEADLINE_S).ok
        except requests.RequestException:
            return False

    def stats(self) -> dict[str, Any]:
        response = requests.get(f"{self.url}/api/v1/status", timeout=DEADLINE_S)
        response.raise_for_status()
        return response.json()


def command_of_hazoom(*arguments: object) -> list[str]:
    """Return the command line that users type."""
    return [sys.executable, "-m", "hazoom_ws", *map(str, arguments)]


def run_hazoom(*arguments: object, said: str = "", **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of ours to its end, with ``said`` as its standard input."""
    return subprocess.run(
        command_of_hazoom(*arguments),
        env=clean_environment(**{"HAZOOM_LOG_URL": "memory://"} | variables),
        input=said,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=DEADLINE_S,
        check=False,
    )


def _without_epoll(command: list[str]) -> list[str]:
    """Return a Python command line for the same as on a system whose ``select`` is all that it has."""
    python, *arguments = command
    run = "runpy.run_path(sys.argv[0], run_name='__main__')"
    if arguments[0] == "-m":
        arguments = arguments[1:]
        run = "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    return [python, "-c", _WITHOUT_EPOLL.format(run=run), *arguments]


@contextmanager
def _server(
    name: str,
    async_mode: str,
    command: list[str],
    *arguments: str,
    env: dict[str, str],
    is_bound_by_modes: bool = False,
) -> Iterator[tuple[Child, str]]:
    """Run a server of ours; yield it with its URL once it is ready."""
    command = [*command, "--async-mode", async_mode.partition(" ")[0], *arguments]
    command = _without_epoll(command) if async_mode == "eventlet without epoll" else command
    command = bound_by_modes(command) if is_bound_by_modes else command
    with _child(f"{name} ({async_mode})", command, env=env) as child:
        ready = child.wait_for_output(rf"\A{name} ready on (http://\S+:\d+)\n")
        yield child, ready[1]
        assert "Traceback" not in child.log, "the server logged a traceback"


@contextmanager
def hazoom(
    *,
    async_mode: str = "eventlet",
    llm_url: str | None = None,
    demo: bool = False,
    port: int | None = 0,
    env: dict[str, str] | None = None,
    args: tuple[object, ...] = (),
    is_bound_by_modes: bool = False,
) -> Iterator[Hazoom]:
    """Run ``python -m hazoom_ws``. A server that the test leaves running must end with status 0 and log no traceback.

    ``async_mode`` is one of `ASYNC_MODES`. ``is_bound_by_modes``: it may not write what is read-only, even if it is root's.
    """
    own = {"HAZOOM_LOG_URL": "memory://", "HAZOOM_PRESENCE_GRACE_S": "0"} | ({"HAZOOM_LLM_URL": llm_url} if llm_url else {})
    variables = clean_environment(**own | (env or {}))
    flags = [] if port is None else ["--port", str(port)]
    flags += ["--demo"] if demo else []
    command = [*flags, *map(str, args)]
    with _server(
        "hazoom_ws", async_mode, command_of_hazoom(), *command, env=variables, is_bound_by_modes=is_bound_by_modes
    ) as (child, url):
        yield Hazoom(child, url)
        if child.process.poll() is None:
            assert child.stop() == 0


@contextmanager
def gunicorn(*arguments: str, line: list[str] | None = None, is_ready: bool = True, **variables: str) -> Iterator[Hazoom]:
    """Run hazoom_ws under gunicorn, as README says; yield it once it answers, or at once where it is not to be ready.

    ``line`` is another command line, for this Python. Workers have longer to end than any test waits: one that does not
    end by itself fails the test.
    """
    command = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--threads", "100", "--no-control-socket"]
    command += ["--bind", "127.0.0.1:0", "--graceful-timeout", "600", *arguments, "hazoom_ws:create_app()"]
    command = command if line is None else [sys.executable, *line]
    env = clean_environment(**{"HAZOOM_LOG_URL": "memory://"} | variables)
    with _child("gunicorn with hazoom_ws", command, env=env) as child:
        if not is_ready:
            yield Hazoom(child, "http://127.0.0.1:0")
            return
        server = Hazoom(child, child.wait_for_output(r"Listening at: (http://127\.0\.0\.1:\d+)")[1])
        wait_until(server.is_ready, "it answers")
        yield server


@contextmanager
def flask_tool(command: list[str], port: int, **variables: str) -> Iterator[Hazoom]:
    """Run a development server of Flask's, which is to listen on ``port``; yield it once it answers."""
    with _child(f"{command[1:3]}", command, env=clean_environment(**variables)) as child:
        server = Hazoom(child, f"http://127.0.0.1:{port}")
        wait_until(server.is_ready, "it answers")
        yield server


@contextmanager
def protocol_server(async_mode: str, protocol: str, **times_s: float) -> Iterator[str]:
    """Run protocol_server.py and yield its URL; the ``times_s`` are its options."""
    command = [sys.executable, str(ROOT / "tests" / "protocol_server.py")]
    times_s = {"ping_interval_s": 300, "ping_timeout_s": 300, "connect_timeout_s": 300} | times_s
    times = [f"--{name.replace('_', '-')}={value:g}" for name, value in times_s.items()]
    with _server("protocol_server", async_mode, command, f"--protocol={protocol}", *times, env=clean_environment()) as (
        _,
        url,
    ):
        yield url


@contextmanager
def feature_server(async_mode: str, **settings: str) -> Iterator[Hazoom]:
    """Run feature_server.py with settings of the environment, ``LOG_URL`` say."""
    own = {"LOG_URL": "memory://", "PRESENCE_GRACE_S": "0"} | settings
    env = clean_environment(**{f"HAZOOM_{name}": value for name, value in own.items()})
    command = [sys.executable, str(ROOT / "tests" / "feature_server.py"), "--async-mode", async_mode]
    with _child(f"feature_server ({async_mode})", command, env=env) as child:
        url = child.wait_for_output(r"\Afeature_server ready on (http://\S+:\d+)\n")[1]
        yield Hazoom(child, url)


@contextmanager
def child_process(name: str, command: list[str], *, cwd: Path = ROOT, **variables: str) -> Iterator[Child]:
    """Run any other program, with no settings of ours in its environment but those given."""
    with _child(name, command, env=clean_environment(**variables), cwd=cwd) as child:
        yield child


class Backend:
    """A running Django chat backend."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.chat_url = f"{url}/{_API}/llm/chat/"
        self.chat_url_without_session_ids = f"{url}/{_API}/chat/"
        self.health_url = f"{url}/{_API}/llm/health/"

    def release(self, gate: str) -> None:
        """Let a gated stream write its next event."""
        requests.post(f"{self.url}/control/release/{gate}/", timeout=DEADLINE_S).raise_for_status()

    def received(self, message: str) -> list[dict[str, Any]]:
        """Return what came with ``message``: dicts of body, cookie (the header, or None), path, trace (headers)."""
        return [request for request in self._report()["received"] if request["body"].get("message") == message]

    def open_streams(self) -> list[str]:
        """Return the messages that are being answered."""
        return self._report()["open_streams"]

    def sent(self, flood: str) -> int:
        """Return the number of the last token that a flood has made, -1 before the first."""
        return self._report()["sent"].get(flood, -1)

    def _report(self) -> dict[str, Any]:
        response = requests.get(f"{self.url}/control/report/", timeout=DEADLINE_S)
        response.raise_for_status()
        return response.json()


@contextmanager
def django_runserver(port: int = 0) -> Iterator[Backend]:
    """Run the chat backend as Django developers do: its streams are neither chunked nor have they a length."""
    command = [sys.executable, "manage.py", "runserver", "--noreload", "--skip-checks", f"127.0.0.1:{port}"]
    env = clean_environment(PYTHONUNBUFFERED="1")
    with _child("Django's runserver", command, env=env, cwd=_DJANGO_PROJECT) as child:
        yield Backend(child.wait_for_output(r"server at (http://127\.0\.0\.1:\d+)/")[1])


class Shop(Backend):
    """The shop of the Django project, and the chat backend beside it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.whoami_url = f"{url}/shop/whoami/"

    def session(self, name: str, *, is_staff: bool = False) -> requests.Session:
        """Return the session, as a browser has it, of a new user who has logged in."""
        session = requests.Session()
        self.post(session, "sign-up", name=name, password="geheim", staff="yes" if is_staff else "no")
        self.post(session, "log-in", name=name, password="geheim")
        return session

    def post(self, session: requests.Session, what: str, **fields: str) -> Any:
        """Send a form."""
        response = session.post(f"{self.url}/shop/{what}/", data=fields, timeout=DEADLINE_S)
        response.raise_for_status()
        return response.json()

    def token(self, session: requests.Session) -> str:
        """Return a token for the user of a session."""
        response = session.get(f"{self.url}/shop/token/", timeout=DEADLINE_S, allow_redirects=False)
        response.raise_for_status()
        return response.json()["token"]


@contextmanager
def django_shop(port: int, **settings: str) -> Iterator[Shop]:
    """Run the Django project with a database of its own by runserver; ``settings`` are CHAT_URL and the like."""
    with tempfile.TemporaryDirectory() as folder:
        own = {f"SHOP_{name}": value for name, value in settings.items()} | {"SHOP_DATABASE": f"{folder}/shop.sqlite3"}
        env = clean_environment(PYTHONUNBUFFERED="1", **own)
        migrate = [sys.executable, "manage.py", "migrate", "--run-syncdb", "--verbosity", "0"]
        subprocess.run(migrate, env=env, cwd=_DJANGO_PROJECT, check=True, timeout=DEADLINE_S)
        command = [sys.executable, "manage.py", "runserver", "--noreload", "--skip-checks", f"127.0.0.1:{port}"]
        with _child("Django's runserver with the shop", command, env=env, cwd=_DJANGO_PROJECT) as child:
            yield Shop(child.wait_for_output(r"server at (http://127\.0\.0\.1:\d+)/")[1])


@contextmanager
def django_gunicorn() -> Iterator[Backend]:
    """Run the chat backend under gunicorn, with threads: its streams are chunked."""
    command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--worker-class", "gthread", "--threads", "32"]
    command += ["--no-control-socket", "chat_backend.wsgi"]
    with _child("gunicorn", command, env=clean_environment(), cwd=_DJANGO_PROJECT) as child:
        yield Backend(child.wait_for_output(r"Listening at: (http://127\.0\.0\.1:\d+)")[1])


def start_in_node(script: str) -> "subprocess.Popen[str]":
    """Start a script of tests/integration, which is told what to do line by line and says so what has come of it."""
    return subprocess.Popen(
        [program("TEST_NODE", "node"), str(ROOT / "tests" / "integration" / script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"NODE_PATH": str(ROOT / "scripts" / "npm" / "node_modules")},
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )


class OfficialClient:
    """socket.io-client in a Node process, which `kill` ends as a crash would. Several users and connections at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sockets: dict[int, Socket] = {}
        self._replies: dict[int, Any] = {}
        self._number = 0
        self._process = start_in_node("official_client.cjs")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "OfficialClient":
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect every socket and end the process."""
        with self._process:
            if self._process.poll() is None:
                self._process.stdin.close()
                try:
                    self._process.wait(DEADLINE_S)
                finally:
                    self._process.kill()
            self._reader.join()

    def connect(self, url: str, namespace: str = "/", **options: Any) -> "Socket":
        """Open a connection of its own with the options of ``io()`` and wait until the server has sent its status."""
        return self.try_to_connect(url, namespace, **options).wait_until_connected()

    def try_to_connect(self, url: str, namespace: str = "/", **options: Any) -> "Socket":
        """Start to open a connection; `Socket.wait_for` tells how it went."""
        return self._open("connect", url=f"{url}{namespace}", options={"forceNew": True, **options})

    def replies(self) -> dict[int, Any]:
        """Return the acknowledgements that came for `Socket.start_to_emit`; {"lost": ...} is one that did not come."""
        return dict(self._replies)

    def kill(self) -> None:
        """End the process without a word to any server."""
        self._process.kill()
        self._process.wait(DEADLINE_S)

    def call(self, command: str, socket: "Socket", **arguments: Any) -> Any:
        """Run a command of official_client.cjs and return its reply."""
        number = self._send(command, socket=socket.number, **arguments)
        return self.wait(lambda: [self._replies.pop(number)] if number in self._replies else None, f"reply to {command}")[0]

    def wait(self, condition: Callable[[], T], what: str) -> T:
        """Return the first true result of ``condition``, which is checked whenever something has arrived."""
        ends_at_s = time.monotonic() + DEADLINE_S
        with self._changed:
            while not (result := condition()):
                assert self._reader.is_alive(), f"the Node process ended before: {what}"
                assert self._changed.wait(ends_at_s - time.monotonic()), f"not within {DEADLINE_S:g} s: {what}"
        return result

    def _open(self, command: str, **arguments: Any) -> "Socket":
        socket = Socket(self, self._next_number())
        self._sockets[socket.number] = socket
        self._send(command, socket=socket.number, **arguments)
        return socket

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _send(self, command: str, **arguments: Any) -> int:
        number = self._next_number()
        self._process.stdin.write(json.dumps({"command": command, "call": number, **arguments}) + "\n")
        self._process.stdin.flush()
        return number

    def _read(self) -> None:
        for line in self._process.stdout:
            report = json.loads(line)
            with self._changed:
                if "reply" in report:
                    self._replies[report["call"]] = report["reply"]
                else:
                    self._sockets[report["socket"]].history.append((report["event"], report["data"]))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


class Socket:
    """One namespace of one connection of the official client.

    ``history`` holds everything that arrived, as (event, payload), in order. Beside the server's events it has the client's
    own: connect, disconnect, connect_error, and upgrade (the connection has changed its transport).
    """

    def __init__(self, client: OfficialClient, number: int) -> None:
        self.number = number
        self.history: list[tuple[str, Any]] = []
        self._client = client
        self._taken: set[int] = set()

    def open_namespace(self, namespace: str, **options: Any) -> "Socket":
        """Connect to one more namespace over the same connection."""
        return self.try_to_open_namespace(namespace, **options).wait_until_connected()

    def try_to_open_namespace(self, namespace: str, **options: Any) -> "Socket":
        """Start to connect to one more namespace; `wait_for` tells how it went."""
        return self._client._open("open_namespace", over=self.number, namespace=namespace, options=options)

    def wait_until_connected(self) -> "Socket":
        self.wait_for("status")
        return self

    def emit(self, event: str, *payload: Any) -> Any:
        """Send an event and return its acknowledgement."""
        return self._client.call("emit", self, event=event, args=payload)

    def start_to_emit(self, event: str, *payload: Any) -> int:
        """Send an event and return the key under which `OfficialClient.replies` will have its acknowledgement."""
        return self._client._send("emit", socket=self.number, event=event, args=payload)

    def send(self, event: str, *payload: Any) -> None:
        """Send an event without asking for an acknowledgement."""
        self._client.call("send", self, event=event, args=payload)

    def wait_for(self, event: str, where: Callable[[Any], bool] = lambda _: True) -> Any:
        """Return the payload of the first event of that name and kind that was not returned before."""
        what = f"{event!r} on socket {self.number}"
        try:
            return self._client.wait(lambda: self._take(event, where), what)[0]
        except AssertionError as error:
            raise AssertionError(f"{error}; it received {self.history}") from None

    def received(self, event: str) -> list[Any]:
        """Return the payloads of that event so far, also those that `wait_for` has returned."""
        return [data for name, data in list(self.history) if name == event]

    def transport(self) -> str:
        """Return the transport in use."""
        return self._client.call("transport", self)

    def session(self) -> dict[str, str | None]:
        """Return the pid and the offset that the client would come back with."""
        return self._client.call("session", self)

    def disconnect(self) -> None:
        self._client.call("disconnect", self)

    def _take(self, event: str, where: Callable[[Any], bool]) -> list[Any] | None:
        for position, (name, data) in enumerate(self.history):
            if name == event and position not in self._taken and where(data):
                self._taken.add(position)
                return [data]
        return None


def talk(users: list[Socket], room: str, long_text: str) -> None:
    """Have each say something short and something long in a room, and all hear it."""
    for user in users:
        for text in (unique("short"), f"{long_text}{unique('long')}"):
            assert user.emit("message", {"message": text, "room": room})["ok"]
            for other in users:
                other.wait_for("new_message", lambda data, text=text: data["message"] == text)
