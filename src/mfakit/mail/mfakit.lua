-- Dovecot asks mfakit who may come in. For Dovecot 2.3 and 2.4 (package dovecot-lua or dovecot-auth-lua).
--
-- 2.3:  passdb { driver = lua  args = file=/etc/dovecot/mfakit.lua blocking=yes }
-- 2.4:  passdb lua { lua_file = /etc/dovecot/mfakit.lua }
--
-- Leave the auth cache off (auth_cache_size = 0): it would keep revoked passcodes alive.

local url = os.getenv("MFAKIT_URL") or "http://127.0.0.1:9143/dovecot"
local key_file = os.getenv("MFAKIT_KEY_FILE") or "/etc/mfakit/http.key"
local key, client, column

-- Name of each option in 2.3, in 2.4, milliseconds. 2.3 ignores the names of 2.4, 2.4 dies of those of 2.3.
local timeouts = {
  { "connect_timeout_msecs", "connect_timeout", 2000 },
  { "request_absolute_timeout_msecs", "request_absolute_timeout", 12000 },
}

local function new_client()
  local options = {}
  for _, row in ipairs(timeouts) do
    options[row[column]] = column == 1 and row[3] or (row[3] .. "ms")
  end
  return dovecot.http.client(options)
end

function script_init()
  local file = assert(io.open(key_file, "r"), "mfakit: cannot read the key file")
  key = assert(file:read("l"), "mfakit: the key file is empty")
  file:close()
  column = 1
  if not pcall(new_client) then
    column = 2
  end
  client = new_client()
  return 0
end

local function encode(text)
  return (string.gsub(tostring(text or ""), "[^A-Za-z0-9_.~-]", function(one)
    return string.format("%%%02X", string.byte(one))
  end))
end

local function ask(request, password)
  local question = client:request({ url = url, method = "POST" })
  question:add_header("Authorization", "Bearer " .. key)
  question:add_header("Content-Type", "application/x-www-form-urlencoded")
  question:set_payload(
    "user=" .. encode(request.user)
      .. "&password=" .. encode(password)
      .. "&service=" .. encode(request.protocol or request.service)
      .. "&remote_ip=" .. encode(request.remote_ip or request.rip)
  )
  local status = question:submit():status()
  if status >= 9000 then
    -- Not connected. Dovecot would wait longer before each further try, up to a minute, and keep clients
    -- waiting with it. A client that is gone has forgotten that.
    question, client = nil, nil
    collectgarbage()
    client = new_client()
  end
  return status
end

function auth_password_verify(request, password)
  local asked, status = pcall(ask, request, password)
  if asked and status == 200 then
    return dovecot.auth.PASSDB_RESULT_OK, {}
  end
  if asked and status == 401 then
    return dovecot.auth.PASSDB_RESULT_PASSWORD_MISMATCH, "refused"
  end
  -- Down, overloaded, wrong key: the client must not hear that its password is wrong.
  return dovecot.auth.PASSDB_RESULT_INTERNAL_FAILURE, "mfakit answers " .. tostring(status)
end

function auth_passdb_lookup(request)
  -- Nothing but a password given by the client may open a mailbox.
  return dovecot.auth.PASSDB_RESULT_USER_UNKNOWN, "no lookup"
end
