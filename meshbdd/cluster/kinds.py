"""The kinds that meshbdd reads or writes, and where the API has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind: its group and version, its plural, and whether its objects live in a namespace."""

    group_version: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """The URL path of a collection or of one object."""
        root = "/api" if "/" not in self.group_version else "/apis"
        where = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}/{self.group_version}{where}/{self.plural}" + (f"/{name}" if name else "")


KINDS = {
    "Namespace": Kind("v1", "namespaces", namespaced=False),
    "Pod": Kind("v1", "pods"),
    "Service": Kind("v1", "services"),
    "EndpointSlice": Kind("discovery.k8s.io/v1", "endpointslices"),
    "Deployment": Kind("apps/v1", "deployments"),
    "VirtualService": Kind("networking.istio.io/v1", "virtualservices"),
    "DestinationRule": Kind("networking.istio.io/v1", "destinationrules"),
    "EnvoyFilter": Kind("networking.istio.io/v1alpha3", "envoyfilters"),
    "Sidecar": Kind("networking.istio.io/v1", "sidecars"),
    "PeerAuthentication": Kind("security.istio.io/v1", "peerauthentications"),
    "AuthorizationPolicy": Kind("security.istio.io/v1", "authorizationpolicies"),
    "ServiceEntry": Kind("networking.istio.io/v1", "serviceentries"),
    "WorkloadEntry": Kind("networking.istio.io/v1", "workloadentries"),
    "Gateway.networking.istio.io": Kind("networking.istio.io/v1", "gateways"),
    "Gateway": Kind("gateway.networking.k8s.io/v1", "gateways"),
    "HTTPRoute": Kind("gateway.networking.k8s.io/v1", "httproutes"),
    "GRPCRoute": Kind("gateway.networking.k8s.io/v1", "grpcroutes"),
    "HTTPRoute.policy.linkerd.io": Kind("policy.linkerd.io/v1beta3", "httproutes"),
    "ServiceAccount": Kind("v1", "serviceaccounts"),
    "Server": Kind("policy.linkerd.io/v1beta3", "servers"),
    "ServerAuthorization": Kind("policy.linkerd.io/v1beta1", "serverauthorizations"),
    "AuthorizationPolicy.policy.linkerd.io": Kind("policy.linkerd.io/v1alpha1", "authorizationpolicies"),
    "MeshTLSAuthentication": Kind("policy.linkerd.io/v1alpha1", "meshtlsauthentications"),
    "NetworkAuthentication": Kind("policy.linkerd.io/v1alpha1", "networkauthentications"),
    "HTTPLocalRateLimitPolicy": Kind("policy.linkerd.io/v1alpha1", "httplocalratelimitpolicies"),
    "ServiceProfile": Kind("linkerd.io/v1alpha2", "serviceprofiles"),
}
"""By kind; of two groups with a kind of one name the second one's stands with its group, as kubectl writes it."""


def kind_of(obj: Mapping[str, Any]) -> str:
    """The name under which an object's kind stands in ``KINDS``."""
    kind, group = str(obj["kind"]), str(obj.get("apiVersion") or "").rpartition("/")[0]
    return f"{kind}.{group}" if f"{kind}.{group}" in KINDS else kind


_LACKING = {"Server"}
"""Kinds of which earlier versions lack fields, so that the latest is not what an object of them was written for."""


def as_written(obj: Mapping[str, Any]) -> Kind:
    """An object's kind, in the object's own version where that decides about its fields."""
    name = kind_of(obj)
    kind, own = KINDS[name], str(obj.get("apiVersion") or "")
    return replace(kind, group_version=own) if name in _LACKING and own else kind
