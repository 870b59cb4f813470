"""Lets a client in, or does not: the four modes of the setting `auth`. Called within turns; what has to wait waits beside.

What is found out of a client belongs to its `Account`, and so to its Engine.IO session with all its namespaces: each of
them says who it is when it connects, and another one than before is refused.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from hazoom_ws.access.api_keys import ApiKeys
from hazoom_ws.access.asking import Answer, Asking, AskingFailed, Question
from hazoom_ws.access.identities import Identity, identity_of_answer
from hazoom_ws.access.jwks import Jwks
from hazoom_ws.access.limits import Account
from hazoom_ws.access.tokens import KeysAreNeeded, TokenCheck, settled_keys
from hazoom_ws.errors import HazoomError, NotAllowed, TooManyConnections, Unauthorized
from hazoom_ws.settings import Settings

_REFUSING = (401, 403)
_OK = 200
_AUTH_LIMIT_BYTES = 32_768
_WAITING_LIMIT_COUNT = 16  # of one connection
_REFUSALS_LIMIT_COUNT = 10  # after which nobody is asked about a connection any more
# What is called with the refusal, or with None for who may come in.
Then = Callable[[HazoomError | None], None]
Found = Callable[[Identity | HazoomError], None]


class Admission:
    """Who may come in to one application."""

    def __init__(
        self,
        settings: Settings,
        asking: Asking,
        api_keys: ApiKeys,
        note: Callable[[str, str], None],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """``note(what, detail)`` tells the log why somebody is refused, without secrets. Raises `SettingsError`."""
        self._settings = settings
        self._asking = asking
        self._api_keys = api_keys
        self._note = note
        self._wall_clock = wall_clock
        self.has_state = settings.auth in {"jwt", "url"}  # else it need not be asked within a turn
        self._jwks: Jwks | None = None
        self._tokens: TokenCheck | None = None
        if settings.auth == "jwt":
            if settings.jwt_jwks_url:
                self._jwks = Jwks(settings.jwt_jwks_url, asking, note)
                self._tokens = TokenCheck(settings, self._jwks.find, wall_clock)
            else:
                self._tokens = TokenCheck(settings, settled_keys(settings), wall_clock)

    def admit(self, account: Account, auth: object, then: Then) -> None:
        """Find out whether a client may come in that says ``auth`` in its CONNECT, now or later."""
        if self._settings.auth == "open":
            is_stranger = account.credentials.is_from_elsewhere
            then(self._refused(Unauthorized("from another machine, and allow_open is not set")) if is_stranger else None)
        elif self._settings.auth == "api_key":
            then(None if self._has_key(account, auth) else self._refused(Unauthorized("no key of ours")))
        else:
            self._identify(account, auth, lambda found: then(self._bound(account, found)))

    def refresh(self, account: Account, token: str, then: Callable[[HazoomError | None], None]) -> None:
        """Find out whether a client that is in may stay with another token of the same user, whose rights it has then.

        Nothing has changed where ``then`` is called with a refusal.
        """

        def change(found: Identity | HazoomError) -> None:
            if isinstance(found, HazoomError):
                then(self._refused(found))
            elif account.identity is None or found.user != account.identity.user:
                then(self._refused(Unauthorized("the token of another user")))
            else:
                account.identity = found
                then(None)

        if account.identity is None:
            then(NotAllowed("refresh a token: nobody asks for tokens here"))
        else:
            self._identify(account, {"token": token}, change)

    def _has_key(self, account: Account, auth: object) -> bool:
        key = _field_of(auth, "api_key")
        return account.credentials.has_key or (isinstance(key, str) and self._api_keys.holds(key))

    def _bound(self, account: Account, found: Identity | HazoomError) -> HazoomError | None:
        """Let an account have its identity, the first one that there is; return why not."""
        if isinstance(found, HazoomError):
            return self._refused(found)
        if account.identity is not None and account.identity.user != found.user:
            return self._refused(Unauthorized("another user than the connection's"))
        if account.identity is None:
            try:
                account.set_user(found.user)
            except TooManyConnections as error:
                return error
            account.identity = found
        return None

    def _identify(self, account: Account, auth: object, then: Found) -> None:
        if self._tokens is None:
            self._ask(account, auth, then)
            return
        token = _field_of(auth, "token")
        try:
            then(self._tokens.identify(token))
        except Unauthorized as error:
            then(error)
        except KeysAreNeeded:
            assert self._jwks is not None
            self._jwks.fetch(lambda: self._identify_with_keys(token, then))

    def _identify_with_keys(self, token: object, then: Found) -> None:
        assert self._tokens is not None
        assert self._jwks is not None
        try:
            if not self._jwks.is_known:
                raise Unauthorized("the keys at jwt_jwks_url cannot be had", retry=True)
            found = self._tokens.identify(token)
        except Unauthorized as error:
            then(error)
        except KeysAreNeeded:  # the fetch took longer than keys are remembered
            then(Unauthorized("the keys at jwt_jwks_url are too old", retry=True))
        else:
            then(found)

    def _ask(self, account: Account, auth: object, then: Found) -> None:
        """Ask `auth_url`; one question at a time for a connection, and none for what was answered before."""
        if account.asking is not None:
            if len(account.asking) < _WAITING_LIMIT_COUNT:
                account.asking.append(lambda: self._ask(account, auth, then))
            else:
                then(Unauthorized(f"more than {_WAITING_LIMIT_COUNT} namespaces at once", retry=True))
            return
        if account.identity is not None and account.vouched == auth:
            then(account.identity)
            return
        if account.refusals_count >= _REFUSALS_LIMIT_COUNT:
            then(Unauthorized("refused too often"))
            return
        account.asking = deque()

        def judge(found: Identity | HazoomError) -> None:
            if isinstance(found, HazoomError):
                account.refusals_count += 1
            else:
                account.vouched = auth
            waiting, account.asking = account.asking, None
            then(found)
            for ask in waiting or ():
                ask()

        self._ask_now(account, auth, judge)

    def _ask_now(self, account: Account, auth: object, then: Found) -> None:
        try:
            body = msgspec.json.encode({"auth": auth, "address": account.credentials.address})
        except (TypeError, ValueError, RecursionError):
            body = b""
        if not body or len(body) > _AUTH_LIMIT_BYTES:
            then(Unauthorized(f"auth is more than {_AUTH_LIMIT_BYTES:,} bytes, or no JSON"))
            return
        headers = {"Content-Type": "application/json", **account.credentials.headers}

        self._asking.ask(
            Question("POST", self._settings.auth_url, headers, body), lambda answer: then(self._judged(answer))
        )

    def _judged(self, answer: Answer | AskingFailed) -> Identity | HazoomError:
        if isinstance(answer, AskingFailed):
            return Unauthorized(f"auth_url: {answer}", retry=True)
        if answer.status in _REFUSING:
            return Unauthorized(f"auth_url answers {answer.status}")
        if answer.status != _OK:
            return Unauthorized(f"auth_url answers {answer.status}", retry=True)
        try:
            return identity_of_answer(answer.body, self._settings, self._wall_clock())
        except Unauthorized as error:
            return error

    def _refused(self, error: HazoomError) -> HazoomError:
        if isinstance(error, Unauthorized):
            self._note("who connects is not let in", error.reason)
        return error


def _field_of(auth: object, name: str) -> Any:
    return auth.get(name) if isinstance(auth, dict) else None
