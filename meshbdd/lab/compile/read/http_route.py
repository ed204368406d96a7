"""HTTPRoute of the Gateway API on a Service → virtual services, as Istio turns them.

istio/istio ``pilot/pkg/config/kube/gateway``: every match becomes a rule of its own, all rules for one host are sorted by
what they match, and each parent's namespace, port and host make one virtual service.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from meshbdd.lab.compile.ir import VirtualService
from meshbdd.lab.compile.names import full_host
from meshbdd.lab.compile.values import quote
from meshbdd.lab.go import seconds

Object = Mapping[str, Any]
Rule = dict[str, Any]

GROUP = "gateway.networking.k8s.io"
_CONNECTION_ERRORS = ("connect-failure", "refused-stream", "unavailable", "cancelled")
_RANKS = {"exact": 3, "prefix": 2, "regex": 1}


class _Refused(Exception):
    """What keeps a whole HTTPRoute from taking part."""


def parent_service(ref: Object, namespace: str) -> tuple[str, str] | None:
    """Namespace and name of the Service that a route hangs on; ``None`` for another kind of parent."""
    if ref.get("group", GROUP) not in {"", "core"} or ref.get("kind") != "Service":
        return None
    return ref.get("namespace") or namespace, ref["name"]


def read_http_routes(
    routes: Iterable[Object], services: Collection[tuple[str, str]]
) -> list[tuple[str, VirtualService]]:
    """The virtual services that HTTPRoutes stand for, each with the creation time that it counts with.

    Args:
        routes: The objects.
        services: Namespace and name of every Service.
    """
    ordered = sorted(
        routes,
        key=lambda r: (
            str(r["metadata"].get("creationTimestamp") or ""), r["metadata"]["namespace"], r["metadata"]["name"],
        ),
    )  # fmt: skip
    parts: dict[str, list[tuple[Object, list[Rule], str]]] = defaultdict(list)
    for route in ordered:
        namespace = route["metadata"]["namespace"]
        try:
            rules = _rules(route, services)
        except _Refused:
            continue
        for ref in sorted(route["spec"].get("parentRefs") or [], key=lambda ref: _order(ref, namespace)):
            parent = parent_service(ref, namespace)
            if parent is None or parent not in services:
                continue
            host, port = full_host(parent[1], parent[0]), ref.get("port")
            key = "~".join([namespace, *([str(port)] if port else []), host])
            at_port = [_at_port(rule, port) for rule in rules] if port else rules
            parts[key].append((route["metadata"], sorted(at_port, key=_rank), host))
    return [_virtual_service(key, held) for key, held in parts.items()]


def _order(ref: Object, namespace: str) -> str:
    return (
        f"{ref.get('group', GROUP)}/{ref.get('kind', 'Gateway')}/{ref['name']}/{ref.get('sectionName') or ''}/"
        f"{ref.get('port') or 0}.{ref.get('namespace') or namespace}"
    )


def _virtual_service(key: str, parts: list[tuple[Object, list[Rule], str]]) -> tuple[str, VirtualService]:
    meta, _, host = parts[0]
    rules = [rule for _, rules, _ in parts for rule in rules]
    namespace = meta["namespace"]
    return str(meta.get("creationTimestamp") or ""), VirtualService(
        name=key,
        namespace=namespace,
        origin=f"/apis/networking.istio.io/v1/namespaces/{namespace}/virtual-service/{key}",
        hosts=(host,),
        exported_to=frozenset({"*"}),
        rules=tuple(sorted(rules, key=_rank) if len(parts) > 1 else rules),
        gateway_api=True,
    )


def _rank(rule: Object) -> tuple[float, ...]:
    """Sort key: exact paths before prefixes before regular expressions, longer ones, more conditions first."""
    match = rule["match"][0]
    kind, value = next(iter(match["uri"].items()))
    return (
        -_RANKS[kind], -len(value), 0 if "method" in match else 1, -len(match["headers"]), -len(match["queryParams"]),
    )  # fmt: skip


def _at_port(rule: Rule, port: int) -> Rule:
    return {**rule, "match": [{**match, "port": port} for match in rule["match"]]}


# Rules


def _rules(route: Object, services: Collection[tuple[str, str]]) -> list[Rule]:
    made = []
    meta = route["metadata"]
    for number, rule in enumerate(route["spec"].get("rules") or [{}]):
        for match in rule.get("matches") or [{}]:
            name = rule.get("name") or f"{meta['namespace']}.{meta['name']}.{number}"
            made.append({"name": name, "match": [_match(match)], **_action(rule, meta["namespace"], services)})
    return made


def _match(match: Object) -> dict[str, Any]:
    path = match.get("path") or {}
    value = path.get("value") or "/"
    kind = {"Exact": "exact", "RegularExpression": "regex"}.get(path.get("type") or "PathPrefix", "prefix")
    if kind == "prefix" and value != "/":
        value = value.removesuffix("/")
    made: dict[str, Any] = {"uri": {kind: value}}
    for theirs, ours in (("headers", "headers"), ("queryParams", "queryParams")):
        made[ours] = {
            item["name"]: {"regex" if item.get("type") == "RegularExpression" else "exact": item.get("value", "")}
            for item in match.get(theirs) or []
        }
    if match.get("method"):
        made["method"] = {"exact": match["method"]}
    return made


def _action(rule: Object, namespace: str, services: Collection[tuple[str, str]]) -> Rule:
    made: Rule = {}
    for item in rule.get("filters") or []:
        _filter(item, made, namespace, services)
    if rule.get("retry") is not None:
        made["retries"] = _retries(rule["retry"])
    _timeouts(rule.get("timeouts") or {}, made)
    backends = [backend for backend in rule.get("backendRefs") or [] if backend.get("weight", 1)]
    if not backends and "redirect" not in made:
        # No backend with a weight: https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule
        made["directResponse"] = {"status": 500}
        return made
    if backends:
        made["route"] = [
            {
                "destination": _destination(backend, namespace),
                "weight": backend.get("weight", 1) if len(backends) > 1 else 0,
                "headers": _backend_headers(backend),
            }
            for backend in backends
        ]
    return made


def _retries(retry: Object) -> Rule:
    attempts = 2 if retry.get("attempts") is None else retry["attempts"]
    conditions = [*_CONNECTION_ERRORS, *(str(code) for code in retry.get("codes") or [])]
    made: Rule = {"attempts": attempts, "retryOn": ",".join(conditions) if attempts else ""}
    if retry.get("backoff"):
        made["backoff"] = retry["backoff"]
    return made


def _timeouts(timeouts: Object, made: Rule) -> None:
    """A request's timeout; that of a try bounds the tries where there are retries, else the request."""
    if timeouts.get("request") and seconds(timeouts["request"]):
        made["timeout"] = timeouts["request"]
    if timeouts.get("backendRequest") and seconds(timeouts["backendRequest"]):
        if "retries" in made:
            made["retries"]["perTryTimeout"] = timeouts["backendRequest"]
        else:
            made["timeout"] = timeouts["backendRequest"]


def _destination(ref: Object, namespace: str) -> dict[str, Any]:
    """A backend; one of an unknown kind leads nowhere, and is answered with 500."""
    if (ref.get("group") or "", ref.get("kind") or "Service") != ("", "Service"):
        return {"host": ""}
    if "." in ref["name"] or ref.get("port") is None:
        raise _Refused
    return {"host": full_host(ref["name"], ref.get("namespace") or namespace), "port": {"number": ref["port"]}}


def _backend_headers(backend: Object) -> dict[str, Any]:
    made: Rule = {}
    for item in backend.get("filters") or []:
        if item["type"] not in {"RequestHeaderModifier", "ResponseHeaderModifier"}:
            raise _Refused
        _filter(item, made, "", ())
    headers: dict[str, Any] = made.get("headers") or {}
    return headers


def _filter(item: Object, made: Rule, namespace: str, services: Collection[tuple[str, str]]) -> None:
    match item["type"]:
        case "RequestHeaderModifier" if item.get("requestHeaderModifier") is not None:
            made.setdefault("headers", {})["request"] = _operations(item["requestHeaderModifier"])
        case "ResponseHeaderModifier" if item.get("responseHeaderModifier") is not None:
            made.setdefault("headers", {})["response"] = _operations(item["responseHeaderModifier"])
        case "RequestRedirect" if item.get("requestRedirect") is not None:
            made["redirect"] = _redirect(item["requestRedirect"])
        case "URLRewrite" if item.get("urlRewrite") is not None:
            made["rewrite"] = _rewrite(item["urlRewrite"])
        case "RequestMirror" if item.get("requestMirror") is not None:
            _mirror(item["requestMirror"], made, namespace, services)
        case "CORS" if item.get("cors") is not None:
            made["corsPolicy"] = _cors(item["cors"])
        case (
            "RequestHeaderModifier"
            | "ResponseHeaderModifier"
            | "RequestRedirect"
            | "URLRewrite"
            | "RequestMirror"
            | "CORS"
        ):
            pass
        case _:
            raise _Refused


def _cors(block: Object) -> dict[str, Any]:
    """A CORS policy; preflights of origins that it does not know are answered, not sent on."""
    made: dict[str, Any] = {"allowOrigins": [_origin(text) for text in block.get("allowOrigins") or [] if text]}
    if block.get("allowCredentials"):
        made["allowCredentials"] = True
    for name in ("allowMethods", "allowHeaders", "exposeHeaders"):
        made[name] = block.get(name) or []
    if block.get("maxAge"):
        made["maxAge"] = f"{block['maxAge']}s"
    return {**made, "unmatchedPreflights": "IGNORE"}


def _origin(text: str) -> dict[str, str]:
    """An origin, with wildcards anywhere; ``*`` alone is any that is one: https://www.rfc-editor.org/rfc/rfc6454."""
    if text == "*":
        return {"regex": r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s?#]+$"}
    if "*" not in text:
        return {"exact": text}
    if text.count("*") == 1 and text.endswith("*"):
        return {"prefix": text.removesuffix("*")}
    return {"regex": "^" + ".*".join(map(quote, text.split("*"))) + "$"}


def _operations(block: Object) -> dict[str, Any]:
    def table(items: Iterable[Object]) -> dict[str, str]:
        made: dict[str, str] = {}
        for entry in items:
            made.setdefault(entry["name"].lower(), entry["value"])
        return made

    return {
        "set": table(block.get("set") or []), "add": table(block.get("add") or []), "remove": block.get("remove") or [],
    }  # fmt: skip


def _redirect(block: Object) -> dict[str, Any]:
    path = block.get("path") or {}
    made = {
        "redirectCode": block.get("statusCode") or 302,
        "authority": block.get("hostname"),
        "scheme": block.get("scheme"),
        "uri": path.get("replaceFullPath"),
        "prefixRewrite": path.get("replacePrefixMatch"),
        "port": block.get("port"),
    }
    if not block.get("port") and not block.get("scheme"):
        made["derivePort"] = "FROM_REQUEST_PORT"
    return made


def _rewrite(block: Object) -> dict[str, Any]:
    path = block.get("path") or {}
    made: dict[str, Any] = {}
    if path.get("type") == "ReplacePrefixMatch":
        made["uri"] = str(path.get("replacePrefixMatch") or "").removesuffix("/") or "/"
    elif path.get("type") == "ReplaceFullPath":
        made["uriRegexRewrite"] = {"match": "/.*", "rewrite": path.get("replaceFullPath") or ""}
    if block.get("hostname"):
        made["authority"] = block["hostname"]
    return made


def _mirror(block: Object, made: Rule, namespace: str, services: Collection[tuple[str, str]]) -> None:
    ref = block["backendRef"]
    target = _destination(ref, namespace)
    if (ref.get("namespace") or namespace, ref["name"]) not in services or not target["host"]:
        return  # a copy to nowhere is left out
    entry: dict[str, Any] = {"destination": target}
    if block.get("fraction"):
        fraction = block["fraction"]
        entry["percentage"] = {"value": 100 * fraction["numerator"] / (fraction.get("denominator") or 100)}
    elif block.get("percent") is not None:
        entry["percentage"] = {"value": block["percent"]}
    made.setdefault("mirrors", []).append(entry)
