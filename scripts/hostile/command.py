"""The command line of scripts/hostile.py: which attacks, on which server; one attack at a time."""

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import environment
from hostile import report, trial
from hostile.catalogue import ATTACKS
from hostile.server import ServerError


def main(method: str) -> int:
    """Attack and print; return 1 if a promise was broken, 2 for what the user can mend."""
    options = _parse(method)
    if options.list:
        for attack in ATTACKS.values():
            print(f"{attack.name:20} {attack.item:>4}  {attack.title}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rows: list[trial.Row] = []
    version = _version(options.python)
    about = {
        "at_s": time.time(),
        "machine": platform.platform(),
        "version": version,
        "async_mode": options.async_mode,
        "seconds": options.seconds,
    }
    print(f"{version} of {options.python}, {options.async_mode}, {options.seconds:g} s an attack; calm in ms", flush=True)
    print(report.HEAD, flush=True)
    try:
        for name in options.attacks or ATTACKS:
            row = trial.run(ATTACKS[name], options.python, options.async_mode, options.seconds)
            rows.append(row)
            print(report.line(row), flush=True)
            if options.json:
                report.write_json(options.json, {**about, "load_average": os.getloadavg()}, rows)
    except ServerError as error:
        print(f"hostile: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("hostile: interrupted; every process is stopped", file=sys.stderr)
        return 2
    broken = [row.name for row in rows if row.broken]
    print(f"{len(rows) - len(broken)} of {len(rows)} attacks broke no promise")
    return 1 if broken else 0


def _parse(method: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="hostile.py", description=method, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help="names, see --list (default: all)")
    parser.add_argument("--list", action="store_true", help="name the attacks, and the kind that each is of by number")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each attack lasts (default %(default)g)")
    parser.add_argument("--async-mode", choices=("eventlet", "threading"), default="eventlet", help="the server's")
    parser.add_argument(
        "--python",
        type=Path,
        default=environment.PYTHON,
        help="attack the hazoom_ws of this Python, such as /other/checkout/.venv/bin/python (default: this checkout's)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, after each attack")
    options = parser.parse_args()
    options.python = options.python.absolute()  # not resolved: a link is what makes it a virtual environment's
    if unknown := set(options.attacks) - set(ATTACKS):
        parser.error(f"no attack is called {', '.join(sorted(unknown))}; --list names them")
    if not 1 <= options.seconds <= 600:
        parser.error("--seconds is between 1 and 600")
    return options


def _version(python: Path) -> str:
    command = [str(python), "-m", "hazoom_ws", "--version"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        print(f"hostile: {python} has no hazoom_ws; python3 scripts/test.py --fast makes it", file=sys.stderr)
        sys.exit(2)
