"""What ``log_url`` says of a Redis: one server, one that Sentinels know, or a Redis Cluster. Pure: nothing is connected to.

    redis://user:password@host:6379/0                                 a server; rediss:// with TLS
    unix:///run/redis/redis.sock?db=0&password=...                    a server on this machine, by a socket in a folder
    redis+sentinel://user:password@host:26379,host:26379/mymaster/0   whichever server is "mymaster" now; rediss+sentinel://
    redis+cluster://user:password@host:6379,host:6379                 the node that has our keys; rediss+cluster://

The first part and the options are as redis-py's URLs have them; of the options only those below are let through, since
others would replace what this server depends on, such as the name of a connection or its time-out.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

REDIS_SCHEMES = (
    "redis://",
    "rediss://",
    "unix://",
    "redis+sentinel://",
    "rediss+sentinel://",
    "redis+cluster://",
    "rediss+cluster://",
)
_TLS_OPTIONS = {
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
    "ssl_password",
}
_SENTINEL_OPTIONS = {"sentinel_username", "sentinel_password"}
_SOCKET_OPTIONS = {"db", "username", "password"}  # which have no other place in the URL of a socket
_LAST_DATABASE = 9999
_PORT, _SENTINEL_PORT = 6379, 26379


class Node(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A URL in its parts. What is left out of the ``repr`` may hold a password.

    ``nodes``: the server, the Sentinels, or some nodes of the cluster; none for a socket. ``master_name``: what Sentinels
    call it, "" where there are none. ``shown``: what logs and errors call the Redis.
    """

    kind: Literal["server", "sentinel", "cluster"]
    shown: str
    nodes: tuple[Node, ...]
    master_name: str
    whole: str = field(repr=False)
    _account: str = field(repr=False)
    _database: str = field(repr=False)
    _options: dict[str, str] = field(repr=False)

    def of_node(self, node: Node) -> str:
        """Return the URL, as redis-py has it, of the Redis at ``node``: with our account, database and options."""
        if not self.nodes:
            return self.whole
        return self._made(node, self._account, f"/{self._database}")

    def of_sentinel(self, node: Node) -> tuple[str, dict[str, str]]:
        """Return the URL of the Sentinel at ``node``, and who we are there: Sentinels have accounts of their own."""
        own = {name.removeprefix("sentinel_"): self._options[name] for name in sorted(_SENTINEL_OPTIONS & {*self._options})}
        return self._made(node, "", ""), own

    def _made(self, node: Node, account: str, path: str) -> str:
        options = urlencode({name: value for name, value in self._options.items() if name in _TLS_OPTIONS})
        scheme = self.whole.partition(":")[0].partition("+")[0]
        return f"{scheme}://{account}{node}{path}" + (f"?{options}" if options else "")


def parse_redis_url(url: str) -> RedisUrl:
    """Return a URL that begins with one of ``REDIS_SCHEMES`` in its parts.

    Raises ValueError, which says what is wrong and repeats nothing of the URL: any part of it may be a password that holds
    a character which has to be written as %...
    """
    # By hand, since urlsplit knows URLs of one host only.
    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    netloc, _, path = rest.partition("/")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if "#" in url:
        raise ValueError(_FORM)
    if scheme == "unix":
        return _of_socket(url, netloc, path, options)
    kind: Literal["server", "sentinel", "cluster"] = "server"
    if scheme.endswith("+sentinel"):
        kind = "sentinel"
    elif scheme.endswith("+cluster"):
        kind = "cluster"
    known = _TLS_OPTIONS if scheme.startswith("rediss") else set()
    _check_options(options, known | _SENTINEL_OPTIONS if kind == "sentinel" else known)
    account, separator, hosts = netloc.rpartition("@")
    nodes = tuple(_node(host, _SENTINEL_PORT if kind == "sentinel" else _PORT) for host in hosts.split(","))
    if kind == "server" and len(nodes) > 1:
        raise ValueError(_FORM)
    master_name = ""
    if kind == "sentinel":
        master_name, _, path = path.partition("/")
        if not master_name:
            raise ValueError("after the Sentinels there must be / and how they call the master: host:26379/mymaster")
    if path and not (path.isascii() and path.isdecimal() and int(path) <= _LAST_DATABASE):
        raise ValueError("after the host of a Redis there may be / and the number of a database, 9999 at most")
    if kind == "cluster" and path.strip("0"):
        raise ValueError("a Redis Cluster has the database 0 only")
    shown = ", ".join(map(str, nodes))
    if kind == "sentinel":
        shown = f"{unquote(master_name)} of the Sentinels {shown}"
    elif kind == "cluster":
        shown = f"the cluster {shown}"
    return RedisUrl(kind, shown, nodes, unquote(master_name), url, account + separator, path or "0", options)


_FORM = "a Redis is named like redis://host:6379/0, or redis://user:password@host:6379/0"


def _of_socket(url: str, netloc: str, path: str, options: dict[str, str]) -> RedisUrl:
    if netloc or not path.strip("/"):
        raise ValueError("a socket is named by its whole path: unix:///run/redis/redis.sock?db=0")
    _check_options(options, _SOCKET_OPTIONS)
    return RedisUrl("server", f"/{unquote(path)}", (), "", url, "", "", options)


def _node(host: str, default_port: int) -> Node:
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname, default_port if parts.port is None else parts.port
    except ValueError:
        raise ValueError(_FORM) from None
    if not name or port == 0 or parts.path:
        raise ValueError(_FORM)
    return Node(name, port)


def _check_options(options: dict[str, str], known: set[str]) -> None:
    if not options.keys() <= known:
        there_are = f"there are {', '.join(sorted(known))}" if known else "there are none without TLS (rediss://)"
        raise ValueError(f"after the ? is an option that a Redis of this kind does not have here; {there_are}")
    if options.keys() & {"ssl_cert_reqs"} and options["ssl_cert_reqs"] not in ("required", "optional", "none"):
        raise ValueError("ssl_cert_reqs is required, optional or none")
