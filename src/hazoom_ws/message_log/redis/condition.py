"""What a Redis is like, from what it tells of itself: whether it must not be used, and what it may lose. Pure.

Source: https://redis.io/docs/latest/commands/info/, https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hazoom_ws.settings import SettingsError

_OLDEST_VERSION = (6, 2)
_SHARDED_VERSION = (7, 0)


@dataclass(frozen=True, slots=True)
class Condition:
    """``product``: its name and version. ``keeps``: what it has on its disk. ``warning``: what it may lose, if much.

    ``replicas_count``: those that are connected. ``is_sharded``: what is published can stay in one shard of its cluster.
    ``run_id``: which server it is, since which start.
    """

    product: str
    replicas_count: int
    keeps: str
    warning: str
    is_sharded: bool
    run_id: str

    def __str__(self) -> str:
        return f"{self.product}, {self.keeps}"


def condition_of(
    info: Mapping[str, Any], *, shown: str, is_cluster: bool, appendfsync: str | None, save: str | None
) -> Condition:
    """Return it for the Redis that logs call ``shown``.

    ``info`` is the answer to INFO. ``appendfsync`` and ``save`` are its settings, None where it does not tell them.
    Raises `SettingsError` for one that must not be used: too old, a node of a cluster that is not named as one, or one that
    deletes what it has when it is full.
    """
    # Valkey says which Redis it is compatible with, and its own version beside it.
    version = str(info["redis_version"])
    product = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {version}"
    number = tuple(int(part) for part in version.split(".")[:2])
    if number < _OLDEST_VERSION:
        raise SettingsError(f"log_url: Redis at {shown} is {version}; 6.2 or newer is needed")
    if info.get("cluster_enabled") and not is_cluster:
        raise SettingsError(f"log_url: Redis at {shown} is a node of a Redis Cluster; name that as redis+cluster://")
    policy = info["maxmemory_policy"]
    if policy != "noeviction":
        raise SettingsError(
            f"log_url: Redis at {shown} has maxmemory-policy {policy} and deletes messages when it is full;"
            " set it to noeviction: redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf"
        )
    keeps, warning = "appendonly yes" + (f", appendfsync {appendfsync}" if appendfsync else ""), ""
    if not info.get("aof_enabled"):
        keeps = "nothing on its disk" if save == "" else "no append-only file"
        lost = "it has no append-only file, so what came after its last snapshot is gone when it ends"
        if save == "":
            lost = "it writes nothing to its disk, so all is gone when it ends, but for what this server's memory has"
        warning = f"{lost} (appendonly yes keeps it)"
    is_sharded = is_cluster and number >= _SHARDED_VERSION
    run_id = str(info.get("run_id", ""))
    return Condition(product, int(info.get("connected_slaves", 0)), keeps, warning, is_sharded, run_id)
