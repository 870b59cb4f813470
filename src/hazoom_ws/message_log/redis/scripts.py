"""What Redis does in one step: Lua scripts, each of which is done as a whole or not at all.

Keys, each below `PREFIX` (one hash slot, for one order over all rooms):
    about             a hash: owner, beat_s (when that was last heard), epoch, start_seq, mark, last (batch), trimmed_seq
    messages:<room>   a stream, entry ``<seq>-<size in bytes>`` with the message as JSON
    sizes             a hash: bytes of all messages of a room
    newest, trimmed   hashes: the newest ``seq`` of a room, and up to which it was trimmed
    oldest            a sorted set of rooms by when their oldest message was said, or earlier
    resent:<hour>     a hash, gone after a day: digest of who sent what where, to ``<seq> <timestamp>``
    sessions          a hash of whole sessions; ``changes:<key>`` is a list of what has changed in one since
    changed           a set of the sessions that have such a list
    state:<room>      a hash of keys to values in MessagePack; ``forgotten`` is a hash of rooms (`RoomState.complete`)
    updates:<name>    a stream of a document's updates; ``snapshot:<name>`` is a hash: through, data
Channels: room:<room> gets ``<seq of the room's message before> <message as JSON>`` for each message, so that who listens
sees a gap.

Numbers are texts on their way: Lua has doubles, which hold them (below 2**53), but writes large ones in its own way.
A script looks whether it may do its work before it changes anything: Redis takes nothing back.

Source: https://redis.io/docs/latest/develop/programmability/eval-intro/, `XADD`, `XTRIM`.
"""

PREFIX = "{hazoom}:"
RESENT_HOURS = 25  # a day, and the hour that has begun
_KEEP_RESENT_S = (RESENT_HOURS + 1) * 3600

_BEGIN = f"""
local prefix = '{PREFIX}'
local about = prefix .. 'about'
if redis.call('HGET', about, 'owner') ~= ARGV[1] then return redis.error_reply('TAKEN by another process') end
"""

_TRIM = """
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

# ARGV: the owner as it was, the new one, epoch and start_seq of a new log. Returns all of ``about``, nil if another was
# quicker.
TAKE = f"""
local about = '{PREFIX}about'
if (redis.call('HGET', about, 'owner') or '') ~= ARGV[1] then return false end
redis.call('HSET', about, 'owner', ARGV[2], 'beat_s', redis.call('TIME')[1])
redis.call('HSETNX', about, 'epoch', ARGV[3])
redis.call('HSETNX', about, 'start_seq', ARGV[4])
redis.call('HSETNX', about, 'mark', '0')
redis.call('HSETNX', about, 'last', '0')
redis.call('HSETNX', about, 'trimmed_seq', '0')
return redis.call('HGETALL', about)
"""

# ARGV: the owner.
RELEASE = _BEGIN + "redis.call('HSET', about, 'beat_s', '0')"

# ARGV: the owner, the batch's number, the mark, the hour, the bounds of a room (count, bytes), what is in the batch, then
# the bytes of all that is. Returns rooms that were trimmed, each followed by up to where.
WRITE = (
    _BEGIN
    + _TRIM
    + f"""
local number = ARGV[2]
if tonumber(redis.call('HGET', about, 'last')) > tonumber(number) then return redis.error_reply('OUTRUN by another') end
local limit_count, limit_bytes = tonumber(ARGV[5]), tonumber(ARGV[6])
local messages, sessions, changes, states, updates = unpack(cmsgpack.unpack(ARGV[7]))
local place = 7
local function data()
  place = place + 1
  return ARGV[place]
end

local resent, has_resent = prefix .. 'resent:' .. ARGV[4], false
local function remember(digest, seq, timestamp)
  if digest ~= '' then
    redis.call('HSET', resent, digest, seq .. ' ' .. timestamp)
    has_resent = true
  end
end

local trimmed, newest = {{}}, prefix .. 'newest'
for _, message in ipairs(messages) do
  local room, seq, size, timestamp, digest = unpack(message)
  local stream, text = prefix .. 'messages:' .. room, data()
  redis.call('XADD', stream, seq .. '-' .. size, 'd', text)
  local bytes = redis.call('HINCRBY', prefix .. 'sizes', room, size)
  local count = redis.call('XLEN', stream)
  if count == 1 then redis.call('ZADD', prefix .. 'oldest', timestamp, room) end
  if count > limit_count or bytes > limit_bytes then
    note_trimmed(trimmed, room, trim(room, stream, limit_count, limit_bytes))
  end
  remember(digest, seq, timestamp)
  redis.call('PUBLISH', prefix .. 'room:' .. room, (redis.call('HGET', newest, room) or '0') .. ' ' .. text)
  redis.call('HSET', newest, room, seq)
end
for _, session in ipairs(sessions) do
  local key, is_there = unpack(session)
  if is_there then redis.call('HSET', prefix .. 'sessions', key, data())
  else redis.call('HDEL', prefix .. 'sessions', key) end
  if redis.call('SREM', prefix .. 'changed', key) == 1 then redis.call('DEL', prefix .. 'changes:' .. key) end
end
for _, key in ipairs(changes) do
  redis.call('RPUSH', prefix .. 'changes:' .. key, data())
  redis.call('SADD', prefix .. 'changed', key)
end
for _, change in ipairs(states) do
  local room, seq, timestamp, digest, keys = unpack(change)
  for _, key in ipairs(keys) do redis.call('HSET', prefix .. 'state:' .. room, key, data()) end
  remember(digest, seq, timestamp)
end
for _, update in ipairs(updates) do
  redis.call('XADD', prefix .. 'updates:' .. update[1], update[2] .. '-0', 'd', data())
end
if has_resent then redis.call('EXPIRE', resent, {_KEEP_RESENT_S}) end
redis.call('HSET', about, 'last', number, 'mark', ARGV[3], 'beat_s', redis.call('TIME')[1])
return trimmed
"""
)

# Takes a batch back that was not known to be kept, and of which nobody has heard.
# ARGV: the owner, what is in it, then the values that were there before. Keys without one are removed.
UNDO = (
    _BEGIN
    + f"""
local messages, digests, values, updates = unpack(cmsgpack.unpack(ARGV[2]))
for _, message in ipairs(messages) do
  local room, seq, size = unpack(message)
  local removed = redis.call('XDEL', prefix .. 'messages:' .. room, seq .. '-' .. size)
  if removed == 1 then redis.call('HINCRBY', prefix .. 'sizes', room, '-' .. size) end
end
for _, digest in ipairs(digests) do
  for back = 0, {RESENT_HOURS - 1} do
    redis.call('HDEL', prefix .. 'resent:' .. string.format('%.0f', tonumber(digest[2]) - back), digest[1])
  end
end
local place = 2
for _, value in ipairs(values) do
  local room, key, is_there = unpack(value)
  if is_there then
    place = place + 1
    redis.call('HSET', prefix .. 'state:' .. room, key, ARGV[place])
  else redis.call('HDEL', prefix .. 'state:' .. room, key) end
end
for _, update in ipairs(updates) do redis.call('XDEL', prefix .. 'updates:' .. update[1], update[2] .. '-0') end
"""
)

# ARGV: the owner, then room, key and value of each. Puts values of states back that Redis has lost.
RESTORE_STATES = (
    _BEGIN
    + """
for place = 2, #ARGV, 3 do redis.call('HSET', prefix .. 'state:' .. ARGV[place], ARGV[place + 1], ARGV[place + 2]) end
"""
)

# ARGV: the owner, the document, through, the snapshot.
SNAPSHOT = (
    _BEGIN
    + """
local name, through = ARGV[2], ARGV[3]
local snapshot, updates = prefix .. 'snapshot:' .. name, prefix .. 'updates:' .. name
local there = redis.call('HGET', snapshot, 'through')
if there and tonumber(there) > tonumber(through) then return end
redis.call('HSET', snapshot, 'through', through, 'data', ARGV[4])
redis.call('XTRIM', updates, 'MINID', string.format('%.0f', tonumber(through) + 1))
if redis.call('XLEN', updates) == 0 then redis.call('DEL', updates) end
"""
)

# ARGV: the owner, the bounds of a room, then rooms. Returns rooms that were trimmed, each followed by up to where.
TRIM_ROOMS = (
    _BEGIN
    + _TRIM
    + """
local trimmed = {}
for place = 4, #ARGV do
  local room = ARGV[place]
  note_trimmed(trimmed, room, trim(room, prefix .. 'messages:' .. room, tonumber(ARGV[2]), tonumber(ARGV[3])))
end
return trimmed
"""
)

# ARGV: the owner, when it was that all before is too old, how many rooms and messages to look at. Returns rooms that were
# trimmed, each followed by up to where; and first whether there is more.
TRIM_AGED = (
    _BEGIN
    + _TRIM
    + """
local before_s, answer = tonumber(ARGV[2]), {0}
local rooms = redis.call('ZRANGEBYSCORE', prefix .. 'oldest', '-inf', '(' .. ARGV[2], 'LIMIT', 0, ARGV[3])
if #rooms == tonumber(ARGV[3]) then answer[1] = 1 end
for _, room in ipairs(rooms) do
  local stream, up_to, freed, oldest = prefix .. 'messages:' .. room, nil, 0, nil
  local entries = redis.call('XRANGE', stream, '-', '+', 'COUNT', ARGV[4])
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

# ARGV: the owner, the room, up to where its deleted keys are forgotten, then these.
FORGET_DELETED = (
    _BEGIN
    + """
redis.call('HSET', prefix .. 'forgotten', ARGV[2], ARGV[3])
for place = 4, #ARGV do redis.call('HDEL', prefix .. 'state:' .. ARGV[2], ARGV[place]) end
"""
)
