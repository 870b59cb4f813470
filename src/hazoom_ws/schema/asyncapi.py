"""The same as an AsyncAPI 3.0 document: a channel for each namespace, an operation for each event on it.

https://www.asyncapi.com/docs/reference/specification/v3.0.0. The document describes the server: what clients send is what
it receives. Payloads are JSON Schema, as msgspec makes it of the structs.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct
from msgspec import inspect as types

from hazoom_ws.schema.declared import Acknowledgement, Declared, Sent, doc_of, fields_of, unwrapped
from hazoom_ws.version import __version__

_SCHEMAS = "#/components/schemas/{name}"
_ROOT = "Root"  # the id of the channel of "/"; those of features begin with a small letter
_ABOUT = """
Socket.IO v5 over Engine.IO v4, path /socket.io/, over WebSocket and polling, for socket.io-client 4. Each channel is a
namespace of Socket.IO: `/` carries every event, each other one those of one feature. A message is an event by its name with
one JSON object, its payload. Every event of a client may ask for an acknowledgement; without one a refusal is `error`.
"""
_OFFSET = "Comes with its offset, a text, as one more argument, to clients that recover."
_PARTS = "Bytes in it are binary parts of the packet."


def asyncapi(declared: Declared) -> dict[str, Any]:
    """Return the document, to be encoded as JSON."""
    schemas = _Schemas(declared)
    messages: dict[str, Any] = {}
    for sent in declared.sent.values():
        doc = _joined(sent.doc, _PARTS if getattr(sent.payload, "takes_parts", False) else "")
        messages[_sent(sent.event)] = _message(sent.event, doc, schemas.ref(sent.payload))
        messages[_reply(sent.event)] = _acknowledgement(sent, schemas)
    for received in declared.received.values():
        parts = _PARTS if getattr(received.payload, "has_parts", False) else ""
        doc = _joined(received.doc, _OFFSET if received.is_numbered else "", parts)
        messages[_received(received.event)] = _message(received.event, doc, schemas.ref(received.payload))
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for namespace, carried in declared.namespaces.items():
        channel = namespace.removeprefix("/") or _ROOT
        names = [*map(_sent, carried.sent), *map(_reply, carried.sent), *map(_received, carried.received)]
        channels[channel] = {
            "address": namespace,
            "title": f"The namespace {namespace}",
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        }
        operations |= _operations(channel, [declared.sent[event] for event in carried.sent], carried.received)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "hazoom_ws", "version": __version__, "description": " ".join(_ABOUT.split())},
        "defaultContentType": "application/json",
        "servers": {
            "this": {
                "host": "{host}",
                "pathname": "/socket.io/",
                "protocol": "ws",
                "protocolVersion": "Socket.IO 5",
                "description": "What a client says of itself when it connects (`auth`) is the schema Auth.",
                "variables": {"host": {"default": "localhost:5000", "description": "The server's name and port."}},
            }
        },
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas.all()},
    }


def _joined(*paragraphs: str) -> str:
    return "\n\n".join(filter(None, paragraphs))


def _sent(event: str) -> str:
    return f"sent.{event}"


def _received(event: str) -> str:
    return f"received.{event}"


def _reply(event: str) -> str:
    return f"reply.{event}"


def _operations(channel: str, sent: Iterable[Sent], received: Iterable[str]) -> Iterator[tuple[str, Any]]:
    where = {"$ref": f"#/channels/{channel}"}

    def message(name: str) -> list[dict[str, str]]:
        return [{"$ref": f"#/channels/{channel}/messages/{name}"}]

    for one in sent:
        name = _sent(one.event)
        reply = {"channel": where, "messages": message(_reply(one.event))}
        yield f"{channel}.{name}", {"action": "receive", "channel": where, "messages": message(name), "reply": reply}
    for event in received:
        name = _received(event)
        yield f"{channel}.{name}", {"action": "send", "channel": where, "messages": message(name)}


def _message(event: str, doc: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {"name": event, "title": event, **_described(doc), "payload": payload}


def _acknowledgement(sent: Sent, schemas: "_Schemas") -> dict[str, Any]:
    """Return the message that an event is answered with: its fields beside ``ok: true``, or a refusal."""
    refused = {
        "type": "object",
        "required": ["ok", "error"],
        "properties": {"ok": {"const": False}, "error": schemas.ref(schemas.declared.refusal)},
    }
    accepted = _accepted(sent.acknowledgement, schemas)
    payload = {"oneOf": [accepted, refused]}
    return {"name": sent.event, "title": f"The acknowledgement of {sent.event}", "payload": payload}


def _accepted(answer: Acknowledgement, schemas: "_Schemas") -> dict[str, Any]:
    done: dict[str, Any] = {"type": "object", "required": ["ok"], "properties": {"ok": {"const": True}}}
    if answer.may_have_seq:
        done["properties"]["seq"] = {"type": "integer"}
    fields = [schemas.ref(one) for one in answer.structs] if answer.is_known else []
    if not fields:
        return done
    return {"allOf": [done, fields[0] if len(fields) == 1 else {"anyOf": fields}]}


def _described(doc: str) -> dict[str, str]:
    if not doc:
        return {}
    doc = doc.replace("``", "`")
    summary = " ".join(doc.partition("\n\n")[0].split())
    return {"summary": summary} if doc.count("\n") == 0 else {"summary": summary, "description": doc}


class _Schemas:
    """The schemas of all structs, with what msgspec cannot know of them."""

    def __init__(self, declared: Declared) -> None:
        self.declared = declared
        self._payloads = [declared.auth, *(one.payload for one in declared.sent.values())]
        received = [one.payload for one in declared.received.values()]
        received += [declared.refusal, *(one for sent in declared.sent.values() for one in sent.acknowledgement.structs)]
        self._received = list(_reachable(received))
        structs = list(dict.fromkeys([*_reachable(self._payloads), *self._received]))
        refs, self._components = msgspec.json.schema_components(structs, ref_template=_SCHEMAS)
        self._refs = dict(zip(structs, refs, strict=True))

    def ref(self, struct_type: Any) -> dict[str, Any]:
        """Return what refers to the schema of a struct."""
        ref: dict[str, Any] = self._refs[struct_type]
        return ref

    def all(self) -> dict[str, Any]:
        """Return the schemas by name."""
        for struct_type, ref in self._refs.items():
            name = ref.get("$ref", "").rpartition("/")[2]
            if name in self._components and "properties" in self._components[name]:
                self._complete(struct_type, self._components[name])
        codes = {"type": "string", "enum": list(self.declared.codes)}
        return dict(sorted({**self._components, "ErrorCode": codes}.items()))

    def _complete(self, struct_type: Any, schema: dict[str, Any]) -> None:
        is_payload = struct_type in self._payloads
        fields = fields_of(struct_type, is_sent=struct_type not in self._received)
        shown, schema["properties"] = schema["properties"], {}
        for field in fields:
            known = shown.get(field.name, {})
            if field.is_error_code:
                known = {"$ref": _SCHEMAS.format(name="ErrorCode")}
            elif field.holds is not None:
                known = self.ref(field.holds)
            limit = self.declared.limits.get(field.name) if is_payload else None
            if limit is not None and known.get("type") == "string":
                known = known | {"minLength": limit.least, "maxLength": limit.most, "description": f"In {limit.unit}."}
            schema["properties"][field.name] = known
        schema["required"] = [field.name for field in fields if not field.is_left_out]
        if doc := doc_of(struct_type):
            schema["description"] = doc.replace("``", "`")


def _reachable(roots: Iterable[Any]) -> Iterator[Any]:
    """Yield structs, and those within them, each once."""
    found: dict[Any, None] = {}
    waiting: list[types.Type] = [types.type_info(one) for one in roots]
    while waiting:
        kind, _, marks = unwrapped(waiting.pop())
        if isinstance(kind, types.StructType | types.DataclassType | types.TypedDictType | types.NamedTupleType):
            if kind.cls not in found:
                found[kind.cls] = None
                waiting += [field.type for field in kind.fields]
        else:
            waiting += [*getattr(kind, "types", ()), *getattr(kind, "item_types", ())]
            waiting += [getattr(kind, name) for name in ("item_type", "value_type") if hasattr(kind, name)]
        if isinstance(held := marks.get("holds"), type) and issubclass(held, Struct):
            waiting.append(types.type_info(held))
    yield from found
