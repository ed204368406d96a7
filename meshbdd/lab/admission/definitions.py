"""CustomResourceDefinitions of the kinds that the lab takes for Istio: field names and constraints are public API."""

from __future__ import annotations

import functools
from typing import Any

from meshbdd.lab.admission import (
    authorization_policy,
    destination_rule,
    envoy_filter,
    http_route,
    peer_authentication,
    sidecar,
    virtual_service,
)
from meshbdd.lab.admission.fields import ANY, Schema, obj
from meshbdd.lab.compile.read.http_route import GROUP

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
    *,
    required: tuple[str, ...] = (),
) -> dict[str, Any]:
    schema = obj({"spec": spec, "status": ANY}, required=required)
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
        "shortNames": list(short), "categories": [*(["istio-io"] if "istio" in group else []), category],
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
            networking, "VirtualService", "virtualservices", ("vs",), virtual_service.SCHEMA, all_versions,
            [_column("Gateways", ".spec.gateways"), _column("Hosts", ".spec.hosts")], "networking-istio-io",
        ),
        _crd(
            networking, "DestinationRule", "destinationrules", ("dr",), destination_rule.SCHEMA, all_versions,
            [_column("Host", ".spec.host")], "networking-istio-io",
        ),
        _crd(
            networking, "EnvoyFilter", "envoyfilters", (), envoy_filter.SCHEMA, ("v1alpha3",), [], "networking-istio-io",
        ),
        _crd(
            networking, "Sidecar", "sidecars", (), sidecar.SCHEMA, all_versions, [], "networking-istio-io",
        ),
        _crd(
            security, "AuthorizationPolicy", "authorizationpolicies", ("ap",), authorization_policy.SCHEMA,
            ("v1", "v1beta1"), [_column("Action", ".spec.action")], "security-istio-io",
        ),
        _crd(
            security, "PeerAuthentication", "peerauthentications", ("pa",), peer_authentication.SCHEMA, ("v1", "v1beta1"),
            [_column("Mode", ".spec.mtls.mode")], "security-istio-io",
        ),
        _crd(
            GROUP, "HTTPRoute", "httproutes", (), http_route.SCHEMA, ("v1", "v1beta1"),
            [_column("Hostnames", ".spec.hostnames")], "gateway-api", required=("spec",),
        ),
    )  # fmt: skip


def crds() -> list[dict[str, Any]]:
    """The definitions that the lab installs."""
    return list(_definitions())


def definition_of(kind: str, api_version: str | None = None) -> dict[str, Any] | None:
    """The definition of a kind; ``None`` for one, or a version of one, that the lab does not have."""
    group, _, version = (api_version or "").rpartition("/")
    for definition in _definitions():
        spec = definition["spec"]
        if spec["names"]["kind"] == kind and (api_version is None or spec["group"] == group):
            served = api_version is None or any(v["name"] == version for v in spec["versions"])
            return definition if served else None
    return None


def schema_of(kind: str, api_version: str | None = None) -> Schema | None:
    """The schema of a kind's objects; ``None`` for a kind that the lab does not have."""
    definition = definition_of(kind, api_version)
    if definition is None:
        return None
    schema: Schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def spec_schema(kind: str, api_version: str | None = None) -> Schema | None:
    """The schema of a kind's ``spec``; ``None`` for a kind that the lab does not have."""
    whole = schema_of(kind, api_version)
    return None if whole is None else whole["properties"]["spec"]
