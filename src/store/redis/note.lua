-- KEYS[1] key   ARGV[1] value   ARGV[2] TTL in ms
-- Puts a value and returns the one before, in one step. (SET … GET would need Redis 6.2.)
local before = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return before
