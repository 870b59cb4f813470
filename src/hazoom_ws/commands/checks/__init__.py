"""What `hazoom-ws check` looks at: a function for each question, which says what it has found and how that is mended.

No check starts a server, writes to the log or shows a secret. Each is called in a thread of its own and may wait; who calls
gives up on it after `LIMIT_S`. What a check raises is a finding too, so it need not catch what it does not expect.
"""

import argparse
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from msgspec import Struct

from hazoom_ws.settings import Settings, SettingsError
from hazoom_ws.settings.checks import is_loopback

LIMIT_S = 5.0  # for each check
REQUEST_LIMIT_S = 4.0  # for what one asks over the network, so that it can still say what it knows

Level = Literal["ok", "warning", "problem"]


class Finding(Struct, frozen=True):
    """What one check has found. ``topic``: one word; ``remedy``: what to do about it, "" where nothing is to be done."""

    topic: str
    level: Level
    found: str
    remedy: str = ""


class Configuration(NamedTuple):
    """What is checked. ``public_url``: where browsers find the server, "" where that is not known."""

    settings: Settings
    options: argparse.Namespace
    public_url: str

    @property
    def is_public(self) -> bool:
        """Whether anybody but this machine's own users is to come in, directly or by a proxy."""
        settings = self.settings
        return bool(self.public_url or settings.trusted_proxies or not is_loopback(settings.host))


Check = Callable[[Configuration], Iterable[Finding]]


def of_error(topic: str, error: SettingsError) -> Finding:
    """Return what keeps the server from starting; such errors say what to do after a semicolon or a colon."""
    found, separator, remedy = str(error).partition("; ")
    if not separator:
        found, separator, remedy = found.partition(": set ")
        remedy = f"set {remedy}" if separator else "mend that setting; config/hazoom.toml shows them all"
    return Finding(topic, "problem", found, remedy)
