"""CustomResourceDefinitions of the kinds that Linkerd reads: field names and constraints are its public API.

linkerd2 charts/linkerd-crds/templates; https://linkerd.io/2/reference/authorization-policy/
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from meshbdd.lab.admission import gateway
from meshbdd.lab.admission.fields import ANY, BOOL, INT32, NUMBER, TEXT, Schema, array, choice, obj, table
from meshbdd.lab.admission.gateway import REDIRECT, defaulted
from meshbdd.lab.linkerd.objects import GATEWAY, POLICY

_SELECTOR = obj({
    "matchLabels": table(TEXT),
    "matchExpressions": array(
        obj(
            {"key": TEXT, "operator": choice("In", "NotIn", "Exists", "DoesNotExist"), "values": array(TEXT)},
            required=("key", "operator"),
        )
    ),
})  # fmt: skip
_INT_OR_STRING: Schema = {"x-kubernetes-int-or-string": True}
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME: Schema = {**TEXT, "minLength": 1, "maxLength": 253}
_TARGET_FIELDS: Schema = {"group": gateway.GROUP, "kind": gateway.KIND, "name": _NAME}
_TARGET = obj(_TARGET_FIELDS, required=("kind", "name"))
"""Something of the same namespace."""
_REFERENCE = obj({**_TARGET_FIELDS, "namespace": {**TEXT, "maxLength": 253}}, required=("kind", "name"))
_CLIENT = obj(
    {**_TARGET_FIELDS, "namespace": gateway.NAMESPACE},
    required=("kind", "name"),
)
_SHORT_NAME: Schema = {**TEXT, "pattern": f"^{_LABEL}$"}
_IDENTITY: Schema = {**TEXT, "pattern": rf"^(\*|{_LABEL})(\.{_LABEL})*$"}
_NETWORK = obj({"cidr": TEXT, "except": array(TEXT)}, required=("cidr",))
_SERVER = obj(
    {
        "podSelector": _SELECTOR, "externalWorkloadSelector": _SELECTOR, "port": _INT_OR_STRING,
        "proxyProtocol": defaulted(TEXT, "unknown"),
        "accessPolicy": defaulted(TEXT, "deny"),
    },
    required=("port",),
)  # fmt: skip
_SERVER["oneOf"] = [{"required": ["podSelector"]}, {"required": ["externalWorkloadSelector"]}]
_SERVER_V1BETA2 = {**_SERVER, "properties": {k: v for k, v in _SERVER["properties"].items() if k != "accessPolicy"}}
_SERVER_V1BETA1 = obj(
    {k: v for k, v in _SERVER_V1BETA2["properties"].items() if k != "externalWorkloadSelector"},
    required=("podSelector", "port"),
)
_ONE_OF_SERVER = [{"required": ["name"]}, {"required": ["selector"]}]
_SERVER_AUTHORIZATION = obj(
    {
        "server": {**obj({"name": _SHORT_NAME, "selector": _SELECTOR}), "oneOf": _ONE_OF_SERVER},
        "client": obj({
            "networks": array(_NETWORK), "unauthenticated": BOOL,
            "meshTLS": obj({
                "unauthenticatedTLS": BOOL, "identities": array(_IDENTITY),
                "serviceAccounts": array(obj({"name": _SHORT_NAME, "namespace": TEXT}, required=("name",))),
            }),
        }),
    },
    required=("client", "server"),
)  # fmt: skip
_AUTHORIZATION_POLICY = obj(
    {"targetRef": _TARGET, "requiredAuthenticationRefs": array(_REFERENCE)},
    required=("targetRef", "requiredAuthenticationRefs"),
)
_MESH_TLS = obj({"identities": array(TEXT, minItems=1), "identityRefs": array(_REFERENCE, minItems=1)})
_MESH_TLS["oneOf"] = [{"required": ["identities"]}, {"required": ["identityRefs"]}]
_NETWORK_AUTHENTICATION = obj({"networks": array(_NETWORK)}, required=("networks",))
_RATE = obj({"requestsPerSecond": {"type": "integer", "format": "int64"}}, required=("requestsPerSecond",))
_RATE_LIMIT = obj(
    {
        "targetRef": _TARGET, "total": _RATE, "identity": _RATE,
        "overrides": array(
            obj({**_RATE["properties"], "clientRefs": array(_CLIENT)}, required=("requestsPerSecond", "clientRefs"))
        ),
    },
    required=("targetRef",),
)  # fmt: skip
_EGRESS = obj({"trafficPolicy": choice("Allow", "Deny"), "networks": array(_NETWORK)}, required=("trafficPolicy",))
# Linkerd's own HTTPRoute: one filter less than its backends have, two redirects, parameters of any name, and durations in
# Go's syntax, which the definition leaves to the webhook.
_POLICY_REDIRECT = obj({**REDIRECT["properties"], "statusCode": {**INT32, "default": 302, "enum": [301, 302]}})
_MODIFIER = gateway.header_modifier()
_POLICY_MORE: Schema = {"requestHeaderModifier": _MODIFIER, "requestRedirect": _POLICY_REDIRECT}
_POLICY_FILTERS = gateway.filters("RequestHeaderModifier", "RequestRedirect", more=_POLICY_MORE)
_POLICY_BACKEND_FILTERS = gateway.filters(
    "RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect",
    more={**_POLICY_MORE, "responseHeaderModifier": _MODIFIER},
)  # fmt: skip
_PARENT_REF = obj({**gateway.PARENT_REF["properties"], "group": defaulted(gateway.GROUP, POLICY)}, required=("name",))
_POLICY_RULES = gateway.http_rules(
    _POLICY_FILTERS,
    more={
        "matches": gateway.matches(gateway.http_match({**TEXT, "minLength": 1, "maxLength": 256})),
        "backendRefs": gateway.backend_refs(_POLICY_BACKEND_FILTERS),
        "timeouts": obj({"request": TEXT, "backendRequest": TEXT}),
    },
)
_POLICY_ROUTE = obj({
    "parentRefs": array(_PARENT_REF, maxItems=32), "hostnames": gateway.HOSTNAMES, "rules": _POLICY_RULES,
})  # fmt: skip

# A ServiceProfile's conditions nest without end; the shipped definition leaves them open too.
_PROFILE = obj({
    "routes": array(
        obj(
            {
                "name": TEXT, "condition": ANY, "timeout": TEXT, "isRetryable": BOOL,
                "responseClasses": array(obj({"condition": ANY, "isFailure": BOOL}, required=("condition",))),
            },
            required=("name", "condition"),
        )
    ),
    "retryBudget": obj(
        {"retryRatio": NUMBER, "minRetriesPerSecond": INT32, "ttl": TEXT},
        required=("retryRatio", "minRetriesPerSecond", "ttl"),
    ),
    "dstOverrides": array(obj({"authority": TEXT, "weight": _INT_OR_STRING})),
    "opaquePorts": array(TEXT),
})  # fmt: skip

_KINDS: tuple[tuple[str, str, str, tuple[str, ...], Schema], ...] = (
    (POLICY, "Server", "servers", ("v1beta3", "v1beta2", "v1beta1"), _SERVER),
    (POLICY, "ServerAuthorization", "serverauthorizations", ("v1beta1",), _SERVER_AUTHORIZATION),
    (POLICY, "AuthorizationPolicy", "authorizationpolicies", ("v1alpha1",), _AUTHORIZATION_POLICY),
    (POLICY, "MeshTLSAuthentication", "meshtlsauthentications", ("v1alpha1",), _MESH_TLS),
    (POLICY, "NetworkAuthentication", "networkauthentications", ("v1alpha1",), _NETWORK_AUTHENTICATION),
    (POLICY, "HTTPLocalRateLimitPolicy", "httplocalratelimitpolicies", ("v1alpha1",), _RATE_LIMIT),
    (POLICY, "EgressNetwork", "egressnetworks", ("v1alpha1",), _EGRESS),
    (POLICY, "HTTPRoute", "httproutes", ("v1beta3", "v1beta2", "v1beta1"), _POLICY_ROUTE),
    (GATEWAY, "HTTPRoute", "httproutes", ("v1", "v1beta1"), gateway.HTTP_ROUTE),
    (GATEWAY, "GRPCRoute", "grpcroutes", ("v1",), gateway.GRPC_ROUTE),
    (GATEWAY, "TLSRoute", "tlsroutes", ("v1alpha2",), gateway.TLS_ROUTE),
    (GATEWAY, "TCPRoute", "tcproutes", ("v1alpha2",), gateway.TCP_ROUTE),
    ("linkerd.io", "ServiceProfile", "serviceprofiles", ("v1alpha2",), _PROFILE),
)
_OLDER: Mapping[tuple[str, str, str], Schema] = {
    (POLICY, "Server", "v1beta2"): _SERVER_V1BETA2,
    (POLICY, "Server", "v1beta1"): _SERVER_V1BETA1,
}
"""Versions that lack what later ones have: linkerd2 charts/linkerd-crds/templates/policy/server.yaml."""
RESOURCES = tuple(f"{plural}.{group}" for group, _kind, plural, _versions, _spec in _KINDS)
"""The API's names of Linkerd's kinds."""


def _definition(group: str, kind: str, plural: str, versions: tuple[str, ...], spec: Schema) -> dict[str, Any]:
    schemas = {version: _OLDER.get((group, kind, version), spec) for version in versions}
    served = [
        {
            "name": version, "served": True, "storage": version == versions[0],
            "schema": {"openAPIV3Schema": {
                "type": "object", "required": ["spec"], "properties": {"spec": schemas[version], "status": ANY},
            }},
            "subresources": {"status": {}},
        }
        for version in versions
    ]  # fmt: skip
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": served},
    }


@functools.cache
def _definitions() -> tuple[dict[str, Any], ...]:
    return tuple(_definition(*entry) for entry in _KINDS)


def crds() -> list[dict[str, Any]]:
    """The definitions that the lab installs in Linkerd mode."""
    return list(_definitions())


def spec_schema(group: str, kind: str, version: str = "") -> Schema | None:
    """The schema of a kind's ``spec``, of the latest version unless told; ``None`` for a kind that is not Linkerd's."""
    if (group, kind, version) in _OLDER:
        return _OLDER[group, kind, version]
    return next((spec for g, k, _plural, _versions, spec in _KINDS if (g, k) == (group, kind)), None)
