"""Faults of a Redis, one after the other, while people talk: none of what was acknowledged is lost or there twice."""

from collections import Counter
from collections.abc import Callable

from redis_server import RedisServer, running_redis
from servers import Hazoom, OfficialClient, Socket, free_port, hazoom, wait_until

PEOPLE = 4  # the first of whom only reads
AT_ONCE = 40
BETWEEN_COUNT = 150  # messages that are acknowledged between two faults


class Talk:
    """People who say numbered texts, each again until it is acknowledged."""

    def __init__(self, client: OfficialClient, url: str) -> None:
        again = {"reconnectionDelay": 20, "reconnectionDelayMax": 100}
        self.people = [client.connect(url, auth={"user_name": f"user {number}"}, **again) for number in range(PEOPLE)]
        self.acknowledged: set[str] = set()
        self._client = client
        self._calls: dict[str, int] = {}
        self._count = 0

    def _say(self, text: str) -> None:
        speaker: Socket = self.people[1 + int(text) % (PEOPLE - 1)]
        self._calls[text] = speaker.start_to_emit("message", {"message": text, "client_id": text})

    def go_on(self, *, is_ending: bool = False) -> None:
        """Say more, and again what was refused or whose answer was lost."""
        replies = self._client.replies()
        for text, call in list(self._calls.items()):
            reply = replies.get(call)
            if reply is not None and reply.get("ok"):
                self.acknowledged.add(text)
                del self._calls[text]
            elif reply is not None:
                self._say(text)
        while len(self._calls) < AT_ONCE and not is_ending:
            self._say(str(self._count))
            self._count += 1

    def go_on_until(self, condition: Callable[[], bool], what: str, *, is_ending: bool = False) -> None:
        def is_met() -> bool:
            self.go_on(is_ending=is_ending)
            return condition()

        wait_until(is_met, what)

    def say_some(self) -> None:
        goal = len(self.acknowledged) + BETWEEN_COUNT
        self.go_on_until(lambda: len(self.acknowledged) >= goal, "some are acknowledged")

    def say_all(self) -> None:
        self.go_on_until(lambda: not self._calls, "all are acknowledged", is_ending=True)


def hang(redis: RedisServer, server: Hazoom, talk: Talk) -> None:
    redis.stop()
    talk.go_on_until(lambda: not server.is_ready(), "it is noticed")
    redis.go_on()


def fill(redis: RedisServer, server: Hazoom, talk: Talk) -> None:
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    talk.go_on_until(lambda: not server.is_ready(), "it is noticed")
    redis.ask("CONFIG", "SET", "maxmemory", "0")


def kill(redis: RedisServer, _: Hazoom, talk: Talk) -> None:
    redis.kill()
    talk.go_on()
    redis.start()


def kill_clients(redis: RedisServer, _: Hazoom, talk: Talk) -> None:
    for _ in range(5):
        redis.ask("CLIENT", "KILL", "TYPE", "normal")
        talk.go_on()


def flush_scripts(redis: RedisServer, _server: Hazoom, _talk: Talk) -> None:
    redis.ask("SCRIPT", "FLUSH")


def everything(socket: Socket) -> list[dict]:
    messages: list[dict] = []
    while True:
        page = socket.emit("get_history", {"limit": 500, **({"before": messages[0]["seq"]} if messages else {})})
        messages = page["messages"] + messages
        if page["complete"]:
            return messages


def test_of_what_was_acknowledged_nothing_is_lost_or_there_twice() -> None:
    """A batch that was refused, and that Redis had all the same, was there beside its repetition."""
    port = free_port()
    env = {"HAZOOM_RATE_LIMIT_PER_S": "0", "HAZOOM_LOG_REDIS_TIMEOUT_S": "0.5"}
    with running_redis("--appendonly", "yes", "--appendfsync", "always") as redis, OfficialClient() as client:
        env |= {"HAZOOM_LOG_URL": redis.url()}
        with hazoom(port=port, env=env) as server:
            talk = Talk(client, server.url)
            for fault in (hang, kill_clients, flush_scripts, fill, kill, hang, kill):
                talk.say_some()
                fault(redis, server, talk)
            talk.say_some()
            server.child.kill()
        with hazoom(port=port, env=env) as server:
            talk.say_some()
            talk.say_all()
            kept = everything(client.connect(server.url))
            counts = Counter(entry["message"] for entry in kept)
            assert (set(counts), max(counts.values())) == (talk.acknowledged, 1)
            seqs = [entry["seq"] for entry in kept]
            assert seqs == sorted(seqs)
            reader = talk.people[0]
            client.wait(lambda: len(reader.received("new_message")) >= len(kept), "all were shown")
            assert [entry["message"] for entry in reader.received("new_message")] == [entry["message"] for entry in kept]
            assert [back["recovered"] for back in reader.received("connect")] == [False, True]
