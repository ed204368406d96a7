"""Routes on a Server.

Expectations: linkerd2 policy-controller/k8s/index/src/inbound/routes.rs (whom a route may name),
policy-controller/grpc/src/inbound/http.rs (order and filters), policy-controller/core/src/routes.rs (order of one age).
"""

from __future__ import annotations

import pytest

from meshbdd.lab.compile.kept import Keeper
from meshbdd.lab.linkerd.admission.definitions import crds
from tests.unit.compile.linkerd_worlds import SERVER, inbound_routes, objects, told

GATEWAY, POLICY = "gateway.networking.k8s.io/v1", "policy.linkerd.io/v1beta3"


def _route(parents: str, *, name: str = "r", namespace: str = "shop", api: str = GATEWAY, kind: str = "HTTPRoute", rules: str = "[{}]") -> str:  # fmt: skip
    return f"""
apiVersion: {api}
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{parentRefs: {parents}, rules: {rules}}}
"""


_ELSEWHERE = "route resource may not reference a parent Server in an other namespace"
_PORT = "route resource may not reference a parent by port"
_SECTION = "route resource may not reference a parent by section name"
_HERE = "{group: policy.linkerd.io, kind: Server, name: order}"


@pytest.mark.parametrize(
    ("parents", "namespace", "error"),
    [
        (f"[{_HERE}]", "shop", None),
        ("[{group: policy.linkerd.io, kind: Server, name: order, namespace: shop}]", "shop", None),
        ("[{group: policy.linkerd.io, kind: Server, name: order, namespace: shop}]", "other", _ELSEWHERE),
        ("[{group: policy.linkerd.io, kind: Server, name: order, port: 8080}]", "shop", _PORT),
        ("[{group: policy.linkerd.io, kind: Server, name: order, sectionName: s}]", "shop", _SECTION),
        # The whole route is left out, also at the parents that it names well.
        (f"[{_HERE}, {{group: policy.linkerd.io, kind: Server, name: x, port: 1}}]", "shop", _PORT),
        (f"[{_HERE}, {{group: policy.linkerd.io, kind: Server, name: x, namespace: other}}]", "shop", _ELSEWHERE),
        # Other parents have no say here.
        (f"[{_HERE}, {{group: '', kind: Service, name: order, port: 80, sectionName: s}}]", "shop", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("api", [GATEWAY, POLICY])
def test_a_route_on_a_server_names_it_by_its_name_alone(parents: str, namespace: str, error: str | None, api: str) -> None:  # fmt: skip
    made = told(SERVER, _route(parents, namespace=namespace, api=api))
    assert inbound_routes(made) == (["r"] if error is None else ["default"])
    assert made["log"] == ([] if error is None else [f"INFO Ignoring HTTPRoute ns={namespace} name=r error={error}"])


def test_a_grpc_route_of_another_namespace_is_left_out_too() -> None:
    server = SERVER.replace("port: 8080", "port: 8080, proxyProtocol: gRPC")
    parents = "[{group: policy.linkerd.io, kind: Server, name: order, namespace: shop}]"
    made = told(server, _route(parents, namespace="other", kind="GRPCRoute"))
    assert inbound_routes(made) == ["default"]
    assert made["log"] == [f"INFO Ignoring GrpcRoute ns=other name=r error={_ELSEWHERE}"]


def test_the_status_of_such_a_route_has_neither_port_nor_section() -> None:
    """Its parent accepts it all the same: linkerd2 policy-controller/k8s/status/src/index.rs, ``http_parent_status``."""
    (parent,) = told(SERVER, _route("[{group: policy.linkerd.io, kind: Server, name: order, port: 80, sectionName: s}]"))[
        "status"
    ]["HTTPRoute.gateway.networking.k8s.io shop/r"]  # fmt: skip
    assert parent["parentRef"] == {"group": "policy.linkerd.io", "kind": "Server", "namespace": "shop", "name": "order"}
    assert [condition["reason"] for condition in parent["conditions"]] == ["Accepted"]


@pytest.mark.parametrize(
    ("protocol", "taken"),
    [("gRPC", ["g"]), ("HTTP/2", ["default"])],
)
def test_http_and_grpc_routes_on_one_server_conflict(protocol: str, taken: list[str]) -> None:
    """linkerd2 policy-controller/k8s/status/src/index.rs, ``parent_condition_server``."""
    server = SERVER.replace("port: 8080", f"port: 8080, proxyProtocol: {protocol}")
    made = told(server, _route(f"[{_HERE}]", name="g", kind="GRPCRoute"), _route(f"[{_HERE}]", name="h"))
    assert inbound_routes(made) == taken
    reasons = {title: parents[0]["conditions"][0]["reason"] for title, parents in made["status"].items()}
    assert reasons == {
        "GRPCRoute.gateway.networking.k8s.io shop/g": "Accepted",
        "HTTPRoute.gateway.networking.k8s.io shop/h": "RouteReasonConflicted",
    }


@pytest.mark.parametrize(
    ("api", "parent", "taken"),
    [
        (POLICY, "{kind: Server, name: order}", ["r"]),
        (POLICY, "{group: '', kind: Server, name: order}", ["default"]),
        (POLICY, "{name: order}", ["default"]),  # the kind is then Gateway
        (GATEWAY, "{kind: Server, name: order}", ["default"]),
    ],
)
def test_the_parents_of_linkerds_own_routes_are_linkerds_where_no_group_is_said(api: str, parent: str, taken: list[str]) -> None:  # fmt: skip
    """linkerd2 charts/linkerd-crds/templates/policy/httproute.yaml: the definition's default."""
    made = told(SERVER, _route(f"[{parent}]", api=api))
    assert inbound_routes(made) == taken
    assert bool(made["status"]) == (taken == ["r"])


@pytest.mark.parametrize(("api", "group"), [(POLICY, "policy.linkerd.io"), (GATEWAY, "gateway.networking.k8s.io")])
def test_the_api_fills_the_same_group_in(api: str, group: str) -> None:
    kept = Keeper(crds()).keep(objects(_route("[{name: order}]", api=api))[0])
    assert kept["spec"]["parentRefs"] == [{"group": group, "kind": "Gateway", "name": "order"}]
