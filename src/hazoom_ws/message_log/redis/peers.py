"""How processes tell each other what is not kept: a thread that publishes, what has gathered at once."""

import logging
from collections.abc import Callable, Collection
from typing import Any

from hazoom_ws.message_log.redis.bus import Bus
from hazoom_ws.message_log.redis.scripts import PREFIX
from hazoom_ws.message_log.redis.server import ImportModule, Refused, Server

logger = logging.getLogger(__name__)

# Over these what is published is lost, as it is while Redis is away.
_QUEUED_LIMIT_COUNT, _QUEUED_LIMIT_BYTES = 100_000, 67_108_864
_AT_ONCE_LIMIT_BYTES = 4_194_304  # in one round trip: all of it has to be there before the time is up
_CLOSING_LIMIT_S = 1.0


class RedisPeers:
    """See `Peers`. ``on_back`` is called in a turn when what was published meanwhile may be lost."""

    def __init__(self, server: Server, bus: Bus, import_module: ImportModule, channels: Callable[[], str]) -> None:
        """``channels()`` returns what the names of channels begin with."""
        self.name = server.name
        self.on_back: list[Callable[[], object]] = []
        self.lost_total = 0
        self._server = server
        self._bus = bus
        self._channels = channels
        self._threading = import_module("threading")
        self._queue: Any = import_module("queue").SimpleQueue()
        self._origin = f"{self.name}/0 ".encode()
        self._thread: Any = None
        self._put_bytes = self._sent_bytes = 0  # each has one who changes it: turns, and the thread

    @property
    def queued_bytes(self) -> int:
        return self._put_bytes - self._sent_bytes

    def publish(self, channel: str, kind: bytes, data: bytes) -> None:
        self._put(("PUBLISH", self._channels() + channel, self._origin + kind + b" " + data))

    def tell(self, *command: Any) -> None:
        self._put(command)

    def _put(self, command: tuple[Any, ...]) -> None:
        if self._thread is None:
            self._thread = self._threading.Thread(target=self._run, name="hazoom_ws publisher", daemon=True)
            self._thread.start()
        size_bytes = _bytes_of(command)
        if self._queue.qsize() < _QUEUED_LIMIT_COUNT and self.queued_bytes + size_bytes <= _QUEUED_LIMIT_BYTES:
            self._put_bytes += size_bytes
            self._queue.put(command)
        else:
            self.lost_total += 1

    def _run(self) -> None:
        command = self._queue.get()
        while command is not None:
            commands: list[tuple[Any, ...]] = []
            size_bytes = 0
            while command is not None:
                commands.append(command)
                size_bytes += _bytes_of(command)
                if self._queue.empty() or size_bytes >= _AT_ONCE_LIMIT_BYTES:
                    break
                command = self._queue.get()
            try:
                self._server.pipeline(commands)
            except Refused:
                self.lost_total += len(commands)
            except Exception:
                logger.exception("%d things were not told to other processes", len(commands))
            self._sent_bytes += size_bytes
            if command is not None:
                command = self._queue.get()

    def follow(self, channels: Collection[str]) -> None:
        self._bus.follow(channels)

    def unfollow(self, channels: Collection[str]) -> None:
        self._bus.drop(channels)
        self._bus.unfollow(channels)

    def barrier(self, call: Callable[[], object]) -> None:
        self._bus.barrier(call)

    def ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        return self._server.transaction(*commands)

    def alive(self) -> set[str]:
        names = [name.decode() for name in self._server.command("SMEMBERS", f"{PREFIX}processes")]
        answers = self._server.transaction(*[("EXISTS", f"{PREFIX}process:{name}") for name in names]) if names else []
        return {name for name, is_there in zip(names, answers, strict=True) if is_there}

    def close(self) -> None:
        """Publish what there is, and nothing more."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(_CLOSING_LIMIT_S)


def _bytes_of(command: tuple[Any, ...]) -> int:
    return sum(len(part) for part in command if isinstance(part, bytes | str))
