"""Who may come in, from which pages, and whose word counts for where a client is."""

import ipaddress
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from hazoom_ws.access.api_keys import ApiKeys
from hazoom_ws.access.asking import Answer, AskingFailed, Question, fetched
from hazoom_ws.access.jwks import keys_of, question_for
from hazoom_ws.access.origins import EVERY_PAGE, OriginCheck, normal_origin
from hazoom_ws.access.redaction import without_secrets
from hazoom_ws.access.tokens import algorithms_of, fits, settled_keys
from hazoom_ws.commands.checks import Configuration, Finding, of_error
from hazoom_ws.settings import SECRET, Settings, SettingsError
from hazoom_ws.settings.checks import is_loopback

_VARIED_CHARS = 10  # a secret with fewer different characters was typed, not made
_OTHERS_READ = 0o004
_WIDE_PREFIX = {4: 8, 6: 32}  # a network that is wider belongs to no one
_OK, _REFUSING = 200, (401, 403)


def check_origins(configuration: Configuration) -> Iterator[Finding]:
    """Look at which pages may use the server."""
    settings = configuration.settings
    origins = settings.cors_origins
    if EVERY_PAGE in origins:
        found = "pages of any origin may use this server ('*' in cors_origins)"
        yield Finding("origins", "warning", found, "name the sites that may, in HAZOOM_CORS_ORIGINS")
        return
    shown = ", ".join(origins) or "none but the server's own"
    if configuration.public_url:
        public = normal_origin(configuration.public_url)
        if not OriginCheck(origins, settings.host)(public, {}):
            yield Finding(
                "origins",
                "problem",
                f"pages of {public} would be refused: {shown}",
                f"HAZOOM_CORS_ORIGINS={','.join([*origins, public])}",
            )
            return
    if configuration.is_public and all(is_loopback(urlsplit(origin).hostname or "") for origin in origins):
        found = f"others are to reach this server, and only pages of development servers may use it: {shown}"
        yield Finding("origins", "warning", found, "put the public origin into HAZOOM_CORS_ORIGINS")
        return
    yield Finding("origins", "ok", f"pages of these may use it: {shown}")


def check_proxies(configuration: Configuration) -> Iterator[Finding]:
    """Look at who is believed about the address of a client."""
    networks = [ipaddress.ip_network(text, strict=False) for text in configuration.settings.trusted_proxies]
    wide = [str(network) for network in networks if network.prefixlen < _WIDE_PREFIX[network.version]]
    if wide:
        found = f"{', '.join(wide)} is no network of proxies: whoever is in it may say to be any address"
        yield Finding("proxies", "problem", found, "list the addresses of the proxies only, in HAZOOM_TRUSTED_PROXIES")
    elif networks:
        yield Finding("proxies", "ok", f"believed about addresses: {', '.join(map(str, networks))}")
    elif configuration.public_url:
        found = "no proxy is trusted: if there is one before the server, all its clients have one address, or none"
        yield Finding("proxies", "warning", found, "put its address into HAZOOM_TRUSTED_PROXIES")


def check_auth(configuration: Configuration) -> Iterator[Finding]:
    """Look at who may come in, and at what decides it."""
    settings = configuration.settings
    yield from _keys(settings)
    yield from _readable_secrets(configuration)
    if settings.auth == "open":
        if configuration.is_public:
            remedy = "set HAZOOM_AUTH to api_key, jwt or url, unless anybody may"
            yield Finding("auth", "warning", "anybody may come in, under any name (auth = open)", remedy)
        else:
            yield Finding("auth", "ok", "anybody on this machine may come in (auth = open)")
    elif settings.auth == "api_key":
        yield Finding("auth", "ok", "who has a key may come in (auth = api_key)")
    elif settings.auth == "jwt":
        yield from _tokens(settings)
    else:
        yield from _asked(settings)


def _keys(settings: Settings) -> Iterator[Finding]:
    try:
        keys = ApiKeys.of(settings)
    except SettingsError as error:
        yield of_error("keys", error)
    else:
        if keys:
            yield Finding("keys", "ok", "there are API keys, which open the routes for backends")


def _readable_secrets(configuration: Configuration) -> Iterator[Finding]:
    """Find files with secrets that every user of the machine may read."""
    config: Path | None = configuration.options.config
    files = {"api_keys_file": configuration.settings.api_keys_file}
    if config is not None and SECRET & tomllib.loads(config.read_text(encoding="utf-8")).keys() - {"log_url", "llm_url"}:
        files["the config file"] = str(config)
    for what, path in files.items():
        if path and os.name == "posix" and os.path.exists(path) and os.stat(path).st_mode & _OTHERS_READ:
            found = f"every user of this machine may read {what}, which has secrets"
            yield Finding("secrets", "warning", found, "chmod o-r that file")


def _tokens(settings: Settings) -> Iterator[Finding]:
    algorithms = ", ".join(algorithms_of(settings))
    if settings.jwt_jwks_url:
        yield _key_set(settings)
        yield from _plain_http("jwt_jwks_url", settings.jwt_jwks_url)
        return
    try:
        settled_keys(settings)
    except SettingsError as error:
        yield of_error("auth", error)
        return
    varied = len(set(settings.jwt_secret))
    if settings.jwt_secret and varied < _VARIED_CHARS:
        found = f"jwt_secret has only {varied} different characters: it can be guessed"
        yield Finding("auth", "warning", found, "openssl rand -hex 32 makes one")
    else:
        where = "jwt_secret" if settings.jwt_secret else "jwt_key_file"
        yield Finding("auth", "ok", f"who has a token may come in; they are checked with {where} by {algorithms}")


def _key_set(settings: Settings) -> Finding:
    shown = without_secrets(settings.jwt_jwks_url)
    try:
        keys = keys_of(fetched(question_for(settings.jwt_jwks_url)))
    except AskingFailed as error:
        remedy = "until it answers nobody gets in: compare HAZOOM_JWT_JWKS_URL with what the identity provider says"
        return Finding("auth", "problem", f"the keys of tokens cannot be had from {shown}: {error}", remedy)
    algorithms = algorithms_of(settings)
    count = sum(any(fits(key, algorithm) for algorithm in algorithms) for key in keys)
    if not count:
        found = f"{shown} has no key that can be used for {', '.join(algorithms)}"
        return Finding("auth", "problem", found, "compare HAZOOM_JWT_ALGORITHMS with the keys there")
    return Finding(
        "auth", "ok", f"who has a token may come in; {shown} has {count} key{'s' * (count != 1)} to check them with"
    )


def _asked(settings: Settings) -> Iterator[Finding]:
    """Ask who somebody without a cookie is, which is nobody."""
    shown = without_secrets(settings.auth_url)
    body = msgspec.json.encode({"auth": {}, "address": "127.0.0.1"})
    answer = fetched(Question("POST", settings.auth_url, {"Content-Type": "application/json"}, body))
    if not isinstance(answer, Answer):
        remedy = "until it answers nobody gets in: start it, or set HAZOOM_AUTH_URL to where it is"
        yield Finding("auth", "problem", f"{shown} does not say who may come in: {answer}", remedy)
    elif answer.status in _REFUSING and b"csrf" in answer.body.lower():
        found = f"{shown} answers {answer.status} because of Django's CSRF check, whoever is asked about"
        yield Finding("auth", "problem", found, "put @csrf_exempt before the view: no form is sent")
    elif answer.status in _REFUSING:
        yield Finding("auth", "ok", f"{shown} decides who may come in; a visitor without cookies may not ({answer.status})")
    elif answer.status == _OK:
        found = f"{shown} lets in a visitor without cookies"
        yield Finding("auth", "warning", found, "answer 401 for who is not logged in, unless anybody may come in")
    else:
        found = f"{shown} answers {answer.status}: nobody is let in"
        yield Finding(
            "auth", "problem", found, "it is to answer 200, 401 or 403 by itself, without a redirect to a login page"
        )
    yield from _plain_http("auth_url", settings.auth_url)


def _plain_http(name: str, url: str) -> Iterator[Finding]:
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        found = f"{name} is asked without TLS: who is on the way decides who may come in"
        yield Finding("auth", "warning", found, "use https://, or a network that nobody else is in")
