-- KEYS[1] key   ARGV[1] the value expected there
-- Compare-and-delete: of many who want to take a value, one gets it.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
