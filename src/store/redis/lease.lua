-- KEYS[1] ledger   ARGV[1] count   ARGV[2] window, ARGV[3] a part of it, in milliseconds
-- ARGV[4] units asked for   ARGV[5] end of a lease, ARGV[6] units of it that come back
-- Leases of a sliding window: members are "end:units", scores the ends, in unix milliseconds by
-- Redis's own clock. A lease is charged to its end, and counts until a window after that.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local count, window, part = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local ask, back_end, back = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local ends = (math.floor(now / part) + 2) * part
local function put(at, units)
  redis.call('ZREMRANGEBYSCORE', KEYS[1], at, at)
  if units > 0 then
    redis.call('ZADD', KEYS[1], at, string.format('%.0f:%.0f', at, units))
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
-- What ends that late was charged by a server whose clock was ahead.
redis.call('ZREMRANGEBYSCORE', KEYS[1], string.format('(%.0f', ends + window), '+inf')
local charges = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local held, first, present = 0, nil, 0
for i = 1, #charges, 2 do
  local at = tonumber(charges[i + 1])
  local units = tonumber(string.match(charges[i], ':(%d+)$')) or 0
  if at == back_end and back > 0 then
    units = math.max(0, units - back)
    put(at, units)
  end
  if units > 0 then
    held = held + units
    first = first or at
    if at == ends then
      present = units
    end
  end
end
local room = math.max(0, count - held)
local granted = math.min(ask, room, math.max(1, math.floor(room / 8)))
if granted > 0 then
  put(ends, present + granted)
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ends + window - now))
end
return {granted, ends, ends - now, (first or ends) + window - now}
