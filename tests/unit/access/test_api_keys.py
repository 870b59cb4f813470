import hmac
import logging
from pathlib import Path

import pytest

from hazoom_ws.access import api_keys
from hazoom_ws.access.api_keys import ApiKeys
from hazoom_ws.access.redaction import RedactingFormatter, redact
from hazoom_ws.settings import Settings, SettingsError
from hazoom_ws.settings.checks import checked
from hazoom_ws.settings.sources import load_settings

OLD, NEW = "old-" + "k" * 28, "new-" + "k" * 28
SHORT = "fifteen-chars-k"


def keys_in(folder: Path, text: str | bytes) -> ApiKeys:
    path = folder / "keys"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return ApiKeys.of(Settings(api_keys_file=str(path)))


def test_each_of_several_keys_is_one_and_nothing_else_is():
    keys = ApiKeys.of(load_settings(environment={"HAZOOM_API_KEYS": f" {OLD} ,{NEW}"}))
    assert keys.holds(OLD)
    assert keys.holds(NEW)
    for text in ("", OLD[:-1], f"{OLD} ", OLD.upper(), f"{OLD},{NEW}", "\udcff", "\u00fc" * 32, "k" * 100_000):
        assert not keys.holds(text)


def test_without_a_key_nobody_has_one():
    keys = ApiKeys.of(Settings())
    assert not keys
    assert not keys.holds("")


def test_every_key_is_compared_whichever_it_is(monkeypatch):
    compared, real = [], hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(len(one) == len(other) == 32)
        return real(one, other)

    monkeypatch.setattr(api_keys.hmac, "compare_digest", compare)
    keys = ApiKeys((OLD, NEW))
    for text in (OLD, NEW, "x"):
        keys.holds(text)
    assert compared == [True] * 6


def test_a_file_has_one_key_a_line(tmp_path):
    keys = keys_in(tmp_path, f"\ufeff# old\r\n  {OLD}  \r\n\r\n#{NEW}\n")
    assert keys.holds(OLD)
    assert not keys.holds(NEW)


def test_the_keys_of_both_settings_count(tmp_path):
    (tmp_path / "keys").write_text(OLD)
    keys = ApiKeys.of(Settings(api_keys=(NEW,), api_keys_file=str(tmp_path / "keys")))
    assert keys.holds(OLD)
    assert keys.holds(NEW)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{OLD}\n{SHORT}\n", "line 2: a key has at least 16 characters"),
        (f"{OLD} {NEW}", "line 1"),
        ("k" * 513, "line 1"),
        ("\u00fc" * 16, "line 1"),
        ("# none\n", "holds no key"),
        (b"\xff" * 20, "UTF-8"),
        ("k" * 1_048_577, "1048576 bytes"),
        ("\n".join(f"{number:016}" for number in range(101)), "101 keys, the limit is 100"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_without_repeating_a_key(tmp_path, text, words):
    with pytest.raises(SettingsError) as caught:
        keys_in(tmp_path, text)
    assert "api_keys_file" in str(caught.value)
    assert words in str(caught.value)
    assert not any(secret in str(caught.value) for secret in (OLD, NEW, SHORT, "\u00fc", "kkkkkkkk"))


def test_a_key_in_the_place_of_a_file_is_not_repeated():
    with pytest.raises(SettingsError, match="api_keys_file: the file cannot be read: No such file") as caught:
        ApiKeys.of(Settings(api_keys_file=OLD))
    assert OLD not in str(caught.value)


@pytest.mark.parametrize("key", [SHORT, f"{OLD} x", "k" * 513, "\u00fc" * 16, "key\twith-a-tab-in-it"])
def test_a_key_that_cannot_be_is_refused_and_not_repeated(key):
    for settings in (
        lambda: load_settings(environment={"HAZOOM_API_KEYS": key}),
        lambda: checked(Settings(api_keys=(key,))),
    ):
        with pytest.raises(SettingsError, match=r"(?i)api_keys cannot be used: a key has") as caught:
            settings()
        assert key not in str(caught.value)


def test_settings_and_keys_do_not_show_themselves():
    settings = Settings(api_keys=(OLD, NEW), llm_url="http://u:geheim@host/", log_url="memory://")
    for text in (repr(settings), str(settings), f"{settings}", repr(ApiKeys.of(settings)), repr([settings])):
        assert not any(secret in text for secret in (OLD, NEW, "geheim"))
    assert "port=5000" in repr(settings)
    assert "api_keys=()" in repr(Settings())


@pytest.mark.parametrize(
    "line",
    [
        "GET /socket.io/?EIO=4&api_key={}&transport=polling HTTP/1.1",
        "GET /?API%5Fkey={} HTTP/1.1",
        "GET /?token={}",
        "X-API-Key: {}",
        "{{'HTTP_X_API_KEY': '{}'}}",
        "{{'QUERY_STRING': 'api_key={}'}}",
        '{{"api_key": "{}", "user_name": "Ann"}}',
        "{{'token': '{}'}}",
        "{{'guest_key': '{}'}}",
        "Authorization: Bearer {}",
        "'HTTP_AUTHORIZATION': 'Basic {}'",
        "Cookie: a=b; sessionid={}",
    ],
)
def test_no_line_shows_a_key(line):
    line = f"before {line} after"
    redacted = redact(line.format(OLD))
    assert OLD not in redacted
    assert redacted.startswith("before ")
    assert "***" in redacted


def test_what_is_no_secret_is_left_as_it_is():
    for line in (
        "first token: 30 ms",
        "tokens=3",
        "api_keys cannot be used",
        "HAZOOM_API_KEYS_FILE: 3",
        "the token is old",
    ):
        assert redact(line) == line


def test_a_crash_is_redacted_too():
    formatter = RedactingFormatter("%(message)s")
    try:
        raise ValueError(f"/?api_key={OLD}")
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "%s", ("failed",), (type(error), error, error.__traceback__))
    assert OLD not in formatter.format(record)
    assert "Traceback" in formatter.format(record)
