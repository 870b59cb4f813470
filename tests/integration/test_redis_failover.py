"""A server whose Redis is named by a Sentinel, all by TLS: the master dies, and people talk on with the replica."""

from contextlib import ExitStack
from pathlib import Path

import redis
import trustme

from redis_server import RedisServer, running_redis, running_sentinel
from servers import OfficialClient, free_port, hazoom, wait_until

PASSWORD = "not-to-be-shown"


def test_people_talk_on_after_a_failover_and_nothing_is_lost_that_was_acknowledged(tmp_path: Path) -> None:
    authority = trustme.CA()
    site = authority.issue_cert("127.0.0.1")
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "site", "key")}
    authority.cert_pem.write_to_path(files["ca"])
    site.cert_chain_pems[0].write_to_path(files["site"])
    site.private_key_pem.write_to_path(files["key"])
    tls = {
        "tls-cert-file": str(files["site"]),
        "tls-key-file": str(files["key"]),
        "tls-ca-cert-file": str(files["ca"]),
        "tls-auth-clients": "no",
        "tls-replication": "yes",
    }
    with ExitStack() as stack:

        def start(*more: str) -> tuple[RedisServer, int]:
            port = free_port()
            own = tls | {"tls-port": str(port), "masterauth": PASSWORD, "repl-diskless-sync-delay": "0"}
            options = [word for name, value in own.items() for word in (f"--{name}", value)]
            return stack.enter_context(running_redis(*options, *more, password=PASSWORD)), port

        master, master_port = start()
        for _ in range(2):
            start("--replicaof", "127.0.0.1", str(master_port))
        sentinel_port = free_port()
        lines = [f"{name} {value}" for name, value in tls.items()]
        sentinel = stack.enter_context(
            running_sentinel(master, f"tls-port {sentinel_port}", *lines, master_port=master_port)
        )

        def have_all() -> bool:
            with master.client() as client:
                told = client.info("replication")
            followers = [told[name] for name in ("slave0", "slave1") if name in told]
            return [each["offset"] for each in followers] == [told["master_repl_offset"]] * 2

        with redis.Redis(port=sentinel) as client:
            wait_until(lambda: len(client.sentinel_slaves("mymaster")) == 2, "the Sentinel knows the replicas")
        wait_until(have_all, "the replicas have all")
        env = {
            "HAZOOM_LOG_URL": f"rediss+sentinel://:{PASSWORD}@127.0.0.1:{sentinel_port}/mymaster/2?ssl_ca_certs={files['ca']}",
            "HAZOOM_LOG_REDIS_WAIT_REPLICAS": "1",
        }
        with OfficialClient() as clients, hazoom(env=env) as server:
            ann, bob = (clients.connect(server.url, auth={"user_name": name}) for name in ("Ann", "Bob"))
            for text in ("1", "2"):
                assert ann.emit("message", {"message": text, "client_id": text})["ok"]
            wait_until(have_all, "the replicas have all")
            master.kill()
            refused = ann.emit("message", {"message": "3", "client_id": "3"})
            assert refused["error"]["retry"] is True
            wait_until(
                lambda: ann.emit("message", {"message": "3", "client_id": "3"})["ok"],
                "the replica has taken over, and has a replica of its own",
            )
            clients.wait(lambda: len(bob.received("new_message")) == 3, "Bob has seen each")
            history = wait_until(lambda: ann.emit("get_history", {}).get("messages"), "the history can be read")
            assert [entry["message"] for entry in history] == ["1", "2", "3"]
            assert [entry["message"] for entry in bob.received("new_message")] == ["1", "2", "3"]
            assert server.log.count("which has taken over from") == 1
            assert not bob.received("disconnect")
            assert PASSWORD not in server.log
