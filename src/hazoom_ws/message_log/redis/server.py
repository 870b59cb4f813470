"""The connections to one Redis, and what its refusals mean. The only module that knows redis-py.

Its sockets are plain ones that block the thread which uses them, so everything here is called beside turns, in any thread,
or while the server starts and stops. Nothing is tried again by itself: a command that was not answered may have been done
all the same, and what becomes of that is for who sent it to decide.

No text from here holds the URL, which may have a password.
"""

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.settings import SettingsError

ImportModule = Callable[[str], Any]

AWAY, SILENT, FULL = "Redis cannot be reached", "Redis does not answer", "Redis is full"
LOADING = "Redis is still loading its data"
# What a script of ours answers: nothing was heard of this process for too long, or it has begun anew meanwhile.
EXPIRED = "the lease of this process has run out"
NO_PASSWORD = "Redis wants a password, or another one"  # noqa: S105 - it says that there is none
_OLDEST_VERSION = (6, 2)
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
    "MASTERDOWN": "Redis has lost its master",
    "CLUSTERDOWN": "the cluster is down",
    "MOVED": "this is a node of a Redis Cluster, which is not supported yet",
}


class Refused(LogUnavailable):
    """Redis has not done, or not answered. ``is_unknown``: it may have done it, or may do it later."""

    def __init__(self, problem: str, *, is_unknown: bool) -> None:
        super().__init__(problem)
        self.is_unknown = is_unknown


class Server:
    """One Redis. ``name`` is that of all connections from here, by which others see whether this process lives."""

    def __init__(
        self, url: str, name: str, *, timeout_s: float, import_module: ImportModule = importlib.import_module
    ) -> None:
        """Connect to nothing yet. ``timeout_s``: for connecting, and for each answer. Raises `SettingsError`."""
        redis = import_module("redis")
        self.name = name
        self._errors = redis.exceptions
        parts = urlsplit(url)
        self._address = f"{parts.hostname}:{parts.port or 6379}"
        try:
            self._client = redis.Redis.from_url(
                url,
                client_name=name,
                protocol=2,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
            )
            self._client.connection_pool.make_connection()  # which connects to nothing, but takes the URL's options
        except (ValueError, TypeError, redis.exceptions.RedisError):
            raise SettingsError(f"log_url: the part after {self._address} is not what Redis' URLs are like") from None

    def __repr__(self) -> str:
        return f"Redis at {self._address}"

    def script(self, text: str) -> Callable[[list[Any]], Any]:
        """Return a function that runs a script with arguments. Redis loses its scripts; they are loaded again then."""
        run = self._client.register_script(text)
        return lambda arguments: self._call(lambda: run(keys=[], args=arguments))

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

    def pipeline(self, commands: Sequence[tuple[Any, ...]]) -> None:
        """Run commands in one round trip, whatever each answers."""

        def run() -> None:
            with self._client.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                pipeline.execute(raise_on_error=False)

        self._call(run)

    def check(self) -> str:
        """Return its version. Raises `SettingsError` if it must not be used: it is too old, or forgets when it is full."""
        told = self.command("INFO")
        version = tuple(int(part) for part in str(told["redis_version"]).split(".")[:2])
        if version < _OLDEST_VERSION:
            raise SettingsError(f"log_url: Redis at {self._address} is {told['redis_version']}; 6.2 or newer is needed")
        policy = told["maxmemory_policy"]
        if policy != "noeviction":
            raise SettingsError(
                f"log_url: Redis at {self._address} has maxmemory-policy {policy} and deletes messages when it is full;"
                " set it to noeviction: redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf"
            )
        return str(told["redis_version"])

    def connection(self) -> Any:
        """Return a new connection of redis-py's own, for who listens, and for nothing else. When it has ended it is of no
        use any more: redis-py would connect again by itself, and what was listened to would not be listened to then.
        """
        connection = self._client.connection_pool.make_connection()
        with self.refusing():
            connection.connect()
        connection.connect = connection.connect_check_health = self._connect_no_more
        return connection

    def _connect_no_more(self, **_: Any) -> None:
        raise self._errors.ConnectionError

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Raise what redis-py and sockets raise as `Refused`, for who uses a connection."""
        try:
            yield
        except self._errors.RedisError as error:
            raise self._refused(error) from None  # the traceback of redis-py shows commands, and so messages
        except OSError:
            raise Refused(AWAY, is_unknown=True) from None

    def start_anew(self) -> None:
        """Let go of all connections: those that were there before may be dead."""
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
        code = str(error).partition(" ")[0]
        for kind, problem in (
            (errors.OutOfMemoryError, FULL),
            (errors.BusyLoadingError, LOADING),
            (errors.ReadOnlyError, _BY_CODE["READONLY"]),
            (errors.NoPermissionError, _BY_CODE["NOPERM"]),
            (errors.AuthenticationError, NO_PASSWORD),
            (errors.ConnectionError, AWAY),
        ):
            if isinstance(error, kind):
                return Refused(problem, is_unknown=problem == AWAY)
        return Refused(_BY_CODE.get(code, f"Redis refuses ({code[:20]})"), is_unknown=False)
