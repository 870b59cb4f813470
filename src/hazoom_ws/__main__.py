"""``python -m hazoom_ws``: patches the standard library for eventlet, then starts.

Nothing of Flask, Socket.IO or requests may be imported before the patch, so this module looks for ``--async-mode`` itself.
"""

import argparse
import os
import sys
import warnings


def main() -> None:
    """Start the server with the command line's options, or do what its command says, and exit with the status."""
    plan = os.environ.pop("_HAZOOM_SUPERVISOR", None)
    if plan is not None:
        from hazoom_ws.commands import supervisor

        sys.exit(supervisor.main(plan))
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        from hazoom_ws import commands

        sys.exit(commands.main(sys.argv[1], sys.argv[2:]))  # none needs anything patched
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--async-mode", default="eventlet")
    try:
        async_mode = parser.parse_known_args()[0].async_mode
    except argparse.ArgumentError:
        async_mode = "threading"  # an option without its value: cli reports it, for which nothing has to be patched
    if async_mode == "eventlet":
        # eventlet advises new projects against itself; this project's users chose it (README, "Dependencies").
        warnings.filterwarnings("ignore", message="\\s*Eventlet is deprecated")
        import eventlet

        eventlet.monkey_patch()
    from hazoom_ws import cli

    sys.exit(cli.main(sys.argv[1:]))


if __name__ == "__main__":
    main()
