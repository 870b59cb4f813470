"""Which tokens let somebody in, and as whom."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from hazoom_ws.access.tokens import TokenCheck, settled_keys
from hazoom_ws.errors import Unauthorized
from hazoom_ws.settings import Settings, SettingsError
from hazoom_ws.settings.checks import checked
from minting import SECRET, key_of, token


def check_with(**settings: Any) -> TokenCheck:
    chosen = checked(Settings(auth="jwt", **({"jwt_secret": SECRET} | settings)))
    return TokenCheck(chosen, settled_keys(chosen))


def refused(check: TokenCheck, shown: object) -> bool:
    try:
        check.identify(shown)
    except Unauthorized as error:
        return not error.retry
    return False


def test_a_token_says_who_somebody_is_and_what_they_may() -> None:
    ends_at = time.time() + 60
    identity = check_with().identify(token(name="Ann \u00c4", rooms=["team-*"], llm=False, exp=ends_at))
    assert (identity.user.checked_id, identity.user.name, identity.expires_at) == ("ann", "Ann \u00c4", ends_at)
    assert [identity.rights.may_enter(room) for room in ("team-1", "general")] == [True, False]
    assert not identity.rights.may_ask


def test_without_a_name_the_id_is_shown_and_without_rooms_all_are_allowed() -> None:
    identity = check_with().identify(token(sub="u" * 200, name=None))
    assert (identity.user.name, identity.user.checked_id) == ("u" * 64, "u" * 200)
    assert identity.rights.may_enter("any")
    assert identity.rights.may_ask


def test_two_names_of_one_sub_are_one_user_and_two_subs_of_one_name_are_two() -> None:
    check = check_with()
    one, again, other = (
        check.identify(token(sub=sub, name=name)).user for sub, name in (("1", "Ann"), ("1", "Anne"), ("2", "Ann"))
    )
    assert len({one, again, other}) == 2
    assert one == again
    assert not one != again  # noqa: SIM202 - which tuples have by themselves
    assert one != other


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": None},
        {"sub": ""},
        {"sub": " "},
        {"sub": 7},
        {"sub": "x" * 256},
        {"sub": "a\u202eb"},
        {"exp": None},
        {"exp": "2099"},
        {"exp": True},
        {"exp": 0},
        {"exp": -1e300},
        {"nbf": 4e9},
        {"nbf": "0"},
        {"name": ""},
        {"name": 1},
        {"name": "x" * 65},
        {"name": "assistant"},
        {"rooms": "general"},
        {"rooms": [1]},
        {"rooms": {"general": True}},
        {"rooms": ["x"] * 1001},
        {"rooms": ["x*"] * 101},
        {"exp": 10**400},
        {"llm": "yes"},
        {"llm": 1},
        {"iss": 5},
        {"aud": {"a": 1}},
    ],
)
def test_a_claim_that_is_missing_wrong_or_over_refuses(claims: dict[str, Any]) -> None:
    assert refused(check_with(), token(**claims))


def test_null_for_a_claim_is_a_wrong_type() -> None:
    payload = {"sub": "ann", "exp": time.time() + 60, "rooms": None}
    assert refused(check_with(), signed_by_hand({"alg": "HS256"}, payload))


def test_leeway_is_for_what_is_shown() -> None:
    shown = [token(lives_s=-5), token(nbf=time.time() + 5)]
    assert [refused(check_with(jwt_leeway_s=0), one) for one in shown] == [True, True]
    assert [refused(check_with(jwt_leeway_s=60), one) for one in shown] == [False, False]


def test_issuer_and_audience_have_to_be_ours_where_they_are_set() -> None:
    check = check_with(jwt_issuer="https://us", jwt_audience="chat")
    assert not refused(check, token(iss="https://us", aud="chat"))
    assert not refused(check, token(iss="https://us", aud=["mail", "chat"]))
    for claims in ({"iss": "https://them", "aud": "chat"}, {"iss": "https://us", "aud": "mail"}, {"iss": "https://us"}, {}):
        assert refused(check, token(**claims)), claims


def encoded(what: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(what).encode()).decode().rstrip("=")


def signed_by_hand(header: dict[str, Any], payload: Any, secret: bytes = SECRET.encode()) -> str:
    import hashlib
    import hmac

    text = f"{encoded(header)}.{encoded(payload)}"
    signature = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def test_what_is_signed_by_nobody_or_by_somebody_else_refuses() -> None:
    check, good = check_with(), token()
    payload = {"sub": "ann", "exp": time.time() + 60}
    head, body, signature = good.split(".")
    for shown in (
        None,
        "",
        7,
        "a.b.c",
        "...",
        good + "x",
        f"{head}.{body}.",
        f"{head}.{encoded(payload)}.{signature}",
        f"{encoded({'alg': 'none'})}.{encoded(payload)}.",
        f"{encoded({'alg': 'NONE'})}.{encoded(payload)}.",
        signed_by_hand({"alg": "HS256"}, payload, b"another secret of thirty-two bytes"),
        signed_by_hand({"alg": "HS384"}, payload),
        signed_by_hand({"alg": ["HS256"]}, payload),
        signed_by_hand({}, payload),
        signed_by_hand({"alg": "HS256", "kid": 5}, payload),
        signed_by_hand({"alg": "HS256", "crit": ["exp"]}, payload),
        signed_by_hand({"alg": "HS256", "b64": False, "crit": ["b64"]}, payload),
        signed_by_hand({"alg": "HS256"}, []),
        signed_by_hand({"alg": "HS256", "x": "y" * 2000}, payload),
        "\u00e4" * 10,
        "x" * 20_000,
    ):
        assert refused(check, shown), shown


def test_a_header_may_say_what_means_nothing_here() -> None:
    payload = {"sub": "ann", "exp": time.time() + 60}
    assert not refused(check_with(), signed_by_hand({"alg": "HS256", "jku": "https://evil.example", "own": 1}, payload))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_is_read_from_a_file_and_is_no_secret(algorithm: str, tmp_path: Path) -> None:
    key = key_of(algorithm)
    pem = key.as_pem(private=False)
    path = tmp_path / "key.pem"
    path.write_bytes(pem)
    check = check_with(jwt_secret="", jwt_key_file=str(path))
    assert check.identify(token(key, algorithm)).user.name == "Ann"
    assert refused(check, token(key_of(algorithm), algorithm))
    # The oldest trick: the public key as the secret of HS256.
    assert refused(check, signed_by_hand({"alg": "HS256"}, {"sub": "ann", "exp": time.time() + 60}, pem))


def test_an_algorithm_that_is_not_set_is_none(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    key = key_of("RS256")
    path.write_bytes(key.as_pem(private=False))
    with pytest.raises(SettingsError, match="ES256 cannot be checked"):
        check_with(jwt_secret="", jwt_key_file=str(path), jwt_algorithms=("ES256",))
    with pytest.raises(SettingsError, match="RS256 cannot be checked"):
        check_with(jwt_algorithms=("RS256",))


def pem_of(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_key_files_that_hold_none_stop_the_start(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    for content, problem in (
        (b"nothing", "no public key"),
        (pem_of(rsa.generate_private_key(65537, 1024)), "2048 bits"),
        (pem_of(ec.generate_private_key(ec.SECP384R1())), "of a kind that no algorithm"),
    ):
        path.write_bytes(content)
        with pytest.raises(SettingsError, match=problem):
            check_with(jwt_secret="", jwt_key_file=str(path))
    with pytest.raises(SettingsError, match="cannot be read"):
        check_with(jwt_secret="", jwt_key_file=str(tmp_path / "gone"))


@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode() + ".x.y"))
def test_whatever_is_shown_is_a_token_or_refused(shown: str) -> None:
    assert refused(check_with(), shown)


@given(st.data())
def test_a_changed_token_is_refused(data: st.DataObject) -> None:
    good = token(exp=4_000_000_000)
    at = data.draw(st.integers(0, len(good) - 2))  # the last character has bits that say nothing
    letter = data.draw(st.sampled_from("AbZ9-_.").filter(lambda letter: letter != good[at]))
    assert refused(check_with(), good[:at] + letter + good[at + 1 :])
