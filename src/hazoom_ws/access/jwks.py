"""The keys at `jwt_jwks_url`: fetched when a token needs them, remembered for a while, and never asked for each time.

A new key is known, and a withdrawn one refused, when what is remembered is too old. Who shows ids of keys that there are
not, makes the server ask now and then, however many they are. While the keys cannot be had, those that are remembered
count for some time longer. Called within turns.

Source: RFC 7517 (JWK Set).
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from joserfc.jwk import Key
from msgspec import Struct

from hazoom_ws.access.asking import Answer, Asking, AskingFailed, Question
from hazoom_ws.access.tokens import KeysAreNeeded, key_from, problem_of
from hazoom_ws.errors import Unauthorized

logger = logging.getLogger(__name__)

FRESH_S = 15.0  # so old may be what is remembered
STALE_S = 600.0  # and so old while it cannot be had
PAUSE_S = 5.0  # between two fetches, because of an id that is not known
KEYS_LIMIT_COUNT = 100
_PUBLIC_KINDS = {"RSA", "EC", "OKP"}
_OK = 200


class _JwkSet(Struct, frozen=True):
    keys: list[dict[str, Any]]


class Jwks:
    """The keys of a URL."""

    def __init__(
        self,
        url: str,
        asking: Asking,
        note: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``note(what, detail)`` tells the log why keys cannot be had. ``clock`` is monotonic, in seconds."""
        self._question = question_for(url)
        self._asking = asking
        self._note = note
        self._clock = clock
        self._keys: list[Key] = []
        self._fetched_at_s: float | None = None
        self._tried_at_s: float | None = None
        self._is_fetching = False
        self._then: deque[Callable[[bool], None]] = deque()

    def find(self, key_id: str | None) -> list[Key]:
        """Return the keys of an id, all of them for none.

        Raises `KeysAreNeeded` where `fetch` may find more; `Unauthorized`, with ``retry``, where it may later.
        """
        now_s = self._clock()
        age_s = math.inf if self._fetched_at_s is None else now_s - self._fetched_at_s
        found = [key for key in self._keys if key_id is None or key.kid == key_id] if age_s <= STALE_S else []
        if found and age_s <= FRESH_S:
            return found
        if self._is_fetching or self._tried_at_s is None or now_s - self._tried_at_s >= PAUSE_S:
            raise KeysAreNeeded
        if not found:
            raise Unauthorized("the keys at jwt_jwks_url cannot be had, or have none of that id yet", retry=True)
        return found

    def fetch(self, then: Callable[[bool], None]) -> None:
        """Fetch the keys, once for all who ask for that meanwhile, and call ``then`` with whether there are any."""
        self._then.append(then)
        if not self._is_fetching:
            self._is_fetching = True
            self._tried_at_s = self._clock()
            self._asking.ask(self._question, self._on_answer)

    def _on_answer(self, answer: Answer | AskingFailed) -> None:
        self._is_fetching = False
        self._tried_at_s = self._clock()
        has_keys = False
        try:
            self._keys = keys_of(answer)
            self._fetched_at_s, has_keys = self._tried_at_s, True
        except AskingFailed as error:
            self._note("the keys at jwt_jwks_url cannot be had", str(error))
        then, self._then = self._then, deque()
        for call in then:
            try:
                call(has_keys)
            except Exception:
                logger.exception("a token was not checked")


def question_for(url: str) -> Question:
    """Return how the keys of a URL are asked for."""
    return Question("GET", url, {"Accept": "application/json"})


def keys_of(answer: Answer | AskingFailed) -> list[Key]:
    """Return the public keys of an answer; others in it are left out. Raises `AskingFailed`."""
    if isinstance(answer, AskingFailed):
        raise answer
    if answer.status != _OK:
        raise AskingFailed(f"it answers {answer.status}")
    try:
        described = msgspec.json.decode(answer.body, type=_JwkSet).keys
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise AskingFailed("it is no set of keys") from None
    keys: list[Key] = []
    for one in described[:KEYS_LIMIT_COUNT]:
        kind = one.get("kty")
        if not isinstance(kind, str) or kind not in _PUBLIC_KINDS or one.get("use", "sig") != "sig":
            continue  # a secret that everybody can read is none
        key = key_from(one)
        if key is not None and problem_of(key) is None:
            keys.append(key)
    return keys
