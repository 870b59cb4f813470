"""All features of one application: ours, then its own. The one list from which handlers, namespaces and replay follow.

Built before anybody connects; what cannot be is refused then, with the class and the name that are to be changed.
"""

import inspect
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import msgspec
from msgspec import UNSET, MsgspecError
from msgspec import inspect as types

from hazoom_ws.chat.presence import User
from hazoom_ws.events.base import ClientPayload, ServerEvent
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.namespaces.features import Feature, Mark, OwnFeature

logger = logging.getLogger(__name__)

ROOT = "/"
_FEATURE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_EVENT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")  # none needs to be escaped in JSON
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
# What the official clients say to their own handlers, and what every namespace of ours sends.
_RESERVED_EVENTS = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", "error", "status", "bye"}
)
_OUR_FIELDS = ("room", "user_name", "message")  # which have limits of ours wherever they are
_IF_SLOW = {False: ("kept", "dropped"), True: ("kept",)}  # of an event of an application: whether it is kept
Direction = Literal["handles", "sends"]


class Registry:
    """The features of one application, as classes; after `start` as objects too.

    ``namespaces_of``: of each event that is sent, the namespaces that serve it.
    """

    def __init__(self, own: Iterable[type[OwnFeature]], added: Iterable[type[Feature]]) -> None:
        """Note the features. Raises TypeError or ValueError, which say what is wrong with one that was ``added``."""
        self.own_types = tuple(own)
        self.added_types: list[type[Feature]] = []
        self.added_events: set[type[ServerEvent]] = set()
        self.namespaces_of: dict[type[ServerEvent], tuple[str, ...]] = {}
        self.features: list[Feature] = []
        # The feature that handles or sends an event, and as what.
        self._declared: dict[tuple[Direction, str], tuple[str, type[msgspec.Struct]]] = {}
        self._own_names: set[str] = set()
        self._own_events: set[str] = set()
        self._event_decoders: dict[str, Callable[[bytes | str], ServerEvent]] = {}
        self._kept_decoders: dict[str, Callable[[bytes | str], ServerEvent]] = {}  # those of events that are kept
        for own_type in self.own_types:
            self._add(own_type)
        self._own_names.update(own_type.name for own_type in self.own_types)
        self._own_events.update(event for _, event in self._declared)
        for feature_type in added:
            if not (isinstance(feature_type, type) and issubclass(feature_type, Feature)) or issubclass(
                feature_type, OwnFeature
            ):
                raise TypeError(f"features: {feature_type!r} is no subclass of hazoom_ws.features.Feature")
            self._add(feature_type)
            for event_type in feature_type.events:
                if event_type.if_slow not in _IF_SLOW[event_type.is_kept]:
                    raise ValueError(
                        f"feature {feature_type.__name__}: {event_type.__name__}.if_slow is {event_type.if_slow!r}; "
                        f"it is one of {', '.join(_IF_SLOW[event_type.is_kept])}"
                    )
            self.added_types.append(feature_type)
            self.added_events.update(feature_type.events)

    # Declarations

    def _add(self, feature_type: type[Feature]) -> None:
        name = getattr(feature_type, "name", None)
        who = f"feature {feature_type.__name__}"
        if not isinstance(name, str) or not _FEATURE_NAME.fullmatch(name):
            raise ValueError(
                f"{who}: name is {name!r}; it is 1 to 32 characters, small letters, digits, '-' and '_', a letter first"
            )
        if name in self._own_names:
            raise ValueError(f"{who}: hazoom_ws has a feature {name!r} of its own; choose another name")
        if name in (other.name for other in self.added_types):
            raise ValueError(f"{who}: there is a feature {name!r} already")
        for code in feature_type.codes:
            if not isinstance(code, str) or not _CODE.fullmatch(code):
                raise ValueError(f"{who}: code {code!r} is to be 1 to 64 small letters, digits and '_', a letter first")
        for method, mark in marked(feature_type):
            self._check_handler(f"{who}: {method.__name__}", mark, method)
            self._note("handles", mark.payload_type, who, name)
        for event_type in feature_type.events:
            self._check_event(who, event_type)
            self._note("sends", event_type, who, name)
            self.namespaces_of[event_type] = (ROOT, f"/{name}")
            decode = self._event_decoders[event_type.event] = msgspec.json.Decoder(event_type).decode
            if event_type.is_kept:
                self._kept_decoders[event_type.event] = decode

    def _note(self, direction: Direction, declared: type[ClientPayload] | type[ServerEvent], who: str, name: str) -> None:
        """Note which feature handles or sends an event. Raises ValueError if that cannot be."""
        event = declared.event
        if not isinstance(event, str) or not _EVENT_NAME.fullmatch(event):
            raise ValueError(f"{who}: event {event!r} is to be 1 to 64 letters, digits, '-', '_' and '.', a letter first")
        if event in _RESERVED_EVENTS:
            raise ValueError(
                f"{who}: the event {event!r} is what Socket.IO or hazoom_ws say themselves; choose another name"
            )
        if event in self._own_events:
            raise ValueError(f"{who}: hazoom_ws has an event {event!r} of its own; choose another name")
        for (_, other), (owner, _) in self._declared.items():
            if other == event and owner != name:
                raise ValueError(f"{who}: the event {event!r} is one of the feature {owner!r} already")
        _, before = self._declared.setdefault((direction, event), (name, declared))
        if before is not declared and before is not declared.__base__:  # which is the same event with more in it
            raise ValueError(f"{who}: it {direction} the event {event!r} twice")

    @staticmethod
    def _check_handler(who: str, mark: Mark, method: Callable[..., Any]) -> None:
        payload_type = mark.payload_type
        if not (isinstance(payload_type, type) and issubclass(payload_type, ClientPayload)):
            raise TypeError(f"{who} handles {payload_type!r}, which is no subclass of hazoom_ws.features.ClientPayload")
        if not hasattr(payload_type, "event"):
            raise ValueError(f"{who}: {payload_type.__name__} names no event")
        if inspect.iscoroutinefunction(method):
            raise TypeError(f"{who} is a coroutine, which nobody awaits: make it a function, with waits=True if it waits")
        fields = _fields_of(who, payload_type)
        for name in _OUR_FIELDS:
            if name in fields and not _is_text(fields[name]):
                raise TypeError(f"{who}: {payload_type.__name__}.{name} is to be a str, or str | UnsetType with UNSET")

    @staticmethod
    def _check_event(who: str, event_type: type[ServerEvent]) -> None:
        if not (isinstance(event_type, type) and issubclass(event_type, ServerEvent)):
            raise TypeError(f"{who} sends {event_type!r}, which is no subclass of hazoom_ws.features.ServerEvent")
        if not hasattr(event_type, "event"):
            raise ValueError(f"{who}: {event_type.__name__} names no event")
        _fields_of(who, event_type)

    def paced(self) -> dict[str, tuple[str, ...]]:
        """Return by namespace the events of ours that have rates of their own."""
        by_namespace: dict[str, tuple[str, ...]] = {}
        for own_type in self.own_types:
            events = [mark.payload_type.event for _, mark in marked(own_type) if mark.payload_type.has_own_rate]
            for namespace in (ROOT, f"/{own_type.name}") if events else ():
                by_namespace[namespace] = (*by_namespace.get(namespace, ()), *events)
        return by_namespace

    # What it says

    def event_of(self, name: str, data: bytes) -> ServerEvent | None:
        """Return an event that a feature of another process has sent as JSON, None if there is no such event here."""
        decode = self._event_decoders.get(name)
        try:
            return None if decode is None else decode(data)
        except MsgspecError:
            return None  # another version of the application

    def decoded(self, record: NewMessage) -> ServerEvent | None:
        """Return the event that a record of the log holds, None if no feature has it any more, or not like that."""
        decode = None if record.event_name is UNSET else self._kept_decoders.get(record.event_name)
        if decode is None:
            return None
        try:
            return decode(record.message)
        except MsgspecError:
            return None

    # Life

    def left(self, room: str, user: User) -> None:
        """Tell the features that a user has left a room."""
        for feature in self.features:
            try:
                feature.left(room, user)
            except Exception:
                logger.exception("feature %s failed when a user left a room", feature.name)

    def close(self) -> None:
        """Close the features; calling it again changes nothing."""
        features, self.features = self.features, []
        for feature in features:
            try:
                feature.close()
            except Exception:
                logger.exception("feature %s was not closed", feature.name)


def marked(feature_type: type[Feature]) -> Iterator[tuple[Callable[..., Any], Mark]]:
    """Yield the handlers of a feature as functions, with what `handles` says of them; those of its bases first."""
    by_name = {name: method for owner in reversed(feature_type.__mro__) for name, method in vars(owner).items()}
    for method in by_name.values():
        if isinstance(mark := getattr(method, "handled", None), Mark):
            yield method, mark


def _fields_of(who: str, struct_type: type[msgspec.Struct]) -> dict[str, types.Type]:
    """Return the types of a struct's fields by their names. Raises TypeError for what has no JSON."""
    try:
        described = types.type_info(struct_type)
        msgspec.json.Decoder(struct_type)
    except (TypeError, NameError) as error:
        raise TypeError(f"{who}: {struct_type.__name__} cannot be JSON: {error}") from None
    assert isinstance(described, types.StructType)
    return {field.name: field.type for field in described.fields}


def _is_text(described: types.Type) -> bool:
    """Return whether a field is a text, which may be left out."""
    return isinstance(described, types.StrType)
