"""Which server has our keys now, where it can change: Sentinels are asked, or nodes of a Redis Cluster.

What was found is kept until `Finder.forget`, which a log calls when it opens its Redis anew. So no batch goes to another
server than the one before it without the log having looked what that one has: a replica that takes over may lack the last
batches. Called in any thread beside turns; it waits for answers.

Source: https://redis.io/docs/latest/develop/reference/sentinel-clients/, `CLUSTER SLOTS`, and the hash tags in
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/.
"""

from binascii import crc_hqx
from collections.abc import Callable
from typing import Any

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.redis.scripts import PREFIX
from hazoom_ws.settings.redis_url import Node, RedisUrl

NO_SENTINEL_KNOWS = "no Sentinel that can be reached knows the master"
NO_NODE_KNOWS = "no node of the cluster that can be reached knows who has our keys"
# All our keys have one hash tag, and so one slot: the CRC16 of what is between the braces.
OUR_SLOT = crc_hqx(PREFIX[PREFIX.index("{") + 1 : PREFIX.index("}")].encode(), 0) % 16384

Ask = Callable[[Node, tuple[str, ...]], Any]


class NobodyKnows(LogUnavailable):
    """Nobody who could be asked knows the server, so nothing was sent to it."""


class Finder:
    """Finds the server of one URL. ``ask`` sends a command to a node, and raises `LogUnavailable` if there is no answer."""

    def __init__(self, url: RedisUrl, ask: Ask) -> None:
        self._url = url
        self._ask = ask
        self._nodes = list(url.nodes)  # whom to ask, in this order
        self._found: dict[str, Node] = {}  # replaced as a whole, so that who still asks changes nothing of what is anew

    @property
    def known(self) -> Node | None:
        """The server that was found, None if none is or the last was forgotten."""
        return self._found.get("server")

    def forget(self) -> None:
        """Ask again the next time: another server may have taken over."""
        self._found = {}

    def find(self) -> Node:
        """Return where the server is. Raises `NobodyKnows`."""
        found = self._found
        node = found.get("server")
        if node is None:
            node = found.setdefault("server", self._asked())
        return node

    def _asked(self) -> Node:
        reasons = set()
        for asked in list(self._nodes):
            try:
                node = self._asked_at(asked)
            except LogUnavailable as error:
                reasons.add(error.reason)
                node = None
            if node is not None:
                return node
            # The next time it is the last one that is waited for.
            self._nodes = [*[each for each in self._nodes if each != asked], asked]
        said = f" ({', '.join(sorted(reasons))})" if reasons else ""
        raise NobodyKnows((NO_SENTINEL_KNOWS if self._url.kind == "sentinel" else NO_NODE_KNOWS) + said)

    def _asked_at(self, asked: Node) -> Node | None:
        if self._url.kind == "sentinel":
            answer = self._ask(asked, ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.master_name))
            return _node(answer, asked) if answer else None
        for first, last, master, *replicas in self._ask(asked, ("CLUSTER", "SLOTS")):
            if first <= OUR_SLOT <= last:
                # These may be asked where those that the URL names are all gone.
                others = [_node(each, asked) for each in (master, *replicas)]
                self._nodes = list(dict.fromkeys([*self._nodes, *others]))
                return others[0]
        return None


def _node(told: list[Any], asked: Node) -> Node:
    """Return a node as it is told of. A cluster that does not know its own host means the one that was asked."""
    host = (told[0] or b"").decode()
    return Node(host if host not in ("", "?") else asked.host, int(told[1]))
