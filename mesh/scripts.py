"""The Lua scripts of the store: each is one atomic step on the keys of one partition.

A script may run twice (see mesh.database): after a flush that took effect, its repetition is
answered like the first; a token is used by one life of one worker only, so an acquisition or
a renewal repeated late gives nobody anything but its own lease for LEASE_S more.
"""

from __future__ import annotations

from mesh.database import Script

# KEYS: lease, applied, stream. ARGV: "<instance> ", token, milliseconds.
# Another's lease: its holder's instance. Else {applied, stream}.
ACQUIRE = Script("""
local holder = redis.call('GET', KEYS[1])
if holder and string.sub(holder, 1, #ARGV[1]) ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
return {redis.call('GET', KEYS[2]) or '0', redis.call('GET', KEYS[3]) or ''}
""")

# KEYS: lease. ARGV: the lease's value, milliseconds.
RENEW = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")

# KEYS: lease. ARGV: the lease's value.
RELEASE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")

# KEYS: lease, applied, then every key the writes touch. ARGV: the lease's value, its milliseconds,
# sequence before, sequence after, then for each write: command, index of its key, number of
# arguments, arguments.
FLUSH = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED') end
local applied = redis.call('GET', KEYS[2]) or '0'
if applied == ARGV[4] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if applied ~= ARGV[3] then return redis.error_reply('REWOUND') end
local i = 5
while i <= #ARGV do
  local n = tonumber(ARGV[i + 2])
  redis.call(ARGV[i], KEYS[tonumber(ARGV[i + 1])], unpack(ARGV, i + 3, i + 2 + n))
  i = i + 3 + n
end
redis.call('SET', KEYS[2], ARGV[4])
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")

# As FLUSH, of a state that is not there yet and that no reader takes for one: nothing is applied.
# ARGV: the lease's value, its milliseconds, then the writes, of which each can be repeated.
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

# KEYS: lease. ARGV: a lease's value, milliseconds. Whoever held the lease changes nothing any more.
SEIZE = Script("""
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")

# KEYS: lease, applied, stream, then all else there is. ARGV: the lease's value, the applied sequence
# that the keys were listed at, the stream's identity or '' to give the lease up as well.
ERASE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED') end
if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[2] then return redis.error_reply('REWOUND') end
redis.call('DEL', KEYS[2], KEYS[3])
for i = 4, #KEYS do redis.call('UNLINK', KEYS[i]) end
if ARGV[3] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[3], ARGV[3]) end
return 1
""")

# KEYS: lease, stream. ARGV: the lease's value, the stream's identity.
MARK = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED') end
redis.call('SET', KEYS[2], ARGV[2])
return 1
""")

# KEYS: applied, results. Both of one moment.
READ = Script("return {redis.call('GET', KEYS[1]) or '0', redis.call('HGETALL', KEYS[2])}")
