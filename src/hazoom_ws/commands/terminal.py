"""What others have said, as a terminal may show it."""

import sys

from hazoom_ws.names import escaped


def shown(text: str) -> str:
    """Return a text of others with its line feeds and tabs; what else would drive a terminal is an escape in it."""
    return "\n".join("\t".join(map(escaped, line.split("\t"))) for line in text.split("\n"))


def write(text: str) -> None:
    """Write to stdout at once, whatever characters it can encode."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stdout.write(text)
    sys.stdout.flush()


def note(text: str) -> None:
    """Write a line about the connection to stderr, where it is not taken for what was said."""
    sys.stderr.write(f"({escaped(text)})\n")
    sys.stderr.flush()
