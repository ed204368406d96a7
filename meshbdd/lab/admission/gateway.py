"""Schemas of the Gateway API's routes, with the defaults and the bounds of the shipped definitions (v1.2).

https://gateway-api.sigs.k8s.io/reference/spec/; where releases differ in a bound, the wider one.
"""

from __future__ import annotations

from typing import Any

from meshbdd.lab.admission.fields import ANY, BOOL, INT32, TEXT, Schema, array, choice, obj

PORT: Schema = {**INT32, "minimum": 1, "maximum": 65535}
_NAME: Schema = {**TEXT, "minLength": 1, "maxLength": 253}
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DOMAIN = rf"{_LABEL}(\.{_LABEL})*"
GROUP: Schema = {**TEXT, "maxLength": 253, "pattern": f"^$|^{_DOMAIN}$"}
KIND: Schema = {**TEXT, "minLength": 1, "maxLength": 63, "pattern": "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"}
NAMESPACE: Schema = {**TEXT, "minLength": 1, "maxLength": 63, "pattern": f"^{_LABEL}$"}
_HOST: Schema = {**_NAME, "pattern": f"^{_DOMAIN}$"}
HOSTNAMES = array({**_NAME, "pattern": rf"^(\*\.)?{_DOMAIN}$"}, maxItems=16)
_PATH: Schema = {**TEXT, "maxLength": 1024}
_TOKEN: Schema = {**TEXT, "minLength": 1, "maxLength": 256, "pattern": r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$"}
"""A header's name: RFC 7230, 3.2.6."""
_FEW = {"maxItems": 16}
_BY_NAME: Schema = {**_FEW, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
_DURATION: Schema = {**TEXT, "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")


def defaulted(schema: Schema, value: Any) -> Schema:
    """A field that the API server fills in."""
    return {**schema, "default": value}


PARENT_REF = obj(
    {
        "group": defaulted(GROUP, "gateway.networking.k8s.io"), "kind": defaulted(KIND, "Gateway"),
        "namespace": NAMESPACE, "name": _NAME, "sectionName": _HOST, "port": PORT,
    },
    required=("name",),
)  # fmt: skip


def _value(longest: int) -> Schema:
    return {**TEXT, "minLength": 1, "maxLength": longest}


_HEADER = obj({"name": _TOKEN, "value": _value(4096)}, required=("name", "value"))


def header_modifier(**removed: Any) -> Schema:
    """Headers that are set, added and removed; removed: more of the list of the last."""
    headers = array(_HEADER, **_BY_NAME)
    return obj({"set": headers, "add": headers, "remove": array(TEXT, **_FEW, **removed)})


_HEADER_MODIFIER = header_modifier(**{"x-kubernetes-list-type": "set"})
_REDIRECT_PATH = obj(
    {
        "type": choice("ReplaceFullPath", "ReplacePrefixMatch"),
        "replaceFullPath": _PATH,
        "replacePrefixMatch": _PATH,
    },
    required=("type",),
)
REDIRECT = obj({
    "scheme": choice("http", "https"), "hostname": _HOST, "path": _REDIRECT_PATH, "port": PORT,
    "statusCode": {**INT32, "default": 302, "enum": [301, 302, 303, 307, 308]},
})  # fmt: skip
_BACKEND_FIELDS: Schema = {
    "group": defaulted(GROUP, ""), "kind": defaulted(KIND, "Service"), "name": _NAME, "namespace": NAMESPACE, "port": PORT,
}  # fmt: skip


def filters(*kinds: str, more: Schema) -> Schema:
    """A list of filters of these kinds."""
    return array(obj({"type": choice(*kinds), **more}, required=("type",)), **_FEW)


_FRACTION = obj({"numerator": INT32, "denominator": defaulted(INT32, 100)}, required=("numerator",))
_MIRROR = obj(
    {
        "backendRef": obj(_BACKEND_FIELDS, required=("name",)), "percent": {**INT32, "minimum": 0, "maximum": 100},
        "fraction": _FRACTION,
    },
    required=("backendRef",),
)  # fmt: skip
_MORE: Schema = {
    "requestHeaderModifier": _HEADER_MODIFIER, "responseHeaderModifier": _HEADER_MODIFIER,
    "requestRedirect": REDIRECT, "requestMirror": _MIRROR,
    "urlRewrite": obj({"hostname": _HOST, "path": _REDIRECT_PATH}), "extensionRef": ANY,
    "cors": obj({
        "allowOrigins": array(TEXT), "allowMethods": array(TEXT), "allowHeaders": array(TEXT),
        "exposeHeaders": array(TEXT), "allowCredentials": BOOL, "maxAge": {**INT32, "minimum": 1},
    }),
}  # fmt: skip
_HTTP_FILTERS = filters(
    "RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "RequestRedirect", "URLRewrite",
    "ExtensionRef", "CORS", more=_MORE,
)  # fmt: skip
_GRPC_FILTERS = filters(
    "RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef", more=_MORE
)  # fmt: skip


def backend_refs(allowed: Schema | None) -> Schema:
    """The backends of a rule."""
    fields = {**_BACKEND_FIELDS, "weight": {**INT32, "minimum": 0, "maximum": 1000000, "default": 1}}
    return array(obj({**fields, **({"filters": allowed} if allowed else {})}, required=("name",)), **_FEW)


def _text_match(longest: int, name: Schema = _TOKEN) -> Schema:
    kind = defaulted(choice("Exact", "RegularExpression"), "Exact")
    return array(obj({"type": kind, "name": name, "value": _value(longest)}, required=("name", "value")), **_BY_NAME)


def http_match(query: Schema = _TOKEN) -> Schema:
    """What a rule of an HTTPRoute matches; query: names of parameters."""
    kind = defaulted(choice("Exact", "PathPrefix", "RegularExpression"), "PathPrefix")
    path = obj({"type": kind, "value": defaulted(_PATH, "/")})
    return obj({
        "path": defaulted(path, {"type": "PathPrefix", "value": "/"}), "method": choice(*METHODS),
        "headers": _text_match(4096), "queryParams": _text_match(1024, query),
    })  # fmt: skip


_ALL = [{"path": {"type": "PathPrefix", "value": "/"}}]
TIMEOUTS = obj({"request": _DURATION, "backendRequest": _DURATION})


def matches(match: Schema) -> Schema:
    """What stands in a rule of an HTTPRoute that matches; without it everything."""
    return defaulted(array(match, maxItems=64), _ALL)


def http_rules(allowed: Schema, *, more: Schema | None = None) -> Schema:
    """The rules of an HTTPRoute; more: other fields, or in the place of these."""
    fields: Schema = {
        "name": TEXT, "matches": matches(http_match()), "filters": allowed,
        "backendRefs": backend_refs(allowed), "timeouts": TIMEOUTS, **(more or {}),
    }  # fmt: skip
    return defaulted(array(obj(fields), **_FEW), [{"matches": _ALL}])


def _route(rules: Schema, *, hostnames: bool = True) -> Schema:
    fields = {"parentRefs": array(PARENT_REF, maxItems=32), "rules": rules}
    return obj({**fields, **({"hostnames": HOSTNAMES} if hostnames else {})})


_RETRY = obj({"codes": array(INT32), "attempts": INT32, "backoff": _DURATION})
HTTP_ROUTE = _route(http_rules(_HTTP_FILTERS, more={"retry": _RETRY, "sessionPersistence": ANY}))
_RPC = obj({
    "type": defaulted(choice("Exact", "RegularExpression"), "Exact"), "service": _PATH, "method": _PATH,
})  # fmt: skip
GRPC_ROUTE = _route(
    array(obj({
        "name": TEXT, "matches": array(obj({"method": _RPC, "headers": _text_match(4096)}), maxItems=64), "filters": _GRPC_FILTERS,
        "backendRefs": backend_refs(_GRPC_FILTERS), "sessionPersistence": ANY,
    }), **_FEW)
)  # fmt: skip
_STREAM_RULES = array(obj({"name": TEXT, "backendRefs": {**backend_refs(None), "minItems": 1}}), **_FEW, minItems=1)
TLS_ROUTE = {**_route(_STREAM_RULES), "required": ["rules"]}
TCP_ROUTE = {**_route(_STREAM_RULES, hostnames=False), "required": ["rules"]}
