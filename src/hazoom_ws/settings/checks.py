"""What a setting must be beside its type, and how it is written down: the same wherever a value comes from."""

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, Literal, get_args, get_origin
from urllib.parse import SplitResult, urlsplit

import msgspec

from hazoom_ws.access.origins import normal_origin
from hazoom_ws.names import composed, has_controls, is_blank
from hazoom_ws.settings import (
    API_KEY_LENGTH_CHARS,
    API_KEYS_LIMIT_COUNT,
    CHAT_PATH,
    FIELDS,
    SECRET,
    Settings,
    SettingsError,
)
from hazoom_ws.settings.redis_url import REDIS_SCHEMES, parse_redis_url

_KEY = re.compile(r"[!-~]{16,512}")
_QUOTED_CHARS = 200
_OF_ONE_PROCESS = ("sqlite:", "memory:")  # messages that are kept so
_SECRET_AT_LEAST_BYTES = 32  # of HS256: as many as its digest has. Source: RFC 7518, section 3.2


def convert(name: str, value: Any, source: str, *, strict: bool) -> Any:
    """Return ``value`` as the field ``name`` has it. Raises `SettingsError`; ``source`` is what that calls it.

    Where it is not ``strict``, text may stand for a number.
    """
    annotation = Settings.__annotations__[name]
    try:
        converted = msgspec.convert(value, annotation, strict=strict)
    except msgspec.ValidationError as error:
        kind = get_args(annotation)[0]
        is_choice = get_origin(kind) is Literal
        problem = f"Expected one of {', '.join(get_args(kind))}" if is_choice else str(error).replace("`", "")
        raise _cannot_be(name, value, source, f"{problem[0].lower()}{problem[1:]}") from None
    try:
        return _NORMALISE[name](converted) if name in _NORMALISE else converted
    except ValueError as error:
        raise _cannot_be(name, value, source, str(error)) from None


def _cannot_be(name: str, value: Any, source: str, problem: str) -> SettingsError:
    shown = "used" if name in SECRET else f"{value!r:.{_QUOTED_CHARS}}"
    return SettingsError(f"{source} cannot be {shown}: {problem}")


def combined(values: Mapping[str, Any], sources: Mapping[str, str]) -> Settings:
    """Return settings of what `convert` has returned, with the defaults for the rest, if all of it can be together."""
    settings = Settings(**values)
    size_chars, limit_chars = len(settings.default_room), settings.room_name_limit_chars
    if size_chars > limit_chars:
        raise SettingsError(
            f"{sources.get('default_room', 'default_room')} has {size_chars} characters, so no client could name it: "
            f"{sources.get('room_name_limit_chars', 'room_name_limit_chars')} is {limit_chars}"
        )
    _check_auth(settings, sources)
    if settings.workers > 1 and settings.log_url.startswith(_OF_ONE_PROCESS):
        raise SettingsError(
            f"{sources.get('workers', 'workers')} is {settings.workers}, and several processes need a Redis, through which "
            "they are one server: set HAZOOM_LOG_URL=redis://host:6379/0, or leave workers out"
        )
    return settings


def _check_auth(settings: Settings, sources: Mapping[str, str]) -> None:
    """Raise `SettingsError` where the settings of who may come in do not make a whole."""
    key_sources = [name for name in ("jwt_secret", "jwt_key_file", "jwt_jwks_url") if getattr(settings, name)]
    if settings.auth == "jwt" and len(key_sources) != 1:
        raise SettingsError(
            "auth = jwt needs one of jwt_secret, jwt_key_file and jwt_jwks_url, "
            + (f"and has {' and '.join(key_sources)}" if key_sources else "and has none")
        )
    size_bytes = len(settings.jwt_secret.encode())
    if 0 < size_bytes < _SECRET_AT_LEAST_BYTES:
        raise SettingsError(
            f"{sources.get('jwt_secret', 'jwt_secret')} has {size_bytes} bytes, and needs "
            f"{_SECRET_AT_LEAST_BYTES} at least: openssl rand -hex 32 makes one"
        )
    if settings.auth == "url" and "*" in settings.cors_origins:
        raise SettingsError("auth = url goes by cookies: cors_origins must name the sites that may use them, not '*'")
    if settings.auth == "url" and not settings.auth_url:
        raise SettingsError("auth = url needs auth_url, which is asked who somebody is")
    if settings.auth == "api_key" and not (settings.api_keys or settings.api_keys_file):
        raise SettingsError("auth = api_key needs api_keys or api_keys_file")


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a server that listens there."""
    try:
        address = ip_address(host.partition("%")[0])
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def checked(settings: Settings) -> Settings:
    """Return settings that an application has made, checked and normalised like those of any other source."""
    return combined({name: convert(name, getattr(settings, name), name, strict=True) for name in FIELDS}, {})


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(normal_origin, origins))


def _llm_url(url: str) -> str:
    """Return the URL if it can be called; nothing that is raised repeats it."""
    return _called_url(url, CHAT_PATH)


def _url_or_none(url: str) -> str:
    return _called_url(url, "/") if url.strip() else ""


def _called_url(url: str, default_path: str) -> str:
    parts = _split(url.strip())
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("its port must be a number from 1 to 65535")
    normal = (parts._replace(path=default_path) if parts.path in ("", "/") else parts).geturl()
    # What is imported here has to be patched for eventlet first, in a process that is.
    import requests

    try:
        (parts.hostname or "").encode("idna")  # what the name is looked up by
        requests.Request("POST", normal).prepare()
    except (ValueError, requests.RequestException):
        raise ValueError("it is no address that can be called; compare it with http://localhost:9001") from None
    return normal


def _split(url: str) -> SplitResult:
    # Who connects takes these for something else than who splits, or leaves them out.
    if any(character.isspace() or not character.isprintable() or character == "\\" for character in url):
        raise ValueError("it holds a blank, a backslash or a character that cannot be seen")
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        raise ValueError("it is no URL; compare it with http://localhost:9001") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("it must start with http:// or https:// and name a host")
    return parts


def _log_url(url: str) -> str:
    if url.startswith(REDIS_SCHEMES):
        parse_redis_url(url)
        return url
    if url != "memory://" and not (url.startswith("sqlite:///") and url.removeprefix("sqlite:///").strip("/")):
        raise ValueError("it is memory://, sqlite:/// and the path of a file, or redis:// (rediss:// with TLS)")
    if "\0" in url:
        raise ValueError("no path holds a NUL character")
    return url


def _networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    for network in networks:
        try:
            ip_network(network, strict=False)
        except ValueError:
            raise ValueError(f"{network!r} is not a network; write it like 10.0.0.0/8, or a single address") from None
    return networks


def checked_key(text: str) -> str:
    """Return ``text`` if it can be an API key. Raises ValueError, which does not repeat it."""
    if len(text) < API_KEY_LENGTH_CHARS:
        raise ValueError(f"a key has at least {API_KEY_LENGTH_CHARS} characters; openssl rand -hex 32 makes one")
    if not _KEY.fullmatch(text):
        raise ValueError(f"a key has {API_KEY_LENGTH_CHARS} to 512 characters of ASCII that can be seen, without blanks")
    return text


def _api_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    if len(keys) > API_KEYS_LIMIT_COUNT:
        raise ValueError(f"it holds {len(keys)} keys, the limit is {API_KEYS_LIMIT_COUNT}")
    return tuple(map(checked_key, keys))


def _name(text: str) -> str:
    """Return a name as clients' are compared, without blanks at its ends."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it is not UTF-8") from None
    name = composed(text.strip())
    if is_blank(name):
        raise ValueError("it shows nothing")
    if has_controls(name):
        raise ValueError("it holds a control character")
    return name


def _room_or_none(text: str) -> str:
    try:
        return _name(text) if text else ""
    except ValueError as error:
        raise ValueError(f"{error}; leave it empty to put nobody anywhere") from None


_NORMALISE: dict[str, Callable[[Any], Any]] = {
    "api_keys": _api_keys,
    "assistant_name": _name,
    "auth_url": _url_or_none,
    "cors_origins": _origins,
    "default_room": _room_or_none,
    "llm_url": _llm_url,
    "log_url": _log_url,
    "trusted_proxies": _networks,
}
