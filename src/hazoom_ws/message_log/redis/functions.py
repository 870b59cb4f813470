"""What other programs may ask of the log in Redis themselves, in Redis 7 and newer: functions, in Lua.

``FCALL hazoom_publish 0 <room> <user> <message> [<client_id>]`` says something in a room, as somebody, and returns its
number, and 1 if that was said before under this ``client_id``, else 0. Who is in the room on any process is shown it, as if
a backend had said it. A byte that is no UTF-8 would make all of a JSON text unreadable, so it is refused.

Source: https://redis.io/docs/latest/develop/programmability/functions-intro/
"""

from hazoom_ws.message_log.contract import RECORD_BYTES
from hazoom_ws.message_log.redis.scripts import CONSTANTS, NUMBERS, PREFIX, RESENT_BUCKET_S, SAY, TRIM

_FUNCTIONS = (
    f"local prefix, about = '{PREFIX}', '{PREFIX}about'\n"
    + CONSTANTS
    + f" local BUCKET_S, RECORD_BYTES = {RESENT_BUCKET_S}, {RECORD_BYTES - 2}"
    + NUMBERS
    + TRIM
    + SAY
    + """
local function is_utf8(text)
  local place = 1
  while place <= #text do
    local byte = string.byte(text, place)
    local length = byte < 0x80 and 1 or byte >= 0xC2 and byte < 0xE0 and 2 or byte >= 0xE0 and byte < 0xF0 and 3
      or byte >= 0xF0 and byte < 0xF5 and 4
    if not length then return false end
    local second = string.byte(text, place + 1)
    if (byte == 0xE0 and second and second < 0xA0) or (byte == 0xED and second and second > 0x9F)
      or (byte == 0xF0 and second and second < 0x90) or (byte == 0xF4 and second and second > 0x8F) then return false end
    for next = place + 1, place + length - 1 do
      local following = string.byte(text, next)
      if not following or following < 0x80 or following > 0xBF then return false end
    end
    place = place + length
  end
  return true
end

redis.register_function('hazoom_publish', function(_, args)
  local room, user, message, client_id = args[1], args[2], args[3], args[4] or ''
  local names = redis.call('HMGET', about, 'epoch', 'room_limit_count', 'room_limit_bytes', 'message_limit_bytes')
  if not names[1] then return redis.error_reply('ERR no hazoom_ws has used this database yet') end
  for _, text in ipairs({room or '', user or '', message or ''}) do
    if text == '' then return redis.error_reply('ERR room, user and message are needed, and none may be empty') end
  end
  if #room > 512 or #user > 256 or #client_id > 512 then
    return redis.error_reply('ERR room, user or client_id is too long')
  end
  if #message > tonumber(names[4]) then
    return redis.error_reply('ERR message has ' .. #message .. ' bytes; the limit is ' .. names[4])
  end
  if not (is_utf8(room) and is_utf8(user) and is_utf8(message) and is_utf8(client_id)) then
    return redis.error_reply('ERR not UTF-8')
  end
  local now = clock()
  go_on(seq_of(now))
  local seconds = math.floor(now / 1000000)
  local timestamp = seq_of(seconds) .. '.' .. string.format('%06d', now % 1000000)
  local numbers = redis.call('HMGET', about, 'last', 'ahead')
  local seq = seq_of(math.max(now + tonumber(numbers[2]), tonumber(numbers[1]) + GAP))
  local bucket = math.floor(seconds / BUCKET_S)
  local digest = client_id == '' and '' or redis.sha1hex(room .. '\0' .. user .. '\0' .. client_id)
  local before = found(bucket, digest)
  if before then return {before, 1} end
  redis.call('HSET', about, 'last', seq)
  local encoded = cjson.encode(message)
  local text = '{"user":' .. cjson.encode(user) .. ',"message":' .. encoded .. ',"timestamp":' .. timestamp
    .. ',"room":' .. cjson.encode(room)
  if client_id ~= '' then text = text .. ',"client_id":' .. cjson.encode(client_id) end
  say({}, prefix .. names[1] .. ':', '-/0', room, seq, #encoded + RECORD_BYTES, timestamp, text .. '}',
    tonumber(names[2]), tonumber(names[3]))
  remember(bucket, digest, seq, timestamp)
  return {seq, 0}
end)
"""
)


def functions(publish: str) -> str:
    """Return them for a Redis where things are published by this command."""
    return f"#!lua name=hazoom_ws\nlocal PUBLISH = '{publish}'\n{_FUNCTIONS}"
