"""Where a Redis can be: behind TLS or a socket, named by Sentinels, a node of a cluster; and waiting for replicas."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.message_log.redis.finding import OUR_SLOT
from hazoom_ws.settings import Settings, SettingsError
from redis_server import Patient, RedisServer, running_cluster, running_redis, running_sentinel
from servers import free_port, wait_until

pytestmark = pytest.mark.redis
PASSWORD = "not to be shown"


@pytest.fixture
def open_redis(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    with ExitStack() as stack:

        def make(url: str, **options: Any) -> Any:
            log = open_log(Settings(**{"log_url": url, "log_redis_timeout_s": 2.0} | options), tmp_path)
            stack.callback(log.close)
            return Patient(log)

        yield make


def say(log: Any, text: str) -> None:
    log.append(room="a", user="Ann", message=text, timestamp=1.0)
    batch = log.pop_batch()
    try:
        log.write(batch)
    except LogUnavailable:
        log.forget(batch)
        raise


def texts(log: Any) -> list[str]:
    return [entry.message for entry in log.read("a", limit=50, newest=True).messages]


def mend(log: Any) -> None:
    def is_well() -> bool:
        log.reopen()
        return log.problem is None

    wait_until(is_well, "the log is well again")


def is_kept(open_redis: Callable[..., Any], url: str) -> bool:
    """Return whether what is said by one log is read by the next."""
    log = open_redis(url)
    say(log, "kept")
    log.close()
    return texts(open_redis(url)) == ["kept"]


def test_a_redis_is_reached_by_tls_with_a_certificate_that_is_checked(
    open_redis: Callable[..., Any], tmp_path: Path
) -> None:
    authority = trustme.CA()
    site, client = authority.issue_cert("localhost"), authority.issue_cert("hazoom@example.com")
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "site", "key", "client", "client_key")}
    authority.cert_pem.write_to_path(files["ca"])
    site.cert_chain_pems[0].write_to_path(files["site"])
    site.private_key_pem.write_to_path(files["key"])
    client.cert_chain_pems[0].write_to_path(files["client"])
    client.private_key_pem.write_to_path(files["client_key"])
    port = free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", str(files["site"]), "--tls-key-file", str(files["key"])]
    with running_redis(*options, "--tls-ca-cert-file", str(files["ca"]), password=PASSWORD):
        base = f"rediss://:not%20to%20be%20shown@localhost:{port}/0"
        own = f"&ssl_certfile={files['client']}&ssl_keyfile={files['client_key']}"
        assert is_kept(open_redis, f"{base}?ssl_ca_certs={files['ca']}{own}")
        for options in (own.replace("&", "?", 1), ""):  # not trusted; no certificate of one's own
            with pytest.raises(SettingsError, match=f"Redis at localhost:{port}: Redis cannot be reached") as caught:
                open_redis(base + options)
            assert PASSWORD not in str(caught.value)
            assert "not%20" not in str(caught.value)
        with pytest.raises(SettingsError, match="localhost"):
            open_redis(f"{base}?ssl_ca_certs={tmp_path}/none.pem")


def test_a_redis_is_reached_by_a_socket_in_a_folder(open_redis: Callable[..., Any], tmp_path: Path) -> None:
    with running_redis("--unixsocket", str(tmp_path / "redis.sock"), password=PASSWORD):
        assert is_kept(open_redis, f"unix://{tmp_path}/redis.sock?db=7&password=not%20to%20be%20shown")
        with pytest.raises(SettingsError, match=r"redis\.sock: Redis wants a password") as caught:
            open_redis(f"unix://{tmp_path}/redis.sock?password=secret")
        assert "secret" not in str(caught.value)


def test_after_a_failover_the_log_goes_on_with_the_master_that_sentinels_name(
    open_redis: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    options = ("--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0")
    with ExitStack() as stack:

        def start(*more: str) -> RedisServer:
            return stack.enter_context(running_redis(*options, *more, password=PASSWORD))

        first = start()
        second = start("--replicaof", "127.0.0.1", str(first.port))
        own = stack.enter_context(running_sentinel(first, "requirepass of-sentinels"))
        with redis.Redis(port=own, password="of-sentinels") as sentinel:
            wait_until(lambda: sentinel.sentinel_slaves("mymaster"), "the Sentinel knows the replica")
        wait_until(lambda: told_of_replication(second)["master_link_status"] == "up", "the replica has all")
        nowhere = free_port()  # a Sentinel that is gone
        url = (
            f"redis+sentinel://:not%20to%20be%20shown@127.0.0.1:{nowhere},127.0.0.1:{own}/mymaster/3"
            "?sentinel_password=of-sentinels"
        )
        for wrong in (url.replace("of-sentinels", "secret"), url.replace("mymaster", "other")):
            with pytest.raises(SettingsError, match="no Sentinel that can be reached knows the master") as caught:
                open_redis(wrong)
            assert "secret" not in str(caught.value)
            assert "shown" not in str(caught.value)
        log = open_redis(url, log_redis_wait_replicas=1)
        first.ask("SCRIPT", "FLUSH")  # a restart has this effect too
        say(log, "1")
        assert "taken over" not in caplog.text
        first.kill()
        with pytest.raises(LogUnavailable):
            say(log, "2")
        wait_until(lambda: told_of_replication(second)["role"] == "master", "the replica has taken over")
        wait_until(lambda: log.reopen() or "too few replicas" in log.problem, "it has no replica")
        start("--replicaof", "127.0.0.1", str(second.port))
        mend(log)
        say(log, "3")
        assert texts(log) == ["1", "3"]
        assert [record.levelno for record in caplog.records if "taken over" in record.message] == [logging.WARNING]
        assert f"127.0.0.1:{second.port} now" in caplog.text
        assert PASSWORD not in caplog.text
        log.close()
        assert texts(open_redis(url)) == ["1", "3"]


def told_of_replication(server: RedisServer) -> dict[str, Any]:
    with server.client() as client:
        return client.info("replication")


def test_in_a_cluster_the_log_is_on_one_node_and_follows_its_slot(open_redis: Callable[..., Any]) -> None:
    with running_cluster(3) as nodes:
        url = f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{nodes[0].port}"
        with pytest.raises(SettingsError, match=r"is a node of a Redis Cluster; name that as redis\+cluster://"):
            open_redis(nodes[0].url())
        log = open_redis(url)
        say(log, "1")
        [owner] = [node for node in nodes if node.ask("DBSIZE") != b":0"]
        assert owner is not nodes[0], "it is another than the one that is asked"
        for node in nodes:  # else each would get all that is published, to find that nobody there wants it
            assert node.ask("PUBSUB", "SHARDCHANNELS") == (b"*2" if node is owner else b"*0")
            assert node.ask("PUBSUB", "CHANNELS") == b"*0"
        move_slot(owner, next(node for node in nodes if node is not owner), nodes)
        with pytest.raises(LogUnavailable):
            say(log, "2")
        assert log.problem == "the cluster has moved our keys to another node"
        mend(log)
        say(log, "3")
        assert texts(log) == ["1", "3"]
        owner.kill()  # it has nothing to do with it any more
        say(log, "4")
        log.close()
        assert texts(open_redis(url)) == ["1", "3", "4"]


def move_slot(owner: RedisServer, heir: RedisServer, nodes: list[RedisServer]) -> None:
    """Move our slot to another node, as redis-cli does it."""
    with owner.client() as of_owner, heir.client() as of_heir:
        from_id, to_id = (of_one.execute_command("CLUSTER", "MYID").decode() for of_one in (of_owner, of_heir))
        of_heir.execute_command("CLUSTER", "SETSLOT", OUR_SLOT, "IMPORTING", from_id)
        of_owner.execute_command("CLUSTER", "SETSLOT", OUR_SLOT, "MIGRATING", to_id)
        keys = of_owner.execute_command("CLUSTER", "GETKEYSINSLOT", OUR_SLOT, 1000)
        of_owner.execute_command("MIGRATE", "127.0.0.1", heir.port, "", 0, 5000, "KEYS", *keys)
    for node in (heir, owner, *nodes):
        assert node.ask("CLUSTER", "SETSLOT", str(OUR_SLOT), "NODE", to_id) == b"+OK"
