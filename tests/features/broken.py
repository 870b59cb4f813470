"""A feature with defects, of which nobody else may hear."""

import threading

from msgspec import Struct

from hazoom_ws.features import Chat, ClientPayload, Feature, Refused, Sender, ServerEvent, User, handles


class Fail(ClientPayload, frozen=True):
    event = "fail"
    required = False


class FailLater(ClientPayload, frozen=True):
    event = "fail_later"
    refuses: bool = False


class Wait(ClientPayload, frozen=True):
    event = "wait"


class Release(ClientPayload, frozen=True):
    event = "release"
    required = False


class Keep(ClientPayload, frozen=True):
    event = "keep"
    text: str


class KeptPlaces(Struct, frozen=True):
    first: int
    second: int


class Noted(ServerEvent, frozen=True):
    event = "noted"
    is_kept = True
    text: str


class Undeclared(ServerEvent, frozen=True):
    event = "undeclared"


class Broken(Feature):
    name = "broken"
    events = (Noted,)

    def __init__(self, chat: Chat) -> None:
        super().__init__(chat)
        self.gate = threading.Semaphore(0)

    @handles(Fail)
    def fail(self, sender: Sender, payload: Fail) -> None:
        self.chat.push(sender, Undeclared())

    @handles(FailLater, waits=True)
    def fail_later(self, sender: Sender, payload: FailLater) -> None:
        if payload.refuses:
            raise Refused("not_today", "not today", retry=True)
        raise RuntimeError("a defect of a feature")

    @handles(Wait, waits=True)
    def wait(self, sender: Sender, payload: Wait) -> None:
        self.gate.acquire()

    @handles(Keep, waits=True)
    def keep(self, sender: Sender, payload: Keep) -> KeptPlaces:
        room = self.chat.room_of(sender)
        first = self.chat.broadcast(room, Noted(payload.text))
        second = self.chat.publish(room, payload.text, user_name="Notes")
        assert first is not None
        assert [kept.seq for kept in self.chat.kept(room, Noted)][-1] == first.seq
        return KeptPlaces(first.seq, second.seq)

    @handles(Release)
    def release(self, sender: Sender, payload: Release) -> None:
        for _ in range(100):
            self.gate.release()

    def left(self, room: str, user: User) -> None:
        raise RuntimeError("a defect when somebody leaves")

    def close(self) -> None:
        raise RuntimeError("a defect when the application ends")
