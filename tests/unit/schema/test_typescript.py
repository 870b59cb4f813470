"""TypeScript types, as text; that the compiler takes them: tests/integration/test_types.py."""

import re
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pytest
from msgspec import UNSET, Meta, Struct, UnsetType

from hazoom_ws.features import ClientPayload, Feature, Sender, ServerEvent, handles
from hazoom_ws.namespaces.registry import Registry
from hazoom_ws.namespaces.root import OWN_FEATURES
from hazoom_ws.schema.declared import declared
from hazoom_ws.schema.typescript import typescript
from hazoom_ws.settings import Settings


def types_of(*features: type[Feature], **settings: Any) -> str:
    return typescript(declared(Registry(OWN_FEATURES, features), Settings(**settings)))


def feature(*, handled: tuple[Any, ...] = (), sent: tuple[Any, ...] = (), answer: Any = None) -> type[Feature]:
    def handler(payload_type: Any) -> Any:
        def handle(self: Feature, sender: Sender, payload: Any) -> Any:
            pass

        handle.__annotations__["return"] = answer
        return handles(payload_type)(handle)

    methods = {f"handle_{number}": handler(payload_type) for number, payload_type in enumerate(handled)}
    return type("Ours", (Feature,), {"name": "ours", "events": sent, **methods})


def interface(name: str, text: str) -> str:
    """Return the members of an interface, without comments."""
    found = re.search(rf"^export interface {name} {{\n(.*?)^}}", text, re.DOTALL | re.MULTILINE)
    assert found, name
    return re.sub(r"^ *(/\*\*.*?\*/)\n", "", found[1], flags=re.DOTALL | re.MULTILINE)


def members(name: str, text: str) -> dict[str, str]:
    lines = interface(name, text).splitlines()
    return dict(line.strip().removesuffix(";").split(": ", 1) for line in lines)


def test_every_event_has_a_line_in_its_direction() -> None:
    text = types_of()
    said = declared(Registry(OWN_FEATURES, ()), Settings())
    assert members("ServerToClientEvents", text).keys() == said.received.keys()
    assert members("ClientToServerEvents", text).keys() == said.sent.keys()


def test_an_event_has_its_payload_its_offset_and_its_acknowledgement() -> None:
    text = types_of()
    received, sent = members("ServerToClientEvents", text), members("ClientToServerEvents", text)
    assert received["new_message"] == "(payload: NewMessage, offset?: string) => void"
    assert received["user_typing"] == "(payload: UserTyping) => void"
    assert sent["message"] == "(payload: SendMessage, acknowledge: Acknowledge<Published>) => void"
    assert sent["typing"] == "(payload: Typing, acknowledge: Acknowledge) => void"
    asked = "Acknowledge<Stats>"
    assert (
        sent["get_stats"] == f"(...all: [acknowledge: {asked}] | [payload: GetStats | null, acknowledge: {asked}]) => void"
    )


def test_what_clients_do_not_see_is_not_there() -> None:
    text = types_of()
    assert "event_name" not in text
    assert members("Auth", text).keys() == {"user_name?", "token?", "api_key?", "guest_key?", "recover?"}


def test_each_name_is_declared_once() -> None:
    names = re.findall(r"^(?:export )?(?:interface|type) (\w+)", types_of(), re.MULTILINE)
    assert len(names) == len(set(names))


def test_an_error_code_is_one_of_the_codes_there_are() -> None:
    fussy = feature()
    fussy.codes = ("already_voted",)
    text = types_of(fussy)
    assert '"rate_limited"' in text
    assert '| "already_voted";' in text
    assert members("ErrorReport", text)["code"] == "ErrorCode"
    assert members("LlmError", text)["code"] == "ErrorCode"


def test_limits_units_and_defaults_are_said_of_the_fields() -> None:
    text = types_of(message_limit_bytes=2048)
    assert "/** 1 to 2048 bytes of UTF-8. */\n  message: string;" in text
    assert "/** 0 to 500. Default: 50 */\n  history?: number | null | undefined;" in text
    assert "/** Seconds since the epoch, UTC. */\n  timestamp: number;" in text
    assert '/** Default: "super" */' in text


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Named(TypedDict, total=False):
    label: str


class Pair(NamedTuple):
    x: int
    y: float


class Inner(Struct):
    parts: list[int | str]
    next: "Inner | None" = None


class Tagged(Struct, tag="tagged", tag_field="kind"):
    value: int


class Row(Struct, array_like=True):
    first: int
    second: str = ""


class Sending(ClientPayload, frozen=True, kw_only=True):
    event = "send-it"
    inner: Inner
    at_most: Annotated[list[str], Meta(max_length=5)] = []  # noqa: RUF012 - msgspec copies it
    pictured: bytes | UnsetType = UNSET
    takes_parts = True


class Getting(ServerEvent, frozen=True, kw_only=True):
    event = "getting"
    colour: Colour
    named: Named
    pair: Pair
    inner: Inner
    tagged: Tagged
    row: Row
    both: tuple[int, str]
    each: dict[str, list[Literal[1, "a"] | None]]
    encoded: bytes
    left_out: int | UnsetType | None = UNSET


def test_the_types_of_fields_are_those_of_their_json() -> None:
    text = types_of(feature(handled=(Sending,), sent=(Getting,)))
    assert members("Getting", text) == {
        "colour": '"red" | "blue"',
        "named": "Named",
        "pair": "Pair",
        "inner": "Inner2",
        "tagged": "Tagged",
        "row": "Row",
        "both": "[number, string]",
        "each": 'Record<string, (1 | "a" | null)[]>',
        "encoded": "string",
        "left_out?": "number | null",
    }
    assert members("Named", text) == {"label?": "string"}
    assert members("Tagged", text) == {'"kind"': '"tagged"', "value": "number"}
    assert "export type Pair = [number, number];" in text
    assert "export type Row = [number, string];" in text
    assert '"send-it": (payload: Sending, acknowledge: Acknowledge) => void;' in text


def test_what_is_sent_may_be_left_out_or_null_and_what_is_received_is_there() -> None:
    text = types_of(feature(handled=(Sending,), sent=(Getting,)))
    assert members("Sending", text) == {
        "inner": "Inner",
        "at_most?": "string[] | null | undefined",
        "pictured?": "ArrayBuffer | ArrayBufferView | null | undefined",
    }
    assert members("Inner", text) == {"parts": "(number | string)[]", "next?": "Inner | null"}
    assert members("Inner2", text) == {"parts": "(number | string)[]", "next": "Inner2 | null"}


def test_names_that_are_taken_get_a_number() -> None:
    status = msgspec.defstruct("Status", [("x", int)], bases=(ServerEvent,), namespace={"event": "other"}, frozen=True)
    void = msgspec.defstruct("void", [("x", int)], bases=(ServerEvent,), namespace={"event": "nothing"}, frozen=True)
    received = members("ServerToClientEvents", types_of(feature(sent=(status, void))))
    assert received["other"] == "(payload: Status2) => void"
    assert received["nothing"] == "(payload: void2) => void"


@pytest.mark.parametrize("doc", ["*/ alert(1) /*", "/** */", "a\n\n*/\nb", "**/", "*" + "*/" * 9, "a\u2028*/ b", "x\r*/"])
def test_no_docstring_gets_out_of_its_comment(doc: str) -> None:
    odd = msgspec.defstruct("Odd", [("x", int)], bases=(ServerEvent,), namespace={"event": "odd"}, frozen=True)
    odd.__doc__ = doc
    field = Annotated[int, Meta(description=doc)]
    told = msgspec.defstruct("Told", [("x", field)], bases=(ServerEvent,), namespace={"event": "told"}, frozen=True)
    text = types_of(feature(sent=(odd, told)))
    plain = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    assert re.sub(r"/\*.*?\*/", "", types_of(feature(sent=(Getting,))), flags=re.DOTALL).count("*") == plain.count("*")
    assert "alert" not in plain


def test_a_name_or_a_default_is_quoted() -> None:
    odd = msgspec.defstruct(
        "Odd",
        [("a_b", str, msgspec.field(name="a; evil", default='*/ "'))],
        bases=(ClientPayload,),
        namespace={"event": "odd.one"},
        frozen=True,
    )
    text = types_of(feature(handled=(odd,)))
    assert '  /** Default: "*\\/ \\"" */\n  "a; evil"?: string | null | undefined;' in text
    assert '"odd.one": (payload: Odd,' in text


def test_an_acknowledgement_of_an_application_is_what_its_handler_returns() -> None:
    kept = msgspec.defstruct("Kept", [], bases=(ServerEvent,), namespace={"event": "kept", "is_kept": True}, frozen=True)
    ask = msgspec.defstruct("Ask", [], bases=(ClientPayload,), namespace={"event": "ask"}, frozen=True)
    told = {
        None: "Acknowledge<{ seq?: number }>",
        Tagged: "Acknowledge<Tagged & { seq?: number }>",
        Any: "Acknowledge<Record<string, unknown>>",
    }
    for answer, shown in told.items():
        text = types_of(feature(handled=(ask,), sent=(kept,), answer=answer))
        assert members("ClientToServerEvents", text)["ask"] == f"(payload: Ask, acknowledge: {shown}) => void"


def test_what_has_no_fields_takes_none() -> None:
    assert "[none: string]: never;" in interface("GetStats", types_of())
