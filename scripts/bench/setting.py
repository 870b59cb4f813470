"""What the scenarios share: the tools, the cores, and how much is measured."""

from typing import NamedTuple

from bench.load import Tools
from bench.peers import Cores

# A room that everybody is in tells everybody of everybody: thousands of clients who only want rooms of four would wait
# for millions of user_joined. Where a scenario is about small rooms, hazoom_ws runs without its default room.
NO_DEFAULT_ROOM = {"HAZOOM_DEFAULT_ROOM": ""}


class Setting(NamedTuple):
    """``clients`` are in one room in fanout and latency; ``connections`` are opened in connections.

    ``window_s``: seconds that one value is measured. ``idle_s``: seconds of silence over which heartbeats are charged.
    """

    tools: Tools
    cores: Cores
    clients: int
    connections: int
    window_s: float
    idle_s: float
