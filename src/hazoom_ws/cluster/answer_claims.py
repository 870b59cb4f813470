"""Which process has which answer of the AI, for all to see: each question is accepted by one process only.

Keys, beside those of the log:
    answers            a hash: the process and `Owner` of each question that was accepted and can be resumed, by its id
    answers:<process>  a hash of those of one process: the room of each that runs (`_RUNNING` before it), "" of the others
    died               a hash: the room of each answer whose process has died, until somebody keeps what there is of it

Whoever finds that a process has died moves what it has left, in one step (`processes`). A question that it had may be asked
again. If it was only paused, it finds out when it begins anew what it has no more (`claim_again`, ``taken:<process>``).

Called within turns, but for `died`, `take`, `claim_again`, `look_up` and what `NotLoaded` loads.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET

from hazoom_ws.chat.presence import User
from hazoom_ws.cluster.processes import DIED, HOLDING, PREFIX, TAKEN
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.llm_bridge.answer import Answer
from hazoom_ws.llm_bridge.elsewhere import Known
from hazoom_ws.message_log.contract import NotLoaded
from hazoom_ws.message_log.peers import Peers

_ANSWERS = f"{PREFIX}answers"
_RUNNING = "r"
_CLAIMED_AT_ONCE_COUNT = 1000
_FOUND_LIMIT_S = 60.0  # for which what was read is remembered for who asked

_KNOWN = f"""
local answers, prefix = '{_ANSWERS}', '{PREFIX}'
local function known(id)
  local there = redis.call('HGET', answers, id)
  local process = there and string.match(there, '^%S+')
  if not process or redis.call('EXISTS', prefix .. 'process:' .. process) == 0 then return false end
  return {{there, redis.call('HGET', answers .. ':' .. process, id) or ''}}
end
"""

# ARGV: ids. Returns of each what there is, and the value in the hash of its process; null if there is nothing.
_FIND = (
    _KNOWN
    + """
local found = {}
for place, id in ipairs(ARGV) do found[place] = known(id) end
return found
"""
)

# ARGV: the id, the process that wants it, what is to be kept then. Returns as `_FIND`, of the one.
_CLAIM = (
    _KNOWN
    + f"""
local id, process, value = unpack(ARGV)
local there = known(id)
if there then return there end
redis.call('HSET', answers, id, value)
redis.call('HSET', answers .. ':' .. process, id, '')
redis.call('SADD', '{HOLDING}', process)
return {{value, ''}}
"""
)


# ARGV: a process, then of each question that it has the id, what is kept for it, and its value in the hash of the process.
# Keeps that again, as Redis may have lost it. Returns the ids of those that it has no more.
_CLAIM_AGAIN = (
    _KNOWN
    + f"""
local process, gone = ARGV[1], {{}}
if redis.call('EXISTS', prefix .. 'process:' .. process) == 0 then return gone end
for place = 2, #ARGV, 3 do
  local id, value, room = ARGV[place], ARGV[place + 1], ARGV[place + 2]
  local there = known(id)
  local is_elsewhere = there and string.match(there[1], '^%S+') ~= process
  if is_elsewhere or redis.call('HEXISTS', '{TAKEN}' .. process, id) == 1 then
    gone[#gone + 1] = id
  else
    redis.call('HSET', answers, id, value)
    redis.call('HSET', answers .. ':' .. process, id, room)
    redis.call('SADD', '{HOLDING}', process)
  end
end
return gone
"""
)


# ARGV: a process, then ids. Returns those that it is to keep in their rooms; none if it was taken for dead itself.
_TAKE = f"""
local taken = {{}}
if redis.call('EXISTS', '{PREFIX}process:' .. ARGV[1]) == 0 then return taken end
for place = 2, #ARGV do
  if redis.call('HDEL', '{DIED}', ARGV[place]) == 1 then taken[#taken + 1] = ARGV[place] end
end
return taken
"""


class Owner(msgspec.Struct, frozen=True, array_like=True):
    """Whose question it is, and in which room; "": it is private."""

    user_id: str
    room: str


_decode = msgspec.json.Decoder(Owner).decode


class Claims:
    """What one process reads and tells of that. ``problem()`` returns why nothing can be read, None if it can."""

    def __init__(self, peers: Peers, problem: Callable[[], str | None], clock: Callable[[], float]) -> None:
        self._peers = peers
        self._problem = problem
        self._clock = clock
        self._of_process = f"{_ANSWERS}:{peers.name}"
        scripts = (_FIND, _CLAIM, _CLAIM_AGAIN, _TAKE)
        self._find, self._claim, self._claim_again, self._take = map(peers.script, scripts)
        self._found: dict[tuple[str, str], tuple[Known | None, float]] = {}  # what was read for somebody, and when

    def find(self, request_id: str) -> Known | None:
        """Return who has a question, None for nobody. Raises `NotLoaded`, `LogUnavailable`."""
        return self._read("find", request_id, lambda: self._find([request_id])[0])

    def claim(self, request_id: str, user: User, room: str) -> Known:
        """Return who has a question; this process, if nobody had it. Raises `NotLoaded`, `LogUnavailable`."""
        arguments = [request_id, self._peers.name, self._value(user, room)]
        known = self._read("claim", request_id, lambda: self._claim(arguments))
        assert known is not None
        return known

    def _value(self, user: User, room: str) -> str:
        return f"{self._peers.name} {msgspec.json.encode(Owner(user.id, room)).decode()}"

    def _read(self, why: str, request_id: str, ask: Callable[[], Any]) -> Known | None:
        found = self._found.pop((why, request_id), None)
        if found is not None:
            return found[0]
        problem = self._problem()
        if problem is not None:
            raise LogUnavailable(problem)

        def load() -> Callable[[], None]:
            known = _known(ask())

            def take() -> None:
                self._found[why, request_id] = (known, self._clock())

            return take

        raise NotLoaded(load)

    def look_up(self, request_ids: list[str]) -> list[Known | None]:
        """Return who has which of some questions. Beside turns. Raises `LogUnavailable`."""
        return [_known(answer) for answer in self._find(request_ids)]

    def forget_unused(self, is_here: Callable[[str], bool]) -> None:
        """Let go what was read for somebody who did not come again. ``is_here(id)``: the question was accepted here."""
        now_s = self._clock()
        for (why, request_id), (known, at_s) in list(self._found.items()):
            if now_s - at_s > _FOUND_LIMIT_S:
                del self._found[why, request_id]
                if why == "claim" and known is not None and known.process == self._peers.name and not is_here(request_id):
                    self.forget(request_id)

    # What becomes of those of this process

    def accepted(self, answer: Answer) -> None:
        """Note that a question was accepted."""
        request_id, value, room = self._kept(answer)
        self._peers.tell("HSET", _ANSWERS, request_id, value)
        self._peers.tell("HSET", self._of_process, request_id, room)
        self._peers.tell("SADD", HOLDING, self._peers.name)

    def _kept(self, answer: Answer) -> tuple[str, str, str]:
        room = "" if answer.room is UNSET else answer.room
        return answer.prompt.request_id, self._value(answer.user, room), "" if answer.size_bytes else _RUNNING + room

    def claim_again(self, answers: list[Answer]) -> set[str]:
        """Note again all questions of this process; return those that others have, or have told that they failed.

        Redis may have lost what was noted, and others may have taken this process for dead. Beside turns. Raises
        `LogUnavailable`.
        """
        gone: set[str] = set()
        for start in range(0, len(answers), _CLAIMED_AT_ONCE_COUNT):
            kept = [text for answer in answers[start : start + _CLAIMED_AT_ONCE_COUNT] for text in self._kept(answer)]
            gone.update(request_id.decode() for request_id in self._claim_again([self._peers.name, *kept]))
        return gone

    def ended(self, answer: Answer) -> None:
        """Note that its answer has ended."""
        self._peers.tell("HSET", self._of_process, answer.prompt.request_id, "")

    def forget(self, request_id: str) -> None:
        """Note that nobody has it any more."""
        self._peers.tell("HDEL", _ANSWERS, request_id)
        self._peers.tell("HDEL", self._of_process, request_id)

    def forget_failed(self, request_id: str) -> None:
        """Note that this process has nothing of one any more that it has lost by `claim_again`: it may be asked again."""
        self._peers.tell("HDEL", f"{TAKEN}{self._peers.name}", request_id)

    # When another process has died

    def died(self) -> dict[str, str]:
        """Return the answers that ran in rooms when their process died, the room of each by id. Raises `LogUnavailable`."""
        [found] = self._peers.ask(("HGETALL", DIED))
        return {request_id.decode(): room.decode() for request_id, room in found.items()}

    def take(self, request_ids: list[str]) -> set[str]:
        """Return which of those nobody else has taken: they are this process'. Raises `LogUnavailable`."""
        return {request_id.decode() for request_id in self._take([self._peers.name, *request_ids])}


def _known(answer: Any) -> Known | None:
    if not answer:
        return None
    process, said = answer[0].split(b" ", 1)
    owner = _decode(said)
    return Known(process.decode(), owner.user_id, owner.room, is_running=answer[1].startswith(_RUNNING.encode()))
