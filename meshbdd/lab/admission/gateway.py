"""Schemas of the Gateway API's routes, with the defaults of the shipped definitions (v1.2).

https://gateway-api.sigs.k8s.io/reference/spec/
"""

from __future__ import annotations

from typing import Any

from meshbdd.lab.admission.fields import ANY, BOOL, INT32, TEXT, Schema, array, choice, obj

PORT: Schema = {**INT32, "minimum": 1, "maximum": 65535}
_NAME: Schema = {**TEXT, "minLength": 1, "maxLength": 253}
_DURATION: Schema = {**TEXT, "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")


def defaulted(schema: Schema, value: Any) -> Schema:
    """A field that the API server fills in."""
    return {**schema, "default": value}


PARENT_REF = obj(
    {
        "group": defaulted(TEXT, "gateway.networking.k8s.io"), "kind": defaulted(TEXT, "Gateway"),
        "namespace": TEXT, "name": _NAME, "sectionName": TEXT, "port": PORT,
    },
    required=("name",),
)  # fmt: skip


_HEADER = obj({"name": _NAME, "value": TEXT}, required=("name", "value"))
HEADER_MODIFIER = obj({"set": array(_HEADER), "add": array(_HEADER), "remove": array(TEXT)})
_REDIRECT_PATH = obj(
    {
        "type": choice("ReplaceFullPath", "ReplacePrefixMatch"),
        "replaceFullPath": TEXT,
        "replacePrefixMatch": TEXT,
    },
    required=("type",),
)
REDIRECT = obj({
    "scheme": choice("http", "https"), "hostname": TEXT, "path": _REDIRECT_PATH, "port": PORT,
    "statusCode": {**INT32, "default": 302, "enum": [301, 302, 303, 307, 308]},
})  # fmt: skip
_BACKEND_FIELDS: Schema = {
    "group": defaulted(TEXT, ""), "kind": defaulted(TEXT, "Service"), "name": _NAME, "namespace": TEXT, "port": PORT,
}  # fmt: skip


def filters(*kinds: str, more: Schema) -> Schema:
    """A list of filters of these kinds."""
    return array(obj({"type": choice(*kinds), **more}, required=("type",)))


_FRACTION = obj({"numerator": INT32, "denominator": defaulted(INT32, 100)}, required=("numerator",))
_MIRROR = obj(
    {
        "backendRef": obj(_BACKEND_FIELDS, required=("name",)), "percent": {**INT32, "minimum": 0, "maximum": 100},
        "fraction": _FRACTION,
    },
    required=("backendRef",),
)  # fmt: skip
_MORE: Schema = {
    "requestHeaderModifier": HEADER_MODIFIER, "responseHeaderModifier": HEADER_MODIFIER,
    "requestRedirect": REDIRECT, "requestMirror": _MIRROR,
    "urlRewrite": obj({"hostname": TEXT, "path": _REDIRECT_PATH}), "extensionRef": ANY,
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
    return array(obj({**fields, **({"filters": allowed} if allowed else {})}, required=("name",)))


def _text_match(kinds: tuple[str, ...] = ("Exact", "RegularExpression")) -> Schema:
    fields = {"type": defaulted(choice(*kinds), "Exact"), "name": _NAME, "value": TEXT}
    return array(obj(fields, required=("name", "value")))


HTTP_MATCH = obj({
    "path": defaulted(
        obj({
            "type": defaulted(choice("Exact", "PathPrefix", "RegularExpression"), "PathPrefix"),
            "value": defaulted({**TEXT, "maxLength": 1024}, "/"),
        }),
        {"type": "PathPrefix", "value": "/"},
    ),
    "headers": _text_match(), "queryParams": _text_match(), "method": choice(*METHODS),
})  # fmt: skip
_ALL = [{"path": {"type": "PathPrefix", "value": "/"}}]
TIMEOUTS = obj({"request": _DURATION, "backendRequest": _DURATION})


def http_rules(allowed: Schema, *, more: Schema | None = None) -> Schema:
    """The rules of an HTTPRoute."""
    fields: Schema = {
        "name": TEXT, "matches": defaulted(array(HTTP_MATCH), _ALL), "filters": allowed,
        "backendRefs": backend_refs(allowed), "timeouts": TIMEOUTS, **(more or {}),
    }  # fmt: skip
    return defaulted(array(obj(fields)), [{"matches": _ALL}])


def _route(rules: Schema, *, hostnames: bool = True) -> Schema:
    fields = {"parentRefs": array(PARENT_REF), "rules": rules}
    return obj({**fields, **({"hostnames": array(TEXT)} if hostnames else {})})


_RETRY = obj({"codes": array(INT32), "attempts": INT32, "backoff": _DURATION})
HTTP_ROUTE = _route(http_rules(_HTTP_FILTERS, more={"retry": _RETRY, "sessionPersistence": ANY}))
_RPC = obj({
    "type": defaulted(choice("Exact", "RegularExpression"), "Exact"), "service": TEXT, "method": TEXT,
})  # fmt: skip
GRPC_ROUTE = _route(
    array(obj({
        "name": TEXT, "matches": array(obj({"method": _RPC, "headers": _text_match()})), "filters": _GRPC_FILTERS,
        "backendRefs": backend_refs(_GRPC_FILTERS), "sessionPersistence": ANY,
    }))
)  # fmt: skip
_STREAM_RULES = array(obj({"name": TEXT, "backendRefs": backend_refs(None)}))
TLS_ROUTE = _route(_STREAM_RULES)
TCP_ROUTE = _route(_STREAM_RULES, hostnames=False)
