"""Lets a client in, or does not: the four modes of the setting `auth`. Called within turns; what has to wait waits beside.

What is found out of a client belongs to its `Account`, and so to its Engine.IO session with all its namespaces: each of
them says who it is when it connects, and another one than before is refused. Who has gone meanwhile gets nothing.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from hazoom_ws.access.api_keys import ApiKeys
from hazoom_ws.access.asking import TIMEOUT_S, Answer, Asking, AskingFailed, Question
from hazoom_ws.access.identities import Identity, identity_of_answer
from hazoom_ws.access.jwks import Jwks
from hazoom_ws.access.limits import Account
from hazoom_ws.access.tokens import KeysAreNeeded, TokenCheck, settled_keys
from hazoom_ws.chat.presence import User
from hazoom_ws.deadlines import Deadlines
from hazoom_ws.errors import HazoomError, NotAllowed, TooManyConnections, Unauthorized
from hazoom_ws.settings import Settings

_REFUSING = (401, 403)
_OK = 200
_AUTH_LIMIT_BYTES = 32_768
_WAITING_LIMIT_COUNT = 16  # of one connection
_REFUSALS_LIMIT_COUNT = 10  # after which nothing that a connection shows is looked at any more
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
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """``note(what, detail)`` tells the log why somebody is refused, without secrets. Raises `SettingsError`."""
        self._settings = settings
        self._asking = asking
        self._api_keys = api_keys
        self._note = note
        self._clock = clock
        self._wall_clock = wall_clock
        self._logged_out: Deadlines[User] = Deadlines(2 * TIMEOUT_S)  # longer than anybody is asked
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

        def decide(found: Identity | HazoomError | None) -> None:
            then(self._bound(account, auth, found))

        if self._settings.auth == "open":
            is_stranger = account.credentials.is_from_elsewhere
            decide(Unauthorized("from another machine, and allow_open is not set") if is_stranger else None)
        elif account.refusals_count >= _REFUSALS_LIMIT_COUNT:
            decide(Unauthorized("refused too often"))
        elif self._settings.auth == "api_key":
            decide(None if self._has_key(account, auth) else Unauthorized("no key of ours"))
        elif self._tokens is not None:
            self._check(self._tokens, auth, decide)
        else:
            self._ask(account, auth, decide, is_refresh=False)

    def refresh(self, account: Account, token: str, then: Then) -> None:
        """Find out whether a client that is in may stay with another token of the same user, whose rights it has then.

        Nothing has changed where ``then`` is called with a refusal. What has ended is none, whatever clocks say elsewhere.
        """

        def change(found: Identity | HazoomError) -> None:
            then(self._changed(account, found))

        if account.identity is None:
            then(NotAllowed("refresh a token: nobody asks for tokens here"))
        elif self._tokens is not None:
            self._check(self._tokens, {"token": token}, change)
        else:
            self._ask(account, {"token": token}, change, is_refresh=True)

    def note_logged_out(self, user: User) -> None:
        """Let nobody in as a user because of what somebody was asked before now."""
        now_s = self._clock()
        for _ in self._logged_out.pop_due(now_s):
            pass
        self._logged_out.start(user, now_s)

    # What becomes of what was found out

    def _bound(self, account: Account, auth: object, found: Identity | HazoomError | None) -> HazoomError | None:
        """Let an account have its identity, the first one that there is; return why not."""
        if account.is_closed:
            return Unauthorized("it has gone")
        if isinstance(found, Identity):
            found = self._bind(account, auth, found)
        if isinstance(found, Unauthorized):
            account.refusals_count += not found.retry  # a site that is away says nothing of who asks
            self._note("who connects is not let in", found.reason)
        return found

    def _bind(self, account: Account, auth: object, found: Identity) -> HazoomError | None:
        if account.identity is not None:
            return None if account.identity.user == found.user else Unauthorized("another user than the connection's")
        try:
            account.set_user(found.user)
        except TooManyConnections as error:
            return error
        account.identity, account.vouched = found, auth
        return None

    def _changed(self, account: Account, found: Identity | HazoomError) -> HazoomError | None:
        """Let an account have another identity, of the same user; return why not."""
        if account.is_closed:
            return Unauthorized("it has gone")
        if isinstance(found, Identity):
            if account.identity is None or found.user != account.identity.user:
                found = Unauthorized("the token of another user")
            elif found.has_ended(self._wall_clock()):
                found = Unauthorized("it has expired")
            else:
                account.identity = found
                return None
        if isinstance(found, Unauthorized):
            self._note("a token is not taken", found.reason)
        return found

    # Ways to find out

    def _has_key(self, account: Account, auth: object) -> bool:
        key = _field_of(auth, "api_key")
        return account.credentials.has_key or (isinstance(key, str) and self._api_keys.holds(key))

    def _check(self, tokens: TokenCheck, auth: object, then: Found) -> None:
        token = _field_of(auth, "token")
        try:
            found: Identity | HazoomError = tokens.identify(token)
        except Unauthorized as error:
            found = error
        except KeysAreNeeded:
            assert self._jwks is not None
            self._jwks.fetch(lambda has_keys: self._check_with_keys(tokens, token, then, has_keys=has_keys))
            return
        then(found)

    def _check_with_keys(self, tokens: TokenCheck, token: object, then: Found, *, has_keys: bool) -> None:
        """Check a token once more; ``has_keys``: with all keys that there are, so that a refusal is the last word."""
        try:
            found: Identity | HazoomError = tokens.identify(token)
        except Unauthorized as error:
            found = Unauthorized(error.reason, retry=error.retry and not has_keys)
        except KeysAreNeeded:  # the fetch took longer than keys are remembered
            found = Unauthorized("the keys at jwt_jwks_url are too old", retry=True)
        then(found)

    def _ask(self, account: Account, auth: object, then: Found, *, is_refresh: bool) -> None:
        """Ask `auth_url`, once at a time for a connection; what was answered before counts for a further namespace."""
        if account.is_closed:
            return
        if account.asking is not None:
            if len(account.asking) < _WAITING_LIMIT_COUNT:
                account.asking.append(lambda: self._ask(account, auth, then, is_refresh=is_refresh))
            else:
                then(Unauthorized(f"more than {_WAITING_LIMIT_COUNT} namespaces at once", retry=True))
            return
        known = account.identity
        if not is_refresh and known is not None and account.vouched == auth and not known.has_ended(self._wall_clock()):
            then(known)
            return
        body = _asked_with(auth, account.credentials.address)
        if body is None:
            then(Unauthorized(f"auth is more than {_AUTH_LIMIT_BYTES:,} bytes, or no JSON"))
            return
        account.asking, asked_at_s = deque(), self._clock()

        def judge(answer: Answer | AskingFailed) -> None:
            waiting, account.asking = account.asking, None
            try:
                then(self._judged(answer, asked_at_s))
            finally:
                for ask in waiting or ():
                    ask()

        headers = {"Content-Type": "application/json", **account.credentials.headers}
        self._asking.ask(Question("POST", self._settings.auth_url, headers, body), judge)

    def _judged(self, answer: Answer | AskingFailed, asked_at_s: float) -> Identity | HazoomError:
        if isinstance(answer, AskingFailed):
            return Unauthorized(f"auth_url: {answer}", retry=True)
        if answer.status in _REFUSING:
            return Unauthorized(f"auth_url answers {answer.status}")
        if answer.status != _OK:
            return Unauthorized(f"auth_url answers {answer.status}", retry=True)
        try:
            found = identity_of_answer(answer.body, self._settings, self._wall_clock())
        except Unauthorized as error:
            return error
        due_at_s = self._logged_out.due_at_s(found.user)
        if due_at_s is not None and due_at_s - self._logged_out.period_s >= asked_at_s:
            return Unauthorized("logged out since it was asked", retry=True)
        return found


def _asked_with(auth: object, address: str) -> bytes | None:
    try:
        body = msgspec.json.encode({"auth": auth, "address": address})
    except (TypeError, ValueError, RecursionError):
        return None
    return body if len(body) <= _AUTH_LIMIT_BYTES else None


def _field_of(auth: object, name: str) -> Any:
    return auth.get(name) if isinstance(auth, dict) else None
