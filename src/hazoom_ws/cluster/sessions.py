"""The sessions of processes that have died, and who claims one: clients come back to whichever process they reach.

A process that was paused for longer than its lease, and taken for dead, has clients that never left it. So when it begins
anew it claims back what others have taken over, but for sessions whose clients have come to another process.
"""

from collections.abc import Callable
from functools import partial

from hazoom_ws.chat.hub import Hub
from hazoom_ws.cluster.processes import EVERYBODY, PREFIX, TAKEN, RunBeside
from hazoom_ws.message_log.contract import StoredSession
from hazoom_ws.message_log.peers import Heard, Peers

CLAIMED = b"c"  # `MessageLog.claim_session`
_AT_ONCE_COUNT = 200  # in one turn
_CLOCKS_S = 1.0  # by which those of two machines may differ

# ARGV: a process, "1" if those count too that it has already, then pairs: a session, and when its connection was opened
# here. Returns of those that another process has the session, that process, and whether it is this one's again: its client
# is with no later connection elsewhere.
_CLAIM_BACK = f"""
local holders, found = '{PREFIX}holders', {{}}
if redis.call('EXISTS', '{PREFIX}process:' .. ARGV[1]) == 0 then return redis.error_reply('EXPIRED lease') end
for place = 3, #ARGV, 2 do
  local holder = redis.call('HGET', holders, ARGV[place]) or ''
  local name, opened_at_s = string.match(holder, '^(%S+) (%S+)$')
  if name and (name ~= ARGV[1] or ARGV[2] == '1') then
    local is_mine = name == ARGV[1] or tonumber(opened_at_s) <= tonumber(ARGV[place + 1]) + {_CLOCKS_S}
    if is_mine then redis.call('HSET', holders, ARGV[place], ARGV[1] .. ' ' .. opened_at_s) end
    found[#found + 1] = {{ARGV[place], name, is_mine and 1 or 0}}
  end
end
return found
"""

Sessions = list[tuple[str, StoredSession]]


class SessionsElsewhere:
    """Called within turns."""

    def __init__(self, hub: Hub, peers: Peers, take_over: Callable[[str], Sessions], run_beside: RunBeside) -> None:
        """``take_over`` as of `MessageLog`."""
        self._hub = hub
        self._peers = peers
        self._claim_back = peers.script(_CLAIM_BACK)
        self._take_over = take_over
        self._run_beside = run_beside
        self._was_dead = False  # as others have it
        self._is_in_doubt = False  # what it has claimed back
        self._taking_count = 0
        self._claimed: set[str] = set()  # by others, since this process has begun to take over what it has not adopted yet
        peers.before_back.append(self._ask)
        peers.on_back.append(self._come_back)

    def heard_claim(self, heard: Heard) -> None:
        """Let another process have a session."""
        key = heard.data.decode()
        if self._taking_count:
            self._claimed.add(key)
        self._hub.hand_over(key)

    def gone(self, process: str) -> None:
        """Have what a process has left, as far as nobody else has it: somebody has to end it when its time is over."""
        self._taking_count += 1
        self._run_beside(partial(self._take_over, process), self._adopt)

    def _adopt(self, sessions: Sessions | None, _error: BaseException | None) -> None:
        # While Redis is away nobody comes back; whoever comes later claims a session by itself.
        some, left = (sessions or [])[:_AT_ONCE_COUNT], (sessions or [])[_AT_ONCE_COUNT:]
        for key, session in some:
            if key not in self._claimed:
                self._hub.adopt(key, session)
        if left:
            self._run_beside(lambda: left, self._adopt)
            return
        self._taking_count -= 1
        if not self._taking_count:
            self._claimed.clear()

    # When this process was taken for dead

    def _ask(self) -> None:
        """Note whether it was. Beside turns."""
        [was_dead] = self._peers.ask(("HEXISTS", f"{TAKEN}{self._peers.name}", ""))
        self._was_dead = bool(was_dead)

    def _come_back(self) -> None:
        if self._was_dead:
            self._have_again(self._hub.recoverable.opened(), is_in_doubt=False)

    def looked(self) -> None:
        """Try again what Redis has not answered, or not done. To be called every second or so while it is there."""
        if self._is_in_doubt:
            self._is_in_doubt = False
            self._have_again(self._hub.recoverable.opened(), is_in_doubt=True)

    def _have_again(self, sessions: list[tuple[str, float]], *, is_in_doubt: bool) -> None:
        """Claim sessions back. ``is_in_doubt``: this process may have some again and not know it, nor have told it."""
        some, left = sessions[:_AT_ONCE_COUNT], sessions[_AT_ONCE_COUNT:]

        def claim() -> list[tuple[bytes, bytes, int]]:
            arguments = [text for key, opened_at_s in some for text in (key, repr(opened_at_s))]
            found: list[tuple[bytes, bytes, int]] = self._claim_back([self._peers.name, str(int(is_in_doubt)), *arguments])
            return found

        def done(found: list[tuple[bytes, bytes, int]] | None, error: BaseException | None) -> None:
            if error is not None or found is None:
                self._is_in_doubt = True
                return
            for key, name, is_mine in found:
                if is_mine:
                    holder = name.decode()
                    channel = EVERYBODY if holder == self._peers.name else f"process:{holder}"
                    self._peers.publish(channel, CLAIMED, key)
                    self._hub.recoverable.save_again(key.decode())
                else:
                    self._hub.hand_over(key.decode())
            if left:
                self._have_again(left, is_in_doubt=is_in_doubt)
            else:
                self._was_dead = False
                self._peers.tell("HDEL", f"{TAKEN}{self._peers.name}", "")

        self._run_beside(claim, done)
