-- KEYS[1] window   ARGV[1] count   ARGV[2] window in seconds   ARGV[3] unique member
-- A sliding window in one step. Scores are unix seconds, by Redis's own clock: the replicas'
-- clocks may differ.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local count, window = tonumber(ARGV[1]), tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
local used = redis.call('ZCARD', KEYS[1])
local admitted = 0
if used < count then
  redis.call('ZADD', KEYS[1], now, ARGV[3])
  redis.call('PEXPIRE', KEYS[1], math.ceil(2000 * window))
  used = used + 1
  admitted = 1
end
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local leaves = window
if oldest[2] then
  leaves = oldest[2] + window - now
end
return {admitted, used, math.ceil(leaves * 1000)}
