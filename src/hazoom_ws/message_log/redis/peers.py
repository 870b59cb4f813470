"""How processes tell each other what is not kept: a thread that publishes, what has gathered at once."""

import logging
from collections.abc import Callable, Collection
from typing import Any

from hazoom_ws.message_log.redis.bus import Bus
from hazoom_ws.message_log.redis.scripts import PREFIX
from hazoom_ws.message_log.redis.server import ImportModule, Refused, Server

logger = logging.getLogger(__name__)

_QUEUED_LIMIT_COUNT = 100_000  # over it what is published is lost, as it is while Redis is away


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
        self._is_started = False

    def publish(self, channel: str, kind: bytes, data: bytes) -> None:
        self._put(("PUBLISH", self._channels() + channel, self._origin + kind + b" " + data))

    def tell(self, *command: Any) -> None:
        self._put(command)

    def _put(self, command: tuple[Any, ...]) -> None:
        if not self._is_started:
            self._is_started = True
            self._threading.Thread(target=self._run, name="hazoom_ws publisher", daemon=True).start()
        if self._queue.qsize() < _QUEUED_LIMIT_COUNT:
            self._queue.put(command)
        else:
            self.lost_total += 1

    def _run(self) -> None:
        while (command := self._queue.get()) is not None:
            commands = [command]
            while not self._queue.empty():
                command = self._queue.get()
                if command is None:
                    return
                commands.append(command)
            try:
                self._server.pipeline(commands)
            except Refused:
                self.lost_total += len(commands)
            except Exception:
                logger.exception("%d things were not told to other processes", len(commands))

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
        self._queue.put(None)
