"""Every tunable: its unit, its default and the reason for it.

Flags win over ``HAZOOM_*`` environment variables, those over the TOML file, that over the defaults below. An unknown key
or variable stops the start: a setting that is silently ignored is worse than none. Knows nothing about Flask or sockets.
"""

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

ENVIRONMENT_PREFIX = "HAZOOM_"
_LISTS = frozenset({"cors_origins", "trusted_proxies"})  # their items are separated by commas in a variable
CHAT_PATH = "/quantum-goose-app/api/llm/chat/"


class SettingsError(ValueError):
    """A setting that cannot be used; the text names it, its source and what to do, in one line."""


def _seconds(text: str) -> Meta:
    return Meta(gt=0, description=f"Seconds. {text}")


def _count(text: str) -> Meta:
    return Meta(ge=1, description=text)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings. A value out of its range raises `SettingsError` in `load_settings`."""

    host: Annotated[
        str,
        Meta(
            min_length=1,
            description="Address to listen on. Local by default: "
            "without keys anyone who reaches the port can chat. 0.0.0.0 listens on every IPv4 address.",
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=0, le=65535, description="TCP port to listen on; 0 takes a free one, which the ready line names.")
    ] = 5000
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Least severe level that is logged: debug, info, warning or error."),
    ] = "info"
    cors_origins: Annotated[
        tuple[str, ...],
        Meta(
            description="Origins whose pages may use this server, for HTTP and for Socket.IO; the usual ports of "
            "Vite and Create React App by default. The server's own origin (its address, localhost or an IP address "
            "with its port) is always allowed; an empty list allows only that. ['*'] allows every page of the web."
        ),
    ] = ("http://localhost:5173", "http://localhost:3000")
    default_room: Annotated[
        str,
        Meta(
            description="Room that every client is put in when it connects and that events without a room mean; "
            "empty puts nobody anywhere, and events without a room then mean 'general'."
        ),
    ] = "general"
    rate_limit_per_s: Annotated[
        float,
        Meta(ge=0, description="Events per second and connection, far above what a person types. 0 turns it off."),
    ] = 50.0
    rate_limit_burst_count: Annotated[
        int,
        _count("Events that a connection may send at once before rate_limit_per_s holds: a page that loads many rooms."),
    ] = 100
    rate_limit_bytes_per_s: Annotated[
        float,
        Meta(
            gt=0,
            description="Bytes of events per second and connection: a usual line takes more than that, so nobody sends a "
            "room more than its readers take. It ends with rate_limit_per_s = 0.",
        ),
    ] = 65536.0
    rate_limit_burst_bytes: Annotated[
        int,
        _count("Bytes of events that a connection may send at once before rate_limit_bytes_per_s holds: some long pastes."),
    ] = 262144
    event_limit_bytes: Annotated[
        int,
        _count(
            "Bytes of one event as it comes, in JSON: twice the longest message, which may need escapes. They are counted "
            "before anything is parsed."
        ),
    ] = 131072
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks, such as 10.0.0.0/8, whose X-Forwarded-For is believed: the last address there that is "
            "not in one of them is the client's, which limits per address go by."
        ),
    ] = ()
    message_limit_bytes: Annotated[
        int, _count("Bytes of UTF-8 in one message: long enough for a pasted log, short enough to send to a thousand.")
    ] = 65536
    room_name_limit_chars: Annotated[int, _count("Characters in a room's name.")] = 128
    user_name_limit_chars: Annotated[int, _count("Characters in a user's name.")] = 64
    rooms_per_connection_limit: Annotated[
        int, _count("Rooms that one connection can be in, so that nobody fills the memory with rooms.")
    ] = 128
    typing_expiry_s: Annotated[
        float,
        _seconds("A typing indicator ends by itself after this long without renewal: a closed laptop never says so."),
    ] = 5.0
    presence_grace_s: Annotated[
        float,
        Meta(
            ge=0,
            description="Seconds. A user stays in the room for this long after the last tab: most come back, reloaded.",
        ),
    ] = 5.0
    recovery_window_s: Annotated[
        float,
        Meta(
            ge=0,
            description="Seconds. A client that drops can come back as who it was for this long, and gets what it missed; "
            "time for a tunnel or a restart. 0 turns recovery off.",
        ),
    ] = 120.0
    recovery_limit_bytes: Annotated[
        int,
        _count(
            "Bytes that the clients which may come back hold in memory, most of it the names of their rooms; over it those "
            "who left first may not."
        ),
    ] = 12582912
    log_url: Annotated[
        str,
        Meta(
            description="Where messages are kept. sqlite:///messages.sqlite3 is a file in Flask's instance folder, "
            "sqlite:////var/lib/hazoom/messages.sqlite3 one elsewhere; memory:// forgets everything with the process."
        ),
    ] = "sqlite:///messages.sqlite3"
    log_fsync: Annotated[
        Literal["normal", "full"],
        Meta(
            description="What an acknowledged message survives: normal the end of the process, however it comes; "
            "full the loss of power too, and each batch waits for the disk."
        ),
    ] = "normal"
    history_room_limit_count: Annotated[int, _count("Messages that are kept per room; the oldest go first.")] = 100000
    history_room_limit_bytes: Annotated[
        int, _count("Bytes of message text, and 500 for each message, that are kept per room; the oldest go first.")
    ] = 67108864
    history_age_limit_s: Annotated[float, _seconds("Messages older than this go: 90 days.")] = 7776000.0
    history_limit_bytes: Annotated[
        int,
        _count(
            "Bytes of messages that are held in memory over all rooms, counted as they are there, with 500 for each beside "
            "its text: with memory:// all that is kept, else the newest part."
        ),
    ] = 16777216
    ping_interval_s: Annotated[
        float, _seconds("Time between heartbeats: proxies close connections that are silent for a minute.")
    ] = 25.0
    ping_timeout_s: Annotated[float, _seconds("A client that leaves a heartbeat unanswered this long is gone.")] = 20.0
    connect_timeout_s: Annotated[
        float, _seconds("A connection that is in no namespace for this long is closed: it costs memory and does nothing.")
    ] = 20.0
    request_timeout_s: Annotated[
        float,
        _seconds(
            "A new connection has to begin a request within this time, and the request line and then the headers have to "
            "arrive within it, however slowly: a browser needs a moment, and who sends a byte now and then is none."
        ),
    ] = 10.0
    keep_alive_timeout_s: Annotated[
        float,
        _seconds(
            "A connection that was answered is kept this long for another request: longer than the minute for which load "
            "balancers keep theirs, which would use it just as it ends. With --async-mode threading none is kept."
        ),
    ] = 75.0
    message_timeout_s: Annotated[
        float,
        _seconds(
            "A message or a request has to be whole within this time from its first byte: what is not, is kept in memory."
        ),
    ] = 30.0
    incoming_total_limit_bytes: Annotated[
        int,
        _count(
            "Bytes of messages and requests of all connections together that are not whole yet. Over it the connections "
            "that began first are closed, of those that hold more than 4 KB; their clients come back."
        ),
    ] = 33554432
    outbox_limit_bytes: Annotated[
        int,
        _count(
            "Unsent bytes of one connection. Over it typing, presence and statistics are dropped, then the connection is "
            "closed, so that a reader that stops costs no more; its client comes back."
        ),
    ] = 1048576
    outbox_total_limit_bytes: Annotated[
        int,
        _count("Unsent bytes of all connections together, with the same consequence for those that hold more than 16 KB."),
    ] = 268435456
    llm_url: Annotated[
        str,
        Meta(
            description=f"The chat endpoint of the Django backend; an address without a path means {CHAT_PATH} there.",
        ),
    ] = f"http://localhost:9001{CHAT_PATH}"
    llm_connect_timeout_s: Annotated[
        float, _seconds("Time to connect to the backend: it is near, so longer means that it is down.")
    ] = 5.0
    llm_first_token_timeout_s: Annotated[
        float, _seconds("Time from the request to the first token: a model may have to be loaded first.")
    ] = 60.0
    llm_idle_timeout_s: Annotated[float, _seconds("Time between two pieces of a stream.")] = 30.0
    llm_total_timeout_s: Annotated[
        float, _seconds("Time for a whole answer, streamed or not: no stream runs for ever.")
    ] = 600.0
    llm_response_limit_bytes: Annotated[
        int, _count("Bytes of one answer on the wire; a backend that never stops is cut off here.")
    ] = 8388608
    llm_streams_per_user_limit: Annotated[
        int, _count("AI answers of one user that run at once, a fair share of the backend; further questions wait.")
    ] = 3
    llm_streams_limit: Annotated[int, _count("AI answers of all users that run at once; further questions wait.")] = 1000
    llm_queue_per_user_limit: Annotated[
        int, Meta(ge=0, description="Questions of one user that wait for an answer of theirs to end; one more is refused.")
    ] = 10
    llm_queue_limit: Annotated[int, Meta(ge=0, description="Questions of all users that wait; one more is refused.")] = 1000
    llm_user_grace_s: Annotated[
        float,
        Meta(
            ge=0,
            description="Seconds. The private answers of a user who is gone for this long are stopped; until then a reload "
            "finds them. What a room shares goes on whoever stays.",
        ),
    ] = 30.0
    llm_resume_window_s: Annotated[
        float, _seconds("An answer that has ended can be resumed for this long, by llm_resume or by a client that dropped.")
    ] = 300.0
    llm_resume_limit_bytes: Annotated[
        int, _count("Bytes of text of all answers that have ended and can be resumed; the oldest go first.")
    ] = 16777216
    llm_circuit_failures_count: Annotated[
        int,
        _count("Attempts in a row that cannot reach the backend, after which questions are refused at once for a while."),
    ] = 5
    llm_circuit_pause_s: Annotated[
        float, _seconds("How long questions are refused after that, before one may try whether the backend is back.")
    ] = 10.0
    assistant_name: Annotated[
        str, Meta(min_length=1, description="Name under which an AI answer that a room shares is kept in its history.")
    ] = "Assistant"


FIELDS = {field.name: field for field in msgspec.structs.fields(Settings)}


def load_settings(
    *,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    config_path: str | Path | None = None,
) -> Settings:
    """Combine all sources into one `Settings`; later sources win: file, environment, flags.

    ``flags`` holds Python values by field name, None meaning "not given". ``environment`` is `os.environ` by default.
    Raises `SettingsError` for an unreadable file, an unknown key or a bad value.
    """
    values: dict[str, Any] = {}
    if config_path is not None:
        values.update(_from_file(Path(config_path)))
    values.update(_from_environment(os.environ if environment is None else environment))
    for name, value in (flags or {}).items():
        if value is not None:
            values[name] = _convert(name, value, f"--{name.replace('_', '-')}", strict=True)
    return Settings(**values)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the config file {str(path)!r}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the config file {str(path)!r} is not TOML: {error}") from None
    for name in table:
        if name not in FIELDS:
            raise SettingsError(f"unknown setting {name!r} in {str(path)!r}{_nearest(name, FIELDS)}")
    return {name: _convert(name, value, f"{name} in {str(path)!r}", strict=True) for name, value in table.items()}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    variables = {f"{ENVIRONMENT_PREFIX}{name.upper()}": name for name in FIELDS}
    values = {}
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        if variable not in variables:
            raise SettingsError(f"unknown environment variable {variable}{_nearest(variable, variables)}")
        name = variables[variable]
        value: Any = text
        if name in _LISTS:
            # "[]" is what people write for an empty list; it must never be taken for an origin, or for "no check".
            items = text.strip().removeprefix("[").removesuffix("]").split(",")
            value = [item.strip().strip("'\"") for item in items if item.strip()]
        values[name] = _convert(name, value, variable, strict=False)
    return values


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"; did you mean {matches[0]}?" if matches else ""


def _convert(name: str, value: Any, source: str, *, strict: bool) -> Any:
    """Check ``value`` for the field ``name``; ``source`` is what the error calls it."""
    annotation = Settings.__annotations__[name]
    try:
        converted = msgspec.convert(value, annotation, strict=strict)
    except msgspec.ValidationError as error:
        kind = get_args(annotation)[0]
        is_choice = get_origin(kind) is Literal
        problem = f"Expected one of {', '.join(get_args(kind))}" if is_choice else str(error).replace("`", "")
        raise SettingsError(f"{source} cannot be {value!r}: {problem[0].lower()}{problem[1:]}") from None
    try:
        return _NORMALISE[name](converted) if name in _NORMALISE else converted
    except ValueError as error:
        raise SettingsError(f"{source} cannot be {value!r}: {error}") from None


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if origin == "*":
            continue
        parts = urlsplit(origin)
        exact = f"{parts.scheme}://{parts.netloc}"
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"{origin!r} is not an origin; write it like https://chat.example.com")
        if origin != exact:
            raise ValueError(f"an origin has no path and no slash at its end; write {exact}")
    return tuple(origin.lower() for origin in origins)


def _llm_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it must start with http:// or https:// and name a host")
    return parts._replace(path=CHAT_PATH).geturl() if parts.path in ("", "/") else url


def _log_url(url: str) -> str:
    if url != "memory://" and not (url.startswith("sqlite:///") and url.removeprefix("sqlite:///").strip("/")):
        raise ValueError("it is memory:// or sqlite:/// and the path of a file")
    return url


def _networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    for network in networks:
        try:
            ip_network(network, strict=False)
        except ValueError:
            raise ValueError(f"{network!r} is not a network; write it like 10.0.0.0/8, or a single address") from None
    return networks


_NORMALISE: dict[str, Callable[[Any], Any]] = {
    "cors_origins": _origins,
    "llm_url": _llm_url,
    "log_url": _log_url,
    "trusted_proxies": _networks,
}
