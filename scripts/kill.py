"""Kill a server at random moments under load, and say what became of the messages: ``python scripts/kill.py [MODE ...]``.

Eight official clients say messages in three rooms without a pause, twelve at once each, with ``client_id``s of their own.
Beside that each counts in a key of the first room's state.
The server, started as a user starts it with a file of its own, is killed (SIGKILL) at ``--kills`` random moments, some of
them right after its start, and now and then while it starts; then it is started again with the same file. The clients come
back by themselves and say again what was not acknowledged. After each start, and at the end, all history is read.

A row counts, for a MODE (all, if none is named) and a ``--log-fsync`` (both, if none is named):

- kills: under load, and + while it started;
- said: messages; again: how often one was said again, its acknowledgement having not come;
- acknowledged; known: of these with ``duplicate: true``: kept before the kill, acknowledged after it;
- found: messages in the history at the end;
- counted: how often a client has set its key in a room's state to one more, and that was acknowledged;
- lost: acknowledged, and at any time after that not in the history by the id that was acknowledged, or not in the state;
- doubled: at any time more than once in the history.

The exit status is 1 if anything is lost or doubled, or if what was said, acknowledged and found is not the same. The same
``--seed`` chooses the same moments, which meet another load. Power is not cut: what the system has not written to the disk
survives a kill.
"""

import argparse
import contextlib
import io
import os
import random
import sys
import tempfile
from pathlib import Path

import environment

MODES = ("eventlet", "eventlet without epoll", "threading")
FSYNCS = ("normal", "full")
COLUMNS = ("kills", "said", "again", "acknowledged", "known", "found", "counted", "lost", "doubled")


def main() -> int:
    options = _parse()
    environment.go_on_in_venv()
    environment.install_npm_packages()
    os.environ["TEST_NODE"] = environment.node_command()
    print(f"seed {options.seed}")
    print(f"{'mode':24}{'log_fsync':>10}" + "".join(f"{column:>13}" for column in COLUMNS), flush=True)
    runs = [_is_kept(mode, fsync, options) for mode in options.modes or MODES for fsync in options.log_fsync or FSYNCS]
    return 0 if all(runs) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="kill.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("modes", nargs="*", metavar="MODE", help=f"{', '.join(map(repr, MODES))}")
    parser.add_argument("--log-fsync", action="append", choices=FSYNCS, help="may be given twice")
    parser.add_argument("--kills", type=int, default=20, help="for each row (default %(default)s)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000), help="(default: a new one)")
    options = parser.parse_args()
    unknown = sorted(set(options.modes) - set(MODES))
    if unknown:
        parser.error(f"no mode {unknown[0]!r}; there are {', '.join(map(repr, MODES))}")
    if not 1 <= options.kills <= 1000:
        parser.error("--kills is 1 to 1000")
    return options


def _is_kept(mode: str, fsync: str, options: argparse.Namespace) -> bool:
    """Print a row; return whether nothing is lost or doubled."""
    sys.path.insert(0, str(environment.ROOT / "tests"))
    from kills import kill_at_random  # it is there in the virtual environment only

    said_by_servers = io.StringIO()
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(said_by_servers):
            found = kill_at_random(
                async_mode=mode, log_fsync=fsync, kills=options.kills, seed=options.seed, folder=Path(folder)
            )
    except BaseException:
        print(said_by_servers.getvalue())
        raise
    kills = f"{found.kills} + {found.kills_while_starting}"
    counts = [found.said, found.said_again, found.acknowledged, found.known_again, found.found, found.counted]
    cells = [kills, *(f"{count:,}" for count in (*counts, len(found.lost), len(found.doubled)))]
    print(f"{mode:24}{fsync:>10}" + "".join(f"{cell:>13}" for cell in cells), flush=True)
    for what, texts in (("lost", found.lost), ("doubled", found.doubled)):
        if texts:
            print(f"  {what}: {', '.join(sorted(texts)[:10])}")
    return not found.lost and not found.doubled and found.said == found.acknowledged == found.found


if __name__ == "__main__":
    sys.exit(main())
