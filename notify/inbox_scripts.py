"""The Lua scripts that write what inboxes are made of. Each is one step on the keys of one slot, does nothing
when it runs again, and minds no order: older and newer ones may come in any.

A key of another type than it should be is of no release of ours; it is recreated.
"""

from __future__ import annotations

from mesh.redis.database import Script

# KEYS: inboxes and crowds. ARGV: of one or several keys, in their order: how many keys; how many notices each
# holds at most; milliseconds until the last of the given ones expires; "1" if they take the place of those
# that are there (else what is there stays); how many are given; of each its sequence, and the notice. The
# newest stay, expired or not, so that what is trimmed now is trimmed whenever it comes again; a key lives as
# long as the longest of all that were ever in it.
PUT = Script("""
local function before(a, b) return (tonumber(a) or 0) < (tonumber(b) or 0) end
local function put(key, most, life, command, from, to)
  local left = redis.call('PTTL', key)
  local kind = left == -2 and 'none' or redis.call('TYPE', key).ok
  if kind ~= 'hash' and kind ~= 'none' then
    redis.call('DEL', key)
    kind, left = 'none', -2
  end
  if kind == 'none' and life <= 0 then return end
  local is_new = false
  for i = from, to, 2 do is_new = redis.call(command, key, ARGV[i], ARGV[i + 1]) == 1 or is_new end
  if life > left then redis.call('PEXPIRE', key, life) end
  local surplus = is_new and redis.call('HLEN', key) - most or 0
  if surplus > 0 then
    local names = redis.call('HKEYS', key)
    if surplus == 1 then
      local oldest = names[1]
      for i = 2, #names do
        if before(names[i], oldest) then oldest = names[i] end
      end
      redis.call('HDEL', key, oldest)
    else
      table.sort(names, before)
      for i = 1, surplus do redis.call('HDEL', key, names[i]) end
    end
  end
end
local at, k = 1, 1
while at <= #ARGV do
  local keys, count = tonumber(ARGV[at]), tonumber(ARGV[at + 4])
  local command, last = ARGV[at + 3] == '1' and 'HSET' or 'HSETNX', at + 4 + 2 * count
  for _ = 1, keys do
    put(KEYS[k], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), command, at + 5, last)
    k = k + 1
  end
  at = last + 1
end
return 1
""")

# KEYS: a reader. ARGV: its sequence, the Reader, milliseconds it lives, "1" if it may be older than what is
# there. 1 if it took its place.
READER = Script("""
local key = KEYS[1]
local kind = redis.call('TYPE', key).ok
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', key) end
local at = redis.call('HGET', key, 'sequence') or '0'
local newer = tonumber(at) < tonumber(ARGV[1]) or (ARGV[4] == '1' and at ~= ARGV[1])
if newer then redis.call('HSET', key, 'sequence', ARGV[1], 'reader', ARGV[2]) end
if redis.call('PTTL', key) < ARGV[3] / 2 then redis.call('PEXPIRE', key, ARGV[3]) end
return newer and 1 or 0
""")

# KEYS: a reader. ARGV: the field of the segment, its sequence, "1" if the actor belongs to it, how many
# segments are held at most, milliseconds the reader lives, "1" if it may be older than what is there. 1 if
# it stands there then; of too many, those that it does not belong to go first, then the oldest.
SEGMENT = Script("""
local key, field, sequence = KEYS[1], ARGV[1], tonumber(ARGV[2])
local kind = redis.call('TYPE', key).ok
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', key) end
local at = math.abs(tonumber(redis.call('HGET', key, field) or '0'))
if redis.call('PTTL', key) < ARGV[5] / 2 then redis.call('PEXPIRE', key, ARGV[5]) end
if at == sequence then return 1 end
if at > sequence and ARGV[6] ~= '1' then return 0 end
redis.call('HSET', key, field, (ARGV[3] == '1' and '' or '-') .. ARGV[2])
if at == 0 then
  redis.call('PEXPIRE', key, ARGV[5])
  local held = {}
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 8) == 'segment:' then held[#held + 1] = {all[i], tonumber(all[i + 1])} end
  end
  local surplus = #held - tonumber(ARGV[4])
  if surplus > 0 then
    table.sort(held, function(a, b)
      if (a[2] < 0) ~= (b[2] < 0) then return a[2] < 0 end
      return math.abs(a[2]) < math.abs(b[2])
    end)
    for i = 1, surplus do redis.call('HDEL', key, held[i][1]) end
  end
end
return 1
""")

# KEYS: a sorted set. ARGV: a member, "1" if it belongs to it. How many do.
LISTED = Script("""
local key = KEYS[1]
local kind = redis.call('TYPE', key).ok
if kind ~= 'zset' and kind ~= 'none' then redis.call('DEL', key) end
if ARGV[2] == '1' then redis.call('ZADD', key, 0, ARGV[1]) else redis.call('ZREM', key, ARGV[1]) end
return redis.call('ZCARD', key)
""")

# KEYS: what games take of NOTICES. ARGV: games and bytes. A round later than before.
USED = Script("""
local number = tonumber(redis.call('HGET', KEYS[1], '!round') or '0')
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], '!round', number + 1)
for i = 1, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return number + 1
""")

# KEYS: the lease. ARGV: who wants it, milliseconds. Who has it then.
LEASE = Script("""
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return held end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
""")

# KEYS: the lease. ARGV: who gives it up.
LEAVE = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
""")

# KEYS: how far the streams are applied. ARGV: of each its name, the identity and the sequence that were
# noted before ('': none was), and what is to be noted now ('': the same). Nothing is written if less is there
# than was noted: then the name of that stream, else ''.
NOTE = Script("""
for i = 1, #ARGV, 4 do
  local stream, sequence = string.match(redis.call('HGET', KEYS[1], ARGV[i]) or '', '^(.*) (%d+)$')
  if ARGV[i + 1] ~= '' and (stream ~= ARGV[i + 1] or tonumber(sequence) < tonumber(ARGV[i + 2])) then
    return ARGV[i]
  end
end
for i = 1, #ARGV, 4 do
  if ARGV[i + 3] ~= '' then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 3]) end
end
return ''
""")
