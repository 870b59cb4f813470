"""The connections to one Redis, and what its refusals mean. The only module that knows redis-py.

Its sockets are plain ones that block the thread which uses them, so everything here is called beside turns, in any thread,
or while the server starts and stops. Nothing is tried again by itself: a command that was not answered may have been done
all the same, and what becomes of that is for who sent it to decide. Nor does anything go to another server than before,
or to the same one after it has begun anew, until `Server.start_anew`: it may lack what came last.

No text from here holds the URL, which may have a password.
"""

import importlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.peers import EXPIRED
from hazoom_ws.message_log.redis.condition import Condition, condition_of
from hazoom_ws.message_log.redis.finding import Finder, NobodyKnows
from hazoom_ws.message_log.redis.scripts import PREFIX
from hazoom_ws.settings import SettingsError
from hazoom_ws.settings.redis_url import Node, parse_redis_url

logger = logging.getLogger(__name__)

ImportModule = Callable[[str], Any]

AWAY, SILENT, FULL = "Redis cannot be reached", "Redis does not answer", "Redis is full"
LOADING = "Redis is still loading its data"
NO_PASSWORD = "Redis wants a password, or another one"  # noqa: S105 - it says that there is none
TOO_FEW_REPLICAS = "too few replicas have what Redis was told last"
_MOVED = "the cluster has moved our keys to another node"
_CLUSTER_DOWN = "the cluster is down"
_MASTER_DOWN = "Redis has lost its master"
# Of the time for an answer, what replicas may take: the rest is for the way.
_REPLICAS_SHARE = 0.75
# Before version 7 an error within a script is told in a longer one.
_WITHIN_A_SCRIPT = re.compile(r"@user_script: ?\d+: -([A-Z]+) ")
_BY_CODE = {
    "OOM": FULL,
    "LOADING": LOADING,
    "EXPIRED": EXPIRED,
    "READONLY": "this Redis is a replica, which takes no writes",
    "MISCONF": "Redis cannot save to its disk",
    "NOAUTH": NO_PASSWORD,
    "WRONGPASS": NO_PASSWORD,
    "NOPERM": "Redis does not allow this user what is needed",
    "BUSY": "Redis is busy with a script",
    "NOREPLICAS": "Redis has too few replicas (min-replicas-to-write)",
}


class Refused(LogUnavailable):
    """Redis has not done, or not answered. ``is_unknown``: it may have done it, or may do it later."""

    def __init__(self, problem: str, *, is_unknown: bool) -> None:
        super().__init__(problem)
        self.is_unknown = is_unknown


class PubSub(NamedTuple):
    """The commands of one way to publish, and what Redis says to who listens. Source: `PUBLISH`, `SPUBLISH`."""

    publish: str
    subscribe: str
    unsubscribe: str
    counting: str  # those who listen, a part of `PUBSUB`
    message: bytes
    subscribed: bytes


_TO_ALL = PubSub("PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", "NUMSUB", b"message", b"subscribe")
# In a cluster that sends everything to all nodes, though all who listen are at ours; this stays there.
_IN_SHARD = PubSub("SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE", "SHARDNUMSUB", b"smessage", b"ssubscribe")


class Server:
    """One Redis. ``name`` is that of all connections from here, by which others see whether this process lives.

    ``pubsub``: how things are published there, as `check` has found it.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        timeout_s: float,
        wait_replicas: int = 0,
        import_module: ImportModule = importlib.import_module,
    ) -> None:
        """Connect to nothing yet. Raises `SettingsError`.

        ``timeout_s``: for connecting, and for each answer. ``wait_replicas``: how many replicas must have what a script
        has done that is to reach them (`script`).
        """
        self._redis = import_module("redis")
        self._errors = self._redis.exceptions
        self.name = name
        self.pubsub = _TO_ALL
        self._timeout_s = timeout_s
        self._wait_replicas = wait_replicas
        try:
            self._url = parse_redis_url(url)
        except ValueError as error:
            raise SettingsError(f"log_url: {error}") from None
        self._finder = Finder(self._url, self._ask) if self._url.kind != "server" else None
        self._last_node: Node | None = None  # that `check` found
        self._run_id = ""  # that `check` found
        self._last_warning = ""
        options: dict[str, Any] = {"client_name": name, "redis_connect_func": self._connected}
        whole = self._url.of_node(self._url.nodes[0]) if self._url.nodes else self._url.whole
        if self._finder is not None:
            plain = self._redis.SSLConnection if whole.startswith("rediss://") else self._redis.Connection
            options["connection_class"] = _connection_to_found(plain, self._finder.find)
        try:
            self._client = self._new_client(whole, **options)
            self._client.connection_pool.make_connection()  # which connects to nothing, but takes the URL's options
        except (ValueError, TypeError, self._errors.RedisError):
            raise SettingsError(f"log_url: the options after {self._url.shown} are not what Redis' URLs are like") from None

    def __repr__(self) -> str:
        return f"Redis at {self._url.shown}"

    def _new_client(self, url: str, **options: Any) -> Any:
        if urlsplit(url).scheme == "rediss":
            # With its other parser redis-py takes what TLS says by itself, such as a ticket, for an answer of Redis.
            options["parser_class"] = self._redis._parsers._RESP2Parser
        # TCP's keep-alive is redis-py's default: a connection whose other end has vanished ends after 45 s.
        return self._redis.Redis.from_url(
            url,
            protocol=2,
            driver_info=None,  # a question more for each connection, which only says that redis-py asks
            socket_timeout=self._timeout_s,
            socket_connect_timeout=self._timeout_s,
            retry=self._redis.retry.Retry(self._redis.backoff.NoBackoff(), 0),
            **options,
        )

    def _ask(self, node: Node, command: tuple[str, ...]) -> Any:
        """Send one command to a Sentinel or a node of the cluster, by a connection for nothing else."""
        is_sentinel = self._url.kind == "sentinel"
        url, account = self._url.of_sentinel(node) if is_sentinel else (self._url.of_node(node), {})
        client = self._new_client(url, **account)
        try:
            return self._call(lambda: client.execute_command(*command))
        finally:
            client.close()

    def script(self, text: str, *, reaches_replicas: bool = False) -> Callable[[list[Any]], Any]:
        """Return a function that runs a script with arguments. Redis loses its scripts; they are loaded again then.

        ``reaches_replicas``: with ``wait_replicas`` the function returns when so many replicas have what it has done. It
        raises `Refused` if they are too few in three quarters of the time for an answer: Redis has done it then, and
        whether that survives a failover is not known. Source: `WAIT`, which speaks of what its own connection has written.
        """
        run = self._client.register_script(text)
        # The key says which node of a cluster must have all that the script touches.
        keys = [f"{PREFIX}about"]
        if not (reaches_replicas and self._wait_replicas):
            return lambda arguments: self._call(lambda: run(keys=keys, args=arguments))
        wait_ms = round(self._timeout_s * _REPLICAS_SHARE * 1000)

        def run_and_wait(arguments: list[Any]) -> Any:
            with self._client.pipeline(transaction=False) as pipeline:
                pipeline.execute_command("EVALSHA", run.sha, len(keys), *keys, *arguments)
                pipeline.execute_command("WAIT", self._wait_replicas, wait_ms)
                answer, count = pipeline.execute(raise_on_error=False)
            if isinstance(answer, self._errors.NoScriptError):
                self._client.script_load(text)
                return run_and_wait(arguments)
            if isinstance(answer, Exception):
                raise answer
            # From here on Redis has done it.
            if isinstance(count, Exception):
                raise Refused(self._refused(count).reason, is_unknown=True)
            if count < self._wait_replicas:
                raise Refused(TOO_FEW_REPLICAS, is_unknown=True)
            return answer

        return lambda arguments: self._call(lambda: run_and_wait(arguments))

    def command(self, *arguments: Any) -> Any:
        """Run one command and return its answer."""
        return self._call(lambda: self._client.execute_command(*arguments))

    def transaction(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Run commands with nothing of others between them, and return their answers."""

        def run() -> list[Any]:
            with self._client.pipeline(transaction=True) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                answers: list[Any] = pipeline.execute()
                return answers

        answers: list[Any] = self._call(run)
        return answers

    def pipeline(self, commands: Sequence[tuple[Any, ...]], *, is_any_answer_fine: bool = False) -> list[Any]:
        """Run commands in one round trip, one after the other, and return their answers.

        Unlike a transaction, which a full Redis refuses whatever is in it, this reads from a full one too.
        """

        def run() -> list[Any]:
            with self._client.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                answers: list[Any] = pipeline.execute(raise_on_error=not is_any_answer_fine)
                return answers

        answers: list[Any] = self._call(run)
        return answers

    def inspect(self) -> Condition:
        """Return what it is like. Raises `SettingsError` if it must not be used."""
        return condition_of(
            self.command("INFO"),
            shown=self._url.shown,
            is_cluster=self._url.kind == "cluster",
            appendfsync=self._setting("appendfsync"),
            save=self._setting("save"),
        )

    def check(self) -> None:
        """Do the same, and have the log say what is new of it: another server, or one that may lose messages."""
        condition = self.inspect()
        self._run_id = condition.run_id
        self.pubsub = _IN_SHARD if condition.is_sharded else _TO_ALL
        node = self._finder.known if self._finder is not None else None
        if self._last_node is not None and node != self._last_node:
            logger.warning("messages are kept in Redis at %s now, which has taken over from %s", node, self._last_node)
        self._last_node = node
        if condition.warning and condition.warning != self._last_warning:
            logger.warning("messages may be lost with %r: %s", self, condition.warning)
        self._last_warning = condition.warning

    def _setting(self, name: str) -> str | None:
        """Return one of Redis' own settings, None if this user may not know it."""
        try:
            told = self.command("CONFIG", "GET", name)
        except Refused as error:
            if error.is_unknown:
                raise
            return None
        return told[1].decode() if told else None

    def connection(self) -> Any:
        """Return a new connection of redis-py's own, for who listens, and for nothing else. When it has ended it is of no
        use any more: redis-py would connect again by itself, and what was listened to would not be listened to then.
        """
        connection = self._client.connection_pool.make_connection()
        with self.refusing():
            connection.connect()
        connection.connect = connection.connect_check_health = self._connect_no_more
        return connection

    def _connected(self, connection: Any) -> None:
        """Let redis-py's connections, which it makes anew by itself, only lead to the server that `check` has found."""
        connection.on_connect()
        if self._run_id:
            connection.send_command("INFO", "server")
            if f"run_id:{self._run_id}".encode() not in connection.read_response(disable_decoding=True):
                raise self._errors.ConnectionError("Redis has begun anew, or is another one")

    def _connect_no_more(self, **_: Any) -> None:
        raise self._errors.ConnectionError

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Raise what redis-py and sockets raise as `Refused`, for who uses a connection."""
        try:
            yield
        except NobodyKnows as error:
            raise Refused(error.reason, is_unknown=False) from None
        except self._errors.RedisError as error:
            raise self._refused(error) from None  # the traceback of redis-py shows commands, and so messages
        except OSError:
            raise Refused(AWAY, is_unknown=True) from None

    def start_anew(self) -> None:
        """Let go of all connections: those that were there before may be dead, or lead to who is the master no more."""
        self._run_id = ""
        if self._finder is not None:
            self._finder.forget()
        with suppress(self._errors.RedisError):
            self._client.connection_pool.disconnect()

    def close(self) -> None:
        """Give the connections back."""
        self.start_anew()

    def _call(self, call: Callable[[], Any]) -> Any:
        with self.refusing():
            return call()

    def _refused(self, error: Exception) -> Refused:
        errors = self._errors
        if isinstance(error, errors.TimeoutError):
            return Refused(SILENT, is_unknown=True)
        # redis-py cuts the code off some answers, and has classes for them instead.
        text = str(error)
        within = _WITHIN_A_SCRIPT.search(text)
        code = within[1] if within is not None else text.partition(" ")[0]
        for kind, problem in (
            (errors.OutOfMemoryError, FULL),
            (errors.BusyLoadingError, LOADING),
            (errors.ReadOnlyError, _BY_CODE["READONLY"]),
            (errors.NoPermissionError, _BY_CODE["NOPERM"]),
            (errors.AuthenticationError, NO_PASSWORD),
            (errors.AskError, _MOVED),  # and MovedError, which is one
            (errors.MasterDownError, _MASTER_DOWN),  # which is the next one too
            (errors.ClusterDownError, _CLUSTER_DOWN),
            (errors.TryAgainError, _CLUSTER_DOWN),
            (errors.ConnectionError, AWAY),
        ):
            if isinstance(error, kind):
                return Refused(problem, is_unknown=problem == AWAY)
        return Refused(_BY_CODE.get(code, f"Redis refuses ({code[:20]})"), is_unknown=False)


def _connection_to_found(plain: Any, find: Callable[[], Node]) -> Any:
    """Return a class of connections like ``plain`` that go to where ``find()`` says when they are made."""

    class FoundConnection(plain):  # type: ignore[misc]
        def connect_check_health(self, *arguments: Any, **options: Any) -> Any:
            self.host, self.port = find()
            return super().connect_check_health(*arguments, **options)

    return FoundConnection
