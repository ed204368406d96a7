"""VirtualService: its schema, what Istio's webhook checks, and what the lab does not compile.

https://istio.io/latest/docs/reference/config/networking/virtual-service/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from meshbdd.lab.admission import actions, rules
from meshbdd.lab.admission.fields import ANY, BOOL, INT32, NUMBER, TEXT, UINT32, array, choice, duration, obj, table
from meshbdd.lab.admission.lacking import lacking
from meshbdd.lab.admission.rules import Object, Problem

_STRING_MATCH = obj({"exact": TEXT, "prefix": TEXT, "regex": TEXT}, one_of=("exact", "prefix", "regex"))
_PERCENT = obj({"value": NUMBER})
_PORT = obj({"number": UINT32})
_DESTINATION = obj({"host": TEXT, "subset": TEXT, "port": _PORT}, required=("host",))
_HEADER_OPS = obj({"set": table(TEXT), "add": table(TEXT), "remove": array(TEXT)})
_HEADERS = obj({"request": _HEADER_OPS, "response": _HEADER_OPS})
_WEIGHTED = obj({"destination": _DESTINATION, "weight": INT32, "headers": _HEADERS}, required=("destination",))
_MATCH = obj({
    "name": TEXT, "uri": _STRING_MATCH, "scheme": _STRING_MATCH, "method": _STRING_MATCH, "authority": _STRING_MATCH,
    "headers": table(_STRING_MATCH), "withoutHeaders": table(_STRING_MATCH), "queryParams": table(_STRING_MATCH),
    "port": UINT32, "sourceLabels": table(TEXT), "gateways": array(TEXT), "ignoreUriCase": BOOL,
    "sourceNamespace": TEXT, "statPrefix": TEXT,
})  # fmt: skip
_FAULT = obj({
    "delay": obj(
        {
            "fixedDelay": duration(least="1ms"), "exponentialDelay": duration(least="1ms"),
            "percent": INT32, "percentage": _PERCENT,
        },
        one_of=("fixedDelay", "exponentialDelay"),
    ),
    "abort": obj(
        {"httpStatus": INT32, "grpcStatus": TEXT, "http2Error": TEXT, "percentage": _PERCENT},
        one_of=("grpcStatus", "http2Error", "httpStatus"),
    ),
})  # fmt: skip
_RETRIES = obj({
    "attempts": INT32, "perTryTimeout": duration(least="1ms"), "retryOn": TEXT, "retryRemoteLocalities": BOOL,
    "retryIgnorePreviousHosts": BOOL, "backoff": duration(least="1ms"),
})  # fmt: skip
_CORS = obj({
    "allowOrigin": array(TEXT), "allowOrigins": array(_STRING_MATCH), "allowMethods": array(TEXT),
    "allowHeaders": array(TEXT), "exposeHeaders": array(TEXT), "maxAge": duration(least="1ms"),
    "allowCredentials": BOOL, "unmatchedPreflights": choice("UNSPECIFIED", "FORWARD", "IGNORE"),
})  # fmt: skip
_HTTP_ROUTE = obj({
    "name": TEXT, "match": array(_MATCH), "route": array(_WEIGHTED),
    "redirect": obj(
        {
            "uri": TEXT, "prefixRewrite": TEXT, "authority": TEXT, "scheme": TEXT, "redirectCode": UINT32, "port": UINT32,
            "derivePort": choice("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"),
        },
        one_of=("port", "derivePort"),
    ),
    "directResponse": obj(
        {"status": UINT32, "body": obj({"string": TEXT, "bytes": TEXT}, one_of=("string", "bytes"))},
        required=("status",),
    ),
    "delegate": obj({"name": TEXT, "namespace": TEXT}),
    "rewrite": obj({
        "uri": TEXT, "authority": TEXT, "uriRegexRewrite": obj({"match": TEXT, "rewrite": TEXT}),
    }),
    "timeout": duration(least="1ms"), "retries": _RETRIES, "fault": _FAULT,
    "mirror": _DESTINATION, "mirrorPercent": UINT32, "mirror_percent": UINT32, "mirrorPercentage": _PERCENT,
    "mirrors": array(obj({"destination": _DESTINATION, "percentage": _PERCENT}, required=("destination",))),
    "corsPolicy": _CORS, "headers": _HEADERS,
})  # fmt: skip
SCHEMA = obj({
    "hosts": array(TEXT), "gateways": array(TEXT), "exportTo": array(TEXT), "http": array(_HTTP_ROUTE),
    "tls": array(ANY), "tcp": array(ANY),
})  # fmt: skip

_MESH, _CLAIM = "mesh", "@request.auth.claims"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CORS_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"})


def problems(spec: Object, namespace: str) -> Iterator[Problem]:
    """What Istio's webhook refuses."""
    gateways, hosts = spec.get("gateways") or [], spec.get("hosts") or []
    yield from rules.gateways(gateways, "spec.gateways")
    for kind in ("gateways", "tls", "tcp"):
        if not hosts and spec.get(kind):
            yield f"spec.{kind}", "a virtual service without hosts, to delegate to, has http routes alone"
    for index, name in enumerate(hosts):
        yield from rules.host(name, f"spec.hosts[{index}]")
        if name == "*" and _for_mesh(spec):
            yield f"spec.hosts[{index}]", '"*" is not allowed for sidecars, only for gateways'
    yield from rules.distinct_hosts(hosts, "spec.hosts")
    if not any(spec.get(kind) for kind in ("http", "tcp", "tls")):
        yield "spec", "a virtual service has http, tcp or tls routes"
    yield from rules.export_to(spec.get("exportTo") or [], namespace, "spec.exportTo")
    for index, rule in enumerate(spec.get("http") or []):
        yield from _http_route(rule, f"spec.http[{index}]", delegate=not hosts)
        for number, block in enumerate(rule.get("match") or [] if _for_mesh(spec) else []):
            for name in (*(block.get("headers") or {}), *(block.get("withoutHeaders") or {})):
                if name.startswith(_CLAIM):
                    yield f"spec.http[{index}].match[{number}]", f"{name}: claims choose routes at gateways only"


def _for_mesh(spec: Object) -> bool:
    return _MESH in (spec.get("gateways") or [_MESH])


def _http_route(rule: Object, path: str, *, delegate: bool) -> Iterator[Problem]:
    yield from _conflicts(rule, path, delegate=delegate)
    for index, block in enumerate(rule.get("match") or []):
        yield from _match(block, f"{path}.match[{index}]")
    yield from rules.header_operations(rule.get("headers"), f"{path}.headers")
    yield from _cors(rule.get("corsPolicy") or {}, f"{path}.corsPolicy")
    if rule.get("fault") is not None:
        yield from rules.fault(rule["fault"], f"{path}.fault")
    yield from _mirrors(rule, path)
    yield from actions.redirect(rule, f"{path}.redirect")
    yield from actions.direct_response(rule.get("directResponse"), f"{path}.directResponse")
    if rule.get("retries") is not None:
        yield from rules.retry(rule["retries"], f"{path}.retries")
    yield from actions.rewrite(rule, path)
    yield from _weights(rule.get("route") or [], f"{path}.route")
    yield from rules.milliseconds(rule.get("timeout"), f"{path}.timeout")


def _conflicts(rule: Object, path: str, *, delegate: bool) -> Iterator[Problem]:
    if rule.get("delegate") is not None and not delegate:
        for name in ("redirect", "route"):
            if rule.get(name) is not None:
                yield f"{path}.{name}", f"a route that delegates takes no {name}"
        return
    if rule.get("delegate") is not None:
        yield f"{path}.delegate", "a delegate does not delegate"
    action = next((name for name in ("redirect", "directResponse") if rule.get(name) is not None), None)
    if action is None and not rule.get("route"):
        yield path, "a route needs a destination, a redirect, a direct response or a delegate"
    for other in ("route", "fault", "rewrite", "directResponse") if action else ():
        if other != action and rule.get(other) not in (None, []):
            yield f"{path}.{other}", f"a route with {action} takes no {other}"
    if rule.get("mirror") is not None and rule.get("mirrors"):
        yield f"{path}.mirrors", "a route has either mirror or mirrors"


def _match(block: Object, path: str) -> Iterator[Problem]:
    yield from rules.string_match(block.get("uri"), f"{path}.uri", empty_prefix=True)
    for name in ("scheme", "method", "authority"):
        yield from rules.string_match(block.get(name), f"{path}.{name}")
    for name in ("headers", "withoutHeaders"):
        for key, value in (block.get(name) or {}).items():
            if not key.startswith(_CLAIM):
                yield from rules.header_name(key, f"{path}.{name}")
            if not (name == "withoutHeaders" and value.get("regex") == "*"):
                yield from rules.string_match(value, f"{path}.{name}.{key}")
    for key, value in (block.get("queryParams") or {}).items():
        yield from rules.string_match(value, f"{path}.queryParams.{key}")
    if block.get("port"):
        yield from rules.port(block["port"], f"{path}.port")
    yield from rules.labels(block.get("sourceLabels") or {}, f"{path}.sourceLabels")
    yield from rules.gateways(block.get("gateways") or [], f"{path}.gateways")
    if block.get("sourceNamespace"):
        yield from rules.dns_label(block["sourceNamespace"], f"{path}.sourceNamespace")


def _cors(policy: Object, path: str) -> Iterator[Problem]:
    for index, origin in enumerate(policy.get("allowOrigins") or []):
        if not any(origin.values()):
            yield f"{path}.allowOrigins[{index}]", "an origin says something"
        yield from rules.string_match(origin, f"{path}.allowOrigins[{index}]", empty_prefix=True)
    for method in policy.get("allowMethods") or []:
        if method not in _CORS_METHODS:
            yield f"{path}.allowMethods", f'"{method}" is no HTTP method'
    for field in ("allowHeaders", "exposeHeaders"):
        for name in policy.get(field) or []:
            if name != "*":
                yield from rules.header_name(name, f"{path}.{field}", pseudo=False)
    yield from rules.milliseconds(policy.get("maxAge"), f"{path}.maxAge", step="1s")


def _mirrors(rule: Object, path: str) -> Iterator[Problem]:
    share = (rule.get("mirrorPercentage") or {}).get("value", 0)
    if not 0 <= share <= 100:
        yield f"{path}.mirrorPercentage.value", f"{share} is not between 0 and 100"
    if rule.get("mirrorPercent", 0) > 100:
        yield f"{path}.mirrorPercent", f"{rule['mirrorPercent']} is more than 100"
    if rule.get("mirror") is not None:
        yield from rules.destination(rule["mirror"], f"{path}.mirror")
    for index, entry in enumerate(rule.get("mirrors") or []):
        yield from rules.destination(entry["destination"], f"{path}.mirrors[{index}].destination")
        share = (entry.get("percentage") or {}).get("value", 0)
        if not 0 <= share <= 100:
            yield f"{path}.mirrors[{index}].percentage.value", f"{share} is not between 0 and 100"


def _weights(entries: list[Any], path: str) -> Iterator[Problem]:
    for index, entry in enumerate(entries):
        yield from rules.header_operations(entry.get("headers"), f"{path}[{index}].headers")
        yield from rules.destination(entry["destination"], f"{path}[{index}].destination")
        if entry.get("weight", 0) < 0:
            yield f"{path}[{index}].weight", f"{entry['weight']} is negative"
    if len(entries) > 1 and sum(entry.get("weight", 0) for entry in entries) == 0:
        yield path, "the weights of several destinations sum to 0"


def unsupported(spec: Object) -> Iterator[Problem]:
    """What the lab does not have; of one that is bound to gateways alone nothing is compiled, so nothing is missed."""
    if not _for_mesh(spec):
        return
    yield from lacking("VirtualService", spec)
    for index, rule in enumerate(spec.get("http") or []):
        code = (rule.get("redirect") or {}).get("redirectCode")
        if code and code not in _REDIRECTS:
            # Istio takes it and writes a route that Envoy refuses, with all others of its table.
            yield f"spec.http[{index}].redirect.redirectCode", f"Envoy does not have a redirect {code}"
