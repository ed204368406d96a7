"""The scripts themselves, with ``%(names)s`` for what ``scripts`` fills in."""

from __future__ import annotations

UPSTREAM = """
local counted = {%(counted)s}
local retried = {%(retried)s}
function envoy_on_response(handle)
  local headers = handle:headers()
  local status, grpc = headers:get(":status"), headers:get("grpc-status")
  local kind = headers:get("content-type") or ""
  if not grpc and kind:find("^application/grpc") then
    handle:body()
    headers = handle:headers()
    local trailers = handle:trailers()
    grpc = trailers and trailers:get("grpc-status")
  elseif grpc then
    headers:replace("%(original_grpc)s", grpc)
    headers:remove("grpc-status")
  end
  local code = nil
  if grpc and status == "200" then
    local fails, again = counted[tonumber(grpc)], retried[tonumber(grpc)]
    if fails and again then code = "%(both)d" elseif fails then code = "%(count)d" elseif again then code = "%(retry)d" end
  elseif status == "429" and %(too_many)s then
    code = "%(count)d"
  end
  if code then
    headers:replace("%(original)s", status)
    headers:replace(":status", code)
  end
end
"""

DOWNSTREAM = """
local failing, budgets = {}, {}
local function spent(entries, since)
  local sum = 0
  while entries[1] and entries[1][1] < since do table.remove(entries, 1) end
  for _, entry in ipairs(entries) do sum = sum + entry[2] end
  return sum
end
local function left(handle, told)
  local key = told:get("budget")
  local budget = budgets[key]
  if not budget then budget = {retries = {}, successes = {}} budgets[key] = budget end
  local since = handle:timestamp() - told:get("window")
  return budget, told:get("reserve") + told:get("ratio") * spent(budget.successes, since) - spent(budget.retries, since)
end
local function sleep(handle, milliseconds)
  if milliseconds > 0 then
    handle:httpCall("%(timer)s", {[":method"] = "GET", [":path"] = "/", [":authority"] = "timer",
      ["x-envoy-fault-delay-request"] = string.format("%%d", milliseconds)}, "", 60000)
  end
end
local ffi = require("ffi")
ffi.cdef("int getpeername(int, uint8_t *, uint32_t *); int getsockname(int, uint8_t *, uint32_t *); int shutdown(int, int);")
local raw, length = ffi.new("uint8_t[128]"), ffi.new("uint32_t[1]")
local function is_at(ask, descriptor, place)
  length[0] = 128
  return ask(descriptor, raw, length) == 0 and place == string.format("%%d.%%d.%%d.%%d:%%d",
    raw[4], raw[5], raw[6], raw[7], raw[2] * 256 + raw[3])
end
local function hang_up(handle)
  local stream = handle:streamInfo()
  local peer, own = stream:downstreamRemoteAddress(), stream:downstreamDirectLocalAddress()
  for descriptor = 0, %(descriptors)d do
    if is_at(ffi.C.getpeername, descriptor, peer) and is_at(ffi.C.getsockname, descriptor, own) then
      ffi.C.shutdown(descriptor, 2)
      break
    end
  end
  handle:respond({[":status"] = "502"}, "")  -- nobody hears it; without it the request would go on
end
local function is_failing(handle, cluster)
  local last, now = failing[cluster], handle:timestamp()
  failing[cluster] = last and now - last < %(unused)d and now or nil
  return failing[cluster] ~= nil
end
local function pass_over(handle, told)
  local drawn = told:get("drawn")
  if drawn and told:get("again") and not is_failing(handle, drawn) then  -- what it gets is tried again, and the backend drawn anew
    sleep(handle, %(wait)d)
    told = handle:metadata()
    failing[drawn] = handle:timestamp()
  end
  for _, cluster in ipairs(told:get("full") or {}) do failing[cluster] = nil end
  local passed = ""
  for _, entry in ipairs(told:get("bare") or {}) do
    if is_failing(handle, entry.cluster) then passed = passed .. "<" .. entry.backend .. ">" end
  end
  if passed ~= "" then
    handle:headers():replace("%(passed_over)s", passed)
    handle:clearRouteCache()
  end
end
local units = {ms = 1, s = 1000, m = 60000, h = 3600000}
local function statuses(text)
  local codes = {}
  for word in text:gmatch("[^,]+") do
    local low, high = word:match("^(%%d+)%%-?(%%d*)$")
    if word == "5xx" then low, high = 500, 599 elseif word == "gateway-error" then low, high = 502, 504 end
    if not low then return nil end
    for code = tonumber(low), tonumber(high) or tonumber(low) do table.insert(codes, code) end
  end
  return table.concat(codes, ",")
end
local function obey(headers, told)
  local function duration(name)
    local count, unit = (headers:get(name) or ""):match("^(%%d+)(%%a+)$")
    return count and units[unit] and count * units[unit]
  end
  local whole, one = duration("l5d-timeout") or told:get("request"), duration("l5d-response-timeout") or told:get("response")
  if whole or one then
    headers:replace("x-envoy-upstream-rq-timeout-ms", string.format("%%d", math.min(whole or one, one or whole)))
  end
  local codes, grpc, try = statuses(headers:get("l5d-retry-http") or ""), headers:get("l5d-retry-grpc"), duration("l5d-retry-timeout")
  local limit = tonumber(headers:get("l5d-retry-limit") or "")
  if codes and codes ~= "" then
    local resets = codes:find("502") and ",connect-failure,reset" or ""
    headers:replace("x-envoy-retry-on", "retriable-status-codes" .. resets)
    headers:replace("x-envoy-retriable-status-codes", codes)
  elseif try then
    headers:replace("x-envoy-retry-on", "retriable-status-codes")
  end
  if grpc then headers:replace("x-envoy-retry-grpc-on", grpc) end
  if limit then headers:replace("x-envoy-max-retries", string.format("%%d", math.max(1, limit))) end
  if try then
    headers:replace("x-envoy-upstream-rq-per-try-timeout-ms", string.format("%%d", try))
    headers:replace("x-envoy-hedge-on-per-try-timeout", "true")
  end
end
function envoy_on_request(handle)
  local told = handle:metadata()
  if told:get("obeys") then obey(handle:headers(), told) end
  if told:get("bare") then pass_over(handle, told) end
  if told:get("drop") or (told:get("http2") and handle:streamInfo():protocol() ~= "HTTP/2") then hang_up(handle) end
  if told:get("budget") then
    local _, rest = left(handle, told)
    handle:headers():replace("x-envoy-max-retries", string.format("%%d", math.max(0, math.floor(rest))))
  end
end
local function answer(headers, status, message)
  headers:replace(":status", status)
  headers:replace("l5d-proxy-error", message)
end
function envoy_on_response(handle)
  local headers = handle:headers()
  local original, grpc = headers:get("%(original)s"), headers:get("%(original_grpc)s")
  if original then
    headers:replace(":status", original)
    headers:remove("%(original)s")
  end
  if grpc then
    headers:replace("grpc-status", grpc)
    headers:remove("%(original_grpc)s")
  end
  local told, count = handle:metadata(), headers:get("x-envoy-attempt-count")
  local tries = count and tonumber(count)
  headers:remove("x-envoy-attempt-count")
  if told:get("budget") and tries then
    local budget = left(handle, told)
    if tries > 1 then table.insert(budget.retries, {handle:timestamp(), tries - 1}) end
    if tonumber(headers:get(":status")) < 500 then table.insert(budget.successes, {handle:timestamp(), 1}) end
  end
  local backend = headers:get("%(nobody)s")
  if backend then
    local logical, elapsed = headers:get("%(logical)s"), headers:get("%(elapsed)s")
    elapsed = elapsed and tonumber(elapsed) or 0
    local refused = headers:get("%(refused)s")
    local again, meshed = headers:get("%(retries_504)s") == "true", headers:get("%(meshed)s")
    for _, name in ipairs({"%(nobody)s", "%(logical)s", "%(elapsed)s", "%(retries_504)s", "%(refused)s", "%(meshed)s"}) do
      headers:remove(name)
    end
    if refused and (not meshed or meshed == "" or meshed == "-") then return end
    local waited = false
    if not is_failing(handle, backend) then
      sleep(handle, %(wait)d - elapsed)
      headers = handle:headers()
      failing[backend] = handle:timestamp()
      waited = true
    end
    local is_grpc = headers:get("grpc-status")
    if waited and not again then
      local name = backend:match("^[^/]*/([^/]*)")
      answer(headers, is_grpc and "200" or "504", logical .. ": backend " .. name .. ": service in fail-fast")
      if is_grpc then headers:replace("grpc-status", "4") end
    else
      answer(headers, is_grpc and "200" or "503", logical .. ": service unavailable")
      if is_grpc then headers:replace("grpc-status", "14") end
    end
    return
  end
  local reached = headers:get("%(reached)s")
  if reached then
    failing[reached] = nil
    headers:remove("%(reached)s")
  end
  local fits = headers:get("%(grpc_fits)s")
  if fits then
    if headers:get("grpc-status") then headers:replace("grpc-status", fits) end
    if told:get("closes") then headers:replace("l5d-proxy-connection", "close") end
    headers:remove("%(grpc_fits)s")
  end
end
"""

INBOUND = """
local fetched = false
function envoy_on_request(handle)
  if not fetched and handle:metadata():get("undeclared") then
    fetched = true
    local told = handle:httpCall("%(timer)s", {[":method"] = "GET", [":path"] = "/", [":authority"] = "timer",
      ["%(asked)s"] = "%(port)d"}, "", 1000)
    if told[":status"] == "%(first)d" then
      handle:headers():replace("%(unfetched)s", "true")
      handle:clearRouteCache()
    end
  end
end
function envoy_on_response(handle)
  local headers = handle:headers()
  local protocol = headers:get("%(protocol)s")
  if protocol then
    headers:remove("%(protocol)s")
    if protocol == "HTTP/2" then
      handle:httpCall("%(timer)s", {[":method"] = "GET", [":path"] = "/", [":authority"] = "timer",
        ["x-envoy-fault-delay-request"] = "%(wait)d"}, "", 60000)
      headers = handle:headers()
      headers:replace(":status", headers:get("grpc-status") and "200" or "504")
    end
  end
end
"""

FETCHED = """
local fetched = {}
function envoy_on_request(handle)
  local port = handle:headers():get("%(asked)s")
  if not port then return end
  local status = fetched[port] and "200" or "%(first)d"
  fetched[port] = true
  handle:respond({[":status"] = status}, "")
end
"""
