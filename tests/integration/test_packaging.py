"""The wheel is the whole product, and the container and the unit of systemd run it as they say.

The wheel is built and installed into an environment of its own, whose other packages are those of the tests: what it needs
of them is in pyproject.toml. There is no Docker here: what the Dockerfile says is read, and done without it.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import requests

from servers import DEADLINE_S, ROOT, Child, child_process, clean_environment, hazoom

SOURCE = ROOT / "src" / "hazoom_ws"
DOCKERFILE = ROOT / "config" / "Dockerfile"
UNIT = ROOT / "config" / "hazoom-ws.service"
BUILD_LIMIT_S = 120.0  # what builds it may have to be fetched


class Installed(NamedTuple):
    """The wheel, and where it is installed."""

    wheel: Path
    folder: Path

    @property
    def script(self) -> str:
        return str(self.folder / "bin" / "hazoom-ws")

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def run(self, *command: str, cwd: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command outside of the source tree."""
        env = clean_environment(**variables)
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    environment = folder / "environment"
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    for command in (
        build,
        [sys.executable, "-m", "venv", "--without-pip", str(environment)],
        [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install", "--quiet", "--no-deps"],
    ):
        wheels = list(folder.glob("*.whl")) if "pip" in command else []
        done = subprocess.run(
            [*command, *map(str, wheels)], capture_output=True, text=True, timeout=BUILD_LIMIT_S, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    [packages] = environment.glob("lib/python*/site-packages")
    # Other packages, and not the source tree: only files of this kind in the folder itself lead further.
    (packages / "of_the_tests.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    [wheel] = folder.glob("*.whl")
    return Installed(wheel, environment)


@contextmanager
def served(installed: Installed, folder: Path, *command: str, **variables: str) -> Iterator[tuple[Child, str]]:
    """Run the installed server in a folder; yield it with its URL."""
    line = [*command, installed.script, *([] if command else ["--demo", "--port", "0"])]
    with child_process("the installed hazoom-ws", line, cwd=folder, **variables) as child:
        port = child.wait_for_output(r"hazoom_ws ready on http://\S+:(\d+)\n")[1]
        yield child, f"http://127.0.0.1:{port}"


def test_the_wheel_has_every_file_of_the_package_and_the_installed_one_is_used(
    installed: Installed, tmp_path: Path
) -> None:
    [package] = installed.folder.glob("lib/python*/site-packages/hazoom_ws")
    there = {path.relative_to(package) for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    ours = {path.relative_to(SOURCE) for path in SOURCE.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert there == ours
    assert Path("web/static/vendor/LICENSES.txt") in there
    assert Path("py.typed") in there
    told = installed.run(installed.python, "-c", "import hazoom_ws.app as app; print(app.__file__)", cwd=tmp_path)
    assert told.stdout.strip() == str(package / "app.py")
    [metadata] = package.parent.glob("hazoom_ws-*.dist-info/METADATA")
    assert "License-File: " in metadata.read_text(encoding="utf-8")


def test_it_serves_every_page_with_all_that_the_page_needs(installed: Installed, tmp_path: Path) -> None:
    pages = ["/", "/board", "/document", "/guides", "/stats", "/asyncapi.json", "/events.d.ts", "/metrics", "/ready"]
    with hazoom(demo=True) as from_source:
        expected = {page: requests.get(f"{from_source.url}{page}", timeout=DEADLINE_S).status_code for page in pages}
    with served(installed, tmp_path, HAZOOM_LOG_URL="memory://") as (child, url):
        answers = {page: requests.get(f"{url}{page}", timeout=DEADLINE_S) for page in pages}
        assert {page: answer.status_code for page, answer in answers.items()} == expected
        assert expected["/"] == expected["/board"] == expected["/document"] == 200
        for page in ("/", "/board", "/document"):
            files = re.findall(r"""(?:src|href)=["'](/static/[^"']+)""", answers[page].text)
            assert any(file.endswith(".js") for file in files)
            for file in files:
                assert requests.get(f"{url}{file}", timeout=DEADLINE_S).status_code == 200, file
        assert requests.get(f"{url}/static/vendor/LICENSES.txt", timeout=DEADLINE_S).status_code == 200
        said = installed.run(installed.script, "say", "general", "hello", "--url", url, cwd=tmp_path)
        assert (said.returncode, said.stderr) == (0, "")
        assert child.stop() == 0
    checked = installed.run(installed.script, "check", "--demo", "--port", "0", "--json", cwd=tmp_path)
    assert json.loads(checked.stdout)["status"] == "ok"
    # Where the package is installed, messages are kept beside it, and the current folder has nothing to do with it.
    assert list(tmp_path.iterdir()) == []


def instructions() -> list[tuple[str, str]]:
    """Return what the Dockerfile says, as (instruction, arguments), of all stages."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def of_last_stage(name: str) -> list[str]:
    """Return the arguments of the instructions of a name in the image that is run."""
    found = instructions()
    begins = max(number for number, (word, _) in enumerate(found) if word == "FROM")
    return [rest for word, rest in found[begins:] if word == name]


def environment_of_image() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(" ".join(of_last_stage("ENV"))) if not pair.startswith("PATH="))


def test_the_dockerfile_is_one_and_its_image_runs_as_nobody() -> None:
    known = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT"}
    assert {word for word, _ in instructions()} <= known
    first, last = (rest for word, rest in instructions() if word == "FROM")
    assert first == f"{last} AS build"
    for source in (rest.split()[:-1] for word, rest in instructions() if word == "COPY" and "--from" not in rest):
        assert all((ROOT / name).exists() for name in source)
    ignored = (ROOT / "config" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {"*", "!pyproject.toml", "!README.md", "!src"} <= set(ignored)
    [user] = of_last_stage("USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user), "not root, and a number"
    assert f"-o {user.split(':')[0]} " in " ".join(of_last_stage("RUN"))
    [volume] = of_last_stage("VOLUME")
    assert environment_of_image()["HAZOOM_LOG_URL"].startswith(f"sqlite:///{volume}/")
    assert of_last_stage("STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(of_last_stage("ENTRYPOINT")[0]) == ["hazoom-ws"]


def test_an_image_does_not_start_before_it_knows_who_may_come_in(installed: Installed, tmp_path: Path) -> None:
    variables = environment_of_image() | {"HAZOOM_LOG_URL": "memory://", "HAZOOM_PORT": "0"}
    ended = installed.run(installed.script, cwd=tmp_path, **variables)
    assert ended.returncode == 2
    assert "HAZOOM_AUTH" in ended.stderr
    assert "HAZOOM_ALLOW_OPEN" in ended.stderr


def can_make_processes_of_their_own() -> bool:
    unshare = shutil.which("unshare")
    made = unshare and subprocess.run([unshare, "--pid", "--fork", "true"], capture_output=True, check=False)
    return bool(made and made.returncode == 0)


def test_as_process_1_it_serves_is_healthy_and_ends_calmly(installed: Installed, tmp_path: Path) -> None:
    """Where no name space of processes can be made, the image's command is run as any other process."""
    log_url = f"sqlite:///{tmp_path}/messages.sqlite3"
    own = {"HAZOOM_ALLOW_OPEN": "true", "HAZOOM_LOG_URL": log_url, "HAZOOM_PORT": "0"}
    is_process_1 = can_make_processes_of_their_own()
    command = ("unshare", "--pid", "--fork", "--kill-child") if is_process_1 else ("env",)
    with served(installed, tmp_path, *command, **environment_of_image() | own) as (child, url):
        server = psutil.Process(child.process.pid)
        if is_process_1:
            [server] = server.children()
            status = Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8")
            assert re.search(r"^NSpid:.*\t1$", status, re.MULTILINE), "it is process 1"
        [health] = of_last_stage("HEALTHCHECK")
        program, *arguments = json.loads(health[health.index("[") :])
        assert program == "python"

        def healthy() -> int:
            port = url.rpartition(":")[2]
            return installed.run(installed.python, *arguments, cwd=tmp_path, HAZOOM_PORT=port).returncode

        assert healthy() == 0
        server.send_signal(signal.SIGTERM)
        assert child.wait() == 0
        assert "stopping on SIGTERM" in child.log
        assert healthy() != 0


def unit() -> dict[str, list[str]]:
    """Return what the unit says, by name."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_the_unit_of_systemd_fits_the_server(installed: Installed, tmp_path: Path) -> None:
    said = unit()
    [start] = said["ExecStart"]
    assert start.split()[0] == "/opt/hazoom/bin/hazoom-ws"
    assert float(said["TimeoutStopSec"][0]) > 8, "shutdown_grace_s"
    assert int(said["LimitNOFILE"][0]) >= 65_536
    [log_url] = said["Environment"]
    assert log_url == f"HAZOOM_LOG_URL=sqlite:////var/lib/{said['StateDirectory'][0]}/messages.sqlite3"
    assert {*said["DynamicUser"], *said["NoNewPrivileges"]} == {"yes"}
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return  # a system without systemd takes no unit
    here = tmp_path / UNIT.name
    here.write_text(UNIT.read_text(encoding="utf-8").replace(start.split()[0], installed.script), encoding="utf-8")
    verified = installed.run(analyze, "verify", "--man=no", str(here), cwd=tmp_path)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_the_metadata_name_this_python() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"Programming Language :: Python :: {sys.version_info[0]}.{sys.version_info[1]}" in text
    assert os.path.exists(ROOT / re.search(r'license-files = \["(.*?)"\]', text)[1])
