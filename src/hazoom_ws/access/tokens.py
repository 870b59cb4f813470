"""Tokens: JSON Web Tokens that a client shows, and the keys that they are checked with.

Which algorithms count is a setting, and never what a token says of itself. What is signed is checked by joserfc. Where the
keys come from a URL, `TokenCheck.identify` says that it needs them (`KeysAreNeeded`), and `jwks` fetches them.

Source: RFC 7519 (JWT), RFC 7515 (JWS), RFC 8725 (what to mind).
"""

import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey, import_key
from msgspec import UNSET

from hazoom_ws.access.identities import Claims, Identity, identity_of_claims
from hazoom_ws.errors import Unauthorized
from hazoom_ws.events.connecting import TOKEN_LIMIT_CHARS
from hazoom_ws.settings import Settings, SettingsError

_RSA_AT_LEAST_BITS = 2048
# What a key may be used for: never a public key as the secret of HS256.
_ALGORITHMS: Mapping[str, type[Key]] = {
    "HS256": OctKey,
    "RS256": RSAKey,
    "ES256": ECKey,
    "EdDSA": OKPKey,
    "Ed25519": OKPKey,
}
_CURVES = {"ES256": "P-256", "EdDSA": "Ed25519", "Ed25519": "Ed25519"}
_decode_claims = msgspec.json.Decoder(Claims).decode


class KeysAreNeeded(Exception):
    """A token that was signed with a key of which it is not known whether there is one."""


# By a key's id, None for what names none; it may raise `KeysAreNeeded`.
FindKeys = Callable[[str | None], list[Key]]


class _Registry(jws.JWSRegistry):
    def get_alg(self, name: str) -> Any:
        """Return an algorithm, without a warning for a name that RFC 9864 replaces and everybody uses ("EdDSA")."""
        return self.algorithms[name]


class TokenCheck:
    """Finds out who a client is from the token that it shows. Nothing here waits."""

    def __init__(self, settings: Settings, find_keys: FindKeys, clock: Callable[[], float] = time.time) -> None:
        """``clock`` counts from the epoch, in seconds."""
        self._settings = settings
        self._find_keys = find_keys
        self._clock = clock
        self._algorithms = algorithms_of(settings)
        # What else a header says means nothing here, and is no reason to refuse; what it calls critical is.
        self._registry = _Registry(algorithms=list(self._algorithms), strict_check_header=False)

    def identify(self, token: object) -> Identity:
        """Return whose token it is. Raises `Unauthorized`, `KeysAreNeeded`."""
        if not isinstance(token, str) or not token:
            raise Unauthorized("no token")
        if len(token) > TOKEN_LIMIT_CHARS or not token.isascii():
            raise Unauthorized(f"a token that is longer than {TOKEN_LIMIT_CHARS} characters, or no ASCII")
        payload = self._verified(token)
        try:
            claims = _decode_claims(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unauthorized(f"a claim is missing or of a wrong type: {error}") from None
        self._check(claims)
        return identity_of_claims(claims, self._settings)

    def _verified(self, token: str) -> bytes:
        try:
            found = jws.extract_compact(token.encode())
            header = found.headers()
            algorithm, key_id = header.get("alg"), header.get("kid")
            if algorithm not in self._algorithms or not isinstance(key_id, str | None) or "crit" in header:
                raise Unauthorized("its algorithm is not one of jwt_algorithms, or its header has what is not known")
            for key in self._find_keys(key_id):
                if fits(key, algorithm) and self._has_signed(key, found):
                    return bytes(found.payload)
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise Unauthorized(f"it cannot be read: {type(error).__name__}") from None
        raise Unauthorized("no key of ours has signed it")

    def _has_signed(self, key: Key, found: jws.CompactSignature) -> bool:
        try:
            return jws.validate_compact(found, key, registry=self._registry)
        except (JoseError, ValueError, TypeError):
            return False  # such as a key that says of itself that it is for something else

    def _check(self, claims: Claims) -> None:
        settings, now = self._settings, self._clock()
        if not claims.exp > now - settings.jwt_leeway_s:
            raise Unauthorized("it has expired")
        if claims.nbf is not UNSET and not claims.nbf <= now + settings.jwt_leeway_s:
            raise Unauthorized("it is not valid yet")
        if settings.jwt_issuer and claims.iss != settings.jwt_issuer:
            raise Unauthorized("it is of another issuer")
        audiences = [claims.aud] if isinstance(claims.aud, str) else [] if claims.aud is UNSET else claims.aud
        if settings.jwt_audience and settings.jwt_audience not in audiences:
            raise Unauthorized("it is for another audience")


def fits(key: Key, algorithm: str) -> bool:
    """Return whether a key is of the kind that an algorithm needs."""
    return type(key) is _ALGORITHMS[algorithm] and _curve_of(key) == _CURVES.get(algorithm)


def _curve_of(key: Key) -> str | None:
    return key.curve_name if isinstance(key, ECKey | OKPKey) else None


def algorithms_of(settings: Settings) -> tuple[str, ...]:
    """Return the algorithms that count: of a public key none that takes a secret."""
    return settings.jwt_algorithms or (("HS256",) if settings.jwt_secret else ("RS256", "ES256", "EdDSA", "Ed25519"))


def settled_keys(settings: Settings) -> FindKeys:
    """Return how to find the key that a setting names. Raises `SettingsError`."""
    key = OctKey.import_key(settings.jwt_secret.encode()) if settings.jwt_secret else _from_file(settings.jwt_key_file)
    for algorithm in settings.jwt_algorithms:
        if not fits(key, algorithm):
            name = "jwt_secret" if settings.jwt_secret else "jwt_key_file"
            raise SettingsError(
                f"jwt_algorithms: {algorithm} cannot be checked with the key of {name}, which is of another kind"
            )
    if not any(fits(key, algorithm) for algorithm in algorithms_of(settings)):
        raise SettingsError("jwt_key_file has a key of a kind that no algorithm here takes; use RSA, P-256 or Ed25519")
    return lambda _key_id: [key]


def _from_file(name: str) -> Key:
    """Return the public key of a PEM file."""
    try:
        pem = Path(name).read_bytes()
    except OSError as error:
        raise SettingsError(f"jwt_key_file cannot be read: {error.strerror or error}") from None
    for kind in ("RSA", "EC", "OKP"):
        key = key_from(pem, kind)
        if key is None:
            continue
        if problem := problem_of(key):
            raise SettingsError(f"jwt_key_file: {problem}")
        return key
    raise SettingsError("jwt_key_file has no public key in PEM, of RSA, P-256 or Ed25519")


def key_from(described: bytes | dict[str, Any], kind: str | None = None) -> Key | None:
    """Return a key in PEM, or of a JWK, None for what is none."""
    with warnings.catch_warnings(action="ignore"):  # such as of a weak one: see `problem_of`
        try:
            return import_key(described, kind)  # type: ignore[arg-type]
        except (JoseError, ValueError, TypeError, KeyError):
            return None


def problem_of(key: Key) -> str | None:
    """Return why a key is not to be used, None if it may be."""
    if isinstance(key, RSAKey) and key.public_key.key_size < _RSA_AT_LEAST_BITS:
        return f"a key of RSA has {_RSA_AT_LEAST_BITS} bits at least"
    return None
