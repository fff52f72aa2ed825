"""The Lua scripts that look places up in a board's rankings: many lookups in one partition, of one moment.

Each answers {applied, {an answer for each lookup}}; the first key is the partition's applied sequence, and
lookups name their keys by number. A lookup that finds something broken is answered with {} and spoils no
other. What a ranking is, is said in mesh.redis.standings; its member "!" is nobody's, sorts last, and says
with which flush it was written: it is neither counted nor shown.

Lua's numbers are doubles: when a score was reached has more bits, so the member is made of its bytes.
"""

from __future__ import annotations

from mesh.redis.database import Script

# KEYS: applied, results of a game, ... ARGV: for each lookup: key, topic. The partial, or ''.
PARTIALS = Script("""
local answers = {}
for i = 1, #ARGV, 2 do
  local found = redis.pcall('HGET', KEYS[tonumber(ARGV[i])], ARGV[i + 1])
  answers[#answers + 1] = type(found) == 'string' and found or ''
end
return {redis.call('GET', KEYS[1]) or '0', answers}
""")

_RANKING = """
local function count(ranking)
  return redis.call('ZCARD', ranking) - (redis.call('ZSCORE', ranking, '!') and 1 or 0)
end
local function near(standings, ranking, first, last)
  local found = redis.call('ZRANGE', ranking, math.max(0, first), last, 'WITHSCORES')
  local rows = {}
  for at = 1, #found, 2 do
    if found[at] ~= '!' then
      rows[#rows + 1] = found[at]
      rows[#rows + 1] = found[at + 1]
      rows[#rows + 1] = redis.call('HGET', standings, '!name:' .. string.sub(found[at], 17)) or ''
    end
  end
  return rows
end
"""

# KEYS: applied, then standings and ranking of each board. ARGV: neighbours, then for each lookup: key, the
# actor's field, actor.
# {actors}, or {actors, members before, members above and below with the actor's, each with its
# score and name}.
OWN = Script(
    _RANKING
    + """
local k = tonumber(ARGV[1])
local function place(standings, ranking, field, actor)
  local actors = count(ranking)
  local packed = redis.call('HGET', standings, field)
  if not packed then return {actors} end
  local digits = {}
  for at = 16, 9, -1 do digits[#digits + 1] = string.format('%02x', packed:byte(at)) end
  local before = redis.call('ZRANK', ranking, table.concat(digits) .. actor)
  if not before then return {} end
  return {actors, before, near(standings, ranking, before - k, before + k)}
end
local answers = {}
for i = 2, #ARGV, 3 do
  local key = tonumber(ARGV[i])
  local well, found = pcall(place, KEYS[key], KEYS[key + 1], ARGV[i + 1], ARGV[i + 2])
  answers[#answers + 1] = well and found or {}
end
return {redis.call('GET', KEYS[1]) or '0', answers}
"""
)

# KEYS: applied, then standings and ranking of each board. ARGV: neighbours, then for each lookup: key, score,
# member; the score is '' where only the actors are to be counted. {actors, members before, members near, each
# with its score and name}.
# Lua compares strings by the server's locale, a ranking by their bytes.
OTHER = Script(
    _RANKING
    + """
local k = tonumber(ARGV[1])
local function less(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end
local function place(standings, ranking, score, member)
  local actors = count(ranking)
  if score == '' then return {actors, 0, {}} end
  local low = redis.call('ZCOUNT', ranking, '-inf', '(' .. score)
  local high = low + redis.call('ZCOUNT', ranking, score, score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if less(redis.call('ZRANGE', ranking, middle, middle)[1], member) then
      low = middle + 1
    else
      high = middle
    end
  end
  if k == 0 then return {actors, low, {}} end
  return {actors, low, near(standings, ranking, low - k, low + k - 1)}
end
local answers = {}
for i = 2, #ARGV, 3 do
  local key = tonumber(ARGV[i])
  local well, found = pcall(place, KEYS[key], KEYS[key + 1], ARGV[i + 1], ARGV[i + 2])
  answers[#answers + 1] = well and found or {}
end
return {redis.call('GET', KEYS[1]) or '0', answers}
"""
)
