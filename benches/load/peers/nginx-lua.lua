-- The gateway's check of a bearer token, as far as Redis knows the token: its form, its SHA-256,
-- a dictionary that the workers share, then `auth:token:{hex}` in Redis; at every hit its end and
-- its kind. There is no Postgres behind it: what Redis does not know is refused.

local cjson = require "cjson.safe"
local ffi = require "ffi"

local C = ffi.C
local tokens = ngx.shared.tokens
local find, time, tcp = ngx.re.find, ngx.time, ngx.socket.tcp

-- nginx itself is linked with OpenSSL's libcrypto.
ffi.cdef [[
    unsigned char *SHA256(const unsigned char *text, size_t length, unsigned char *digest);
]]
local digest = ffi.new("unsigned char[32]")

-- How long an entry is believed, in seconds: nobody tells nginx of a revocation.
local BELIEVED = 1

-- How long others go on with what one of them is asking Redis about again, in seconds: without,
-- every connection would ask at the same moment.
local RENEWING = 0.1

-- Milliseconds for Redis; nobody else could be asked.
local PATIENCE = 2000

-- Connections of each worker to Redis, and how many may wait for one.
local POOL = { pool_size = 16, backlog = 10000 }

-- Kinds of token, kept as the flags of a dictionary's entry.
local REFUSED, ACCOUNT, EXTERNAL = 0, 1, 2

local FORM = [[^(?i:bearer) +(dfo([ae])_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])$]]

-- Seconds of an ISO-8601 instant in UTC, the only offset that Dify writes.
local function seconds_of(text)
    local year, month, day, hour, minute, second =
        text:match "^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)"
    if not year then
        return 0
    end
    -- Days since 1970 by the civil calendar, counted from March.
    year, month, day = tonumber(year), tonumber(month), tonumber(day)
    if month <= 2 then
        year, month = year - 1, month + 12
    end
    local days = 365 * year + math.floor(year / 4) - math.floor(year / 100)
        + math.floor(year / 400) + math.floor((153 * (month - 3) + 2) / 5) + day - 719469
    return ((days * 24 + tonumber(hour)) * 60 + tonumber(minute)) * 60 + tonumber(second)
end

-- The value of a key; nil and an error where Redis does not answer; false where it has none.
local function get(redis, key)
    local socket = tcp()
    socket:settimeouts(PATIENCE, PATIENCE, PATIENCE)
    local connected, problem = socket:connect(redis.host, redis.port, POOL)
    if not connected then
        return nil, problem
    end
    local _, unsent = socket:send { "*2\r\n$3\r\nGET\r\n$", #key, "\r\n", key, "\r\n" }
    local head, unheard = socket:receive "*l"
    local length = head and tonumber(head:match "^%$(-?%d+)$")
    if not length then
        return nil, unsent or unheard or head
    end
    local value = false
    if length >= 0 then
        value = socket:receive(length + 2)
        if not value then
            return nil, "cut off"
        end
        value = value:sub(1, -3)
    end
    socket:setkeepalive(60000)
    return value
end

-- What Redis says about a token: when it ends, and its kind.
local function judge(value)
    local entry = value and cjson.decode(value)
    if type(entry) ~= "table" or not entry.token_id then
        return 0, REFUSED
    end
    local ends = math.huge
    if entry.expires_at ~= cjson.null then
        ends = seconds_of(entry.expires_at)
    end
    if entry.account_id ~= cjson.null then
        return ends, entry.subject_issuer == "dify:account" and ACCOUNT or REFUSED
    end
    return ends, EXTERNAL
end

local function refuse(status)
    ngx.header["WWW-Authenticate"] = 'Bearer realm="dify"'
    return ngx.exit(status)
end

local function check(redis)
    local header = ngx.var.http_authorization
    if not header then
        return refuse(401)
    end
    local from, to = find(header, FORM, "jo", nil, 1)
    if not from then
        return refuse(401)
    end
    local token = header:sub(from, to)
    C.SHA256(token, #token, digest)
    local hash = ffi.string(digest, 32)

    local ends, kind, over = tokens:get_stale(hash)
    if not ends or over and tokens:add("renewing " .. hash, true, RENEWING) then
        local hex = hash:gsub(".", function(byte)
            return string.format("%02x", byte:byte())
        end)
        local value, problem = get(redis, redis.prefix .. ":auth:token:" .. hex)
        if value == nil then
            ngx.log(ngx.ERR, "Redis: ", problem)
            return refuse(503)
        end
        ends, kind = judge(value)
        tokens:set(hash, ends, BELIEVED, kind)
    end
    kind = kind or REFUSED
    -- The route takes either kind; a token speaks only for what its prefix says.
    local shown = token:sub(4, 4) == "a" and ACCOUNT or EXTERNAL
    if kind ~= shown or ends <= time() then
        return refuse(401)
    end
end

return {
    new = function(redis)
        return function()
            return check(redis)
        end
    end,
}
