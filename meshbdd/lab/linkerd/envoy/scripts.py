"""The Lua of a sidecar: what linkerd-proxy does and Envoy has no setting for.

Upstream, each answer's meaning for the router is written into its status: whether it counts as a failure of the
endpoint, whether it is tried again. Downstream, the original status is put back, a gRPC status is made to fit, and a
request that found no endpoint waits as long as Linkerd's queue would let it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]

LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
ORIGINAL_STATUS, ORIGINAL_GRPC = "x-meshbdd-lab-status", "x-meshbdd-lab-grpc-status"
COUNTED, COUNTED_AND_RETRIED, ONLY_RETRIED = 598, 597, 497
RETRIED = [ONLY_RETRIED, COUNTED_AND_RETRIED]
FAILED_GRPC = (4, 7, 13, 14, 15)
"""DEADLINE_EXCEEDED, PERMISSION_DENIED, INTERNAL, UNAVAILABLE, DATA_LOSS: linkerd2-proxy app/core/src/classify.rs."""
_GRPC_NUMBERS = {
    "cancelled": 1, "deadline-exceeded": 4, "resource-exhausted": 8, "internal": 13, "unavailable": 14,
}  # fmt: skip

_UPSTREAM = """
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


def _set(numbers: Iterable[int]) -> str:
    return ", ".join(f"[{number}] = true" for number in numbers)


def _filter(name: str, code: str) -> Json:
    return {"name": name, "typed_config": {"@type": LUA, "default_source_code": {"inline_string": code}}}


def upstream(*, counts: bool, too_many: bool, retried: Iterable[str]) -> Json:
    """The filter in a cluster.

    Args:
        counts: Whether the parent has failure accrual.
        too_many: Whether 429 counts as a failure (the unified mode).
        retried: gRPC statuses that are tried again.
    """
    code = _UPSTREAM % {
        "counted": _set(FAILED_GRPC if counts else ()),
        "retried": _set(_GRPC_NUMBERS[name] for name in retried),
        "original": ORIGINAL_STATUS,
        "original_grpc": ORIGINAL_GRPC,
        "both": COUNTED_AND_RETRIED,
        "count": COUNTED,
        "retry": ONLY_RETRIED,
        "too_many": "true" if too_many else "false",
    }
    return _filter("meshbdd.lab.statuses", code)


ANSWERS = "meshbdd.lab.answers"
"""Name of the outbound side's filter, and of the metadata in which a route speaks to it."""
TIMER = "lab-timer"
"""Cluster that answers after as long as it is asked to."""
NOBODY, ELAPSED, LOGICAL, RETRIES_504, REFUSED, MESHED = (
    "x-meshbdd-lab-nobody", "x-meshbdd-lab-elapsed", "x-meshbdd-lab-logical", "x-meshbdd-lab-retries-504",
    "x-meshbdd-lab-refused", "x-meshbdd-lab-meshed",
)  # fmt: skip

_DOWNSTREAM = """
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
function envoy_on_request(handle)
  local told = handle:metadata()
  if told:get("budget") then
    local _, rest = left(handle, told)
    handle:headers():replace("x-envoy-max-retries", string.format("%%d", math.max(0, math.floor(rest))))
  end
end
local function sleep(handle, milliseconds)
  if milliseconds > 0 then
    handle:httpCall("%(timer)s", {[":method"] = "GET", [":path"] = "/", [":authority"] = "timer",
      ["x-envoy-fault-delay-request"] = string.format("%%d", milliseconds)}, "", 60000)
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
    if not failing[backend] then
      sleep(handle, %(wait)d - elapsed)
      headers = handle:headers()
      failing[backend] = true
      waited = true
    end
    local is_grpc = headers:get("grpc-status")
    if waited and not again then
      local name = backend:gsub("^[^/]*/", "")
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
    headers:remove("%(grpc_fits)s")
  end
end
"""
REACHED = "x-meshbdd-lab-reached"
GRPC_FITS = "x-meshbdd-lab-grpc-fits"


def downstream(wait_milliseconds: int) -> Json:
    """The filter of the outbound side."""
    code = _DOWNSTREAM % {
        "timer": TIMER, "original": ORIGINAL_STATUS, "original_grpc": ORIGINAL_GRPC, "nobody": NOBODY,
        "elapsed": ELAPSED, "meshed": MESHED, "refused": REFUSED, "logical": LOGICAL, "retries_504": RETRIES_504, "wait": wait_milliseconds,
        "reached": REACHED, "grpc_fits": GRPC_FITS,
    }  # fmt: skip
    return _filter(ANSWERS, code)


_INBOUND = """
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
PROTOCOL = "x-meshbdd-lab-protocol"


def inbound(wait_milliseconds: int) -> Json:
    """The filter of the inbound side: an application that refuses is waited for where the caller speaks HTTP/2."""
    return _filter("meshbdd.lab.answers", _INBOUND % {"protocol": PROTOCOL, "timer": TIMER, "wait": wait_milliseconds})
