"""The AsyncAPI document, as data; that its parser takes it: tests/integration/test_types.py."""

import json
from typing import Any

import msgspec
import pytest

from features.broken import Broken
from features.game import Game
from features.polls import Polls
from hazoom_ws.errors import CODES
from hazoom_ws.events.connecting import Limits
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.namespaces.registry import Registry
from hazoom_ws.namespaces.root import OWN_FEATURES
from hazoom_ws.schema.asyncapi import asyncapi
from hazoom_ws.schema.declared import declared
from hazoom_ws.settings import Settings

SAID = declared(Registry(OWN_FEATURES, [Polls, Game, Broken]), Settings())
DOCUMENT: dict[str, Any] = json.loads(msgspec.json.encode(asyncapi(SAID)))
MESSAGES, SCHEMAS = DOCUMENT["components"]["messages"], DOCUMENT["components"]["schemas"]


def found(ref: str) -> Any:
    """Return what a reference within the document leads to."""
    place: Any = DOCUMENT
    for part in ref.removeprefix("#/").split("/"):
        place = place[part]
    return place


def refs(part: Any) -> list[str]:
    if isinstance(part, dict):
        return [part["$ref"]] if "$ref" in part else [ref for one in part.values() for ref in refs(one)]
    return [ref for one in part for ref in refs(one)] if isinstance(part, list) else []


def test_every_reference_leads_somewhere() -> None:
    assert len(refs(DOCUMENT)) > 300
    for ref in refs(DOCUMENT):
        found(ref)


@pytest.mark.parametrize("namespace", SAID.namespaces)
def test_each_namespace_has_an_operation_for_each_of_its_events(namespace: str) -> None:
    channel = next(name for name, one in DOCUMENT["channels"].items() if one["address"] == namespace)
    operations = [one for one in DOCUMENT["operations"].values() if one["channel"]["$ref"] == f"#/channels/{channel}"]
    names = {
        action: {found(found(one["messages"][0]["$ref"])["$ref"])["name"] for one in operations if one["action"] == action}
        for action in ("receive", "send")
    }
    assert names == {"receive": {*SAID.namespaces[namespace].sent}, "send": {*SAID.namespaces[namespace].received}}
    assert all(("reply" in one) == (one["action"] == "receive") for one in operations)


def test_a_reply_is_the_fields_of_the_acknowledgement_or_a_refusal() -> None:
    accepted, refused = MESSAGES["reply.message"]["payload"]["oneOf"]
    assert accepted["allOf"][0]["properties"]["ok"] == {"const": True}
    assert accepted["allOf"][1] == {"$ref": "#/components/schemas/Published"}
    assert refused["properties"] == {"ok": {"const": False}, "error": {"$ref": "#/components/schemas/ErrorReport"}}
    assert MESSAGES["reply.vote"]["payload"]["oneOf"][0]["properties"].keys() == {"ok", "seq"}
    assert SCHEMAS["ErrorReport"]["properties"]["code"] == {"$ref": "#/components/schemas/ErrorCode"}
    assert set(SCHEMAS["ErrorCode"]["enum"]) == CODES | {*Polls.codes}


def test_what_is_sent_has_its_limits_and_what_is_received_what_is_always_there() -> None:
    sent = SCHEMAS["SendMessage"]
    assert sent["required"] == ["message"]
    assert (sent["properties"]["message"]["maxLength"], sent["properties"]["room"]["maxLength"]) == (65_536, 128)
    assert sent["properties"]["client_id"]["maxLength"] == 128
    assert SCHEMAS["JoinRoom"]["properties"]["history"]["maximum"] == 500
    received = SCHEMAS["LlmComplete"]
    assert {"message", "finish_reason"} <= set(received["required"])
    assert "room" not in received["required"]
    assert "maxLength" not in SCHEMAS["NewMessage"]["properties"]["message"]


def test_it_has_what_is_encoded_before_and_not_what_clients_do_not_see() -> None:
    assert SCHEMAS["Status"]["properties"]["limits"] == {"$ref": "#/components/schemas/Limits"}
    assert SCHEMAS["Limits"]["properties"].keys() == set(Limits.__struct_fields__)
    assert SCHEMAS["NewMessage"]["properties"].keys() == set(NewMessage.__struct_fields__) - {"event_name"}
    assert "pid" not in SCHEMAS["Auth"]["properties"]


def test_an_offset_and_binary_parts_are_told() -> None:
    assert "offset" in MESSAGES["received.poll_state"]["description"]
    assert "offset" not in str(MESSAGES["received.user_typing"])
    assert "binary part" in MESSAGES["sent.relay"]["description"]
