"""Which trace a request belongs to: the headers ``traceparent`` and ``tracestate``, read strictly and written anew. No I/O.

Tools such as OpenTelemetry follow one action of a user through several programs by them. A value that breaks the rules is
dropped, and never makes a request fail: that is what the standard asks for. Source: W3C Trace Context, sections 3 and 4
(https://www.w3.org/TR/trace-context/).
"""

import re
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_PARENT_LIMIT_CHARS = 512  # later versions may add fields, and say nothing of how many
_NO_VERSION = "ff"
_FLAGS = 0x03  # sampled, and random of the second edition; all others are to be 0 in what we write

_BLANK = " \t"
_KEY = r"[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}"
_MEMBER = re.compile(rf"({_KEY})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{{0,255}}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_MEMBERS_LIMIT_COUNT = 32
_STATE_READ_LIMIT_CHARS = 20_000  # 32 of the longest members, with their commas and some blanks
_STATE_LIMIT_CHARS = 512  # which everybody has to pass on; of what is longer, the standard says what goes first
_LONG_MEMBER_CHARS = 128


class TraceContext(NamedTuple):
    """A span of a trace. ``trace_id``: 32 hexadecimal digits, ``span_id`` and ``parent_span_id`` 16, "" for none."""

    trace_id: str
    span_id: str
    flags: int
    state: str = ""
    parent_span_id: str = ""

    def child(self) -> "TraceContext":
        """Return a new span of the same trace, whose parent is this one."""
        span_id = ""
        while not span_id.strip("0"):  # all zeros are no id
            span_id = secrets.token_hex(8)
        return self._replace(span_id=span_id, parent_span_id=self.span_id)

    def headers(self) -> dict[str, str]:
        """Return the headers that make a request part of this span."""
        headers = {"traceparent": f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"}
        return headers | {"tracestate": self.state} if self.state else headers


def trace_of_request(environ: Mapping[str, Any]) -> TraceContext | None:
    """Return the trace that an HTTP request belongs to, which has the keys of WSGI; None without one."""
    parent = environ.get("HTTP_TRACEPARENT")
    return None if parent is None else read_trace(parent, environ.get("HTTP_TRACESTATE", ""))


def read_trace(parent: str, state: str = "") -> TraceContext | None:
    """Return what the two headers say. None if ``parent`` breaks the rules; a ``state`` that does so is left out."""
    found = _PARENT.fullmatch(parent.strip(_BLANK)) if len(parent) <= _PARENT_LIMIT_CHARS else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == _NO_VERSION or not trace_id.strip("0") or not span_id.strip("0") or (version == "00" and more):
        return None
    return TraceContext(trace_id, span_id, int(flags, 16) & _FLAGS, _read_state(state))


def _read_state(text: str) -> str:
    """Return the members of a ``tracestate`` in their order, of a key that comes twice the first; "" if one is none."""
    if len(text) > _STATE_READ_LIMIT_CHARS:
        return ""
    members: dict[str, str] = {}
    said = [member for part in text.split(",") if (member := part.strip(_BLANK))]
    if len(said) > _MEMBERS_LIMIT_COUNT:
        return ""
    for member in said:
        found = _MEMBER.fullmatch(member)
        if found is None:
            return ""
        members.setdefault(found[1], member)
    kept = list(members.values())
    if _length_of(kept) > _STATE_LIMIT_CHARS:
        kept = [member for member in kept if len(member) <= _LONG_MEMBER_CHARS]
    while _length_of(kept) > _STATE_LIMIT_CHARS:
        kept.pop()  # the newest stand first
    return ",".join(kept)


def _length_of(members: list[str]) -> int:
    return sum(map(len, members)) + max(0, len(members) - 1)
