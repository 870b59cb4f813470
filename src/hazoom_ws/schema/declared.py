"""What the features of one application declare, as both documents need it: no text of either is made here.

Everything is read from the features' classes (`hazoom_ws.namespaces.registry`), so it can be had without an application
that runs. Nothing of it is kept: who needs a document often keeps that.
"""

import inspect
from collections.abc import Callable, Iterator
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec import inspect as types

from hazoom_ws.errors import CODES
from hazoom_ws.events.base import ServerEvent
from hazoom_ws.events.connecting import Auth, Bye, Status
from hazoom_ws.events.parsing import TextLimit, text_limits
from hazoom_ws.events.refusals import ErrorReport
from hazoom_ws.namespaces.features import Feature, OwnFeature
from hazoom_ws.namespaces.registry import Registry, marked
from hazoom_ws.namespaces.root import by_namespace
from hazoom_ws.settings import Settings


class Acknowledgement(NamedTuple):
    """What an acknowledgement has beside ``ok``: the fields of one of ``structs``, none if there is no struct.

    ``is_known`` False: it can have anything. ``may_have_seq``: its handler, which does not wait, may keep something,
    whose ``seq`` it has then.
    """

    structs: tuple[type[Struct], ...] = ()
    is_known: bool = True
    may_have_seq: bool = False


class Sent(NamedTuple):
    """An event that clients send. ``payload`` may be left out altogether unless it ``is_required``."""

    event: str
    payload: type[Struct]
    doc: str
    is_required: bool
    acknowledgement: Acknowledgement


class Received(NamedTuple):
    """An event that clients get. ``is_numbered``: see `ServerEvent`."""

    event: str
    payload: type[Struct]
    doc: str
    is_numbered: bool


class Namespace(NamedTuple):
    """The names of the events that a namespace carries."""

    sent: tuple[str, ...]
    received: tuple[str, ...]


class Declared(NamedTuple):
    """All of it, in the order in which it is declared, ours first.

    ``codes`` are those of all refusals. ``auth`` is what a client says when it connects. ``limits`` are those of texts
    that have the same ones in every payload, by the name of the field.
    """

    sent: dict[str, Sent]
    received: dict[str, Received]
    namespaces: dict[str, Namespace]
    codes: tuple[str, ...]
    auth: type[Struct]
    refusal: type[Struct]
    limits: dict[str, TextLimit]


def declared(registry: Registry, settings: Settings) -> Declared:
    """Return what the features of an application declare."""
    features: list[type[Feature]] = [*registry.own_types, *registry.added_types]
    sent = {one.event: one for feature in features for one in _sent_of(feature)}
    everywhere = [_received(Status.event, Status), _received("error", ErrorReport), _received(Bye.event, Bye)]
    received = {one.event: one for one in everywhere}
    received |= {event.event: _received(event.event, event) for feature in features for event in feature.events}
    namespaces = {
        namespace: Namespace(
            tuple(mark.payload_type.event for feature in served for _, mark in marked(feature)),
            tuple(dict.fromkeys([*(one.event for one in everywhere), *(e.event for f in served for e in f.events)])),
        )
        for namespace, served in by_namespace(features).items()
    }
    codes = tuple(dict.fromkeys([*sorted(CODES), *(code for feature in features for code in feature.codes)]))
    return Declared(sent, received, namespaces, codes, Auth, ErrorReport, text_limits(settings))


def _sent_of(feature: type[Feature]) -> Iterator[Sent]:
    keeps = not issubclass(feature, OwnFeature) and any(event.is_kept for event in feature.events)
    for method, mark in marked(feature):
        payload = mark.payload_type
        answer = _acknowledgement(mark.acknowledged_with or _returned(method), may_have_seq=keeps and not mark.waits)
        yield Sent(payload.event, payload, doc_of(payload) or _own_doc(method), payload.required, answer)


def _received(event: str, payload: Any) -> Received:
    return Received(event, payload, doc_of(payload), getattr(payload, "is_numbered", False) or _is_kept(payload))


def _is_kept(payload: Any) -> bool:
    return issubclass(payload, ServerEvent) and payload.is_kept


def _returned(method: Callable[..., Any]) -> Any:
    """Return the annotation of what a handler returns, `Any` if there is none that can be read."""
    try:
        return get_type_hints(method).get("return", Any)
    except (NameError, AttributeError, TypeError, SyntaxError):
        return Any  # it is no name that is known here: only where the class was made, or to type checkers


def _acknowledgement(annotation: Any, *, may_have_seq: bool) -> Acknowledgement:
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    structs = tuple(one for one in options if isinstance(one, type) and issubclass(one, Struct))
    is_known = len(structs) + (NoneType in options or None in options) == len(options)
    return Acknowledgement(structs, is_known, may_have_seq)


# What is said of a struct, and of its fields


def doc_of(struct_type: type) -> str:
    """Return what a struct's docstring says; before it, what one says that is the same event with less in it."""
    event = getattr(struct_type, "event", None)
    base = struct_type.__base__
    inherited = doc_of(base) if base is not None and event is not None and getattr(base, "event", None) == event else ""
    return "\n\n".join(filter(None, (inherited, _own_doc(struct_type))))


def _own_doc(one: Any) -> str:
    return inspect.cleandoc(vars(one).get("__doc__") or "") if isinstance(one, type) else inspect.getdoc(one) or ""


class Field(NamedTuple):
    """A field as it is on the wire. ``is_left_out``: who sends it may leave it out; ``default`` is what it is then.

    ``description`` is in plain words; ``holds`` is the struct that is encoded there, if that is not its ``kind``.
    """

    name: str
    kind: types.Type
    is_left_out: bool
    default: Any
    description: str
    is_error_code: bool
    holds: type[Struct] | None


def fields_of(struct_type: Any, *, is_sent: bool) -> list[Field]:
    """Return the fields of a struct that clients see. ``is_sent``: it is they who send it."""
    described = types.type_info(struct_type)
    assert isinstance(described, types.StructType | types.DataclassType | types.TypedDictType | types.NamedTupleType)
    return list(_fields(described, is_sent=is_sent))


def _fields(described: Any, *, is_sent: bool) -> Iterator[Field]:
    is_short = getattr(getattr(described.cls, "__struct_config__", None), "omit_defaults", False)
    for field in described.fields:
        kind, said, marks = unwrapped(field.type)
        if marks.get("is_hidden"):
            continue
        default = field.default if field.default_factory is NODEFAULT else field.default_factory()
        # What msgspec leaves out of what it encodes: a default that is UNSET, which is not shown here.
        is_left_out = not field.required and (is_sent or is_short or default is NODEFAULT)
        is_error_code, holds = bool(marks.get("is_error_code")), marks.get("holds")
        yield Field(field.encode_name, kind, is_left_out, default, said, is_error_code, holds)


def unwrapped(kind: types.Type) -> tuple[types.Type, str, dict[str, Any]]:
    """Return a type without what is said about it, its description, and our marks."""
    description, marks = "", dict[str, Any]()
    while isinstance(kind, types.Metadata):
        description = (kind.extra_json_schema or {}).get("description", description)
        marks |= kind.extra or {}
        kind = kind.type
    return kind, description, marks


def shown_default(value: Any) -> str:
    """Return a default as JSON, "" if there is none to show."""
    if value is NODEFAULT or value is None:
        return ""
    try:
        return msgspec.json.encode(value).decode()
    except TypeError:
        return ""
