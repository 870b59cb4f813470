"""What a feature may be: what is refused when the application is built, and how it is told."""

from typing import Any, ClassVar

import msgspec
import pytest
from msgspec import UNSET, Struct, UnsetType

import hazoom_ws.features
from hazoom_ws import create_app, events
from hazoom_ws.events.base import ServerEvent as Base
from hazoom_ws.events.connecting import Bye
from hazoom_ws.features import ClientPayload, Feature, Sender, ServerEvent, handles
from hazoom_ws.namespaces.registry import Registry
from hazoom_ws.namespaces.root import OWN_FEATURES
from hazoom_ws.settings import Settings


def payload(name: Any, **fields: Any) -> type[ClientPayload]:
    """Return the type of a payload."""
    return msgspec.defstruct("Payload", [*fields.items()], bases=(ClientPayload,), namespace={"event": name}, frozen=True)


def event(name: Any, fields: dict[str, Any] | None = None, **said: Any) -> type[ServerEvent]:
    """Return the type of an event."""
    namespace = {"event": name, **said}
    return msgspec.defstruct(
        "Event", [*(fields or {}).items()], bases=(ServerEvent,), namespace=namespace, frozen=True, kw_only=True
    )


def feature(named: Any = "polls", handled: tuple[Any, ...] = (), sent: tuple[Any, ...] = ()) -> type[Feature]:
    """Return a feature with a handler for each payload."""

    def handler(payload_type: Any) -> Any:
        def handle(self: Feature, sender: Sender, payload: Any) -> None:
            """Do nothing."""

        return handles(payload_type)(handle)

    methods = {f"handle_{number}": handler(payload_type) for number, payload_type in enumerate(handled)}
    return type("Polls", (Feature,), {"name": named, "events": sent, **methods})


def refused(*features: Any) -> str:
    """Return why `create_app` refuses features, before it opens anything."""
    with pytest.raises((ValueError, TypeError)) as error:
        create_app(Settings(log_url="memory://"), features=features)
    return str(error.value)


@pytest.mark.parametrize("name", ["rooms", "typing", "stats", "llm"])
def test_a_name_of_ours_is_refused(name: str) -> None:
    assert refused(feature(name)) == f"feature Polls: hazoom_ws has a feature {name!r} of its own; choose another name"


@pytest.mark.parametrize("name", ["message", "join_room", "new_message", "llm_token", "user_typing", "get_stats"])
def test_an_event_of_ours_is_refused_in_both_directions(name: str) -> None:
    reason = f"hazoom_ws has an event {name!r} of its own; choose another name"
    assert refused(feature(handled=(payload(name),))) == f"feature Polls: {reason}"
    assert refused(feature(sent=(event(name),))) == f"feature Polls: {reason}"


@pytest.mark.parametrize(
    "name", ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", "error", "status"]
)
def test_reserved_events_are_refused(name: str) -> None:
    for one in (feature(handled=(payload(name),)), feature(sent=(event(name),))):
        assert refused(one).startswith(f"feature Polls: the event {name!r} is what Socket.IO or hazoom_ws say themselves")


def test_what_is_there_twice_is_refused() -> None:
    vote, voted = payload("vote"), event("voted")
    assert "handles the event 'vote' twice" in refused(feature(handled=(vote, payload("vote"))))
    assert "sends the event 'voted' twice" in refused(feature(sent=(voted, event("voted"))))
    assert "there is a feature 'polls' already" in refused(feature(), feature())
    assert "'vote' is one of the feature 'a' already" in refused(feature("a", (vote,)), feature("b", (payload("vote"),)))
    assert "'vote' is one of the feature 'a' already" in refused(feature("a", (vote,)), feature("b", (), (event("vote"),)))
    Registry(OWN_FEATURES, [feature("a", (vote,), (event("vote"),))])  # both ways within a feature are no mistake


@pytest.mark.parametrize("name", [None, "", "Polls", "a b", "/polls", "x" * 33, 'a"'])
def test_names_of_features_are_plain(name: Any) -> None:
    assert "small letters" in refused(feature(name))


@pytest.mark.parametrize("name", [None, "", 7, "a b", 'a"', "a:b", "x" * 65, "*", "\u00e9"])
def test_names_of_events_are_plain(name: Any) -> None:
    for one in (feature(handled=(payload(name),)), feature(sent=(event(name),))):
        assert "letters, digits" in refused(one)


def test_what_is_no_feature_is_refused() -> None:
    for one in (object(), dict, OWN_FEATURES[0], "polls"):
        assert "no subclass of hazoom_ws.features.Feature" in refused(one)
    assert "name is None" in refused(Feature)


def test_what_cannot_be_a_payload_or_an_event_is_refused() -> None:
    class NoPayload(Struct):
        event: ClassVar[str] = "vote"

    class NoName(ClientPayload, frozen=True):
        """It names no event."""

    assert "no subclass of hazoom_ws.features.ClientPayload" in refused(feature(handled=(NoPayload,)))
    assert "names no event" in refused(feature(handled=(NoName,)))
    assert "no subclass of hazoom_ws.features.ServerEvent" in refused(feature(sent=(payload("voted"),)))
    assert "Payload.room is to be a str" in refused(feature(handled=(payload("vote", room=int),)))
    assert "Payload.message is to be a str" in refused(feature(handled=(payload("vote", message=str | None),)))
    assert "Payload cannot be JSON" in refused(feature(handled=(payload("vote", what=int | str | list[int] | set[int]),)))
    assert "if_slow is 'joined'; it is one of kept, dropped" in refused(feature(sent=(event("voted", if_slow="joined"),)))
    assert "if_slow is 'dropped'; it is one of kept" in refused(
        feature(sent=(event("voted", if_slow="dropped", is_kept=True),))
    )
    Registry(OWN_FEATURES, [feature(handled=(payload("vote", room=str | UnsetType, message=str),))])
    assert UNSET is hazoom_ws.features.UNSET


def test_a_coroutine_is_refused() -> None:
    class Polls(Feature):
        name = "polls"

        @handles(payload("vote"))
        async def vote(self, sender: Sender, payload: Any) -> None:
            """Nobody awaits it."""

    assert "is a coroutine" in refused(Polls)


def test_every_event_of_ours_is_declared_by_one_feature() -> None:
    """What is not cannot be sent, but for what every namespace says."""

    def variants(event_type: type[Base]) -> set[type[Base]]:
        below = {one for child in event_type.__subclasses__() for one in variants(child)}
        return {event_type} | below

    ours = {one for one in variants(Base) if one.__module__.startswith(events.__name__)} - {Base, Bye}
    assert ours == set(Registry(OWN_FEATURES, ()).namespaces_of)
