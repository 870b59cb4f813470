"""Restart a server under load, and say what became of all that went on: ``python scripts/restart.py [MODE ...]``.

Official clients (``--clients``; WebSockets, polling, some changing over) say messages in rooms of ten, ``--per-second`` in
all, each with a ``client_id`` of its own, and send again by themselves what was not acknowledged. ``--answers`` of them
have asked the AI, a real Django. The server, started as a user starts it with a file of its own, gets a SIGTERM; while it
lets answers end the clients talk on. When it has ended the next one starts, and the clients come back by themselves, with
the delays that they have as they come.

A row for each MODE (all, if none is named):

- status, stop s: of the server, and the seconds from the signal to its end (the goal: 0, within ``--grace`` seconds);
- back s: from the next one's ready line until the last client is back (the goal: 15);
- said, acknowledged, shown: messages; the last to all clients together;
- ended, handed on: answers that ended before the server did, and those whose asker was told by the next one;
- lost: said and not acknowledged or not in the history, or in it and not shown to a client of the room;
- doubled: more than once in the history, or shown to a client more than once;
- odd: clients that heard no ``bye`` or two, were not recovered, or whose answer ended twice or not at all.

The exit status is 1 if a goal is missed.
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path

import environment

MODES = ("eventlet", "eventlet without epoll", "threading")
COLUMNS = ("status", "stop s", "back s", "said", "acknowledged", "shown", "ended", "handed on", "lost", "doubled", "odd")
BACK_LIMIT_S = 15.0


def main() -> int:
    options = _parse()
    environment.go_on_in_venv()
    environment.install_npm_packages()
    os.environ["TEST_NODE"] = environment.node_command()
    print(f"{'mode':24}" + "".join(f"{column:>13}" for column in COLUMNS), flush=True)
    runs = [_is_calm(mode, options) for mode in options.modes or MODES]
    return 0 if all(runs) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="restart.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("modes", nargs="*", metavar="MODE", help=f"{', '.join(map(repr, MODES))}")
    parser.add_argument("--clients", type=int, default=200, help="(default %(default)s)")
    parser.add_argument("--per-second", type=float, default=50.0, help="messages of all together (default %(default)s)")
    parser.add_argument("--answers", type=int, default=20, help="of the AI, that run (default %(default)s)")
    parser.add_argument("--grace", type=float, default=8.0, help="seconds that a stop may take (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load before the signal (default %(default)s)")
    options = parser.parse_args()
    unknown = sorted(set(options.modes) - set(MODES))
    if unknown:
        parser.error(f"no mode {unknown[0]!r}; there are {', '.join(map(repr, MODES))}")
    if options.clients < 2 or not 0 <= options.answers <= options.clients or options.per_second <= 0:
        parser.error("--clients is at least 2, --answers at most as many, --per-second more than 0")
    return options


def _is_calm(mode: str, options: argparse.Namespace) -> bool:
    """Print a row; return whether all goals are met."""
    sys.path.insert(0, str(environment.ROOT / "tests"))
    from restarts import restart_under_load  # it is there in the virtual environment only

    said_by_servers = io.StringIO()
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(said_by_servers):
            found = restart_under_load(
                async_mode=mode,
                clients=options.clients,
                messages_per_s=options.per_second,
                answers=options.answers,
                grace_s=options.grace,
                seconds=options.seconds,
                folder=Path(folder),
            )
    except BaseException:
        print(said_by_servers.getvalue())
        raise
    counts = (found.said, found.acknowledged, found.shown, found.completed, found.handed_on)
    cells = [f"{found.status}", f"{found.stop_s:.1f}", f"{found.back_s:.1f}", *(f"{count:,}" for count in counts)]
    cells += [str(len(found.lost)), str(len(found.doubled)), str(len(found.odd))]
    print(f"{mode:24}" + "".join(f"{cell:>13}" for cell in cells), flush=True)
    for what, texts in (("lost", found.lost), ("doubled", found.doubled), ("odd", found.odd)):
        if texts:
            print(f"  {what}: {', '.join(sorted(texts)[:10])}")
    is_in_time = found.status == 0 and found.stop_s < options.grace and found.back_s < BACK_LIMIT_S
    return is_in_time and not (found.lost or found.doubled or found.odd)


if __name__ == "__main__":
    sys.exit(main())
