"""Keys of a URL: when they are fetched, how long they count, and what an answer that lies does."""

from typing import Any

import msgspec
import pytest

from hazoom_ws.access.asking import Answer, AskingFailed, Question
from hazoom_ws.access.jwks import FRESH_S, PAUSE_S, STALE_S, Jwks
from hazoom_ws.access.tokens import KeysAreNeeded
from hazoom_ws.errors import Unauthorized
from minting import SECRET_KEY, key_of

KEYS = {name: key_of("ES256", name) for name in ("old", "new")}


class Provider:
    """Asks nobody: the test answers."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.asked: list[Any] = []
        self.noted: list[str] = []
        self.jwks = Jwks("https://keys", self, self.note, lambda: self.now_s)  # type: ignore[arg-type]

    def note(self, _what: str, detail: str) -> None:
        self.noted.append(detail)

    def ask(self, question: Question, done: Any) -> None:
        assert question.url == "https://keys"
        self.asked.append(done)

    def answer(self, *names: str, status: int = 200) -> None:
        keys = [KEYS[name].as_dict(private=False) for name in names]
        self.asked.pop()(Answer(status, msgspec.json.encode({"keys": keys})))

    def ids(self, key_id: str | None) -> list[str | None] | str:
        """Return the ids of the keys that are found, "fetches" if they are fetched first, which is begun, or "later"."""
        try:
            return [key.kid for key in self.jwks.find(key_id)]
        except KeysAreNeeded:
            self.jwks.fetch(lambda _: None)
            return "fetches"
        except Unauthorized as error:
            return "later" if error.retry else "never"


@pytest.fixture
def provider() -> Provider:
    provider = Provider()
    assert provider.ids("old") == "fetches"
    provider.answer("old")
    return provider


def test_keys_are_fetched_once_for_all_who_wait_and_then_remembered() -> None:
    provider, called = Provider(), []
    for number in range(3):
        with pytest.raises(KeysAreNeeded):
            provider.jwks.find("old")
        provider.jwks.fetch(lambda has_keys, number=number: called.append((number, has_keys)))
    assert len(provider.asked) == 1
    provider.answer("old")
    assert called == [(0, True), (1, True), (2, True)]
    assert provider.ids("old") == provider.ids(None) == ["old"]


def test_a_new_key_is_known_and_a_withdrawn_one_refused_when_they_are_not_fresh_any_more(provider: Provider) -> None:
    provider.now_s = FRESH_S
    assert provider.ids("old") == ["old"]
    provider.now_s = FRESH_S + 0.1
    assert provider.ids("old") == "fetches"
    provider.answer("new")
    assert (provider.ids("old"), provider.ids("new")) == ("later", ["new"])


def test_ids_that_are_not_known_make_us_ask_now_and_then_only(provider: Provider) -> None:
    for _ in range(100):
        assert provider.ids("who") == "later"
    provider.now_s = PAUSE_S
    assert provider.ids("new") == "fetches"
    assert provider.ids("old") == ["old"], "who has a key that is known waits for nobody's unknown one"
    provider.asked.pop(0)
    provider.jwks._on_answer(Answer(200, msgspec.json.encode({"keys": [KEYS["new"].as_dict(private=False)]})))
    assert provider.ids("new") == ["new"]
    assert provider.ids("who") == "later"


def test_keys_that_cannot_be_had_count_a_while_longer_and_then_not(provider: Provider) -> None:
    provider.now_s = FRESH_S + 1
    assert provider.ids("old") == "fetches"
    provider.asked.pop()(AskingFailed("no answer"))
    assert provider.noted == ["no answer"]
    assert provider.ids("old") == ["old"]
    provider.now_s = STALE_S + 1
    assert provider.ids("old") == "fetches"
    provider.answer("old", status=503)
    assert provider.ids("old") == "later"


def test_what_is_no_set_of_public_keys_is_left_out() -> None:
    provider = Provider()
    for body in (b"", b"[]", b'{"keys": 5}', b"\xff", b'{"keys": ' + b"[" * 100_000):
        provider.now_s += PAUSE_S
        assert provider.ids(None) == "fetches"
        provider.asked.pop()(Answer(200, body))
        assert provider.ids(None) == "later"
    good = KEYS["new"].as_dict(private=False)
    secret = SECRET_KEY.as_dict() | {"kid": "secret"}
    weak = key_of("RS256").as_dict(private=False) | {"n": "AQAB"}
    bad: list[Any] = [{}, {"kty": "EC"}, {"kty": []}, {**good, "use": "enc"}, {**good, "x": "!"}, secret, weak]
    provider.now_s += PAUSE_S
    assert provider.ids(None) == "fetches"
    provider.asked.pop()(Answer(200, msgspec.json.encode({"keys": [*bad, good]})))
    assert provider.ids(None) == ["new"]
