-- KEYS[1] key   ARGV[1] the value expected there   ARGV[2] its successor   ARGV[3] TTL in ms
-- Compare-and-set: a writer that came in between is never overwritten.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
