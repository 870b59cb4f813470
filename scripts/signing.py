"""Signs tokens (JWT, HS256) for what measures and attacks a server; its tests have an identity provider of their own."""

import base64
import hashlib
import hmac
import json
from typing import Any


def encoded(data: bytes) -> str:
    """Return a part of a token."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signed(claims: dict[str, Any], secret: str, head: dict[str, Any] | None = None) -> str:
    """Return a token of such claims, whatever its head says of how it was signed."""
    parts = [{"alg": "HS256"} if head is None else head, claims]
    text = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    return f"{text}.{encoded(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest())}"
