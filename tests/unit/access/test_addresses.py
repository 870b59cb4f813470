import pytest

from hazoom_ws.access.addresses import address_reader
from hazoom_ws.settings import SettingsError
from hazoom_ws.settings.sources import load_settings


def read(remote: str, forwarded: str | None = None, trusted: tuple[str, ...] = ()) -> str:
    headers = {} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}
    return address_reader(trusted)({"REMOTE_ADDR": remote, **headers})


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", ""),
        ("127.3.2.1", ""),
        ("::1", ""),
        ("::ffff:127.0.0.1", ""),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("a socket of unix", ""),
    ],
)
def test_limits_go_by_the_address_but_for_loopback(remote: str, expected: str) -> None:
    assert read(remote) == expected


def test_nobody_is_believed_who_is_not_trusted() -> None:
    assert read("203.0.113.7", "198.51.100.1") == "203.0.113.7"
    assert read("203.0.113.7", "198.51.100.1", ("127.0.0.0/8",)) == "203.0.113.7"
    assert read("127.0.0.1", "198.51.100.1") == ""


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("9.9.9.9, 198.51.100.1", "198.51.100.1"),
        ("9.9.9.9,198.51.100.1 , 10.0.0.3", "198.51.100.1"),
        ("2001:db8::5", "2001:db8::/64"),
        ("nonsense", "unreadable"),
        ("198.51.100.1:4711", "198.51.100.1"),
        ("[2001:db8::5]:443", "2001:db8::/64"),
        ("[2001:db8::5]", "2001:db8::/64"),
        ("9.9.9.9, 10.0.0.3:80", "9.9.9.9"),
        (":80", "unreadable"),
        ("", ""),
        (None, ""),
        ("10.1.1.1, 10.2.2.2", "10.1.1.1"),
        ("x" * 100_000 + ", 198.51.100.1", "198.51.100.1"),
    ],
)
def test_of_a_trusted_proxy_the_last_address_that_is_not_theirs_counts(forwarded: str | None, expected: str) -> None:
    assert read("127.0.0.1", forwarded, ("127.0.0.0/8", "10.0.0.0/8")) == expected


def test_trusted_proxies_are_networks() -> None:
    loaded = load_settings(environment={"HAZOOM_TRUSTED_PROXIES": "10.0.0.0/8, ::1"})
    assert loaded.trusted_proxies == ("10.0.0.0/8", "::1")
    assert load_settings(environment={"HAZOOM_TRUSTED_PROXIES": ""}).trusted_proxies == ()
    with pytest.raises(SettingsError, match=r"HAZOOM_TRUSTED_PROXIES.*network"):
        load_settings(environment={"HAZOOM_TRUSTED_PROXIES": "proxy.example.com"})
