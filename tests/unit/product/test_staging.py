"""What of a manifest is written at one time: of two that leave no name in a proxy, one would be taken for the other."""

from __future__ import annotations

from typing import Any

from meshbdd.intents import ServiceRef
from meshbdd.mesh import Istio, Linkerd
from tests.unit.product.staged import Staged

Object = dict[str, Any]


def _object(kind: str, name: str, spec: Object, group: str = "", version: str = "v1", **labels: str) -> Object:
    meta = {"name": name, "namespace": "shop", "labels": labels}
    return {"apiVersion": f"{group}/{version}".strip("/"), "kind": kind, "metadata": meta, "spec": spec}


SPACES = [{"kind": "Namespace", "metadata": {"name": name}} for name in ("shop", "istio-system")]
SERVICE = _object("Service", "pay", {"selector": {"app": "pay"}, "ports": [{"port": 80, "targetPort": 8080}]})


def _written(*world: Object, mesh: Any, manifest: list[Object]) -> list[list[str]]:
    plan = Staged(mesh, [*SPACES, SERVICE, *world])(manifest)
    return [[edit.name for edit in stage.edits] for stage in plan.stages]


def _filter(name: str) -> Object:
    spec = {"workloadSelector": {"labels": {"app": "pay"}}, "configPatches": []}
    return _object("EnvoyFilter", name, spec, "networking.istio.io", "v1alpha3")


def test_each_envoy_filter_of_a_manifest_is_awaited_alone() -> None:
    pod = _object("Pod", "pay-1", {}, app="pay", **{"security.istio.io/tlsMode": "istio"})
    rule = _object("DestinationRule", "rule", {"host": "pay"}, "networking.istio.io")
    http = [{"route": [{"destination": {"host": "pay"}}]}]
    route = _object("VirtualService", "route", {"hosts": ["pay"], "http": http}, "networking.istio.io")
    policy = _object("AuthorizationPolicy", "policy", {}, "security.istio.io")
    manifest = [_filter("one"), route, _filter("two"), policy, rule]
    assert _written(pod, mesh=Istio, manifest=manifest) == [["rule"], ["route", "policy"], ["one"], ["two"]]


def test_what_one_object_makes_fail_is_told_as_one() -> None:
    """A filter meets the calls to each Service of its pods, a VirtualService those to each of its hosts."""
    pod = _object("Pod", "pay-1", {}, app="pay", **{"security.istio.io/tlsMode": "istio"})
    other = _object("Service", "alias", {"selector": {"app": "pay"}, "ports": [{"port": 80, "targetPort": 8080}]})
    there = [*SPACES, SERVICE, pod, other]
    fault = {
        "name": "f",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"},
    }
    filtering = _filter("one")
    filtering["spec"]["configPatches"] = [
        {"applyTo": "HTTP_FILTER", "match": {"context": "SIDECAR_INBOUND"}, "patch": {"value": fault}}
    ]
    http = [{"fault": {"abort": {"httpStatus": 503}}, "route": [{"destination": {"host": "pay"}}]}]
    route = _object("VirtualService", "route", {"hosts": ["pay", "alias"], "http": http}, "networking.istio.io")
    both = {ServiceRef("pay", "shop"), ServiceRef("alias", "shop")}
    for document in (filtering, route):
        plan = Staged(Istio, there)([document])
        assert set(plan.faulty) == both
        assert plan.as_one == (both,)


def test_each_changed_authentication_is_awaited_alone() -> None:
    policy = "policy.linkerd.io"
    labels = {"app": "pay", "linkerd.io/control-plane-ns": "linkerd"}
    containers = [{"name": "app", "ports": [{"containerPort": 8080}]}]
    server = {"podSelector": {"matchLabels": {"app": "pay"}}, "port": 8080}
    there = [_object("Pod", "pay-1", {"containers": containers}, **labels), _object("Server", "s", server, policy)]
    changed = []
    for name in ("one", "two"):
        there.append(_object("MeshTLSAuthentication", name, {"identities": ["a"]}, policy, "v1alpha1"))
        changed.append(_object("MeshTLSAuthentication", name, {"identities": ["b"]}, policy, "v1alpha1"))
        spec = {
            "targetRef": {"group": policy, "kind": "Server", "name": "s"},
            "requiredAuthenticationRefs": [{"group": policy, "kind": "MeshTLSAuthentication", "name": name}],
        }
        there.append(_object("AuthorizationPolicy", name, spec, policy, "v1alpha1"))
    new = _object("MeshTLSAuthentication", "new", {"identities": ["c"]}, policy, "v1alpha1")
    assert _written(*there, mesh=Linkerd, manifest=[*changed, new]) == [["new"], ["one"], ["two"]]
