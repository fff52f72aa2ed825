"""The Lua scripts of a partition's owner: each is one atomic step on the keys of one partition.

A script may run twice (see mesh.redis.database): after a flush that took effect, its repetition is
answered like the first; a token is used by one life of one worker only, so an acquisition or
a renewal repeated late gives nobody anything but its own lease for LEASE_S more.
"""

from __future__ import annotations

from mesh.redis.database import Script

# KEYS: lease, applied, stream. ARGV: "<instance> ", token, milliseconds.
# Another's lease: its holder's instance. Else {applied, stream}.
ACQUIRE = Script("""
local holder = redis.call('GET', KEYS[1])
if holder and string.sub(holder, 1, #ARGV[1]) ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
return {redis.call('GET', KEYS[2]) or '0', redis.call('GET', KEYS[3]) or ''}
""")

# KEYS: lease, applied. ARGV: the lease's value, milliseconds. 0 if it is lost, else the applied sequence.
RENEW = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('GET', KEYS[2]) or '0'
""")

# KEYS: lease. ARGV: the lease's value.
RELEASE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")

# What a key of the state carries, and how long it is, by the kind that its name tells (see
# aggregate.manifest).
_CARRIED = """
local function kind(name)
  local head = string.sub(name, 1, 4)
  return head == 'log:' and 'STRLEN' or head == 'rank' and 'ZCARD' or 'HLEN'
end
local function carried(key, length)
  if length == 'HLEN' then return redis.call('HGET', key, '!at') or '' end
  if length == 'STRLEN' then return redis.call('GETRANGE', key, -9, -1) end
  return redis.call('ZSCORE', key, '!') or ''
end
"""

# KEYS: lease, applied, manifest, then every key the writes touch. ARGV: the lease's value, its
# milliseconds, sequence before, sequence after, the PartitionState, how many keys the manifest lists before
# (or -1: any number), how many fields stand last; then for each write: command, index of its key, number of
# arguments, arguments; then for each of those fields: index of its hash, name, value. What a hash is to
# carry is set here; the writes leave it in all other keys.
#
# A key that does not carry what the manifest says was lost or went back: CORRUPT, and nothing is written,
# else this flush would hide it. Lengths go by what the writes answer. What the manifest does not list is no
# part of the state.
FLUSH = Script(
    _CARRIED
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED') end
local applied = redis.call('GET', KEYS[2]) or '0'
if applied == ARGV[4] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if applied ~= ARGV[3] then return redis.error_reply('REWOUND') end
if (redis.call('HGET', KEYS[3], '!at') or '0') ~= ARGV[3] then
  return redis.error_reply('CORRUPT manifest')
end
if ARGV[6] ~= '-1' and redis.call('HLEN', KEYS[3]) ~= tonumber(ARGV[6]) then
  return redis.error_reply('CORRUPT manifest')
end
local call, sub, find = redis.call, string.sub, string.find
local keys, from, names, lengths = KEYS, #KEYS[1] - 4, {}, {}
for k = 4, #keys do names[k] = sub(keys[k], from) end
for first = 4, #keys, 4000 do
  local last = math.min(first + 3999, #keys)
  local listed = call('HMGET', keys[3], unpack(names, first, last))
  for k = first, last do
    local entry = listed[k - first + 1]
    if entry then
      local space = find(entry, ' ', 1, true)
      local at, of, found = sub(entry, 1, space - 1), kind(names[k])
      if of == 'HLEN' then
        found = call('HGET', keys[k], '!at')
      else
        found = carried(keys[k], of)
        if of == 'STRLEN' then
          at = 'y' .. struct.pack('<I8', tonumber(at))
        else
          found, at = tonumber(found), 2^54 + 4 * tonumber(at)
        end
      end
      if found ~= at then return redis.error_reply('CORRUPT ' .. names[k]) end
      lengths[k] = tonumber(sub(entry, space + 1))
    else
      call('UNLINK', keys[k])
      lengths[k] = 0
    end
  end
end
local i, fields = 8, #ARGV - 3 * ARGV[7] + 1
while i < fields do
  local command, k, n = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local answer
  if command == 'HSET' then
    answer = call('HSET', keys[k], '!at', ARGV[4], unpack(ARGV, i + 3, i + 2 + n))
  else
    answer = call(command, keys[k], unpack(ARGV, i + 3, i + 2 + n))
  end
  if command == 'HSET' or command == 'ZADD' then lengths[k] = lengths[k] + answer
  elseif command == 'APPEND' then lengths[k] = answer
  elseif command == 'SET' then lengths[k] = #ARGV[i + 3]
  elseif command == 'HDEL' or command == 'ZREM' then lengths[k] = lengths[k] - answer
  else lengths[k] = 0 end
  i = i + 3 + n
end
for i = fields, #ARGV, 3 do
  local k = tonumber(ARGV[i])
  lengths[k] = lengths[k] + call('HSET', keys[k], '!at', ARGV[4], ARGV[i + 1], ARGV[i + 2])
end
local flat, n, at = {'!at', ARGV[4], '!state', ARGV[5]}, 4, ARGV[4] .. ' '
for k = 4, #keys do
  if lengths[k] == 0 then
    call('HDEL', keys[3], names[k])
  else
    flat[n + 1], flat[n + 2] = names[k], at .. lengths[k]
    n = n + 2
    if n > 4000 then
      call('HSET', keys[3], unpack(flat, 1, n))
      n = 0
    end
  end
end
if n > 0 then call('HSET', keys[3], unpack(flat, 1, n)) end
redis.call('SET', KEYS[2], ARGV[4])
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
)

# Proves that Redis takes a write and that keys of the state carry what the manifest says, of one moment with
# it. What it does not list (any more) is no part of the state. Lengths, left to HELD, would double the cost.
# KEYS: applied, stream, manifest, probe, then the keys to look at. ARGV: the probe's value, its milliseconds,
# where the walk through the manifest is, how many names to take from there.
# {applied, stream, the manifest's sequence, its length, where the walk goes on, the names, the first key that
# is not as the manifest says or ''}.
LOOK = Script(
    _CARRIED
    + """
redis.call('SET', KEYS[4], ARGV[1], 'PX', ARGV[2])
local broken, from, names = '', #KEYS[4] - 4, {}
for k = 5, #KEYS do names[k] = string.sub(KEYS[k], from) end
local listed = #KEYS > 4 and redis.call('HMGET', KEYS[3], unpack(names, 5, #KEYS)) or {}
for k = 5, #KEYS do
  local entry = listed[k - 4]
  if entry then
    local at, of = string.match(entry, '^%d+'), kind(names[k])
    local well, found = pcall(carried, KEYS[k], of)
    if of == 'STRLEN' then
      at = 'y' .. struct.pack('<I8', tonumber(at))
    elseif of == 'ZCARD' then
      found, at = tonumber(found), 2^54 + 4 * tonumber(at)
    end
    if not well or found ~= at then
      broken = names[k]
      break
    end
  end
end
local page = redis.call('HSCAN', KEYS[3], ARGV[3], 'COUNT', ARGV[4])
local following = {}
for i = 1, #page[2], 2 do
  if string.byte(page[2][i]) ~= 33 then following[#following + 1] = page[2][i] end
end
return {redis.call('GET', KEYS[1]) or '0', redis.call('GET', KEYS[2]) or '',
  redis.call('HGET', KEYS[3], '!at') or '0', redis.call('HLEN', KEYS[3]), page[1], following, broken}
"""
)

# Puts a piece of a checkpoint back, as it is, into a state that is not there yet and that no reader takes
# for one: nothing is applied until a flush from 0 says that it is whole.
# KEYS: lease, applied, then the keys. ARGV: the lease's value, its milliseconds, then the writes, of which
# each can be repeated.
FILL = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED') end
if redis.call('EXISTS', KEYS[2]) == 1 then return redis.error_reply('REWOUND') end
local i = 3
while i <= #ARGV do
  local n = tonumber(ARGV[i + 2])
  redis.call(ARGV[i], KEYS[tonumber(ARGV[i + 1])], unpack(ARGV, i + 3, i + 2 + n))
  i = i + 3 + n
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")

# KEYS: lease, applied, stream, manifest. {lease, applied, stream, manifest}, of one moment.
STANDING = Script("""
return {redis.call('GET', KEYS[1]) or '', redis.call('GET', KEYS[2]) or '0', redis.call('GET', KEYS[3]) or '',
  redis.call('HGETALL', KEYS[4])}
""")

# KEYS: any of a state; ARGV: their names without the tag. For each: how long it is, what it carries.
# A key of another kind is -1 long.
HELD = Script(
    _CARRIED
    + """
local found = {}
for k = 1, #KEYS do
  local length = kind(ARGV[k])
  local count = redis.pcall(length, KEYS[k])
  if type(count) == 'number' then
    found[2 * k - 1], found[2 * k] = count, carried(KEYS[k], length)
  else
    found[2 * k - 1], found[2 * k] = -1, ''
  end
end
return found
"""
)
