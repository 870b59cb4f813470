"""The namespaces that clients connect to: one per feature, and ``/`` with all of them."""

from hazoom_ws.namespaces.base import FeatureNamespace, Parts
from hazoom_ws.namespaces.delivery import ROOT
from hazoom_ws.namespaces.llm import LlmNamespace
from hazoom_ws.namespaces.rooms import RoomsNamespace
from hazoom_ws.namespaces.stats import StatsNamespace
from hazoom_ws.namespaces.typing_indicator import TypingNamespace
from hazoom_ws.schemas import Feature


class RootNamespace(RoomsNamespace, TypingNamespace, StatsNamespace, LlmNamespace):
    """Every event of the contract."""


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
