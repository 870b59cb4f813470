"""What Redis does in one step: Lua scripts, each of which is done as a whole or not at all.

Keys, each below `PREFIX` (one hash slot, for one order over all rooms):
    about             a hash: epoch, start_seq, last (the highest number that was given), beat, trimmed_seq, and of the
                      Redis that has it now run (its ``run_id``, and a text of who saw it first), kept_seq (what ``last``
                      was then) and ahead (by how much numbers are ahead of its clock)
    processes         a set of the names of all processes that were seen; of each that lives there is
    process:<name>    a text that changes when the process begins anew; it goes when nothing was heard for `LEASE_S`
    messages:<room>   a stream, entry ``<seq>-<size in bytes>`` with the message as JSON, without its id and its number
    sizes             a hash: bytes of all messages of a room
    newest, trimmed   hashes: the newest ``seq`` of a room, and up to which it was trimmed
    oldest            a sorted set of rooms by when their oldest message was said, or earlier
    resent:<half day> a hash, gone after two days: digest of who sent what where, to ``<seq> <timestamp>``
    sessions          a hash of whole sessions; ``changes:<key>`` is a list of what has changed in one since
    holders           a hash: of each session the process that has it, and when its connection was opened
    changed           a set of the sessions that have such a list
    taken:<process>   a hash that has "" if sessions of a process were taken over, that may only be paused; gone in a day
    state:<room>      a hash of keys to ``<seq> <1, or 0 if it was deleted> <MessagePack>``; ``forgotten`` is a hash of
                      rooms (`RoomState.complete`)
    updates:<name>    a stream of a document's updates; ``snapshot:<name>`` is a hash: through, data

Channels, each below the prefix and the epoch, since databases of one Redis share all channels. What is published begins
with its origin, the process and the batch, and with a letter for what it is:
    room:<room>       ``m <seq of the room's message before> <seq> <message>``, so that who listens sees a gap;
                      ``s <seq> <MessagePack: user, timestamp, values by key>``
    document:<name>   ``u <seq> <update>``
    process:<name>    ``b <number of the first thing>`` when all of a batch is published: so its process knows what others
                      have said before it

Numbers go on with Redis' clock, a million in a second, or faster: a batch begins at least `GAP` above the one before. So
each process has room for the numbers of what is not kept, tokens say, in between. A Redis that begins anew, or takes over,
may lack the last that was written, so it goes on far ahead (`JUMP`) of that and of the clock: no number is given twice.
They are texts on their way: Lua has doubles, which hold them (below 2**53), but writes large ones in its own way.

This is long because all scripts are here, so that one can see what each key is read and written by.

Source: https://redis.io/docs/latest/develop/programmability/eval-intro/, `XADD`, `XTRIM`.
"""

PREFIX = "{hazoom}:"
LEASE_S = 15
GAP = 10_000
JUMP = 10**11  # the numbers of a thousand seconds with 10,000 batches each: no replica is so far behind
RESENT_BUCKET_S = 43_200
RESENT_BUCKETS = 3  # a day, and the half of one that has begun
_KEEP_RESENT_S = (RESENT_BUCKETS + 1) * RESENT_BUCKET_S

# ARGV 1 and 2: the process, and its text of now. A process that was away for too long has to begin anew: others have taken
# it for dead meanwhile. So has one whose connection was lost: what was on its way there is not done later.
_BEGIN = f"""
local prefix = '{PREFIX}'
local about = prefix .. 'about'
if redis.call('GET', prefix .. 'process:' .. ARGV[1]) ~= ARGV[2] then return redis.error_reply('EXPIRED lease') end
"""

TRIM = """
local function trim(room, stream, limit_count, limit_bytes)
  local count, bytes = redis.call('XLEN', stream), tonumber(redis.call('HGET', prefix .. 'sizes', room) or '0')
  local up_to, freed = nil, 0
  while count > limit_count or (bytes - freed > limit_bytes and count > 1) do
    local entry = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    local seq, size = string.match(entry[1], '^(%d+)-(%d+)$')
    redis.call('XDEL', stream, entry[1])
    up_to, freed, count = seq, freed + tonumber(size), count - 1
  end
  return up_to, freed
end

-- Nothing happens if ``up_to`` is nil; else it is told in ``trimmed`` too.
local function note_trimmed(trimmed, room, up_to, freed)
  if not up_to then return end
  trimmed[#trimmed + 1] = room
  trimmed[#trimmed + 1] = up_to
  redis.call('HINCRBY', prefix .. 'sizes', room, string.format('%.0f', -freed))
  redis.call('HSET', prefix .. 'trimmed', room, up_to)
  local highest = redis.call('HGET', about, 'trimmed_seq')
  if not highest or tonumber(highest) < tonumber(up_to) then redis.call('HSET', about, 'trimmed_seq', up_to) end
end
"""

# Numbers: those of the clock; and what is to be done first where there may be another Redis than before. ``text`` is in
# ``run`` then, so that it is another one than before even if somebody has emptied the same Redis.
NUMBERS = f"""
local function seq_of(number) return string.format('%.0f', number) end

local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function go_on(text)
  local there, run = redis.call('HGET', about, 'run'), string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
  if there and string.match(there, '^%w*') == run then return end
  local now, last = clock(), redis.call('HGET', about, 'last')
  local ahead = math.max(now + tonumber(redis.call('HGET', about, 'ahead') or '0'), tonumber(last)) - now + {JUMP}
  redis.call('HSET', about, 'run', run .. ' ' .. text, 'kept_seq', last, 'ahead', seq_of(ahead))
end
"""

CONSTANTS = f"local GAP, LEASE_S, BUCKETS, KEEP_RESENT_S = {GAP}, {LEASE_S}, {RESENT_BUCKETS}, {_KEEP_RESENT_S}"

# Whoever uses this says how to publish, ``PUBLISH``. What was sent before has a digest, by which it is found in the bucket
# of its half day.
SAY = """
local function bucket_of(number) return prefix .. 'resent:' .. string.format('%.0f', number) end

local function found(bucket, digest)
  if digest == '' then return nil end
  for back = 0, BUCKETS - 1 do
    local there = redis.call('HGET', bucket_of(bucket - back), digest)
    if there then return string.match(there, '^(%d+) (.+)$') end
  end
  return nil
end

local function remember(bucket, digest, seq, timestamp)
  if digest == '' then return end
  redis.call('HSET', bucket_of(bucket), digest, seq .. ' ' .. timestamp)
  redis.call('EXPIRE', bucket_of(bucket), KEEP_RESENT_S)
end

local function say(trimmed, channels, origin, room, seq, size, timestamp, text, limit_count, limit_bytes)
  local stream, newest = prefix .. 'messages:' .. room, prefix .. 'newest'
  redis.call('XADD', stream, seq .. '-' .. size, 'd', text)
  local bytes = redis.call('HINCRBY', prefix .. 'sizes', room, size)
  local length = redis.call('XLEN', stream)
  if length == 1 then redis.call('ZADD', prefix .. 'oldest', timestamp, room) end
  if length > limit_count or bytes > limit_bytes then
    note_trimmed(trimmed, room, trim(room, stream, limit_count, limit_bytes))
  end
  local before = redis.call('HGET', newest, room) or '0'
  redis.call(PUBLISH, channels .. 'room:' .. room, origin .. ' m ' .. before .. ' ' .. seq .. ' ' .. text)
  redis.call('HSET', newest, room, seq)
end
"""

# ARGV: the process, its text of now, epoch, start_seq and ahead of a new log, the bounds of a room (count, bytes) and of a
# message (bytes), for `functions`. Returns all of ``about``.
BEGIN = f"""
local prefix = '{PREFIX}'
local about = prefix .. 'about'
{NUMBERS}
redis.call('SADD', prefix .. 'processes', ARGV[1])
redis.call('SET', prefix .. 'process:' .. ARGV[1], ARGV[2], 'EX', {LEASE_S})
redis.call('HSETNX', about, 'epoch', ARGV[3])
redis.call('HSETNX', about, 'start_seq', ARGV[4])
redis.call('HSETNX', about, 'last', ARGV[4])
redis.call('HSETNX', about, 'trimmed_seq', '0')
redis.call('HSETNX', about, 'ahead', ARGV[5])
go_on(ARGV[2])
redis.call('HSET', about, 'room_limit_count', ARGV[6], 'room_limit_bytes', ARGV[7], 'message_limit_bytes', ARGV[8])
return redis.call('HGETALL', about)
"""

# ARGV: the process, its text.
END = (
    _BEGIN
    + """
redis.call('DEL', prefix .. 'process:' .. ARGV[1])
redis.call('SREM', prefix .. 'processes', ARGV[1])
"""
)

# ARGV: the process, its text, the batch, where channels begin, how to publish, the highest number that the process has
# given to anything, the number of the bucket, the bounds of a room (count, bytes), what is in the batch, then the bytes of
# all that is. Things say which place they have in the batch. Returns the number of the first place, what was said before
# (places, each followed by its number and timestamp), the places of what is refused since something else is there by now,
# and rooms that were trimmed, each followed by up to where.
WRITE = (
    _BEGIN
    + CONSTANTS
    + NUMBERS
    + TRIM
    + "local PUBLISH = ARGV[5]"
    + SAY
    + """
local origin, channels = ARGV[1] .. '/' .. ARGV[3], ARGV[4]
local limit_count, limit_bytes = tonumber(ARGV[8]), tonumber(ARGV[9])
local count, messages, sessions, changes, states, updates = unpack(cmsgpack.unpack(ARGV[10]))
local argument = 10
local function data()
  argument = argument + 1
  return ARGV[argument]
end

local now, about_now = clock(), redis.call('HMGET', about, 'last', 'ahead')
local first = math.max(now + tonumber(about_now[2]), tonumber(about_now[1]) + GAP, tonumber(ARGV[6]) + 1)
local function numbered(place) return seq_of(first + place) end

-- First, since a Redis that is full refuses this, and nothing after a write that it has done.
if count > 0 then redis.call('HSET', about, 'last', numbered(count - 1))
else redis.call('HSET', about, 'beat', seq_of(now)) end
redis.call('EXPIRE', prefix .. 'process:' .. ARGV[1], LEASE_S)

local said_before, bucket = {}, tonumber(ARGV[7])
local function was_said(place, digest)
  local seq, timestamp = found(bucket, digest)
  if not seq then return false end
  said_before[#said_before + 1] = place
  said_before[#said_before + 1] = seq
  said_before[#said_before + 1] = timestamp
  return true
end

local trimmed = {}
for _, message in ipairs(messages) do
  local room, place, size, timestamp, digest = unpack(message)
  local text = data()
  if not was_said(place, digest) then
    local seq = numbered(place)
    say(trimmed, channels, origin, room, seq, size, timestamp, text, limit_count, limit_bytes)
    remember(bucket, digest, seq, timestamp)
  end
end
local function is_mine(key)
  local holder = redis.call('HGET', prefix .. 'holders', key)
  return not holder or string.match(holder, '^%S+') == ARGV[1]
end
for _, session in ipairs(sessions) do
  local key, is_there, opened_at_s = unpack(session)
  local text = is_there and data()
  if is_mine(key) then
    if is_there then
      redis.call('HSET', prefix .. 'sessions', key, text)
      redis.call('HSET', prefix .. 'holders', key, ARGV[1] .. ' ' .. opened_at_s)
    else
      redis.call('HDEL', prefix .. 'sessions', key)
      redis.call('HDEL', prefix .. 'holders', key)
    end
    if redis.call('SREM', prefix .. 'changed', key) == 1 then redis.call('DEL', prefix .. 'changes:' .. key) end
  end
end
for _, key in ipairs(changes) do
  local text = data()
  if is_mine(key) then
    redis.call('RPUSH', prefix .. 'changes:' .. key, text)
    redis.call('SADD', prefix .. 'changed', key)
  end
end
local refused = {}
for _, change in ipairs(states) do
  local room, place, timestamp, digest, keys, conditions = unpack(change)
  local state, values, may = prefix .. 'state:' .. room, {}, true
  for number, key in ipairs(keys) do values[number] = data() end
  local shown = data()
  for _, condition in ipairs(conditions) do
    local seq, is_there = string.match(redis.call('HGET', state, condition[1]) or '0 0 ', '^(%d+) (%d)')
    if is_there == '0' then seq = '0' end
    if seq ~= condition[2] then may = false end
  end
  if not was_said(place, digest) then
    if may then
      local seq = numbered(place)
      for number, key in ipairs(keys) do
        local is_there = string.sub(values[number], 1, 1) == '1' or redis.call('HEXISTS', state, key) == 1
        if is_there then redis.call('HSET', state, key, seq .. ' ' .. values[number]) end
      end
      remember(bucket, digest, seq, timestamp)
      redis.call(PUBLISH, channels .. 'room:' .. room, origin .. ' s ' .. seq .. ' ' .. shown)
    else refused[#refused + 1] = place end
  end
end
for _, update in ipairs(updates) do
  local name, place = unpack(update)
  local seq, bytes = numbered(place), data()
  redis.call('XADD', prefix .. 'updates:' .. name, seq .. '-0', 'd', bytes)
  redis.call(PUBLISH, channels .. 'document:' .. name, origin .. ' u ' .. seq .. ' ' .. bytes)
end
redis.call(PUBLISH, channels .. 'process:' .. ARGV[1], origin .. ' b ' .. numbered(0))
return {numbered(0), said_before, refused, trimmed}
"""
)

# ARGV: the process, its text, the session, when the connection was opened that wants it, where channels begin, how to
# publish. Returns 1 if the process has it now.
CLAIM = (
    _BEGIN
    + """
local holder = redis.call('HGET', prefix .. 'holders', ARGV[3])
if not holder then return 0 end
local name, opened_at_s = string.match(holder, '^(%S+) (%S+)$')
if name ~= ARGV[1] then
  if tonumber(opened_at_s) > tonumber(ARGV[4]) then return 0 end
  redis.call('HSET', prefix .. 'holders', ARGV[3], ARGV[1] .. ' ' .. ARGV[4])
  redis.call(ARGV[6], ARGV[5] .. 'process:' .. name, ARGV[1] .. '/0 c ' .. ARGV[3])
end
return 1
"""
)

# ARGV: the process, its text, then pairs: a session and the process that had it, which is dead, or this one. Returns the
# sessions that the process has now.
TAKE_OVER = (
    _BEGIN
    + """
local taken = {}
for place = 3, #ARGV, 2 do
  local holder = redis.call('HGET', prefix .. 'holders', ARGV[place])
  local name, opened_at_s = string.match(holder or ' ', '^(%S*) (%S*)$')
  if name == ARGV[place + 1] and (name == ARGV[1] or redis.call('EXISTS', prefix .. 'process:' .. name) == 0) then
    if name ~= ARGV[1] then
      redis.call('HSET', prefix .. 'holders', ARGV[place], ARGV[1] .. ' ' .. opened_at_s)
      redis.call('HSET', prefix .. 'taken:' .. name, '', '')
      redis.call('EXPIRE', prefix .. 'taken:' .. name, 86400)
    end
    taken[#taken + 1] = ARGV[place]
  end
end
return taken
"""
)

# ARGV: the process, its text, then room, number, size and JSON of each message, in the order of their numbers: those that
# Redis has lost are put back where that can be.
RESTORE_MESSAGES = (
    _BEGIN
    + """
local last = tonumber(redis.call('HGET', about, 'last'))
for place = 3, #ARGV, 4 do
  local room, seq, size, text = ARGV[place], ARGV[place + 1], ARGV[place + 2], ARGV[place + 3]
  local added = redis.pcall('XADD', prefix .. 'messages:' .. room, seq .. '-' .. size, 'd', text)
  if type(added) == 'string' then
    redis.call('HINCRBY', prefix .. 'sizes', room, size)
    redis.call('HSET', prefix .. 'newest', room, seq)
    if redis.call('XLEN', prefix .. 'messages:' .. room) == 1 then redis.call('ZADD', prefix .. 'oldest', 0, room) end
    if tonumber(seq) > last then redis.call('HSET', about, 'last', seq) end
  end
end
"""
)

# ARGV: the process, its text, then room, key and value of each. Puts values of states back that Redis has lost.
RESTORE_STATES = (
    _BEGIN
    + """
for place = 3, #ARGV, 3 do
  local state, key, value = prefix .. 'state:' .. ARGV[place], ARGV[place + 1], ARGV[place + 2]
  local there = redis.call('HGET', state, key)
  if not there or tonumber(string.match(there, '^%d+')) < tonumber(string.match(value, '^%d+')) then
    redis.call('HSET', state, key, value)
  end
end
"""
)

# ARGV: the process, its text, the document, through, the snapshot.
SNAPSHOT = (
    _BEGIN
    + """
local name, through = ARGV[3], ARGV[4]
local snapshot, updates = prefix .. 'snapshot:' .. name, prefix .. 'updates:' .. name
local there = redis.call('HGET', snapshot, 'through')
if there and tonumber(there) > tonumber(through) then return end
redis.call('HSET', snapshot, 'through', through, 'data', ARGV[5])
redis.call('XTRIM', updates, 'MINID', string.format('%.0f', tonumber(through) + 1))
if redis.call('XLEN', updates) == 0 then redis.call('DEL', updates) end
"""
)

# ARGV: the process, its text, the bounds of a room, then rooms. Returns rooms that were trimmed, each followed by up to
# where.
TRIM_ROOMS = (
    _BEGIN
    + TRIM
    + """
local trimmed = {}
for place = 5, #ARGV do
  local room = ARGV[place]
  note_trimmed(trimmed, room, trim(room, prefix .. 'messages:' .. room, tonumber(ARGV[3]), tonumber(ARGV[4])))
end
return trimmed
"""
)

# ARGV: the process, its text, when it was that all before is too old, how many rooms and messages to look at. Returns first
# whether there is more, then rooms that were trimmed, each followed by up to where.
TRIM_AGED = (
    _BEGIN
    + TRIM
    + """
local before_s, answer = tonumber(ARGV[3]), {0}
local rooms = redis.call('ZRANGEBYSCORE', prefix .. 'oldest', '-inf', '(' .. ARGV[3], 'LIMIT', 0, ARGV[4])
if #rooms == tonumber(ARGV[4]) then answer[1] = 1 end
for _, room in ipairs(rooms) do
  local stream, up_to, freed, oldest = prefix .. 'messages:' .. room, nil, 0, nil
  local entries = redis.call('XRANGE', stream, '-', '+', 'COUNT', ARGV[5])
  for _, entry in ipairs(entries) do
    local timestamp = cjson.decode(entry[2][2]).timestamp
    if timestamp >= before_s then
      oldest = timestamp
      break
    end
    local seq, size = string.match(entry[1], '^(%d+)-(%d+)$')
    redis.call('XDEL', stream, entry[1])
    up_to, freed = seq, freed + tonumber(size)
  end
  note_trimmed(answer, room, up_to, freed)
  if oldest then redis.call('ZADD', prefix .. 'oldest', string.format('%.3f', oldest), room)
  elseif redis.call('XLEN', stream) > 0 then answer[1] = 1
  else
    redis.call('ZREM', prefix .. 'oldest', room)
    redis.call('HDEL', prefix .. 'sizes', room)
    redis.call('HDEL', prefix .. 'newest', room)
    redis.call('DEL', stream)
  end
end
return answer
"""
)

# ARGV: the process, its text, the room, up to where its deleted keys are forgotten, then these.
FORGET_DELETED = (
    _BEGIN
    + """
redis.call('HSET', prefix .. 'forgotten', ARGV[3], ARGV[4])
for place = 5, #ARGV do redis.call('HDEL', prefix .. 'state:' .. ARGV[3], ARGV[place]) end
"""
)
