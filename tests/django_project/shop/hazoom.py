"""Calls hazoom_ws."""

import json
from urllib.parse import quote
from urllib.request import Request, urlopen

from django.conf import settings


def publish(room, message, user_name, client_id=None):
    """Say something in a room; the same client_id again says it once."""
    payload = {"message": message, "user_name": user_name, "client_id": client_id}
    return _post(f"rooms/{quote(room, safe='')}/messages", payload)


def disconnect_user(user_id):
    """End all connections of a user; return how many there were."""
    return _post(f"users/{quote(str(user_id), safe='')}/disconnect", {})["connections"]


def _post(path, payload):
    headers = {"Content-Type": "application/json", "X-API-Key": settings.CHAT_API_KEY}
    request = Request(f"{settings.CHAT_URL}/api/v1/{path}", json.dumps(payload).encode(), headers)
    with urlopen(request, timeout=5) as response:
        return json.load(response)
