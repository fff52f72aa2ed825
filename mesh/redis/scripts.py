"""The Lua scripts that read results and erase a state, each one atomic step on one partition's keys."""

from __future__ import annotations

from mesh.redis.database import Script

# KEYS: lease. ARGV: a lease's value, milliseconds. Whoever held the lease changes nothing any more.
SEIZE = Script("""
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")

# KEYS: lease, applied, stream, then all else there is. ARGV: the lease's value, the applied sequence
# that the keys were listed at, the stream's identity and target or '' to give the lease up as well.
ERASE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED') end
if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[2] then return redis.error_reply('REWOUND') end
redis.call('DEL', KEYS[2], KEYS[3])
for i = 4, #KEYS do redis.call('UNLINK', KEYS[i]) end
if ARGV[3] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[3], ARGV[3]) end
return 1
""")

# KEYS: applied, stream, manifest, then the results of games. ARGV: the names of these results, in the same
# order. All of one moment: {applied, the stream's identity and target, 1 if the first game's share is whole,
# its results, and so on}. A state that is being folded again is not whole before it is where the stream was
# when that began, nor without the manifest of what is applied, and results are not if they are not the
# manifest's.
READ = Script("""
local applied = redis.call('GET', KEYS[1]) or '0'
local stream = redis.call('GET', KEYS[2]) or ''
local answer = {applied, stream}
local ready = stream ~= '' and tonumber(applied) >= tonumber(string.match(stream, ' (%d+)$') or '0')
  and (redis.call('HGET', KEYS[3], '!at') or '0') == applied
for i = 1, #ARGV do
  local whole, results = 0, {}
  if ready then
    local entry = redis.call('HGET', KEYS[3], ARGV[i])
    if entry then
      results = redis.call('HGETALL', KEYS[3 + i])
      local found = (redis.call('HGET', KEYS[3 + i], '!at') or '') .. ' ' .. #results / 2
      whole = found == entry and 1 or 0
    else
      whole = 1
    end
  end
  answer[2 * i + 1] = whole
  answer[2 * i + 2] = results
end
return answer
""")
