"""How processes tell each other what is not kept: a thread that publishes, what has gathered at once."""

import logging
from collections.abc import Callable, Collection
from typing import Any

from hazoom_ws.message_log.peers import OnFollow
from hazoom_ws.message_log.redis.bus import Bus
from hazoom_ws.message_log.redis.scripts import PREFIX
from hazoom_ws.message_log.redis.server import KEEPS_NOTHING, ImportModule, Refused, Server

logger = logging.getLogger(__name__)

_AT_ONCE_COUNT, _AT_ONCE_LIMIT_BYTES = 1000, 4_194_304  # in one round trip, which has to be over before the time is up
_RETRY_INTERVAL_S = 0.2
_CLOSE_S = 3.0  # for the last that is published, when Redis may be away
# Over these what is published is lost, as it is while Redis is away.
_QUEUED_LIMIT_COUNT, _QUEUED_LIMIT_BYTES = 100_000, 67_108_864


class RedisPeers:
    """See `Peers`. ``before_back`` and ``on_back`` are called when what was published meanwhile may be lost."""

    def __init__(
        self,
        server: Server,
        bus: Bus,
        import_module: ImportModule,
        channels: Callable[[], str],
        problem: Callable[[], str | None],
    ) -> None:
        """``channels()`` returns what the names of channels begin with, ``problem()`` why the log can keep nothing."""
        self.name = server.name
        self.before_back: list[Callable[[], object]] = []
        self.on_back: list[Callable[[], object]] = []
        self.on_follow: list[OnFollow] = []
        self.on_unfollow: list[Callable[[list[str]], object]] = []
        self._server = server
        self._bus = bus
        self._channels = channels
        self._problem = problem
        self._threading = import_module("threading")
        self._sleep: Callable[[float], object] = import_module("time").sleep
        self._queue: Any = import_module("queue").SimpleQueue()
        self._origin = f"{self.name}/0 ".encode()
        self._thread: Any = None
        self._is_closed = False
        self._has_lost = False  # something, since ``on_back`` was called last
        self._put_bytes = self._sent_bytes = 0  # each has one who changes it: turns, and the thread

    @property
    def problem(self) -> str | None:
        if self._is_closed:
            return "closed"
        problem = self._problem()
        return None if problem in KEEPS_NOTHING else problem

    @property
    def queued_bytes(self) -> int:
        return self._put_bytes - self._sent_bytes

    def publish(self, channel: str, kind: bytes, data: bytes) -> None:
        self._put((self._server.pubsub.publish, self._channels() + channel, self._origin + kind + b" " + data))

    def tell(self, *command: Any) -> None:
        self._put(command)

    def _put(self, command: tuple[Any, ...]) -> None:
        if self._is_closed:
            return
        if self._thread is None:
            self._thread = self._threading.Thread(target=self._run, name="hazoom_ws publisher", daemon=True)
            self._thread.start()
        size_bytes = _bytes_of(command)
        if self._queue.qsize() < _QUEUED_LIMIT_COUNT and self.queued_bytes + size_bytes <= _QUEUED_LIMIT_BYTES:
            self._put_bytes += size_bytes
            self._queue.put(command)
        else:
            self._has_lost = True

    def _run(self) -> None:
        is_last = False
        while not is_last:
            if self._has_lost:
                self._sleep(_RETRY_INTERVAL_S)
            taken = [("PING",) if self._has_lost else self._queue.get()]
            size_bytes = 0 if taken[0] == ("PING",) else _bytes_of(taken[0])
            while not self._queue.empty() and len(taken) < _AT_ONCE_COUNT and size_bytes < _AT_ONCE_LIMIT_BYTES:
                taken.append(self._queue.get())
                size_bytes += _bytes_of(taken[-1])
            is_last = taken[-1] is None
            commands = taken[:-1] if is_last else taken
            try:
                self._server.pipeline(commands, is_any_answer_fine=True)
                if self._has_lost and self._queue.empty():
                    self._come_back()
            except Refused:
                self._has_lost = True
            except Exception:
                logger.exception("something was not told to other processes")
            self._sent_bytes += size_bytes

    def _come_back(self) -> None:
        """Have all called that is to be called; the log does that too, if it has noticed anything."""
        self._has_lost = False  # first, since more may be lost meanwhile
        try:
            for call in self.back():
                self._bus.barrier(call)
        except BaseException:
            self._has_lost = True  # whatever it was, they have to know
            raise

    def back(self) -> list[Callable[[], object]]:
        """Find out what has become of what this process holds; return what is to be called in a turn. Beside turns."""
        for call in self.before_back:
            call()
        return self.on_back

    def follow(self, channels: Collection[str]) -> None:
        self._bus.follow(channels)

    def unfollow(self, channels: Collection[str]) -> None:
        self._bus.drop(channels)
        self._bus.unfollow(channels)

    def barrier(self, call: Callable[[], object]) -> None:
        self._bus.barrier(call)

    def ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        return self._server.pipeline(commands)

    def script(self, text: str) -> Callable[[list[Any]], Any]:
        return self._server.script(text)

    def alive(self) -> set[str]:
        names = [name.decode() for name in self._server.command("SMEMBERS", f"{PREFIX}processes")]
        answers = self._server.pipeline([("EXISTS", f"{PREFIX}process:{name}") for name in names])
        return {name for name, is_there in zip(names, answers, strict=True) if is_there}

    def deaf(self, processes: Collection[str]) -> set[str]:
        channels = [f"{self._channels()}process:{name}" for name in processes]
        answer = self._server.command("PUBSUB", self._server.pubsub.counting, *channels)
        return {name for name, followers in zip(processes, answer[1::2], strict=True) if not int(followers)}

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._queue.put(None)
        if self._thread is not None:
            self._thread.join(_CLOSE_S)


def _bytes_of(command: tuple[Any, ...] | None) -> int:
    return sum(len(part) for part in command or () if isinstance(part, bytes | str))
