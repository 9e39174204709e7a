-- KEYS[1] key
-- A value and its TTL in ms, in one step, or the key could change between the two.
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}
