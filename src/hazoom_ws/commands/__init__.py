"""The commands beside the server: ``hazoom-ws check`` and the like.

A command is a module of this package, named like it. What it has is written in `Command`; its name stands in `NAMES`, and
with that it is in ``--help``. `main` is called in a process in which nothing is patched for eventlet: no command needs
it. Modules of commands are imported for their summary whenever somebody asks for help, so what takes long to import they
import in ``run``.
"""

import argparse
import importlib
import os
import sys
from typing import NoReturn, Protocol, cast

from hazoom_ws.settings import SettingsError

PROGRAM = "hazoom_ws"
NAMES = ("check", "say", "tail", "types")


class CommandFailed(Exception):
    """What a command could not do, in words for who has called it: `main` shows them in one line, with status 1."""


class Command(Protocol):
    """What the module of a command has. Its docstring is for who reads the source, ``DESCRIPTION`` for ``--help``.

    ``SUMMARY``: one line without a full stop, for the list of commands. ``DESCRIPTION``: what the command does, an example,
    and what its exit statuses mean; it is shown as it is laid out.
    """

    SUMMARY: str
    DESCRIPTION: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of the command."""

    def run(self, options: argparse.Namespace) -> int:
        """Do it, and return the exit status.

        May raise `CommandFailed` for status 1, and `SettingsError` for status 2, of which `main` shows the text.
        """


class Parser(argparse.ArgumentParser):
    """The library's parser, which says in one line what is wrong with a command line."""

    def error(self, message: str) -> NoReturn:
        """Say it without the usage."""
        raise SettingsError(f"{message}; see --help")


def program_name() -> str:
    """Return how this program was started, as its help shows it."""
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    return "hazoom-ws" if name.startswith("hazoom-ws") else f"python -m {PROGRAM}"


def summaries() -> str:
    """Return a line for each command, for the help of the program."""
    return "\n".join(f"  {name:<8} {_load(name).SUMMARY}" for name in NAMES)


def main(name: str, arguments: list[str]) -> int:
    """Run the command of this name with its ``arguments``; return the exit status. 2: something the user can mend."""
    try:
        if name not in NAMES:
            raise SettingsError(f"there is no command {name!r:.80}, only {', '.join(NAMES)}; see --help")
        command = _load(name)
        parser = Parser(
            prog=f"{program_name()} {name}",
            description=command.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(parser)
        options = parser.parse_args(arguments)
        return _run(command, options)
    except SettingsError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 2
    except CommandFailed as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 1


def _run(command: Command, options: argparse.Namespace) -> int:
    try:
        status = command.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130  # as a shell calls the end by Ctrl-C
    except BrokenPipeError:
        # Who read our output has seen enough (`| head`). What is still in the buffer must not fail once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _load(name: str) -> Command:
    return cast(Command, importlib.import_module(f"{__name__}.{name}"))
