"""TypeScript types of all events, as socket.io-client's typed events want them: one module, ``events.d.ts``.

What an event's acknowledgement is called in TypeScript is the last parameter of its function. The client's own types want
it there for ``emitWithAck`` to know what comes; `ChatSocket` adds that ``emit`` may go without.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from msgspec import inspect as types

from hazoom_ws.events.parsing import TextLimit
from hazoom_ws.schema.declared import (
    Acknowledgement,
    Declared,
    Field,
    Received,
    Sent,
    doc_of,
    fields_of,
    shown_default,
    unwrapped,
)
from hazoom_ws.version import __version__

_HEAD = """// The events of this server, for socket.io-client. Made by hazoom_ws {version} from its features: make it anew
// (`hazoom-ws types > events.d.ts`, or GET /events.d.ts) rather than change it.
//
//   import {{ io }} from "socket.io-client";
//   import type {{ Auth, ChatSocket }} from "./events";
//
//   const auth: Auth = {{ user_name: "Ann" }};
//   const socket: ChatSocket = io("http://localhost:5000", {{ auth }});

import type {{ Socket }} from "socket.io-client";

/** Why something was refused, for programs. */
export type ErrorCode = {codes};

/** The answer to an event: with these fields, or why it is refused. */
export type Reply<Fields = unknown> = ({{ ok: true }} & Fields) | {{ ok: false; error: {refusal} }};

/** What is called with the answer to an event. */
export type Acknowledge<Fields = unknown> = (reply: Reply<Fields>) => void;

/** What `connect_error` brings if the server has refused the client; `data` is missing if it was not reached. */
export type ConnectError = Error & {{ data?: {refusal} }};
"""
_SOCKET = """
/** A socket of one namespace, "/" if none is named: `const rooms: ChatSocket<"/rooms"> = io(".../rooms")`. */
export type ChatSocket<Name extends keyof Namespaces = "/"> = Socket<
  Namespaces[Name]["received"],
  Namespaces[Name]["sent"]
> &
  Unanswered<Namespaces[Name]["sent"]>;

/** Sending without asking for an answer: a refusal arrives as the event `error` then. */
export interface Unanswered<Sent> {
  emit<Name extends keyof Sent>(event: Name, ...payload: PayloadOf<Sent[Name]>): this;
}

type PayloadOf<Call> = Call extends (...all: infer All) => void
  ? All extends [...infer Payload, Acknowledge<any>]
    ? Payload
    : never
  : never;

export {};
"""
_TAKEN = """
Acknowledge ChatSocket ClientToServerEvents ConnectError ErrorCode Namespaces PayloadOf Reply ServerToClientEvents
Unanswered Array ArrayBuffer ArrayBufferView Error Pick Record Socket
any bigint boolean never null number object string symbol undefined unknown void
"""
_UNKNOWN = "unknown"
_SIMPLE: dict[type[types.Type], str] = {  # all others are text in JSON: times, UUIDs, decimals, bytes
    types.NoneType: "null",
    types.BoolType: "boolean",
    types.IntType: "number",
    types.FloatType: "number",
    types.AnyType: _UNKNOWN,
    types.RawType: _UNKNOWN,
    types.CustomType: _UNKNOWN,
}


def typescript(declared: Declared) -> str:
    """Return the module."""
    writer = _Writer(declared)
    refusal = writer.name_of(declared.refusal, _RECEIVED)
    auth = writer.name_of(declared.auth, _SENT)
    assert (refusal, auth) == (declared.refusal.__name__, declared.auth.__name__)  # they are first to take a name
    received = _interface(
        "ServerToClientEvents",
        "What the server sends. An `offset` comes to clients that recover: socket.io-client remembers it by itself.",
        map(writer.received, declared.received.values()),
    )
    sent = _interface(
        "ClientToServerEvents",
        "What clients send. Each event can be answered, by its last argument or with `emitWithAck`.",
        map(writer.sent, declared.sent.values()),
    )
    served = _interface(
        "Namespaces",
        "What each namespace carries. Documents (`/yjs|name`) and boards (`/excalidraw`) speak the protocols of others.",
        _namespaces(declared),
    )
    codes = " | ".join(map(json.dumps, declared.codes))
    head = _HEAD.format(version=__version__, codes=codes, refusal=refusal)
    return "\n".join([head, *writer.written(), received, sent, served]) + _SOCKET


def _namespaces(declared: Declared) -> Iterator[str]:
    for name, carried in declared.namespaces.items():
        sent = f"Pick<ClientToServerEvents, {_union(map(json.dumps, carried.sent)) or 'never'}>"
        received = f"Pick<ServerToClientEvents, {_union(map(json.dumps, carried.received)) or 'never'}>"
        if name == "/":
            sent, received = "ClientToServerEvents", "ServerToClientEvents"
        yield f"{_key(name)}: {{\n  sent: {sent};\n  received: {received};\n}};"


class _Way(NamedTuple):
    """Which way something goes: what may be left out and what bytes are differs."""

    is_sent: bool
    has_parts: bool = False


_RECEIVED, _SENT = _Way(is_sent=False), _Way(is_sent=True)


class _Writer:
    """Writes down types as they are met, each struct as one interface: one more where it goes another way too."""

    def __init__(self, declared: Declared) -> None:
        self._limits = declared.limits
        self._names: dict[tuple[Any, _Way], str] = {}
        self._waiting: list[tuple[Any, _Way]] = []
        self._payloads = {declared.auth, *(one.payload for one in declared.sent.values())}
        self._texts: dict[str, str] = {}

    def written(self) -> list[str]:
        """Return all interfaces that were named, by name."""
        while self._waiting:
            described, way = self._waiting.pop()
            name = self._names[described.cls, way]
            self._texts[name] = self._declaration(name, described, way)
        return [text for _, text in sorted(self._texts.items())]

    def received(self, event: Received) -> str:
        offset = ", offset?: string" if event.is_numbered else ""
        name = self.name_of(event.payload, _Way(is_sent=False, has_parts=getattr(event.payload, "has_parts", False)))
        return f"{_comment(_first_paragraph(event.doc))}{_key(event.event)}: (payload: {name}{offset}) => void;"

    def sent(self, event: Sent) -> str:
        name = self.name_of(event.payload, _Way(is_sent=True, has_parts=getattr(event.payload, "takes_parts", False)))
        acknowledge = f"acknowledge: {self._acknowledge(event.acknowledgement)}"
        arguments = f"payload: {name}, {acknowledge}"
        if not event.is_required:
            arguments = f"...all: [{acknowledge}] | [payload: {name} | null, {acknowledge}]"
        return f"{_comment(_first_paragraph(event.doc))}{_key(event.event)}: ({arguments}) => void;"

    def _acknowledge(self, answer: Acknowledgement) -> str:
        fields = [self.name_of(one, _RECEIVED) for one in answer.structs]
        if not answer.is_known:
            fields = ["Record<string, unknown>"]
        elif answer.may_have_seq:
            fields = [f"{one} & {{ seq?: number }}" for one in fields] or ["{ seq?: number }"]
        return f"Acknowledge<{_union(fields)}>" if fields else "Acknowledge"

    # Types

    def name_of(self, struct_type: Any, way: _Way) -> str:
        """Return the name of a struct's interface, which is written down."""
        return self._named(types.type_info(struct_type), way)

    def _named(self, described: Any, way: _Way) -> str:
        key = described.cls, way
        if key not in self._names:
            wanted = re.sub(r"\W+", "_", getattr(described.cls, "__name__", str(described.cls)), flags=re.ASCII).strip("_")
            taken = {*self._names.values(), *_TAKEN.split()}
            options = (wanted, *(f"{wanted}{number}" for number in range(2, len(taken) + 3)))
            self._names[key] = next(name for name in options if name and not name[0].isdigit() and name not in taken)
            self._waiting.append((described, way))
        return self._names[key]

    def _declaration(self, name: str, described: Any, way: _Way) -> str:
        fields = fields_of(described.cls, is_sent=way.is_sent)
        doc = _comment(doc_of(described.cls))
        if getattr(described, "array_like", False) or isinstance(described, types.NamedTupleType):
            items = ", ".join(f"{self._field_type(field, way)}{'?' * field.is_left_out}" for field in fields)
            return f"{doc}export type {name} = [{items}];\n"
        is_payload = way.is_sent and described.cls in self._payloads
        members = [self._member(field, way, is_payload=is_payload) for field in fields]
        if getattr(described, "tag_field", None):
            members.insert(0, f"{json.dumps(described.tag_field)}: {json.dumps(described.tag)};")
        return _interface(name, doc_of(described.cls), members)

    def _member(self, field: Field, way: _Way, *, is_payload: bool) -> str:
        kind = self._field_type(field, way)
        limit = self._limits.get(field.name) if is_payload else None
        said = [field.description, _bounds(field.kind, limit)]
        default = shown_default(field.default) if way.is_sent and field.is_left_out else ""
        said.append(f"Default: {default}" if default else "")
        if is_payload and field.is_left_out:
            kind = f"{_union([kind, 'null'])} | undefined"  # which are left out too
        return f"{_comment(' '.join(filter(None, said)))}{_key(field.name)}{'?' * field.is_left_out}: {kind};"

    def _field_type(self, field: Field, way: _Way) -> str:
        if field.is_error_code:
            return "ErrorCode"
        if field.holds is not None:
            return self.name_of(field.holds, way)
        return self._type(field.kind, way)

    def _type(self, kind: types.Type, way: _Way) -> str:
        kind, _, marks = unwrapped(kind)
        match kind:
            case types.BytesType() | types.ByteArrayType() | types.MemoryViewType() if way.has_parts:
                text = "ArrayBuffer | ArrayBufferView" if way.is_sent else "ArrayBuffer"
            case types.LiteralType(values=values):
                text = _union(map(json.dumps, values))
            case types.EnumType(cls=enum):
                text = _union(json.dumps(member.value) for member in enum)
            case types.UnionType(types=options):
                text = _union(self._type(one, way) for one in options)
            case types.ListType() | types.SetType() | types.FrozenSetType() | types.VarTupleType() | types.CollectionType():
                item = self._type(kind.item_type, way)
                text = f"({item})[]" if " " in item else f"{item}[]"
            case types.TupleType(item_types=items):
                text = f"[{', '.join(self._type(one, way) for one in items)}]"
            case types.DictType(value_type=value):
                text = f"Record<string, {self._type(value, way)}>"
            case types.StructType() | types.DataclassType() | types.TypedDictType() | types.NamedTupleType():
                text = self._named(kind, way)
            case _:
                text = "ErrorCode" if marks.get("is_error_code") else _SIMPLE.get(type(kind), "string")
        return text


def _union(options: Iterable[str]) -> str:
    """Return one of several types, each once; null last."""
    known = dict.fromkeys(options)
    if _UNKNOWN in known:
        return _UNKNOWN
    return " | ".join(sorted(known, key="null".__eq__))


def _first_paragraph(doc: str) -> str:
    return " ".join(doc.partition("\n\n")[0].split())


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else json.dumps(name)


def _interface(name: str, doc: str, members: Iterable[str]) -> str:
    lines = "\n".join(members).replace("\n", "\n  ")
    body = f"{{\n  {lines or '[none: string]: never;'}\n}}"
    return f"{_comment(doc)}export interface {name} {body}\n"


def _comment(text: str) -> str:
    """Return a text as a comment, "" if there is none. Nothing in it can end the comment."""
    if not text:
        return ""
    shown = text.replace("``", "`").replace("*/", "*\\/")
    lines = shown.splitlines()
    if len(lines) == 1:
        return f"/** {lines[0]} */\n"
    return "\n".join(["/**", *(f" * {line}".rstrip() for line in lines), " */\n"])


def _bounds(kind: types.Type, limit: TextLimit | None) -> str:
    """Return the bounds of a field in words, "" if there are none."""
    if isinstance(kind, types.StrType) and limit is not None:
        return f"{limit.least} to {limit.most} {limit.unit}."
    match kind:
        case types.StrType(min_length=least, max_length=most):
            unit = " characters"
        case types.IntType(ge=least, le=most) | types.FloatType(ge=least, le=most):
            unit = ""
        case types.ListType(min_length=least, max_length=most):
            unit = " items"
        case types.DictType(min_length=least, max_length=most):
            unit = " keys"
        case _:
            return ""
    shown = "2^53" if most == 2**53 else most
    if most is not None:
        return f"{least or 0} to {shown}{unit}."
    return f"At least {least}{unit}." if least else ""
