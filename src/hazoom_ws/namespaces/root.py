"""The namespaces that clients connect to: one per feature, and ``/`` with all of them."""

from hazoom_ws.delivery.delivery import ROOT
from hazoom_ws.events.base import Feature
from hazoom_ws.namespaces.door import FeatureNamespace, Parts
from hazoom_ws.namespaces.llm import LlmNamespace
from hazoom_ws.namespaces.rooms import RoomsNamespace
from hazoom_ws.namespaces.stats import StatsNamespace
from hazoom_ws.namespaces.typing import TypingNamespace


class RootNamespace(RoomsNamespace, TypingNamespace, StatsNamespace, LlmNamespace):
    """Every event (web/guides/events.md)."""


_FEATURE_NAMESPACES: dict[Feature, type[FeatureNamespace]] = {
    "rooms": RoomsNamespace,
    "typing": TypingNamespace,
    "stats": StatsNamespace,
    "llm": LlmNamespace,
}


def build_namespaces(parts: Parts) -> list[FeatureNamespace]:
    """Return the namespaces of one application."""
    return [
        RootNamespace(ROOT, parts),
        *(namespace(f"/{feature}", parts) for feature, namespace in _FEATURE_NAMESPACES.items()),
    ]
