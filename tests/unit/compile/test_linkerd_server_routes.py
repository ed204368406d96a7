"""Routes on a Server.

Expectations: linkerd2 policy-controller/k8s/index/src/inbound/routes.rs (whom a route may name),
policy-controller/grpc/src/inbound/http.rs (order and filters), policy-controller/core/src/routes.rs (order of one age).
"""

from __future__ import annotations

import pytest

from meshbdd.lab.compile.kept import Keeper
from meshbdd.lab.linkerd.admission.definitions import crds
from tests.unit.compile.linkerd_worlds import POD_PORT, SERVER, inbound_routes, objects, told

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


_FILTERS = {
    "RequestHeaderModifier": "{type: RequestHeaderModifier, requestHeaderModifier: {remove: [a]}}",
    "ResponseHeaderModifier": "{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [a]}}",
    "RequestRedirect": "{type: RequestRedirect, requestRedirect: {hostname: b.example}}",
}


@pytest.mark.parametrize(
    ("kinds", "kept"),
    [
        (["RequestHeaderModifier"], ["request_header_modifier"]),
        (["ResponseHeaderModifier"], []),
        (["RequestRedirect"], ["redirect"]),
        (["ResponseHeaderModifier", "RequestHeaderModifier"], ["request_header_modifier"]),
    ],
)
@pytest.mark.parametrize(
    ("kind", "protocol"),
    [("HTTPRoute", "unknown"), ("HTTPRoute", "HTTP/1"), ("GRPCRoute", "gRPC")],
)
def test_a_server_is_not_told_of_filters_for_responses(kinds: list[str], kept: list[str], kind: str, protocol: str) -> None:  # fmt: skip
    """linkerd2 policy-controller/grpc/src/inbound/{http,grpc}.rs: ``convert_http_filter``, ``convert_grpc_filter``."""
    if kind == "GRPCRoute":  # which have no redirects
        kinds, kept = [k for k in kinds if k != "RequestRedirect"], [k for k in kept if k != "redirect"]
    rules = f"[{{filters: [{', '.join(_FILTERS[name] for name in kinds)}]}}]"
    server = SERVER.replace("port: 8080", f"port: 8080, proxyProtocol: {protocol}")
    made = told(server, _route(f"[{_HERE}]", kind=kind, rules=rules))
    (found,) = made["inbound"][POD_PORT]["protocol"].values()
    (route,) = found.get("http_routes", found.get("routes"))
    assert [name for entry in route["rules"][0]["filters"] for name in entry] == kept


def _aged(name: str, api: str, second: int | None) -> str:
    text = _route(f"[{_HERE}]", name=name, api=api)
    time = "null" if second is None else f"'2026-01-01T00:00:0{second}Z'"
    return text.replace("namespace: shop}", f"namespace: shop, creationTimestamp: {time}}}")


@pytest.mark.parametrize(
    ("routes", "order"),
    [
        ([("z", GATEWAY, 1), ("a", POLICY, 2)], [("z", "gateway"), ("a", "policy")]),
        ([("z", GATEWAY, 1), ("a", POLICY, 1)], [("a", "policy"), ("z", "gateway")]),
        ([("a", POLICY, 1), ("a", GATEWAY, 1)], [("a", "gateway"), ("a", "policy")]),
        ([("a", GATEWAY, None), ("z", GATEWAY, 1)], [("z", "gateway"), ("a", "gateway")]),
    ],
)
def test_routes_of_a_server_go_by_age_then_name_then_group(routes: list[tuple[str, str, int | None]], order: list[tuple[str, str]]) -> None:  # fmt: skip
    made = told(SERVER, *(_aged(*route) for route in routes))
    found = [r["metadata"]["resource"] for r in made["inbound"][POD_PORT]["protocol"]["detect"]["http_routes"]]
    assert [(r["name"], r["group"].partition(".")[0]) for r in found] == order
