"""What a Redis tells of itself decides whether it is used, and what its operator hears of it."""

from typing import Any

import pytest

from hazoom_ws.message_log.redis.condition import Condition, condition_of
from hazoom_ws.settings import SettingsError

REDIS = {"redis_version": "7.0.15", "maxmemory_policy": "noeviction", "aof_enabled": 1, "connected_slaves": 2}


def condition(
    *, is_cluster: bool = False, appendfsync: str | None = "everysec", save: str | None = "", **info: Any
) -> Condition:
    return condition_of(REDIS | info, shown="host:1", is_cluster=is_cluster, appendfsync=appendfsync, save=save)


@pytest.mark.parametrize(
    ("told", "product"),
    [
        ({}, "Redis 7.0.15"),
        ({"redis_version": "6.2.0"}, "Redis 6.2.0"),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "8.1.1"}, "Valkey 8.1.1"),
    ],
)
def test_a_redis_and_a_valkey_are_called_by_their_own_version(told: dict[str, Any], product: str) -> None:
    assert str(condition(**told)) == f"{product}, appendonly yes, appendfsync everysec"


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"redis_version": "6.0.16"}, "is 6.0.16; 6.2 or newer is needed"),
        ({"maxmemory_policy": "allkeys-lru"}, "maxmemory-policy allkeys-lru"),
        ({"cluster_enabled": 1}, r"name that as redis\+cluster://"),
    ],
)
def test_a_redis_that_must_not_be_used_is_refused(told: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        condition(**told)
    assert condition(cluster_enabled=1, is_cluster=True).warning == ""


@pytest.mark.parametrize(
    ("options", "keeps", "warning"),
    [
        ({"appendfsync": "always"}, "appendonly yes, appendfsync always", ""),
        ({"appendfsync": None, "save": None}, "appendonly yes", ""),
        ({"aof_enabled": 0}, "nothing on its disk", "all is gone when it ends"),
        ({"aof_enabled": 0, "save": "3600 1"}, "no append-only file", "after its last snapshot is gone"),
        ({"aof_enabled": 0, "save": None}, "no append-only file", "after its last snapshot is gone"),
    ],
)
def test_who_runs_a_redis_that_may_lose_much_hears_of_it(options: dict[str, Any], keeps: str, warning: str) -> None:
    told = condition(**options)
    assert (told.keeps, told.replicas_count) == (keeps, 2)
    assert warning in told.warning
    assert bool(warning) == bool(told.warning)


def test_what_is_published_stays_in_its_shard_where_there_are_shards_that_can_do_that() -> None:
    assert condition(is_cluster=True).is_sharded
    assert not condition(is_cluster=True, redis_version="6.2.0").is_sharded
    assert not condition().is_sharded
