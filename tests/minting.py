"""Tokens as an identity provider makes them, and its keys."""

import time
import warnings
from typing import Any

import msgspec
from joserfc import jws
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

SECRET = "a secret of thirty-two bytes, or more"
SECRET_KEY = OctKey.import_key(SECRET)


def key_of(algorithm: str, key_id: str = "one") -> Key:
    """Return a new key for an algorithm that needs a pair."""
    parameters = {"kid": key_id, "use": "sig"}
    if algorithm == "RS256":
        return RSAKey.generate_key(2048, parameters, auto_kid=False)
    if algorithm == "ES256":
        return ECKey.generate_key("P-256", parameters, auto_kid=False)
    return OKPKey.generate_key("Ed25519", parameters, auto_kid=False)


def token(
    key: Key = SECRET_KEY,
    algorithm: str = "HS256",
    *,
    header: dict[str, Any] | None = None,
    lives_s: float = 600,
    **claims: Any,
) -> str:
    """Return a token; ``claims`` come over those of somebody who may come in, and None leaves one out."""
    said = {"sub": "ann", "name": "Ann", "exp": time.time() + lives_s} | claims
    payload = msgspec.json.encode({name: value for name, value in said.items() if value is not None})
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    with warnings.catch_warnings(action="ignore"):  # of names that RFC 9864 replaces
        return jws.serialize_compact({"alg": algorithm, "typ": "JWT", **(header or {})}, payload, key, registry=registry)
