"""Our features, and the namespaces that clients connect to: one per feature, and ``/`` with all of them."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import MethodType
from typing import Any, TypeVar

from hazoom_ws.namespaces.access import AccessFeature
from hazoom_ws.namespaces.chat import Chat
from hazoom_ws.namespaces.door import FeatureNamespace
from hazoom_ws.namespaces.features import Feature, OwnFeature
from hazoom_ws.namespaces.live import LiveFeature
from hazoom_ws.namespaces.llm import LlmFeature
from hazoom_ws.namespaces.parts import Parts
from hazoom_ws.namespaces.registry import ROOT, Registry, marked
from hazoom_ws.namespaces.rooms import RoomsFeature
from hazoom_ws.namespaces.stats import StatsFeature
from hazoom_ws.namespaces.tasks import Tasks, Waiting
from hazoom_ws.namespaces.typing import TypingFeature

OWN_FEATURES: tuple[type[OwnFeature], ...] = (
    RoomsFeature,
    TypingFeature,
    StatsFeature,
    LlmFeature,
    LiveFeature,
    AccessFeature,
)


F = TypeVar("F", bound=Feature | type[Feature])


def by_namespace(features: Sequence[F]) -> dict[str, list[F]]:
    """Return what each namespace serves of the features of an application: ``/`` all of them."""
    everywhere = [one for one in features if one.name == AccessFeature.name]
    others = [one for one in features if one.name != AccessFeature.name]
    return {ROOT: list(features)} | {f"/{one.name}": [one, *everywhere] for one in others}


def build_namespaces(registry: Registry, parts: Parts, chat: Chat, tasks: Tasks) -> list[FeatureNamespace]:
    """Make the features of one application, ours with its ``parts``; return the namespaces that serve them.

    If one that was added raises, the application is closed, and that is raised again.
    """
    features = registry.features
    features += [own_type(parts) for own_type in registry.own_types]
    try:
        for added_type in registry.added_types:
            features.append(added_type(chat))
    except BaseException:
        parts.close()
        raise
    calls = {feature.name: dict(_calls_of(feature, chat, tasks)) for feature in features}
    namespaces = []
    for namespace, served in by_namespace(features).items():
        its_calls = {event: call for one in served for event, call in calls[one.name].items()}
        namespaces.append(FeatureNamespace(namespace, served, its_calls, parts, registry))
    return namespaces


def _calls_of(feature: Feature, chat: Chat, tasks: Tasks) -> Iterator[tuple[str, Any]]:
    """Yield the handlers of a feature by event, as a namespace calls them."""
    for method, mark in marked(type(feature)):
        payload_type = mark.payload_type
        call: Callable[..., Any] = MethodType(method, feature)
        if mark.waits:
            call = Waiting(call, payload_type.event, tasks)
        elif not isinstance(feature, OwnFeature):
            call = partial(chat.handle, call)
        yield payload_type.event, (payload_type, call)
