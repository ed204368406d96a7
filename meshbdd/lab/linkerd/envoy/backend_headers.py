"""Header filters of single backends of a split.

A split is one cluster, in which each try draws its backend (``clusters``), so a route cannot know whose filters count. The
cluster's own filters can: there the endpoint is chosen, and its metadata names the backend.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from meshbdd.lab.compile.ir import HeaderOps
from meshbdd.lab.linkerd.envoy.matches import header
from meshbdd.lab.linkerd.envoy.scripts import LUA
from meshbdd.lab.linkerd.model import Backend, Modifier

Json = dict[str, Any]

_MUTATION = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
_BACKEND = "x-meshbdd-lab-backend"
"""Names the backend of a try to the script, which takes it out again."""
_NAME = "%UPSTREAM_METADATA(linkerd:backend)%"
_SCRIPT = """
local own = %(own)s
local touched = %(touched)s
local function apply(headers, lists)
  for _, list in ipairs(lists or {}) do
    for _, name in ipairs(list.remove) do headers:remove(name) end
    for _, pair in ipairs(list.set) do headers:replace(pair[1], pair[2]) end
    for _, pair in ipairs(list.add) do headers:add(pair[1], pair[2]) end
  end
end
local function taken(headers)
  local name = headers:get("%(backend)s")
  headers:remove("%(backend)s")
  return name and own[name] or {}
end
local function values(headers, name)
  local found = {}
  for index = 0, headers:getNumValues(name) - 1 do table.insert(found, headers:getAtIndex(name, index)) end
  return found
end
function envoy_on_request(handle)
  local headers, metadata = handle:headers(), handle:streamInfo():dynamicMetadata()
  local before = metadata:get("%(backend)s")
  for _, name in ipairs(touched) do
    if before then  -- a further try finds what the one before it made of the headers
      headers:remove(name)
      for _, value in ipairs(before[name] or {}) do headers:add(name, value) end
    else
      metadata:set("%(backend)s", name, values(headers, name))
    end
  end
  apply(headers, taken(headers).request)
end
function envoy_on_response(handle)
  local headers = handle:headers()
  apply(headers, taken(headers).response)
end
"""


def upstream(backends: Iterable[Backend]) -> list[Json]:
    """The filters of a cluster in which some of these backends have header filters; none where none has."""
    own = {str(b.meta): [f for f in b.filters if isinstance(f, Modifier)] for b in backends}
    own = {name: found for name, found in own.items() if found}
    if not own:
        return []
    touched = sorted({name for found in own.values() for f in found if f.side == "request" for name in _names(f.ops)})
    told = {
        name: {side: [_told(f.ops) for f in found if f.side == side] for side in ("request", "response")}
        for name, found in own.items()
    }
    code = _SCRIPT % {"own": _lua(told), "touched": _lua(touched), "backend": _BACKEND}
    script = {
        "name": "meshbdd.lab.backends",
        "typed_config": {"@type": LUA, "default_source_code": {"inline_string": code}},
    }
    return [_naming("request"), script, _naming("response")]


def _naming(side: str) -> Json:
    """On the way out the first filter is asked first, on the way back the last."""
    mutations = {f"{side}_mutations": [{"append": header(_BACKEND, _NAME)}]}
    return {"name": f"meshbdd.lab.backend-of-{side}", "typed_config": {"@type": _MUTATION, "mutations": mutations}}


def _names(ops: HeaderOps) -> Iterable[str]:
    return (name.lower() for name in (*ops.set, *ops.add, *ops.remove))


def _told(ops: HeaderOps) -> Json:
    pairs = {"set": ops.set, "add": ops.add}
    return {"remove": list(ops.remove), **{key: [list(pair) for pair in found.items()] for key, found in pairs.items()}}


def _lua(value: Any) -> str:
    """A value as Lua writes it; its strings are JSON's as far as headers may hold them."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"[{_lua(key)}] = {_lua(found)}" for key, found in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(map(_lua, value)) + "}"
    return json.dumps(value, ensure_ascii=False)
