"""Which other processes live, and what becomes known when one has ended: calmly, or not.

A process that ends calmly says so. Of one that has died its lease runs out (15 s), which the others look for once a second.
What it held in Redis is removed by whoever notices first, in one script that asks once more whether it has a lease: so one
that was only away and has just come back loses nothing. That is who is in which room by it, and which answers of the AI run
there: those of rooms are put into ``died``, so that somebody else keeps in the room what there is of each.

A process may only have been paused, for longer than its lease. So that it finds what others have taken, ``taken:<process>``
is a hash of the ids of its answers that ran then, and "" if sessions were taken over; it stays for a day.

Nobody is judged too soon: all leases look over when Redis was away, and when this process was held up itself. So it judges
nobody for a while after it has started, after Redis was away, and after it could not look for some seconds. Nor does it
while the log is unwell: of a Redis that is full one can read who has a lease, but nobody can renew it there.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.peers import Heard, Peers

EVERYBODY = "processes"  # the channel that all processes follow
ENDED = b"e"
PREFIX = "{hazoom}:"
HOLDING = f"{PREFIX}holding"  # the names of processes that have told Redis what they hold
DIED = f"{PREFIX}died"
TAKEN = f"{PREFIX}taken:"  # and the name of a process
LOOK_INTERVAL_S = 1.0
MISSING_S = 1.0  # for which a lease has to be over: two looks
HELD_UP_S = 5.0  # without a look: this process was held up, or Redis was
CALM_S = 8.0  # after that, in which the others take their leases again
_PAUSE_LIMIT_S = 86_400  # after which nobody knows any more what was told of one that goes on

# ARGV: a process. Forgets who is where by it.
FORGET_USERS = f"""
local name, prefix = ARGV[1], '{PREFIX}'
local present = prefix .. 'present:' .. name
for _, room in ipairs(redis.call('SMEMBERS', present)) do
  redis.call('SREM', prefix .. 'there:' .. room, name)
  redis.call('DEL', present .. ':' .. room)
end
redis.call('DEL', present)
redis.call('SREM', prefix .. 'holding', name)
"""

# ARGV: a process. Forgets what it holds: also its answers (`answer_claims` has the keys).
FORGET_HELD = (
    FORGET_USERS
    + f"""
local answers = prefix .. 'answers'
local of_process = answers .. ':' .. name
local held = redis.call('HGETALL', of_process)
for place = 1, #held, 2 do
  local id, room = held[place], string.match(held[place + 1], '^r(.*)')
  local owner = string.match(redis.call('HGET', answers, id) or '', '^%S+')
  if owner == name then redis.call('HDEL', answers, id) end
  if room then redis.call('HSET', '{TAKEN}' .. name, id, '') end
  if room and room ~= '' then redis.call('HSET', '{DIED}', id, room) end
end
redis.call('EXPIRE', '{TAKEN}' .. name, {_PAUSE_LIMIT_S})
redis.call('DEL', of_process)
"""
)

# ARGV: a process, and "1" if it is known to have ended. Returns whether it is dead, and then forgets it.
_FORGET = f"""
local lease = '{PREFIX}process:' .. ARGV[1]
if ARGV[2] == '1' then redis.call('DEL', lease) elseif redis.call('EXISTS', lease) == 1 then return 0 end
redis.call('SREM', '{PREFIX}processes', ARGV[1])
{FORGET_HELD}
return 1
"""


def script(text: str, *arguments: str) -> tuple[tuple[str | int, ...], ...]:
    """Return the commands that run a script, for `Peers.tell`. It is loaded each time: Redis may have lost it."""
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()  # as Redis names it
    return ("SCRIPT", "LOAD", text), ("EVALSHA", digest, 0, *arguments)


RunBeside = Callable[[Callable[[], Any], Callable[[Any, BaseException | None], None]], None]


class Processes:
    """The other processes. All of it is called within turns, but for `sweep`, which is called every second or so.

    ``on_ended`` is told the name of one that has ended or died: what it did for others is over. ``on_gone`` too, and for
    one that has ended calmly ``grace_s`` later: then who was there is not waited for any longer. ``on_looked`` is called
    after each look that Redis has answered. ``on_back`` is told of one that was away from Redis, and may have missed what
    was published.

    ``known``: which have lived since this one has, itself included. Not to be changed by others.
    """

    def __init__(
        self,
        peers: Peers,
        run_beside: RunBeside,
        *,
        problem: Callable[[], str | None],
        grace_s: float,
        clock: Callable[[], float],
    ) -> None:
        """``problem()`` returns why this process can keep nothing, None if it can."""
        self.on_ended: list[Callable[[str], object]] = []
        self.on_gone: list[Callable[[str], object]] = []
        self.on_back: list[Callable[[str], object]] = []
        self.on_looked: list[Callable[[], object]] = []
        self._peers = peers
        self._run_forget = peers.script(_FORGET)
        self._run_beside = run_beside
        self._problem = problem
        self._grace_s = grace_s
        self._clock = clock
        self.known: set[str] = set()
        with suppress(LogUnavailable):  # it is looked for again
            self.known = peers.alive()
        self._missing: dict[str, float] = {}  # since when there was no lease
        self._ended: dict[str, float] = {}  # calmly; until when their users are waited for
        self._forgetting: dict[str, object] = {}  # by process, the judgement; void if it is not there any more
        # The first look is at once: with eventlet nothing is heard before something was done beside turns.
        self._looked_at_s = clock() - LOOK_INTERVAL_S
        self._judges_from_s = clock() + CALM_S
        self._is_looking = False
        peers.on_back.append(self._hold_back)

    def sweep(self, now_s: float) -> None:
        """Look who lives, if it is time."""
        if not self._is_looking and now_s - self._looked_at_s >= LOOK_INTERVAL_S:
            self._is_looking = True
            try:
                self._run_beside(self._look, self._judge)
            except RuntimeError:  # no thread can be started; the next look may have one
                self._is_looking = False
                raise

    def heard_new(self, name: str) -> None:
        """Note that a process has begun."""
        self.known.add(name)

    def heard_back(self, name: str) -> None:
        """Note that a process was away."""
        self.known.add(name)
        self._forgetting.pop(name, None)  # it tells anew what it has; if it is dead again, it is judged again
        for call in self.on_back:
            call(name)

    def heard_end(self, heard: Heard) -> None:
        """Note that a process has ended calmly."""
        name = heard.process
        self.known.discard(name)
        self._missing.pop(name, None)
        self._ended[name] = self._clock() + self._grace_s
        for call in self.on_ended:
            call(name)
        if not self._grace_s:
            self._forget(name, has_ended=True)

    def _hold_back(self) -> None:
        self._judges_from_s = self._clock() + CALM_S
        self._missing.clear()
        self._forgetting.clear()

    def _look(self) -> tuple[set[str], set[str]]:
        """Return who lives, and who is not forgotten yet. Beside turns."""
        holding = {name.decode() for name in self._peers.ask(("SMEMBERS", HOLDING))[0]}
        return self._peers.alive(), holding

    def _judge(self, found: tuple[set[str], set[str]] | None, error: BaseException | None) -> None:
        self._is_looking = False
        now_s = self._clock()
        if error is not None or now_s - self._looked_at_s > HELD_UP_S or self._problem() is not None:
            self._hold_back()
        self._looked_at_s = now_s
        if found is None:
            return
        alive, holding = found
        self.known |= alive - self._ended.keys()
        for name in [name for name, until_s in self._ended.items() if until_s <= now_s]:
            self._forget(name, has_ended=True)
        suspects = (self.known | holding) - alive - self._ended.keys() - {self._peers.name}
        self._missing = {name: self._missing.get(name, now_s) for name in suspects}
        if now_s >= self._judges_from_s:
            for name in [name for name, since_s in self._missing.items() if now_s - since_s >= MISSING_S]:
                self._forget(name, has_ended=False)
        for call in self.on_looked:
            call()

    def _forget(self, name: str, *, has_ended: bool) -> None:
        """Forget a process, if it is dead indeed, and tell who has to know."""
        if name in self._forgetting:
            return
        judgement = self._forgetting[name] = object()

        def forget() -> bool:
            return bool(self._run_forget([name, "1" if has_ended else "0"]))

        def done(is_dead: bool | None, error: BaseException | None) -> None:
            if self._forgetting.get(name) is not judgement:
                return
            del self._forgetting[name]
            if error is not None or not is_dead:
                return  # it is looked for again
            self.known.discard(name)
            self._missing.pop(name, None)
            if self._ended.pop(name, None) is None:
                for call in self.on_ended:
                    call(name)
            for call in self.on_gone:
                call(name)

        try:
            self._run_beside(forget, done)
        except RuntimeError:
            del self._forgetting[name]
            raise
