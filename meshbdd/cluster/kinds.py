"""The kinds that meshbdd reads or writes, and where the API has them."""

from __future__ import annotations

from dataclasses import dataclass


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
    "Gateway": Kind("gateway.networking.k8s.io/v1", "gateways"),
    "HTTPRoute": Kind("gateway.networking.k8s.io/v1", "httproutes"),
}
