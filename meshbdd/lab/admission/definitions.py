"""CustomResourceDefinitions of Istio's kinds that the lab knows: field names and constraints are Istio's public API.

https://istio.io/latest/docs/reference/config/networking/ and /security/
"""

from __future__ import annotations

import functools
from typing import Any

from meshbdd.lab.admission import authorization_policy, envoy_filter
from meshbdd.lab.admission.fields import (
    ANY,
    BOOL,
    INT32,
    NUMBER,
    TEXT,
    UINT32,
    Schema,
    array,
    choice,
    duration,
    obj,
    table,
)

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
_HTTP_ROUTE = obj({
    "name": TEXT, "match": array(_MATCH), "route": array(_WEIGHTED),
    "redirect": obj(
        {
            "uri": TEXT, "authority": TEXT, "scheme": TEXT, "redirectCode": UINT32, "port": UINT32,
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
    "mirror": _DESTINATION, "mirrorPercent": UINT32, "mirrorPercentage": _PERCENT,
    "mirrors": array(obj({"destination": _DESTINATION, "percentage": _PERCENT}, required=("destination",))),
    "corsPolicy": ANY, "headers": _HEADERS,
})  # fmt: skip
_VIRTUAL_SERVICE = obj({
    "hosts": array(TEXT), "gateways": array(TEXT), "exportTo": array(TEXT), "http": array(_HTTP_ROUTE),
    "tls": array(ANY), "tcp": array(ANY),
})  # fmt: skip

_POOL = obj({
    "tcp": obj({
        "maxConnections": INT32, "connectTimeout": duration(least="1ms"), "idleTimeout": duration(),
        "maxConnectionDuration": duration(least="1ms"),
        "tcpKeepalive": obj({"probes": UINT32, "time": duration(), "interval": duration()}),
    }),
    "http": obj({
        "http1MaxPendingRequests": INT32, "http2MaxRequests": INT32, "maxRequestsPerConnection": INT32,
        "maxRetries": INT32, "idleTimeout": duration(), "maxConcurrentStreams": INT32,
        "h2UpgradePolicy": choice("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"), "useClientProtocol": BOOL,
        "http2KeepAlive": ANY,
    }),
})  # fmt: skip
_OUTLIER = obj({
    "consecutiveErrors": INT32, "consecutive5xxErrors": UINT32, "consecutiveGatewayErrors": UINT32,
    "consecutiveLocalOriginFailures": UINT32, "splitExternalLocalOriginErrors": BOOL,
    "interval": duration(least="1ms"), "baseEjectionTime": duration(least="1ms"),
    "maxEjectionPercent": INT32, "minHealthPercent": INT32, "outlierDetectionHttpErrorCodes": ANY,
})  # fmt: skip
_HASH = obj(
    {
        "httpHeaderName": TEXT, "useSourceIp": BOOL, "httpQueryParameterName": TEXT,
        "httpCookie": obj({"name": TEXT, "path": TEXT, "ttl": duration()}, required=("name",)),
        "minimumRingSize": UINT32, "ringHash": obj({"minimumRingSize": UINT32}), "maglev": obj({"tableSize": UINT32}),
    },
    one_of=("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"),
)  # fmt: skip
_BALANCER = obj(
    {
        "simple": choice("UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"),
        "consistentHash": _HASH, "localityLbSetting": ANY, "warmupDurationSecs": duration(), "warmup": ANY,
    },
    one_of=("simple", "consistentHash"),
)  # fmt: skip
_TLS = obj({
    "mode": choice("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"), "clientCertificate": TEXT, "privateKey": TEXT,
    "caCertificates": TEXT, "credentialName": TEXT, "subjectAltNames": array(TEXT), "sni": TEXT,
    "insecureSkipVerify": BOOL, "caCrl": TEXT,
})  # fmt: skip
_BLOCKS: Schema = {"connectionPool": _POOL, "loadBalancer": _BALANCER, "outlierDetection": _OUTLIER, "tls": _TLS}
_POLICY = obj({
    **_BLOCKS, "portLevelSettings": array(obj({"port": _PORT, **_BLOCKS})),
    "tunnel": ANY, "proxyProtocol": ANY, "retryBudget": ANY,
})  # fmt: skip
_DESTINATION_RULE = obj(
    {
        "host": TEXT, "trafficPolicy": _POLICY, "exportTo": array(TEXT),
        "subsets": array(obj({"name": TEXT, "labels": table(TEXT), "trafficPolicy": _POLICY}, required=("name",))),
        "workloadSelector": obj({"matchLabels": table(TEXT)}),
    },
    required=("host",),
)  # fmt: skip

_MODE = obj({"mode": choice("UNSET", "DISABLE", "PERMISSIVE", "STRICT")})
_PEER_AUTHENTICATION = obj({
    "selector": obj({"matchLabels": table({**TEXT, "maxLength": 63})}), "mtls": _MODE, "portLevelMtls": table(_MODE),
})  # fmt: skip

_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": "When it was created"}


def _column(name: str, path: str) -> dict[str, str]:
    return {"name": name, "type": "string", "jsonPath": path}


def _crd(
    group: str,
    kind: str,
    plural: str,
    short: tuple[str, ...],
    spec: Schema,
    versions: tuple[str, ...],
    columns: list[Any],
    category: str,
) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"spec": spec, "status": ANY}}
    served = [
        {
            "name": version, "served": True, "storage": version == versions[0],
            "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
            "additionalPrinterColumns": [*columns, _AGE],
        }
        for version in versions
    ]  # fmt: skip
    names = {
        "kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower(),
        "shortNames": list(short), "categories": ["istio-io", category],
    }  # fmt: skip
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": served},
    }


@functools.cache
def _definitions() -> tuple[dict[str, Any], ...]:
    networking, security = "networking.istio.io", "security.istio.io"
    all_versions = ("v1", "v1beta1", "v1alpha3")
    return (
        _crd(
            networking, "VirtualService", "virtualservices", ("vs",), _VIRTUAL_SERVICE, all_versions,
            [_column("Gateways", ".spec.gateways"), _column("Hosts", ".spec.hosts")], "networking-istio-io",
        ),
        _crd(
            networking, "DestinationRule", "destinationrules", ("dr",), _DESTINATION_RULE, all_versions,
            [_column("Host", ".spec.host")], "networking-istio-io",
        ),
        _crd(
            networking, "EnvoyFilter", "envoyfilters", (), envoy_filter.SCHEMA, ("v1alpha3",), [], "networking-istio-io",
        ),
        _crd(
            security, "AuthorizationPolicy", "authorizationpolicies", ("ap",), authorization_policy.SCHEMA,
            ("v1", "v1beta1"), [_column("Action", ".spec.action")], "security-istio-io",
        ),
        _crd(
            security, "PeerAuthentication", "peerauthentications", ("pa",), _PEER_AUTHENTICATION, ("v1", "v1beta1"),
            [_column("Mode", ".spec.mtls.mode")], "security-istio-io",
        ),
    )  # fmt: skip


def crds() -> list[dict[str, Any]]:
    """The definitions that the lab installs."""
    return list(_definitions())


def spec_schema(kind: str) -> Schema | None:
    """The schema of a kind's ``spec``; ``None`` for a kind that the lab does not have."""
    for definition in _definitions():
        if definition["spec"]["names"]["kind"] == kind:
            schema: Schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
            return schema
    return None
