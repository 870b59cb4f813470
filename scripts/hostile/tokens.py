"""Tokens that should let nobody in, and rooms that a token does not open, guessed."""

import itertools
import json
import random
import secrets
import time
from collections.abc import Iterator
from typing import Any

from hostile.attack import Attack, Context
from signing import encoded, signed

_SECRET = "of a server that is attacked, which lives for seconds"  # noqa: S105 - the same in each process
_VARIABLES = {"HAZOOM_AUTH": "jwt", "HAZOOM_JWT_SECRET": _SECRET, "HAZOOM_JWT_AUDIENCE": "us"}
_NAMESPACES = ("", "/rooms,", "/live,", "/yjs|x,", "/excalidraw,")
_ROUND_COUNT = 40


def _token(head: dict[str, Any] | None = None, secret: str = _SECRET, **claims: Any) -> str:
    return signed({"sub": "calm", "exp": time.time() + 86_400, "aud": "us"} | claims, secret, head)


def _auth(**claims: Any) -> str:
    return json.dumps({"token": _token(**claims)})


def _bad_tokens() -> Iterator[Any]:
    """Yield tokens of which none may let anybody in, for ever."""
    chance = random.Random(1)  # noqa: S311 - it makes no secrets
    while True:
        good = _token()
        head, body, signature = good.split(".")
        none = encoded(b'{"alg":"none"}')
        yield from (None, 7, [], {}, "", ".", "..", "a.b.c", f"{none}.{body}.", f"{head}.{body}.")
        yield _token(secret="another" * 8)
        yield from (_token({"alg": name}) for name in ("none", "HS512", "RS256", "hs256", "", "EdDSA"))
        heads: list[dict[str, Any]] = [{"kid": "../" * 9, "crit": ["exp"]}, {"b64": False, "crit": ["b64"]}]
        yield from (_token({"alg": "HS256", **more}) for more in heads)
        claims: list[dict[str, Any]] = [{"exp": 1}, {"exp": "never"}, {"exp": True}, {"nbf": 4e9}, {"aud": "them"}]
        claims += [{"sub": ""}, {"sub": None}, {"sub": "x" * 9000}, {"rooms": "x"}, {"llm": 0}, {"name": " "}]
        yield from (_token(**one) for one in claims)
        yield "x" * 100_000
        yield encoded(b"[" * 3000) + "." + encoded(b"[" * 3000) + "." + signature
        for _ in range(10):
            at = chance.randrange(len(good) - 1)
            letter = chance.choice("ABCabc012-_.")
            if letter != good[at]:
                yield good[:at] + letter + good[at + 1 :]


def _tokens(context: Context) -> None:
    """Show one bad token after the other, on every namespace, on many connections."""
    shown = _bad_tokens()
    namespaces = itertools.cycle(_NAMESPACES)

    def act(context: Context) -> None:
        websocket = context.websocket(joins=False)
        try:
            for _ in range(_ROUND_COUNT):
                websocket.say(f"40{next(namespaces)}{json.dumps({'token': next(shown)})}")
                websocket.stay(time.monotonic() + 0.005)
                context.counts["refused"] += websocket.received.count(b"unauthorized")
                if b'"sid":"' in websocket.received and b'"pid"' in websocket.received:
                    context.broken.append("a bad token has let somebody in")
                websocket.received.clear()
        finally:
            websocket.close()

    context.repeat(act)
    if not context.counts["refused"]:
        context.broken.append("nobody was refused")


def _rooms(context: Context) -> None:
    """Guess rooms with a token for others: each answer is to say the same."""
    answers: set[str] = set()

    def act(context: Context) -> None:
        websocket = context.websocket(auth=_auth(sub="eve", rooms=["mine-*"]))
        try:
            for number in range(_ROUND_COUNT):
                room = "general" if number % 2 else secrets.token_hex(4)
                for event in ("join_room", "message", "state_get", "get_history"):
                    fields = {"room": room, "message": "x"}
                    websocket.say(f"42{number}{json.dumps([event, fields])}")
                    answer = websocket.wait_for(f"43{number}[")
                    error = json.loads(answer[answer.index("[") :])[0]["error"]
                    answers.add(f"{error['code']}: {error['message'].replace(room, '')}")
                    context.counts["guesses"] += 1
        finally:
            websocket.close()

    context.repeat(act)
    said = {answer for answer in answers if not answer.startswith("rate_limited")}
    if len(said) != 1 or not next(iter(said)).startswith("forbidden"):
        context.broken.append(f"a room that is not there is answered otherwise: {said}"[:200])


ATTACKS = (
    Attack("tokens", "23", "tokens that let nobody in", _tokens, variables=_VARIABLES, calm_auth=_auth()),
    Attack("rooms-guessed", "23", "rooms guessed with a token for others", _rooms, variables=_VARIABLES, calm_auth=_auth()),
)
