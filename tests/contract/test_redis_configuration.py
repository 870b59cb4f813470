"""config/redis.conf as it is, but for its port and folder: Redis takes it, and hazoom_ws needs no more than it allows."""

import re
from pathlib import Path

import pytest
import redis

from hazoom_ws.message_log.opening import open_log
from hazoom_ws.message_log.redis.server import Server
from hazoom_ws.settings import Settings, SettingsError
from redis_server import ACCOUNT, CONFIGURATION, Databases, running_redis

pytestmark = pytest.mark.redis
FORBIDDEN = [
    ("FLUSHALL",),
    ("CONFIG", "SET", "maxmemory", "1"),
    ("SHUTDOWN",),
    ("ACL", "LIST"),
    ("KEYS", "*"),
    ("EVAL", "return 1", "0"),
    ("HGET", "of others", "x"),
    ("PUBLISH", "of others", "x"),
]


def test_redis_takes_the_file_and_nothing_is_lost_that_it_can_keep(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configuration = tmp_path / "redis.conf"
    text = CONFIGURATION.read_text(encoding="utf-8")
    configuration.write_text(re.sub(r"^# (user (hazoom|default) .*)$", r"\1", text, flags=re.MULTILINE), encoding="utf-8")
    with running_redis(configuration=configuration) as server:
        settings = Settings(log_url=server.url(1, account=ACCOUNT), log_redis_timeout_s=1.0)
        for _ in range(2):
            open_log(settings, tmp_path).close()
        of_check = Server(settings.log_url, "check", timeout_s=1.0)
        assert str(of_check.inspect()).endswith("appendonly yes, appendfsync everysec")
        of_check.close()
        assert caplog.text == ""
        with pytest.raises(SettingsError, match="wants a password, or another one"):  # the default user is nobody
            open_log(Settings(log_url=server.url()), tmp_path)
        server.kill()
        server.start()
        open_log(settings, tmp_path).close()


def test_the_user_in_the_file_may_do_nothing_else(databases: Databases) -> None:
    """What it needs all other tests with this Redis show."""
    with redis.Redis.from_url(databases.next_url()) as client:
        client.execute_command("HGET", "{hazoom}:about", "x")
        for command in FORBIDDEN:
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)


def test_a_master_without_the_replicas_that_it_needs_says_so(tmp_path: Path) -> None:
    with running_redis("--min-replicas-to-write", "1") as server:
        with pytest.raises(SettingsError, match=r"too few replicas \(min-replicas-to-write\)"):
            open_log(Settings(log_url=server.url()), tmp_path)
        assert server.ask("DBSIZE") == b":0"
