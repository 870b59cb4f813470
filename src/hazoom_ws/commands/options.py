"""The options of the server, which commands that look at the same configuration take too."""

import argparse
import importlib
import os
import sys
from pathlib import Path

from hazoom_ws.namespaces.features import Feature
from hazoom_ws.namespaces.registry import Registry
from hazoom_ws.namespaces.root import OWN_FEATURES
from hazoom_ws.settings import Settings, SettingsError
from hazoom_ws.settings.sources import load_settings


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which configuration is meant."""
    defaults = Settings()
    parser.add_argument("--host", help=f"address to listen on (default {defaults.host})")
    parser.add_argument("--port", type=int, help=f"port to listen on, 0 for a free one (default {defaults.port})")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help=f"processes that share it; several need Redis (default {defaults.workers})",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with settings")
    parser.add_argument("--demo", action="store_true", help="answer AI requests with a built-in stand-in for Django")
    add_feature_option(parser)
    parser.add_argument("--log-level", help=f"debug, info, warning or error (default {defaults.log_level})")
    parser.add_argument(
        "--async-mode",
        choices=("eventlet", "threading"),
        default="eventlet",
        help="threading runs without eventlet, with a thread per connection (default eventlet)",
    )


def add_feature_option(parser: argparse.ArgumentParser) -> None:
    """Add what names features of the application's own."""
    parser.add_argument(
        "--feature",
        action="append",
        default=[],
        metavar="MODULE:CLASS",
        help="serve a feature of your own, such as votes:Votes for a class in votes.py; may be given several times",
    )


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the settings of the flags, the environment and the file. Raises `SettingsError`."""
    return load_settings(
        flags={name: getattr(options, name) for name in ("host", "port", "workers", "log_level")},
        config_path=options.config,
    )


def load_features(names: list[str]) -> list[type[Feature]]:
    """Return the features that are named, which are looked for in the current folder too. Raises `SettingsError` where one
    cannot be served.
    """
    if names and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # `python -m` has it there, an installed script has not
    features = []
    for name in names:
        module_name, _, class_name = name.partition(":")
        try:
            features.append(getattr(importlib.import_module(module_name), class_name))
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise  # it is there, and imports what is not
            raise SettingsError(f"--feature {name}: there is no module {error.name}, seen from here") from None
        except (ValueError, AttributeError):
            raise SettingsError(
                f"--feature {name}: expected MODULE:CLASS, such as votes:Votes for a class in votes.py"
            ) from None
    try:
        Registry(OWN_FEATURES, features)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"--feature: {error}") from None
    return features
