"""What config/ has for several processes: compose.yml and the unit that is a template, as far as they can be tried here.

There is no Docker here: what the containers do first, making their configurations, is done without it.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hazoom_ws.message_log.redis.server import Server
from hazoom_ws.settings.sources import load_settings
from redis_server import running_redis
from servers import DEADLINE_S, ROOT, program

CONFIG = ROOT / "config"
UNIT, TEMPLATE = CONFIG / "hazoom-ws.service", CONFIG / "hazoom-ws@.service"
TO_JSON = """
const text = require("fs").readFileSync(process.argv[1], "utf-8");
console.log(JSON.stringify(require("js-yaml").load(text)));
"""
PASSWORD = "0123456789abcdef"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    done = subprocess.run(
        [program("TEST_NODE", "node"), "-e", TO_JSON, str(CONFIG / "compose.yml")],
        env={"NODE_PATH": str(ROOT / "scripts" / "npm" / "node_modules")},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    return json.loads(done.stdout)


def chats(compose: dict[str, Any]) -> list[dict[str, Any]]:
    return [service for name, service in compose["services"].items() if name.startswith("chat-")]


def address(service: dict[str, Any]) -> str:
    return str(service["networks"]["inside"]["ipv4_address"])


def made(compose: dict[str, Any], name: str, folder: Path, replaced: dict[str, str]) -> str:
    """Do what a container does before its server starts; return the configuration that is made."""
    shell, flag, line = compose["services"][name]["command"]
    line, _, started = line.replace("$$", "$").partition(" && exec ")
    assert (shell, flag, bool(started)) == ("sh", "-c", True)
    target = folder / f"{name}.conf"
    line = re.sub(r"> \S+$", f"> {shlex.quote(str(target))}", line)
    for written, here in replaced.items():
        assert written in line
        line = line.replace(written, here)
    subprocess.run([shell, flag, line], env={"REDIS_PASSWORD": PASSWORD, "PATH": "/usr/bin:/bin"}, check=True)
    return target.read_text(encoding="utf-8")


def test_the_containers_have_what_they_refer_to_and_find_each_other(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert len(chats(compose)) == 3
    assert len({address(service) for service in services.values()}) == len(services)
    # Keys and passwords are each one's own.
    own = {"./chat.example.com.pem", "./chat.example.com.key"}
    for service in services.values():
        sources = {volume.split(":")[0] for volume in service.get("volumes", [])}
        files = {source for source in sources if source.startswith("./")} - own
        assert all((CONFIG / file).is_file() for file in files)
        assert sources - files - own <= compose["volumes"].keys()
    for chat in chats(compose):
        assert (CONFIG / chat["build"]["context"] / chat["build"]["dockerfile"]).is_file()
        environment = {**chat["environment"], "HAZOOM_AUTH": "api_key", "HAZOOM_API_KEYS": "k" * 32}
        environment["HAZOOM_LOG_URL"] = re.sub(r"\$\{REDIS_PASSWORD:\?[^}]*\}", PASSWORD, environment["HAZOOM_LOG_URL"])
        settings = load_settings(environment=environment)
        assert settings.log_url == f"redis://hazoom:{PASSWORD}@{address(services['redis'])}:6379/0"
        assert settings.trusted_proxies == (f"{address(services['nginx'])}/32",)
        assert float(chat["stop_grace_period"].rstrip("s")) > settings.shutdown_grace_s


def test_redis_of_the_containers_starts_and_lets_in_nobody_but_hazoom(compose: dict[str, Any], tmp_path: Path) -> None:
    text = made(compose, "redis", tmp_path, {"/etc/redis/redis.conf": str(CONFIG / "redis.conf")})
    assert f"\nbind {address(compose['services']['redis'])} 127.0.0.1\n" in text
    with running_redis(configuration=tmp_path / "redis.conf") as redis:
        assert redis.ask("INFO").startswith(b"-NOAUTH")
        server = Server(redis.url(account=f"hazoom:{PASSWORD}"), "test", timeout_s=DEADLINE_S)
        assert str(server.inspect()).endswith("appendonly yes, appendfsync everysec")
        server.close()


def test_nginx_of_the_containers_passes_on_to_all_three(compose: dict[str, Any], tmp_path: Path) -> None:
    text = made(compose, "nginx", tmp_path, {"/etc/hazoom/nginx.conf": str(CONFIG / "nginx.conf")})
    [upstream] = re.findall(r"upstream hazoom_ws \{(.*?)\}", text, re.DOTALL)
    assert re.findall(r"server (\S+);", upstream) == [f"{address(chat)}:5000" for chat in chats(compose)]
    assert "hash $remote_addr consistent;" in upstream
    assert "/var/log/nginx" not in text
    upstream_only = tmp_path / "upstream.conf"
    folders = " ".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    upstream_only.write_text(
        f"pid {tmp_path}/pid; events {{}} http {{ {folders} access_log off; upstream hazoom_ws {{{upstream}}} }}",
        encoding="utf-8",
    )
    command = [program("TEST_NGINX", "nginx", "/usr/sbin/nginx"), "-e", str(tmp_path / "log"), "-c", str(upstream_only)]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert tested.returncode == 0, tested.stderr


def said(unit: Path) -> list[str]:
    return [line for line in unit.read_text(encoding="utf-8").splitlines() if line and not line.startswith(("#", "["))]


def test_the_template_is_as_hardened_as_the_unit_and_systemd_takes_it(tmp_path: Path) -> None:
    of_one = {"Description", "After", "ExecStart", "EnvironmentFile", "Environment", "WorkingDirectory"}
    of_one |= {"StateDirectory", "StateDirectoryMode", "RestartSec", "RestartPreventExitStatus", "StartLimitIntervalSec"}

    def common(unit: Path) -> list[str]:
        return [line for line in said(unit) if line.partition("=")[0] not in of_one]

    assert common(TEMPLATE) == common(UNIT)
    [start] = [line for line in said(TEMPLATE) if line.startswith("ExecStart=")]
    assert start.endswith(" --port %i")
    assert "StartLimitIntervalSec=0" in said(TEMPLATE)
    assert not any(line.startswith("RestartPrevent") for line in said(TEMPLATE)), "Redis may come later than this"
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return  # a system without systemd takes no unit
    text = TEMPLATE.read_text(encoding="utf-8").replace("/opt/hazoom/bin/hazoom-ws", sys.executable)
    (tmp_path / "hazoom-ws@5001.service").write_text(text, encoding="utf-8")
    verified = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / "hazoom-ws@5001.service")],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")
