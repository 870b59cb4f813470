"""Where settings come from.

Flags win over ``HAZOOM_*`` environment variables, those over the TOML file, that over the defaults. An unknown key or
variable stops the start: a setting that is silently ignored is worse than none.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hazoom_ws.settings import FIELDS, Settings, SettingsError
from hazoom_ws.settings.checks import combined, convert

ENVIRONMENT_PREFIX = "HAZOOM_"
CLIENT_PREFIX = "HAZOOM_CLIENT_"  # of what our commands show a server, as its clients: no setting begins like that
# What a process is told that is one of several, by the one that has started it (commands/workers.py).
WORKER_NUMBER = "HAZOOM_WORKER_NUMBER"
WORKER_SOCKETS = "HAZOOM_WORKER_SOCKETS"
_LISTS = frozenset(
    {"api_keys", "cors_origins", "jwt_algorithms", "trusted_proxies"}
)  # their items are separated by commas in a variable

# What Kubernetes tells every container about a service. Source: https://kubernetes.io/docs/concepts/services-networking/
# service/#environment-variables (and Docker's links, which those are made like).
_SERVICE_HOST = "_SERVICE_HOST"
_OF_SERVICE = re.compile(r"_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT(_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?)?", re.ASCII)
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://", re.IGNORECASE)


def load_settings(
    *,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    config_path: str | Path | None = None,
) -> Settings:
    """Combine all sources into one `Settings`; later sources win: file, environment, flags.

    ``flags`` holds Python values by field name, None meaning "not given". ``environment`` is `os.environ` by default.
    Raises `SettingsError` for an unreadable file, an unknown key or a bad value.
    """
    # By field: the value, and what an error calls it.
    found: dict[str, tuple[Any, str]] = {}
    if config_path is not None:
        found.update(_from_file(Path(config_path)))
    found.update(_from_environment(os.environ if environment is None else environment))
    for name, value in (flags or {}).items():
        if value is not None:
            source = f"--{name.replace('_', '-')}"
            found[name] = convert(name, value, source, strict=True), source
    return combined(
        {name: value for name, (value, _) in found.items()}, {name: source for name, (_, source) in found.items()}
    )


def _from_file(path: Path) -> dict[str, tuple[Any, str]]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the config file {str(path)!r}: {error.strerror or error}") from None
    except ValueError as error:
        raise SettingsError(f"the config file {str(path)!r} is not TOML: {error}") from None
    for name in table:
        if name not in FIELDS:
            raise SettingsError(f"unknown setting {name!r} in {str(path)!r}{_nearest(name, FIELDS)}")
    sources = {name: f"{name} in {str(path)!r}" for name in table}
    return {name: (convert(name, value, sources[name], strict=True), sources[name]) for name, value in table.items()}


def _from_environment(environment: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    variables = {f"{ENVIRONMENT_PREFIX}{name.upper()}": name for name in FIELDS}
    found = {}
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable.startswith(CLIENT_PREFIX):
            continue
        if variable in (WORKER_NUMBER, WORKER_SOCKETS):
            continue
        if _is_of_service(variable, text, environment):
            continue
        if variable not in variables:
            raise SettingsError(f"unknown environment variable {variable}{_nearest(variable, variables)}")
        name = variables[variable]
        value: Any = text
        if name in _LISTS:
            # "[]" is what people write for an empty list; it must never be taken for an origin, or for "no check".
            items = text.strip()
            if items.startswith("[") and items.endswith("]"):
                items = items[1:-1]
            value = [item.strip().strip("'\"") for item in items.split(",") if item.strip()]
        found[name] = convert(name, value, variable, strict=False), variable
    return found


def _is_of_service(variable: str, text: str, environment: Mapping[str, str]) -> bool:
    """Return whether a variable is not for us: Kubernetes has set it for a service whose name begins like our settings.

    ``HAZOOM_PORT`` may be such a one too, for a service named hazoom; then it is a URL.
    """
    for other in environment:
        if other.startswith(ENVIRONMENT_PREFIX) and other.endswith(_SERVICE_HOST):
            service = other.removesuffix(_SERVICE_HOST)
            match = _OF_SERVICE.fullmatch(variable.removeprefix(service)) if variable.startswith(service) else None
            if match is not None and (match[0] != "_PORT" or _SERVICE_URL.match(text)):
                return True
    return False


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"; did you mean {matches[0]}?" if matches else ""
