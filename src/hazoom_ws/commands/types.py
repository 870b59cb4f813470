"""``hazoom-ws types``: what clients may send and get, as TypeScript types or as an AsyncAPI document, on standard output.

The same as ``GET /events.d.ts`` and ``GET /asyncapi.json``, without a server that runs.
"""

import argparse
import sys
from pathlib import Path

from hazoom_ws.commands.options import add_feature_option, load_features
from hazoom_ws.settings.sources import load_settings

SUMMARY = "TypeScript types of all events, for clients"
DESCRIPTION = """Writes TypeScript types of all events to standard output, with those of features of your own:

  hazoom-ws types > src/events.d.ts
  hazoom-ws types --feature votes:Votes > src/events.d.ts

In the client, import type { ChatSocket } from "./events". A server that runs has them at /events.d.ts too.
Exit status: 0, or 2 if a feature or a setting cannot be used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--asyncapi", action="store_true", help="write an AsyncAPI 3.0 document instead, as JSON")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with settings, whose limits they name")
    add_feature_option(parser)


def run(options: argparse.Namespace) -> int:
    """Write it."""
    from hazoom_ws.namespaces.registry import Registry
    from hazoom_ws.namespaces.root import OWN_FEATURES
    from hazoom_ws.schema.documents import Documents

    registry = Registry(OWN_FEATURES, load_features(options.feature))
    documents = Documents(registry, load_settings(config_path=options.config))
    text = documents.asyncapi if options.asyncapi else documents.typescript
    sys.stdout.buffer.write(text.encode())  # UTF-8 whatever the terminal has
    return 0
