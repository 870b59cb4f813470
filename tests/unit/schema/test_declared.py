"""What features declare, for the documents that are made of it."""

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from features.broken import Broken
from features.game import Game
from features.polls import Polls
from hazoom_ws.chat.presence import User
from hazoom_ws.errors import CODES
from hazoom_ws.events.base import HIDDEN, ErrorCode, encoded
from hazoom_ws.features import ClientPayload, Feature, Sender, ServerEvent, handles
from hazoom_ws.namespaces.registry import Registry
from hazoom_ws.namespaces.root import OWN_FEATURES
from hazoom_ws.schema.declared import Declared, declared, doc_of, fields_of
from hazoom_ws.settings import Settings


def declared_by(*features: type[Feature], **settings: Any) -> Declared:
    return declared(Registry(OWN_FEATURES, features), Settings(**settings))


def test_every_event_of_the_features_is_there_and_what_all_namespaces_say() -> None:
    said = declared_by()
    events = {event.event for feature in OWN_FEATURES for event in feature.events}
    assert said.received.keys() == events | {"status", "error", "bye"}
    assert {"join_room", "message", "llm_request", "relay", "refresh_token"} <= said.sent.keys()


def test_of_every_event_of_ours_it_is_known_what_it_is_acknowledged_with() -> None:
    """A handler whose answer comes later has to say so: ``@handles(..., acknowledged_with=...)``."""
    assert [event.event for event in declared_by().sent.values() if not event.acknowledgement.is_known] == []


def test_every_event_of_ours_says_what_it_is() -> None:
    said = declared_by()
    assert [event.event for event in (*said.sent.values(), *said.received.values()) if not event.doc] == []
    names = {word for event in (*said.sent.values(), *said.received.values()) for word in event.doc.split("`")}
    assert not {name for name in names if name.startswith("hazoom_ws.")}, "which nobody has who reads types"


def test_the_features_of_an_application_are_there_with_their_namespaces() -> None:
    said = declared_by(Polls, Game, Broken)
    assert said.received["poll_state"].is_numbered
    assert said.sent["vote"].doc == "Count a vote, the only one of its user in this poll."
    assert said.sent["vote"].acknowledgement == ((), True, True)  # nothing but the seq of what it keeps
    assert not said.sent["play"].acknowledgement.may_have_seq
    assert set(said.namespaces["/polls"].sent) == {"open_poll", "vote", "refresh_token"}
    assert set(said.namespaces["/polls"].received) == {"poll_state", "status", "error", "bye"}
    assert said.namespaces["/"].sent == tuple(said.sent)
    assert set(said.namespaces["/"].received) == said.received.keys()


def test_an_event_that_grows_in_a_subclass_is_the_larger_one() -> None:
    token = declared_by().received["llm_token"]
    assert [field.name for field in fields_of(token.payload, is_sent=False)][-1] == "snapshot"
    assert token.doc.startswith("A piece of an answer.")
    assert "whole answer so far" in token.doc


class Ask(ClientPayload, frozen=True):
    event = "ask"


class Told(Struct):
    text: str


class Added(Struct):
    count: int


def asked(annotation: Any) -> type[Feature]:
    """Return a feature whose handler is annotated so."""

    class Asked(Feature):
        name = "asked"

        @handles(Ask)
        def ask(self, sender: Sender, payload: Ask) -> Any:
            """Ask."""

    Asked.ask.__annotations__["return"] = annotation
    return Asked


@pytest.mark.parametrize(
    ("annotation", "structs", "is_known"),
    [
        (None, (), True),
        (Told, (Told,), True),
        (Told | None, (Told,), True),
        (Told | Added, (Told, Added), True),
        (Any, (), False),
        ("of a name that is known nowhere", (), False),
        (User, (), False),
    ],
)
def test_an_acknowledgement_is_what_the_handler_says_that_it_returns(annotation: Any, structs: Any, is_known: bool) -> None:
    answer = declared_by(asked(annotation)).sent["ask"].acknowledgement
    assert (answer.structs, answer.is_known) == (structs, is_known)


def test_codes_are_ours_and_those_of_the_features() -> None:
    class Fussy(Feature):
        name = "fussy"
        codes = ("already_voted", "not_found")

    codes = declared_by(Fussy).codes
    assert set(codes) == CODES | {"already_voted"}
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("code", ["Already voted", "", 7, "a" * 65])
def test_a_code_that_cannot_be_is_refused(code: Any) -> None:
    fussy = type("Fussy", (Feature,), {"name": "fussy", "codes": (code,)})
    with pytest.raises(ValueError, match=r"feature Fussy: code .* 1 to 64 small letters"):
        declared_by(fussy)


def test_limits_are_those_of_the_settings() -> None:
    limits = declared_by(room_name_limit_chars=9, message_limit_bytes=1024).limits
    assert limits["room"] == limits["document"] == (1, 9, "characters")
    assert limits["message"] == (1, 1024, "bytes of UTF-8")


class Everything(ServerEvent, frozen=True, kw_only=True, rename="camel"):
    event = "everything"
    must_be: str
    has_default: int = 7
    is_unset: str | UnsetType = UNSET
    of_each: list[int] = msgspec.field(default_factory=list)
    not_shown: Annotated[str, HIDDEN] | UnsetType = UNSET
    why: ErrorCode | UnsetType = UNSET
    at: Annotated[float, Meta(description="When.")] = 0
    made_before: Annotated[Raw, encoded(Told)]


def test_fields_are_as_they_are_on_the_wire_in_each_direction() -> None:
    received = {field.name: field for field in fields_of(Everything, is_sent=False)}
    assert list(received) == ["mustBe", "hasDefault", "isUnset", "ofEach", "why", "at", "madeBefore"]
    assert [name for name, field in received.items() if field.is_left_out] == ["isUnset", "why"]
    assert received["why"].is_error_code
    assert received["at"].description == "When."
    assert received["madeBefore"].holds is Told
    sent = {field.name: field for field in fields_of(Everything, is_sent=True)}
    assert [name for name, field in sent.items() if not field.is_left_out] == ["mustBe", "madeBefore"]
    assert (sent["hasDefault"].default, sent["ofEach"].default) == (7, [])


def test_who_has_no_docstring_does_not_get_that_of_a_base() -> None:
    assert doc_of(Ask) == ""
    assert declared_by(asked(None)).sent["ask"].doc == "Ask."
