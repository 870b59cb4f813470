"""Which proxies the AI backend can be asked through, and what is said of the others."""

import os

import pytest

from hazoom_ws import create_app
from hazoom_ws.llm_bridge.proxies import check_proxy
from hazoom_ws.settings import Settings, SettingsError

BACKEND = "http://llm.example.com:9001/chat/"
OVER_TLS = "https://llm.example.com/chat/"
SOCKS = "socks5://ann:secret@proxy.example.com:1080"
USABLE = "http://ann:secret@proxy.example.com:3128"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def refusal(url: str) -> str:
    with pytest.raises(SettingsError) as refused:
        check_proxy(url)
    assert "secret" not in str(refused.value)
    assert "proxy.example.com:1080" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    "proxy", [USABLE, "https://proxy.example.com", "10.0.0.1:3128", "proxy.example.com", "http://[::1]:80"]
)
@pytest.mark.parametrize(("name", "url"), [("HTTP_PROXY", BACKEND), ("https_proxy", OVER_TLS), ("ALL_PROXY", BACKEND)])
def test_http_proxies_are_used(monkeypatch: pytest.MonkeyPatch, name: str, url: str, proxy: str) -> None:
    monkeypatch.setenv(name, proxy)
    check_proxy(url)


@pytest.mark.parametrize("scheme", ["socks", "socks4", "socks5", "socks5h", "SOCKS5"])
@pytest.mark.parametrize(
    ("name", "url", "instead"),
    [
        ("HTTP_PROXY", BACKEND, "HTTP_PROXY"),
        ("http_proxy", BACKEND, "HTTP_PROXY"),
        ("HTTPS_PROXY", OVER_TLS, "HTTPS_PROXY"),
        ("all_proxy", OVER_TLS, "HTTPS_PROXY"),
    ],
)
def test_a_socks_proxy_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str, instead: str, scheme: str
) -> None:
    monkeypatch.setenv(name, SOCKS.replace("socks5", scheme))
    line = refusal(url)
    assert line.startswith(f"{name} is a SOCKS proxy")
    assert f"set {instead} to one, or add the backend's host to NO_PROXY" in line


@pytest.mark.parametrize(
    "proxy", ["ftp://proxy.example.com:1080", "http://", "http://a:secret@b:99999", "http://b:0", "http://[::"]
)
def test_what_is_no_proxy_is_named(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    assert refusal(BACKEND).startswith("HTTP_PROXY is no address of an HTTP proxy")


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"ALL_PROXY": SOCKS}, "http://localhost:9001/chat/"),
        ({"ALL_PROXY": SOCKS, "HTTP_PROXY": USABLE}, BACKEND),
        ({"ALL_PROXY": SOCKS, "NO_PROXY": "example.com"}, BACKEND),
        ({"HTTPS_PROXY": SOCKS}, BACKEND),
    ],
)
def test_a_proxy_that_is_for_others_keeps_nobody_from_starting(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    check_proxy(url)


def test_an_application_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", SOCKS)
    with pytest.raises(SettingsError, match="ALL_PROXY is a SOCKS proxy"):
        create_app(Settings(log_url="memory://", llm_url=BACKEND))
