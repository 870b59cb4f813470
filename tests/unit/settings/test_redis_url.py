"""A Redis' URL means what the guide says, and what is not such a URL is refused; secrets: see test_settings."""

import pytest

from hazoom_ws.settings.redis_url import Node, parse_redis_url

TOLD = {
    "redis://host": ("host:6379", [("host", "redis://host:6379/0")]),
    "redis://u:p%40@host:1/7": ("host:1", [("host", "redis://u:p%40@host:1/7")]),
    "rediss://:p@[::1]:1/2?ssl_ca_certs=/a%20b&ssl_check_hostname=no": (
        "[::1]:1",
        [("::1", "rediss://:p@[::1]:1/2?ssl_ca_certs=%2Fa+b&ssl_check_hostname=no")],
    ),
    "unix:///run/redis.sock?db=3&password=p": ("/run/redis.sock", []),
    "redis+sentinel://u:p@one,two:7/my%20master/3?sentinel_password=s": (
        "my master of the Sentinels one:26379, two:7",
        [("one", "redis://u:p@one:26379/3"), ("two", "redis://u:p@two:7/3")],
    ),
    "rediss+sentinel://one/mymaster/?ssl_ca_certs=/a": (
        "mymaster of the Sentinels one:26379",
        [("one", "rediss://one:26379/0?ssl_ca_certs=%2Fa")],
    ),
    "redis+cluster://one:1,[::1]:2": (
        "the cluster one:1, [::1]:2",
        [("one", "redis://one:1/0"), ("::1", "redis://[::1]:2/0")],
    ),
    "rediss+cluster://:p@one,two:7/0": (
        "the cluster one:6379, two:7",
        [("one", "rediss://:p@one:6379/0"), ("two", "rediss://:p@two:7/0")],
    ),
}
REFUSED = {
    "redis://": "a Redis is named like",
    "redis://host:0": "a Redis is named like",
    "redis://host:x": "a Redis is named like",
    "redis://one,two": "a Redis is named like",
    "redis://host/0#x": "a Redis is named like",
    "redis+cluster://one,": "a Redis is named like",
    "redis+cluster://[one": "a Redis is named like",
    "redis://host/10000": "the number of a database, 9999 at most",
    "redis://host/x": "the number of a database, 9999 at most",
    "redis+cluster://host/1": "has the database 0 only",
    "redis+sentinel://host": "how they call the master",
    "unix://host/redis.sock": "by its whole path",
    "unix:///": "by its whole path",
    "redis://host?socket_timeout=1000": "there are none without TLS",
    "redis+cluster://host?sentinel_password=x": "there are none without TLS",
    "rediss://host?client_name=x": "there are ssl_ca_certs, ssl_ca_path",
    "unix:///redis.sock?ssl_ca_certs=x": "there are db, password, username",
    "rediss://host?ssl_cert_reqs=no": "required, optional or none",
}


@pytest.mark.parametrize("url", TOLD)
def test_a_url_names_a_redis(url: str) -> None:
    shown, nodes = TOLD[url]
    parsed = parse_redis_url(url)
    assert parsed.shown == shown
    assert [(node.host, parsed.of_node(node)) for node in parsed.nodes] == nodes
    assert all(secret not in repr(parsed) for secret in (":p@", "p%40", "password"))


def test_sentinels_have_accounts_of_their_own() -> None:
    parsed = parse_redis_url("rediss+sentinel://u:p@one/m/3?sentinel_username=s&sentinel_password=a%20b&ssl_ca_certs=/a")
    assert parsed.of_sentinel(Node("two", 5)) == (
        "rediss://two:5?ssl_ca_certs=%2Fa",
        {"username": "s", "password": "a b"},
    )


@pytest.mark.parametrize("url", REFUSED)
def test_what_is_no_such_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=REFUSED[url]):
        parse_redis_url(url)
