"""What each intent writes on Linkerd, and where: on a cluster made of dicts."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, cast

import pytest

from meshbdd.cluster import Cluster
from meshbdd.cluster.kinds import kind_of
from meshbdd.errors import BadInput, NotPossible
from meshbdd.intents import (
    Access,
    CircuitBreaker,
    Fault,
    Intent,
    Limit,
    Mention,
    Mirror,
    MutualTls,
    Retry,
    Scope,
    ServiceRef,
    Side,
    Split,
    Timeout,
    TlsMode,
    Topic,
)
from meshbdd.mesh import Context, Linkerd, Plan
from meshbdd.mesh.base import Where, preview
from meshbdd.mesh.linkerd.annotations import ACCRUAL
from meshbdd.mesh.linkerd.markers import RouteMarked
from meshbdd.mesh.manifest import find_manifest, read_manifest, refuse_foreign
from meshbdd.sidecars import FAULT_LABEL, LINKERD, callee, whole
from meshbdd.telemetry.metrics import read_linkerd
from meshbdd.telemetry.proxies import view
from meshbdd.units import Duration, Percent

PAYMENT, ORDER, CLIENT = (ServiceRef(name, "shop") for name in ("payment-service", "order-service", "client"))
MESHED = "linkerd.io/control-plane-ns"
Object = dict[str, Any]


def _obj(kind: str, name: str, spec: Object, version: str = "", **meta: Any) -> Object:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop", **meta},
        "spec": spec,
    }


def _pod(app: str, version: str = "stable") -> Object:
    ports = [{"name": "http", "containerPort": 8080}, {"name": "grpc", "containerPort": 9090}]
    spec = {"serviceAccountName": app, "containers": [{"ports": ports}]}
    labels = {"app": app, "version": version, MESHED: "linkerd"}
    return _obj("Pod", f"{app}-{version}", spec, labels=labels)


def _service(name: str, *, grpc: bool = False, **meta: Any) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    ports += [{"name": "grpc", "port": 9000, "targetPort": 9090}] if grpc else []
    return _obj("Service", name, {"selector": {"app": name}, "ports": ports, "clusterIP": "10.0.0.1"}, **meta)


def _route(rules: list[Object], name: str = "theirs", **meta: Any) -> Object:
    parent = {"group": "core", "kind": "Service", "name": "payment-service", "port": 80}
    spec = {"parentRefs": [parent], "rules": rules}
    return _obj("HTTPRoute", name, spec, "gateway.networking.k8s.io/v1", **meta)


def _policy_route(rules: list[Object], name: str = "theirs", **meta: Any) -> Object:
    return {**_route(rules, name, **meta), "apiVersion": "policy.linkerd.io/v1beta3"}


class Objects:
    """As much of a cluster as planning reads; what is given last stands in for what is there by that name."""

    context = "test"

    def __init__(self, *more: Object) -> None:
        pods = [_pod("payment-service"), _pod("order-service"), _pod("order-service", "canary"), _pod("client")]
        there = [*pods, _service("payment-service"), _service("order-service"), *more]
        self.objects = list({(kind_of(o), o["metadata"]["name"]): o for o in there}.values())

    def list(self, kind: str, namespace: str | None = None, labels: str | None = None) -> list[Object]:
        assert labels in {None, MESHED}
        return [o for o in self.objects if kind_of(o) == kind and namespace in (None, o["metadata"]["namespace"])]

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        return next((o for o in self.list(kind, namespace) if o["metadata"]["name"] == name), None)


def linkerd(*more: Object) -> Linkerd:
    return Linkerd(cast("Cluster", Objects(*more)), "r1")


def plan(intent: Intent, *more: Object, context: Context | None = None) -> tuple[Plan, list[Object]]:
    """The plan, and what its edits make of the objects."""
    cluster = Objects(*more)
    made = Linkerd(cast("Cluster", cluster), "r1").plan(intent, context or Context())
    live = {str(edit): cluster.find(edit.kind, edit.name, edit.namespace) for edit in made.edits}
    for edit in made.edits:
        live[str(edit)] = preview(edit, live[str(edit)])
    return made, [obj for obj in live.values() if obj is not None]


def _headers(rule: Object) -> dict[str, str]:
    return {h["name"]: h["value"] for f in rule["filters"] for h in f["requestHeaderModifier"]["set"]}


def _weights(rule: Object) -> dict[str, int | None]:
    return {ref["name"]: ref.get("weight") for ref in rule["backendRefs"]}


# Faults


def test_a_share_of_the_calls_goes_to_a_fault_backend_and_the_rest_by_a_rule_that_takes_everything() -> None:
    made, [route] = plan(Fault(PAYMENT, Percent(30), status=503))
    assert (route["kind"], route["metadata"]["name"]) == ("HTTPRoute", "meshbdd-payment-service-80")
    faulted, rest = route["spec"]["rules"]
    assert _weights(faulted) == {"payment-service": 7, "meshbdd-fault-payment-service": 3}
    assert _headers(faulted) == {"x-meshbdd-change": "meshbdd-r1-1", "x-envoy-fault-abort-request": "503"}
    assert rest["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert _weights(rest) == {"payment-service": 1}
    assert route["spec"]["parentRefs"][0]["port"] == 80
    assert made.through is not None
    assert (made.through.tag, made.through.twin.name) == ("meshbdd-r1-1", "meshbdd-twin-payment-service")


def test_routes_of_linkerds_own_group_are_routes_of_the_service_as_well() -> None:
    """Linkerd orders the HTTPRoutes of both groups by their age, and proxies in other namespaces may see only one of them."""
    own = _policy_route([{"backendRefs": [{"name": "payment-service", "port": 80}]}])
    _, [route] = plan(Fault(PAYMENT, status=503), own)
    assert (route["apiVersion"], route["metadata"]["name"]) == ("policy.linkerd.io/v1beta3", "theirs")
    assert _weights(route["spec"]["rules"][0]) == {"meshbdd-fault-payment-service": 1}
    _, changed = plan(_SPLIT, own, _route([{}], "theirs-too"), _pod("payment-service", "canary"))
    split = {o["apiVersion"]: _weights(o["spec"]["rules"][0]) for o in changed if o["kind"] == "HTTPRoute"}
    assert set(split) == {own["apiVersion"], "gateway.networking.k8s.io/v1"}
    assert all(weights == {_STABLE: 9, _CANARY: 1} for weights in split.values())
    limited = _policy_route([{"timeouts": {"request": "9s"}}])
    _, changed = plan(Timeout(PAYMENT, Duration(1)), limited)
    said = {kind_of(o): o["metadata"]["annotations"]["timeout.linkerd.io/request"] for o in changed}
    assert said == {"Service": "1000ms", "HTTPRoute.policy.linkerd.io": "1000ms"}
    grpc = {**_route([{}], "beats-them"), "kind": "GRPCRoute"}
    _, [route] = plan(Fault(PAYMENT, grpc_status="UNAVAILABLE"), own, grpc)
    assert route["kind"] == "GRPCRoute"


def test_a_manifests_route_stays_in_the_group_that_it_was_written_for() -> None:
    [stage] = linkerd().plan_manifest([_policy_route([{"timeouts": {"request": "0s500ms"}}])], Context()).stages
    [edit] = stage.edits
    assert edit.new is not None
    assert (edit.kind, edit.new["apiVersion"]) == ("HTTPRoute.policy.linkerd.io", "policy.linkerd.io/v1beta3")
    assert [str(marker) for marker in stage.markers] == [
        "route meshbdd-r1-1 of payment-service.shop:80 in HTTPRoute.shop.theirs"
    ]
    older = _policy_route([{}], "older", creationTimestamp="2025-01-01T00:00:00Z")
    with pytest.raises(BadInput, match=r"HTTPRoute\.policy\.linkerd\.io older\.shop is: that one matches"):
        linkerd(older).plan_manifest([_route([{}], "mine")], Context())


def test_a_fault_for_every_call_leaves_the_service_none() -> None:
    _, [route] = plan(Fault(PAYMENT, delay=Duration(0.25)))
    assert _weights(route["spec"]["rules"][0]) == {"meshbdd-fault-payment-service": 1}
    assert _headers(route["spec"]["rules"][0])["x-envoy-fault-delay-request"] == "250"


def test_a_fault_goes_into_the_route_that_is_there_since_the_older_one_wins() -> None:
    theirs = [
        {"matches": [{"path": {"type": "PathPrefix", "value": "/x"}}], "backendRefs": [{"name": "a", "port": 80, "weight": 9}]},
        {},
    ]  # fmt: skip
    _, [route] = plan(Fault(PAYMENT, Percent(50), status=500), _route(theirs))
    assert route["metadata"]["name"] == "theirs"
    assert route["spec"]["rules"][2:] == theirs
    first, second = route["spec"]["rules"][:2]
    assert first["matches"] == theirs[0]["matches"]
    assert _weights(first) == {"a": 1, "meshbdd-fault-payment-service": 1}
    assert _weights(second) == {"payment-service": 1, "meshbdd-fault-payment-service": 1}


def _routed(*intents: Intent) -> list[Object]:
    """The rules of payment-service's route once these were made one after the other."""
    there: list[Object] = [_pod("payment-service", "canary")]
    for intent in intents:
        _, objects = plan(intent, *there)
        there += objects
    return cast("list[Object]", next(o for o in reversed(there) if o["kind"] == "HTTPRoute")["spec"]["rules"])


_SPLIT = Split(PAYMENT, (("stable", Percent(90)), ("canary", Percent(10))))
_STABLE, _CANARY, _FAULTY = (
    "meshbdd-payment-service-stable", "meshbdd-payment-service-canary", "meshbdd-fault-payment-service",
)  # fmt: skip


@pytest.mark.parametrize("order", [1, -1])
def test_a_fault_and_a_split_are_both_in_force_whichever_is_first(order: int) -> None:
    """Only the tag, which says who came first, differs."""
    first, *_, last = _routed(*(Fault(PAYMENT, Percent(50), status=418), _SPLIT)[::order])
    assert _weights(first) == {_STABLE: 9, _CANARY: 1, _FAULTY: 10}
    assert _headers(first)["x-envoy-fault-abort-request"] == "418"
    assert _weights(last) == {"payment-service": 1}
    assert _weights(_routed(*(Fault(PAYMENT, status=418), _SPLIT)[::order])[0]) == {_FAULTY: 1}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    "fault", [Fault(PAYMENT, delay=Duration(1)), Fault(PAYMENT, status=503, scope=Scope(called_by=ORDER))]
)
def test_calls_that_go_on_from_a_fault_backend_do_not_pass_a_split_by(fault: Fault, order: int) -> None:
    with pytest.raises(NotPossible, match=r"all of its pods; the route leads to meshbdd-payment-service-canary, "):
        _routed(*(fault, _SPLIT)[::order])


def test_a_split_does_not_pass_the_endpoint_by_that_a_breaker_is_to_see() -> None:
    stands_in = _service("payment-service")
    stands_in["spec"]["selector"] = {FAULT_LABEL: "payment-service"}
    with pytest.raises(NotPossible, match="past the endpoint that fails"):
        plan(_SPLIT, stands_in)


def test_a_route_to_a_service_of_the_same_name_elsewhere_leads_elsewhere() -> None:
    route = _route([{"backendRefs": [{"name": "payment-service", "port": 81, "namespace": "staging"}]}])
    with pytest.raises(NotPossible, match=r"all of its pods; the route leads to payment-service\.staging, ") as caught:
        plan(Fault(PAYMENT, delay=Duration(1)), route)
    assert caught.value.code == "MB0460"
    stands_in = _service(
        "payment-service", annotations={f"{ACCRUAL}-consecutive-max-failures": "3", ACCRUAL: "consecutive"}
    )
    with pytest.raises(NotPossible, match=r"the route leads to payment-service\.staging, past the endpoint") as past:
        plan(Fault(PAYMENT, status=503), stands_in, route)
    assert past.value.code == "MB0461"
    _, objects = plan(Fault(PAYMENT, Percent(50), status=503), route)
    [faulted] = [obj["spec"]["rules"][0] for obj in objects if obj["kind"] == "HTTPRoute"]
    assert [(r["name"], r["port"]) for r in faulted["backendRefs"]] == [("payment-service", 81), (_FAULTY, 80)]


def test_a_backend_without_a_namespace_is_in_that_of_the_service_wherever_the_route_is() -> None:
    """The golden case 058: Linkerd looks it up in its index of the namespace of the Service that is called."""
    route = _route([{"backendRefs": [{"name": "payment-service", "port": 81}]}], namespace="staging")
    route["spec"]["parentRefs"][0]["namespace"] = "shop"
    _, objects = plan(Fault(PAYMENT, delay=Duration(1)), route)
    faulted = next(o for o in objects if o["metadata"]["name"] == "theirs")["spec"]["rules"][0]
    assert [(r["name"], r["port"]) for r in faulted["backendRefs"]] == [(_FAULTY, 81)]


def test_what_stands_on_a_route_that_a_fault_made_stays_whole_without_the_fault() -> None:
    _, [route] = plan(Fault(PAYMENT, status=418))
    made, _ = plan(_SPLIT, _pod("payment-service", "canary"), route)
    split, rest = made.stages[1].edits[0].make(None)
    assert _weights(split) == {_STABLE: 9, _CANARY: 1}
    assert _weights(rest) == {"payment-service": 1}


def test_a_scope_narrows_each_rule_and_leaves_out_those_that_exclude_it() -> None:
    theirs = [
        {"matches": [{"path": {"type": "PathPrefix", "value": "/charge"}}]},
        {"matches": [{"path": {"type": "Exact", "value": "/other"}}]},
    ]
    scope = Scope(method="POST", path="/charge", headers={"X-User": "qa"})
    _, [route] = plan(Fault(PAYMENT, status=500, scope=scope), _route(theirs))
    assert len(route["spec"]["rules"]) == 3
    assert route["spec"]["rules"][0]["matches"] == [
        {
            "path": {"type": "Exact", "value": "/charge"},
            "method": "POST",
            "headers": [{"type": "Exact", "name": "x-user", "value": "qa"}],
        }
    ]


def test_a_prefix_takes_whole_segments_only() -> None:
    theirs = [{"matches": [{"path": {"type": "PathPrefix", "value": "/char"}}]}]
    with pytest.raises(BadInput, match="exclude each other"):
        plan(Fault(PAYMENT, status=500, scope=Scope(path="/charge")), _route(theirs))


def test_each_port_has_a_route_of_its_kind() -> None:
    _, routes = plan(Fault(PAYMENT, grpc_status="UNAVAILABLE"), _service("payment-service", grpc=True))
    assert [(r["kind"], r["spec"]["parentRefs"][0]["port"]) for r in routes] == [("HTTPRoute", 80), ("GRPCRoute", 9000)]
    assert _headers(routes[1]["spec"]["rules"][0])["x-envoy-fault-abort-grpc-request"] == "14"


@pytest.mark.parametrize("path", ["/shop.Payment", "/shop.Payment/", "/charge", "/orders/17", "/a/b/c", "//a/b"])
def test_a_path_that_no_grpc_call_has_narrows_to_none_of_them(path: str) -> None:
    fault = Fault(PAYMENT, status=503, scope=Scope(path=path))
    _, [route] = plan(fault, _service("payment-service", grpc=True))
    assert (route["kind"], route["spec"]["rules"][0]["matches"][0]["path"]["value"]) == ("HTTPRoute", path)


def test_a_path_of_a_grpc_call_is_its_service_and_method() -> None:
    fault = Fault(PAYMENT, status=503, scope=Scope(path="/shop.Payment/Charge"))
    _, [_http, route] = plan(fault, _service("payment-service", grpc=True))
    told = {"type": "Exact", "service": "shop.Payment", "method": "Charge"}
    assert route["spec"]["rules"][0]["matches"] == [{"method": told}]
    theirs: Object = {
        **_route([{"matches": [{"method": {"type": "RegularExpression", "service": "shop.*"}}]}]),
        "kind": "GRPCRoute",
    }
    with pytest.raises(BadInput, match="cannot be joined"):
        plan(fault, theirs)


@pytest.mark.parametrize(
    "intent", [Fault(PAYMENT, Percent(50), status=503), Fault(PAYMENT, delay=Duration(1)), "split"]
)
def test_a_route_for_all_ports_at_once_leads_where_its_rules_lead(intent: Intent | str) -> None:
    route = _route([{"backendRefs": [{"name": "payment-service", "port": 80}]}])
    del route["spec"]["parentRefs"][0]["port"]
    wanted = _SPLIT if isinstance(intent, str) else intent
    there = (_service("payment-service", grpc=True), _pod("payment-service", "canary"), route)
    made, objects = plan(wanted, *there)
    [changed] = [obj for obj in objects if obj["kind"] == "HTTPRoute"]
    assert len(changed["spec"]["rules"]) == 2
    assert {ref["port"] for ref in changed["spec"]["rules"][0]["backendRefs"]} == {80}
    assert sorted(m.port for m in made.markers if isinstance(m, RouteMarked)) == [80, 9000]


def test_a_route_for_all_ports_at_once_that_names_none_to_go_to_is_refused() -> None:
    route = _route([{}])
    del route["spec"]["parentRefs"][0]["port"]
    with pytest.raises(BadInput, match=r"for all ports of payment-service\.shop at once"):
        plan(Fault(PAYMENT, status=503), _service("payment-service", grpc=True), route)
    _, [changed] = plan(Fault(PAYMENT, status=503), route)
    assert len(changed["spec"]["rules"]) == 2, "with one port it is as good as any other"


def test_a_fault_for_one_caller_is_known_by_the_identity_that_its_proxy_shows() -> None:
    made, [route] = plan(Fault(PAYMENT, status=503, scope=Scope(called_by=ORDER)))
    assert _headers(route["spec"]["rules"][0])["x-meshbdd-caller"] == "order-service.shop"
    assert made.callers == Where(ORDER.namespace, {"app": "order-service"})


def _then(first: Fault, second: Fault, *more: Object) -> Object:
    _, [once] = plan(first, *more)
    cluster = Objects(once, *more)
    mesh = Linkerd(cast("Cluster", cluster), "r2")
    [edit] = mesh.plan(second, Context()).edits
    return preview(edit, once)


def test_a_failure_and_a_delay_together_are_drawn_by_the_backend() -> None:
    route = _then(Fault(PAYMENT, Percent(25), status=503), Fault(PAYMENT, Percent(50), delay=Duration(1)))
    both, slow, failing, _rest = route["spec"]["rules"]
    assert _weights(both) == {"meshbdd-fault-payment-service": 1}
    told = _headers(both)
    assert told["x-meshbdd-change"] == "meshbdd-r1-1 meshbdd-r2-1"
    assert told["x-envoy-fault-abort-request-percentage"] == "250000"
    assert told["x-envoy-fault-delay-request-percentage"] == "500000"
    assert _weights(slow) == {"payment-service": 1, "meshbdd-fault-payment-service": 1}
    assert _weights(failing) == {"payment-service": 3, "meshbdd-fault-payment-service": 1}


def test_two_failures_of_the_same_calls_are_refused() -> None:
    with pytest.raises(NotPossible, match="another fault is in force"):
        _then(Fault(PAYMENT, Percent(25), status=503), Fault(PAYMENT, Percent(50), status=500))


@pytest.mark.parametrize(
    ("first", "second", "whose"),
    [
        (Scope(called_by=ORDER), Scope(called_by=CLIENT), r"calls of order-service\.shop alone"),
        (Scope(), Scope(called_by=CLIENT), "every caller"),
    ],
)
def test_faults_of_different_callers_are_refused_since_no_route_tells_who_calls(
    first: Scope, second: Scope, whose: str
) -> None:
    """That callers exclude each other does not help, so nobody is told to give the two scopes that do."""
    failing, slow = Fault(PAYMENT, status=503, scope=first), Fault(PAYMENT, delay=Duration(1), scope=second)
    with pytest.raises(
        NotPossible, match=f"in force for {whose}; on Linkerd a route does not tell who calls"
    ) as caught:
        _then(failing, slow, _service("client"))
    assert "methods, paths or headers that exclude each other" in str(caught.value.help)


def test_two_failures_of_different_calls_stand_side_by_side() -> None:
    route = _then(
        Fault(PAYMENT, status=503, scope=Scope(headers={"x-user": "a"})),
        Fault(PAYMENT, status=500, scope=Scope(headers={"x-user": "b"})),
    )
    assert [rule["matches"][0]["headers"][0]["value"] for rule in route["spec"]["rules"][:2]] == ["b", "a"]


def test_beside_a_service_profile_nothing_is_planned() -> None:
    spec = {"routes": [{"name": "a", "condition": {"method": "GET"}}]}
    profile = _obj("ServiceProfile", PAYMENT.host, spec, "linkerd.io/v1alpha2")
    for intent in (
        Fault(PAYMENT, status=503),
        Timeout(PAYMENT, Duration(1)),
        Retry(PAYMENT, 1),
        CircuitBreaker(PAYMENT, 1, Duration(1)),
    ):
        with pytest.raises(BadInput, match=r"ServiceProfile payment-service\.shop\.svc\.cluster\.local"):
            plan(intent, profile)
    for manifest in (
        _route([{"backendRefs": [{"name": "payment-service", "port": 80}]}]),
        _service("payment-service", annotations={"retry.linkerd.io/http": "5xx"}),
    ):
        with pytest.raises(BadInput, match=r"ServiceProfile payment-service\.shop\.svc\.cluster\.local"):
            linkerd(profile).plan_manifest([manifest], Context())
    linkerd(profile).plan_manifest([_server("all-authenticated", 8080, "strict")], Context())
    plan(Fault(PAYMENT, status=503), {**profile, "spec": {}})
    profile["metadata"]["namespace"] = "elsewhere"
    plan(Fault(PAYMENT, status=503), profile)
    caller = _pod("client")
    caller["metadata"] |= {"name": "their-client", "namespace": "elsewhere"}
    with pytest.raises(BadInput, match=r"in namespace elsewhere governs calls to payment-service\.shop from there"):
        plan(Fault(PAYMENT, status=503), profile, caller)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"clusterIP": "None"}, "is headless"), ({"ports": [{"port": 80, "appProtocol": "tcp"}]}, "carries HTTP"),
     ({"ports": [{"port": 3306}]}, "carries HTTP"), ({"ports": [{"port": 80, "appProtocol": "GRPC"}]}, "carries HTTP")],
)  # fmt: skip
def test_what_linkerd_would_ignore_is_refused(change: Object, words: str) -> None:
    service = _service("payment-service")
    service["spec"] |= change
    with pytest.raises(BadInput, match=words):
        plan(Fault(PAYMENT, status=503), service)


@pytest.mark.parametrize(
    ("listed", "opaque"),
    [("79-90", True), ("1, 79 - 81", True), ("80", True), ("80,", True), ("81-90", False), ("", False),
     ("80,foo", False), ("90-79,80", False), ("0-80", False), ("80-", False), ("79-65536", False)],
)  # fmt: skip
def test_opaque_ports_are_read_as_linkerd_reads_them(listed: str, *, opaque: bool) -> None:
    service = _service("payment-service", annotations={"config.linkerd.io/opaque-ports": listed})
    with pytest.raises(BadInput, match="carries HTTP") if opaque else contextlib.nullcontext():
        plan(Fault(PAYMENT, status=503), service)
    service["spec"]["ports"][0]["appProtocol"] = "HTTP"
    plan(Fault(PAYMENT, status=503), service)


@pytest.mark.parametrize(
    ("listed", "ports", "told", "action"),
    [
        ("79-90", [80], " (config.linkerd.io/opaque-ports covers port 80)", "take port 80 out of that annotation of the Service"),
        ("80,81", [80, 81], " covers ports 80 and 81)", "take ports 80 and 81 out of that annotation of the Service"),
        (None, [3306], "as far as Linkerd is told, so", "set appProtocol of the port to http"),
    ],
)  # fmt: skip
def test_what_makes_a_port_opaque_is_what_is_to_be_changed(
    listed: str | None, ports: list[int], told: str, action: str
) -> None:
    said = {} if listed is None else {"config.linkerd.io/opaque-ports": listed}
    service = _service("payment-service", annotations=said)
    service["spec"]["ports"] = [{"name": f"p{port}", "port": port, "targetPort": "http"} for port in ports]
    with pytest.raises(BadInput) as caught:
        plan(Fault(PAYMENT, status=503), service)
    assert told in str(caught.value)
    assert (caught.value.code, caught.value.help) == ("MB0441", action)


@pytest.mark.parametrize("kind", ["URLRewrite", "RequestMirror", "ExtensionRef", "CORS"])
def test_a_route_that_linkerd_leaves_out_is_no_place_for_rules(kind: str) -> None:
    left_out = _route([{}, {"filters": [{"type": kind}]}], "rewriting")
    with pytest.raises(BadInput, match=f"HTTPRoute rewriting in namespace shop has the filter {kind}"):
        plan(Fault(PAYMENT, status=503), left_out)
    with pytest.raises(BadInput, match=f"HTTPRoute rewriting in namespace shop has the filter {kind}"):
        linkerd().plan_manifest([left_out], Context())
    plan(Fault(ORDER, status=503), left_out)
    of_grpc: Object = {**left_out, "kind": "GRPCRoute"}
    of_grpc["spec"] = {
        **of_grpc["spec"],
        "parentRefs": [{"group": "core", "kind": "Service", "name": "payment-service"}],
    }
    with pytest.raises(BadInput, match=f"GRPCRoute rewriting in namespace shop has the filter {kind}"):
        plan(Retry(PAYMENT, 2), _service("payment-service", grpc=True), of_grpc)
    plan(Fault(PAYMENT, status=503), _route([_REDIRECT, {}]))


_REDIRECT: Object = {"filters": [{"type": "RequestRedirect", "requestRedirect": {}}]}


@pytest.mark.parametrize("intent", [Fault(PAYMENT, status=503), Fault(PAYMENT, delay=Duration(1)), _SPLIT])
def test_what_a_route_redirects_keeps_its_place_and_is_sent_nowhere(intent: Intent) -> None:
    """The definition lets no rule both redirect and lead somewhere; and its copy has to stay before the others."""
    for_qa = {**_REDIRECT, "matches": [{"headers": [{"name": "x-user", "value": "qa"}]}]}
    _, [*_, route] = plan(intent, _pod("payment-service", "canary"), _route([for_qa, {}]))
    redirected, sent, *theirs = route["spec"]["rules"]
    assert "backendRefs" not in redirected
    assert sent["backendRefs"]
    assert theirs == [for_qa, {}]
    with pytest.raises(BadInput, match="its rules redirect"):
        plan(intent, _pod("payment-service", "canary"), _route([_REDIRECT]))


def test_a_route_has_room_for_sixteen_rules() -> None:
    rules: list[Object] = [{"matches": [{"path": {"type": "PathPrefix", "value": f"/{n}"}}]} for n in range(9)]
    plan(Fault(PAYMENT, status=503), _route(rules[:8]))
    with pytest.raises(BadInput, match=r"HTTPRoute .* has 9 rules, and .* needs 9 more; a route has 16 at the most"):
        plan(Fault(PAYMENT, status=503), _route(rules))
    plan(Fault(PAYMENT, status=503, scope=Scope(path="/3/x")), _route(rules))


@pytest.mark.parametrize(
    ("default", "backends"),
    [("deny", "all-authenticated"), ("cluster-authenticated", "cluster-authenticated"), (None, None)],
)
def test_a_default_that_denies_keeps_no_call_from_the_fault_backend(default: str | None, backends: str | None) -> None:
    pod, name = _pod("payment-service"), "config.linkerd.io/default-inbound-policy"
    pod["metadata"]["annotations"] = {name: default} if default else {}
    made, _ = plan(Fault(PAYMENT, status=503), pod, _server("all-authenticated"))
    [template] = [e.new["spec"]["template"] for s in made.standing for e in s.edits if e.new and e.kind == "Deployment"]
    assert template["metadata"]["annotations"].get(name) == backends


@pytest.mark.parametrize("said", ["", "3306,9000-9010", None])
def test_what_a_service_says_of_opaque_ports_counts_for_all_that_stands_beside_it(said: str | None) -> None:
    """Without the words of the Service, a port that is opaque by default would be opaque there."""
    name = "config.linkerd.io/opaque-ports"
    hub = _service("payment-service", annotations={} if said is None else {name: said})
    hub["spec"]["ports"][0]["port"] = 4444
    if said is None:
        with pytest.raises(BadInput, match="carries HTTP"):
            plan(Fault(PAYMENT, status=503), hub)
        hub["spec"]["ports"][0]["port"] = 80
    fault, _ = plan(Fault(PAYMENT, status=503), hub)
    split, _ = plan(_SPLIT, _pod("payment-service", "canary"), hub)
    made = [e.new for stage in (*fault.standing, *split.stages) for e in stage.edits if e.new]
    services = [obj["metadata"].get("annotations") for obj in made if obj["kind"] == "Service"]
    assert services == [None if said is None else {name: said}] * 4
    [template] = [obj["spec"]["template"] for obj in made if obj["kind"] == "Deployment"]
    assert template["metadata"]["annotations"].get(name) == (None if said is None else ""), (
        "all of its ports carry HTTP"
    )


def test_a_name_that_is_none_is_not_answered_with_services_of_the_runs_own() -> None:
    with pytest.raises(BadInput, match="does not exist") as caught:
        plan(Fault(ServiceRef("fault-payment-service", "shop"), status=503), _service(_FAULTY))
    assert "meshbdd" not in str(caught.value.help)
    with pytest.raises(BadInput, match="does not exist") as caught:
        plan(Fault(ServiceRef("x", "shop"), status=503), _service(_FAULTY))
    assert caught.value.help == "name one of: payment-service, order-service"


@pytest.mark.parametrize(("mesh", "told"), [("linkerd", "Server"), ("istio", "Sidecar"), ("", "Server")])
def test_a_kind_that_is_not_applied_is_answered_with_those_of_the_mesh(tmp_path: Path, mesh: str, told: str) -> None:
    (file := tmp_path / "m.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n")
    with pytest.raises(BadInput, match=f"holds a ConfigMap; only .*{told}.* may be applied") as caught:
        read_manifest(file, "shop", mesh)
    assert ("Sidecar" in caught.value.sentence) == (mesh != "linkerd")


# Circuits


def _saying(*topics: Topic) -> Context:
    return Context((), tuple(Mention(topic, PAYMENT, f"a step about {topic}") for topic in topics))


def test_where_a_circuit_is_claimed_the_backend_takes_the_services_place() -> None:
    context = _saying(Topic.BREAKER, Topic.FAULT)
    made, [route] = plan(Fault(PAYMENT, Percent(30), status=503), context=context)
    assert made.side is Side.SERVER
    assert "a step about circuit breaker" in made.reason
    faulted = route["spec"]["rules"][0]
    assert _weights(faulted) == {"payment-service": 1}, "the calls stay with the service, whose endpoint fails"
    assert _headers(faulted)["x-envoy-fault-abort-request-percentage"] == "300000"
    [scenery] = linkerd().scenery(context)
    [edit] = scenery.edits
    assert (str(edit), edit.path, edit.make(None)) == (
        "Service payment-service.shop", ("spec", "selector"), {"meshbdd.dev/fault-backend": "payment-service"},
    )  # fmt: skip
    assert linkerd().scenery(_saying(Topic.FAULT, Topic.RETRIES)) == ()


def test_a_standing_breaker_counts_as_one_that_is_claimed() -> None:
    service = _service("payment-service", annotations={"balancer.linkerd.io/failure-accrual": "consecutive"})
    made, _ = plan(Fault(PAYMENT, status=503), service)
    assert made.side is Side.SERVER


def test_a_fault_at_the_caller_that_no_breaker_could_see_is_refused() -> None:
    with pytest.raises(BadInput, match="another Service's endpoint"):
        plan(Fault(PAYMENT, status=503, at=Side.CALLER), context=_saying(Topic.BREAKER))
    beside, _ = plan(Fault(PAYMENT, status=503))
    with pytest.raises(BadInput, match="never see the fault"):
        plan(CircuitBreaker(PAYMENT, 5, Duration(2)), context=Context((beside,)))


def test_the_backend_listens_where_the_service_does_and_injects_nothing_by_itself() -> None:
    [stage] = linkerd(_service("payment-service", grpc=True)).early(_saying(Topic.FAULT))
    account, twin, own, deployment = (edit.new for edit in stage.edits if edit.new)
    assert [o["kind"] for o in (account, twin, own, deployment)] == [
        "ServiceAccount",
        "Service",
        "Service",
        "Deployment",
    ]
    assert twin["spec"]["selector"] == {"app": "payment-service"}
    assert own["spec"]["selector"] == {"meshbdd.dev/fault-backend": "payment-service"}
    assert own["spec"]["ports"] == twin["spec"]["ports"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert [(p.get("name"), p["containerPort"]) for p in container["ports"][1:]] == [("http", 8080), (None, 9090)]
    text = container["args"][1]
    listeners = json.loads(text)["static_resources"]["listeners"]
    assert [li["address"]["socket_address"]["port_value"] for li in listeners[1:]] == [8080, 9090]
    assert "header_abort" in text
    assert "fixed_delay" not in text
    assert "http_status" not in text
    assert not any(label in deployment["spec"]["template"]["metadata"]["labels"] for label in ("app", "version"))


# Policies


def test_names_beside_a_service_with_a_long_one_fit_and_are_told_apart() -> None:
    names = set()
    for end in "xy":
        service = _service(f"{'a' * 61}{end}")
        service["spec"]["selector"] = {"app": "order-service"}
        ref = ServiceRef(service["metadata"]["name"], "shop")
        fault, _ = plan(Fault(ref, status=503), service)
        split, _ = plan(Split(ref, (("stable", Percent(50)), ("canary", Percent(50)))), service)
        edits = [*(edit for stage in fault.standing for edit in stage.edits), *split.edits]
        names |= {edit.name for edit in edits if edit.kind == "Service"}
    assert len(names) == 8, "a backend, its twin, and two subsets of each"
    assert all(len(name) <= 63 and name.startswith("meshbdd-") for name in names)


def test_policies_are_annotations_of_the_service_and_of_routes_with_words_of_their_own() -> None:
    own = _route([{}], annotations={"retry.linkerd.io/http": "500", "timeout.linkerd.io/request": "9s"})
    plain = _route([{}], "plain")
    _, objects = plan(Timeout(PAYMENT, Duration(1.5)), own, plain)
    assert {o["metadata"]["name"]: o["metadata"]["annotations"]["timeout.linkerd.io/request"] for o in objects} == {
        "payment-service": "1500ms",
        "theirs": "1500ms",
    }
    _, objects = plan(Retry(PAYMENT, 3), own, plain)
    assert {o["metadata"]["name"]: o["metadata"]["annotations"]["retry.linkerd.io/http"] for o in objects} == {
        "payment-service": "5xx",
        "theirs": "5xx",
    }
    assert objects[0]["metadata"]["annotations"]["retry.linkerd.io/limit"] == "3"


def test_a_policy_has_arrived_when_every_route_that_carries_http_says_so() -> None:
    service = _service("payment-service")
    service["spec"]["ports"].append({"name": "raw", "port": 7000, "appProtocol": "tcp"})
    made, _ = plan(Timeout(PAYMENT, Duration(1.5)), service)
    [marker] = made.markers

    def held(*timeouts: str, port: int = 80) -> bool | None:
        routes: list[Object] = [{"route": {"cluster": "a", "timeout": timeout}} for timeout in timeouts]
        routes.append({"direct_response": {"status": 404}})
        raw = {"name": "Service.shop.payment-service:7000", "routes": [{"route": {"timeout": "0s"}}]}
        host = {"name": f"Service.shop.payment-service:{port}", "routes": routes}
        return marker.held([{"configs": [{"route_config": {"virtual_hosts": [host, raw]}}]}])

    assert held("1.500s", "1.5s") is True
    assert held("1.500s", "0s") is False
    assert held("1.500s", port=81) is None
    assert held() is True, "where nothing is forwarded nothing has a time limit"


_RESPONSE = "timeout.linkerd.io/response"


@pytest.mark.parametrize(
    ("service", "route", "refused"),
    [
        (
            {_RESPONSE: "300ms"},
            None,
            "timeout.linkerd.io/response of Service payment-service is 300ms, and the shorter",
        ),
        ({_RESPONSE: "2s"}, None, None),
        ({_RESPONSE: "0s"}, None, None),
        ({}, {_RESPONSE: "300ms"}, "timeout.linkerd.io/response of HTTPRoute mine is 300ms"),
        ({_RESPONSE: "300ms"}, {_RESPONSE: "2s"}, None),
        ({_RESPONSE: "300ms"}, {}, "of Service payment-service is 300ms"),
        ({_RESPONSE: "1.5s"}, None, '"1.5s" in timeout.linkerd.io/response is no duration that Linkerd takes'),
        ({"timeout.linkerd.io/request": "1.5s", "retry.linkerd.io/limit": "x"}, None, None),
    ],
)
def test_a_timeout_that_another_one_beats_or_takes_along_is_refused(
    service: Object, route: Object | None, refused: str | None
) -> None:
    """A route's own annotations replace its Service's; of what Linkerd reads as one it leaves out all for one mistake."""
    there = [_service("payment-service", annotations=service)]
    there += [_route([{}], "mine", annotations=route)] if route is not None else []
    if refused is None:
        plan(Timeout(PAYMENT, Duration(1)), *there)
    else:
        with pytest.raises(BadInput, match=refused):
            plan(Timeout(PAYMENT, Duration(1)), *there)


def test_retries_of_grpc_need_a_grpc_route() -> None:
    _, objects = plan(Retry(PAYMENT, 2), _service("payment-service", grpc=True))
    [route] = [o for o in objects if o["kind"] == "GRPCRoute"]
    assert route["spec"]["parentRefs"][0]["port"] == 9000
    [service] = [o for o in objects if o["kind"] == "Service"]
    assert "unavailable" in service["metadata"]["annotations"]["retry.linkerd.io/grpc"]


def test_a_breaker_is_failure_accrual_with_the_penalty_as_asked() -> None:
    _, [service] = plan(CircuitBreaker(PAYMENT, 5, Duration(90)))
    assert service["metadata"]["annotations"] == {
        "balancer.linkerd.io/failure-accrual": "consecutive",
        "balancer.linkerd.io/failure-accrual-consecutive-max-failures": "5",
        "balancer.linkerd.io/failure-accrual-consecutive-min-penalty": "90000ms",
        "balancer.linkerd.io/failure-accrual-consecutive-max-penalty": "90000ms",
        "balancer.linkerd.io/failure-accrual-consecutive-jitter-ratio": "0.0",
    }


def test_a_split_makes_a_service_for_each_subset_before_the_route() -> None:
    made, [stable, canary, route] = plan(Split(ORDER, (("stable", Percent(90)), ("canary", Percent(10)))))
    assert [len(stage.edits) for stage in made.stages] == [2, 1]
    assert stable["spec"]["selector"] == {"app": "order-service", "version": "stable"}
    assert canary["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]
    assert _weights(route["spec"]["rules"][0]) == {
        "meshbdd-order-service-stable": 9,
        "meshbdd-order-service-canary": 1,
    }
    with pytest.raises(BadInput, match='has no subset "blue" with a pod'):
        plan(Split(ORDER, (("stable", Percent(90)), ("blue", Percent(10)))))


def test_what_linkerd_cannot_do_is_said() -> None:
    with pytest.raises(NotPossible, match="come in a second"):
        plan(Limit(PAYMENT, 2))
    with pytest.raises(NotPossible, match="mirrors"):
        plan(Mirror(ORDER, "canary"))
    with pytest.raises(NotPossible, match="nothing switches that off"):
        plan(MutualTls(TlsMode.DISABLED, "shop"))


# Security


def _server(access: str | None, port: Any = "http", name: str = "theirs") -> Object:
    spec = {"podSelector": {"matchLabels": {"app": "payment-service"}}, "port": port}
    spec |= {"accessPolicy": access} if access else {}
    return _obj("Server", name, spec, "policy.linkerd.io/v1beta3")


def test_strict_mutual_tls_is_a_server_at_every_port() -> None:
    _, servers = plan(MutualTls(TlsMode.STRICT, "shop"))
    assert {(s["metadata"]["name"], s["spec"]["port"], s["spec"]["accessPolicy"]) for s in servers} == {
        ("meshbdd-payment-service-8080", 8080, "all-authenticated"),
        ("meshbdd-order-service-8080", 8080, "all-authenticated"),
    }


def _past_its_proxy(version: str) -> Object:
    """A pod of payment-service whose HTTP port its proxy does not see."""
    pod = _pod("payment-service", version)
    pod["metadata"]["annotations"] = {"config.linkerd.io/skip-inbound-ports": "8080"}
    return pod


@pytest.mark.parametrize("intent", [MutualTls(TlsMode.STRICT, "shop", PAYMENT), Access(ORDER, PAYMENT)])
def test_a_policy_for_a_port_that_a_pod_lets_pass_unseen_is_refused(intent: Intent) -> None:
    with pytest.raises(BadInput, match="would not hold at port 8080 of pod payment-service-past") as caught:
        plan(intent, _past_its_proxy("past"))
    assert caught.value.code == "MB0488"


def test_a_mode_of_a_namespace_leaves_ports_alone_that_pass_unseen() -> None:
    made, servers = plan(MutualTls(TlsMode.STRICT, "shop"), _past_its_proxy("past"))
    assert any(server["metadata"]["name"] == "meshbdd-payment-service-8080" for server in servers), (
        "one pod's proxy sees it"
    )
    [marker] = [marker for marker in made.markers if "payment-service" in str(marker)]
    assert not marker.where.takes(
        {"name": "payment-service-past", "namespace": "shop", "labels": {"app": "payment-service"}}
    )
    assert marker.where.takes(
        {"name": "payment-service-stable", "namespace": "shop", "labels": {"app": "payment-service"}}
    )
    _, servers = plan(MutualTls(TlsMode.STRICT, "shop"), _past_its_proxy("stable"))
    assert [server["metadata"]["name"] for server in servers] == ["meshbdd-order-service-8080"]


def test_services_of_the_same_pods_share_a_server() -> None:
    """Of two Servers for one port of a pod Linkerd heeds one, so the other would never be seen to arrive."""
    part = _service("a-part-of-order-service")
    part["spec"]["selector"] = {"app": "order-service", "version": "stable"}
    _, servers = plan(MutualTls(TlsMode.STRICT, "shop"), part)
    assert {server["metadata"]["name"] for server in servers} == {
        "meshbdd-payment-service-8080",
        "meshbdd-order-service-8080",
    }


def test_a_server_that_decides_already_is_changed_and_one_that_denies_is_left_to_its_policies() -> None:
    _, [server] = plan(MutualTls(TlsMode.STRICT, "shop", PAYMENT), _server("all-unauthenticated"))
    assert (server["metadata"]["name"], server["spec"]["accessPolicy"]) == ("theirs", "all-authenticated")
    assert plan(MutualTls(TlsMode.PERMISSIVE, "shop", PAYMENT), _server(None))[1] == []


def _wide(access: str | None, selector: Object | None = None, name: str = "all") -> Object:
    return _obj(
        "Server",
        name,
        {"podSelector": selector or {}, "port": "http", "accessPolicy": access},
        "policy.linkerd.io/v1beta3",
    )


_OF_BOTH: Object = {
    "matchExpressions": [{"key": "app", "operator": "In", "values": ["order-service", "payment-service"]}]
}


@pytest.mark.parametrize(
    ("intent", "server"),
    [
        (Access(ORDER, PAYMENT), _wide("all-unauthenticated")),
        (Access(ORDER, PAYMENT), _wide("deny")),
        (Access(ORDER, PAYMENT), _wide("all-unauthenticated", _OF_BOTH)),
        (MutualTls(TlsMode.STRICT, "shop", PAYMENT), _wide("all-unauthenticated")),
        (MutualTls(TlsMode.PERMISSIVE, "shop", PAYMENT), _wide("all-authenticated")),
    ],
)
def test_what_is_for_one_service_is_refused_where_its_server_decides_for_others(intent: Intent, server: Object) -> None:
    with pytest.raises(
        BadInput, match=r"would hold for pod .*, which payment-service.shop does not select: Server all decides"
    ) as caught:
        plan(intent, server)
    assert caught.value.code == "MB0494"
    assert caught.value.help == "let the podSelector of Server all select no pods but those of payment-service.shop"


@pytest.mark.parametrize("intent", [Access(ORDER, PAYMENT), MutualTls(TlsMode.STRICT, "shop", PAYMENT)])
def test_a_server_for_other_pods_is_no_matter_where_it_does_not_decide_there(intent: Intent) -> None:
    older = {**_wide("all-unauthenticated"), "spec": {**_server("all-unauthenticated")["spec"]}}
    of_both = _wide("all-unauthenticated", _OF_BOTH, "younger")
    for server, name in ((older, "all"), (of_both, "younger")):
        server["metadata"]["creationTimestamp"] = f"2026-01-0{1 + (name == 'younger')}T00:00:00Z"
    made, objects = plan(intent, older, of_both)
    assert [obj["metadata"]["name"] for obj in objects if obj["kind"] == "Server"] == ["all"]
    assert [str(marker) for marker in made.markers if "younger" in str(marker)] == []


def test_a_server_for_other_pods_is_no_matter_where_these_have_no_proxy_or_stand_in_for_a_service() -> None:
    bare, backend = _pod("a-job"), _pod("meshbdd-fault-order-service")
    del bare["metadata"]["labels"][MESHED]
    backend["metadata"]["labels"][FAULT_LABEL] = "order-service"
    only = {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["order-service", "client"]}]}
    _, [server] = plan(MutualTls(TlsMode.STRICT, "shop", PAYMENT), bare, backend, _wide("all-unauthenticated", only))
    assert (server["metadata"]["name"], server["spec"]["accessPolicy"]) == ("all", "all-authenticated")


def test_a_server_for_other_pods_is_no_matter_where_nobody_calls_these() -> None:
    """One that names its port by a number decides for pods as well that declare no port, such as a client's."""
    server = _wide(
        "all-unauthenticated", {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["order-service"]}]}
    )
    server["spec"]["port"] = 8080
    client = _pod("client")
    client["spec"]["containers"] = [{"name": "app"}]
    strict = MutualTls(TlsMode.STRICT, "shop", PAYMENT)
    assert len(plan(strict, server, client)[1]) == 1
    called = _obj("Service", "called", {"selector": {"app": "client"}, "ports": [{"port": 80, "targetPort": 8080}]})
    with pytest.raises(BadInput, match="would hold for pod client-stable as well"):
        plan(strict, server, client, called)


def test_a_mode_that_a_server_has_already_needs_no_server_of_a_services_own() -> None:
    assert plan(MutualTls(TlsMode.STRICT, "shop", PAYMENT), _wide("all-authenticated"))[1] == []


def test_a_mode_of_a_namespace_changes_a_server_for_all_of_its_pods_once() -> None:
    made, [server] = plan(MutualTls(TlsMode.STRICT, "shop"), _wide("all-unauthenticated"))
    assert (server["metadata"]["name"], server["spec"]["accessPolicy"]) == ("all", "all-authenticated")
    [marker] = made.markers
    for app in ("order-service", "payment-service"):
        assert marker.where.takes({"name": f"{app}-stable", "namespace": "shop", "labels": {"app": app}})


def test_a_server_that_an_earlier_step_made_for_other_pods_as_well_is_not_to_be_narrowed() -> None:
    part = _service("order-stable")
    part["spec"]["selector"] = {"app": "order-service", "version": "stable"}
    ours = _wide("all-authenticated", {"matchLabels": {"app": "order-service"}}, "meshbdd-order-service-8080")
    with pytest.raises(BadInput, match="pod order-service-canary as well") as caught:
        plan(MutualTls(TlsMode.PERMISSIVE, "shop", ServiceRef("order-stable", "shop")), part, ours)
    assert caught.value.help == "give the pods of order-stable.shop a Server of their own before the run"


def test_only_one_caller_passes() -> None:
    made, objects = plan(Access(ORDER, PAYMENT))
    kinds = [o["kind"] for o in objects]
    assert kinds == ["MeshTLSAuthentication", "AuthorizationPolicy", "Server"], (
        "the Server comes last: alone it denies all"
    )
    authentication, policy, server = objects
    assert authentication["spec"]["identityRefs"] == [
        {"kind": "ServiceAccount", "name": "order-service", "namespace": "shop"}
    ]
    assert server["spec"]["accessPolicy"] == "deny"
    assert policy["spec"]["targetRef"]["name"] == server["metadata"]["name"]
    assert kind_of(policy) == made.edits[1].kind == "AuthorizationPolicy.policy.linkerd.io"


def test_another_policy_that_lets_callers_pass_is_named() -> None:
    spec = {"targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": "theirs"}}
    policy = _obj("AuthorizationPolicy", "open-door", spec, "policy.linkerd.io/v1alpha1")
    with pytest.raises(BadInput, match="AuthorizationPolicy open-door lets callers pass as well"):
        plan(Access(ORDER, PAYMENT), _server("deny"), policy)


_GROUPS = ("policy.linkerd.io", "gateway.networking.k8s.io")


@pytest.mark.parametrize(("group", "other"), [_GROUPS, _GROUPS[::-1]])
def test_a_policy_on_a_route_of_the_server_lets_callers_pass_as_well(group: str, other: str) -> None:
    parent = {"group": "policy.linkerd.io", "kind": "Server", "name": "theirs"}
    route = _obj("HTTPRoute", "charging", {"parentRefs": [parent]}, f"{group}/v1")
    spec = {"targetRef": {"group": group, "kind": "HTTPRoute", "name": "charging"}}
    policy = _obj("AuthorizationPolicy", "open-door", spec, "policy.linkerd.io/v1alpha1")
    with pytest.raises(BadInput, match="AuthorizationPolicy open-door lets callers pass as well"):
        plan(Access(ORDER, PAYMENT), _server("deny"), policy, route)
    plan(
        Access(ORDER, PAYMENT),
        _server("deny"),
        policy,
        {**route, "spec": {"parentRefs": [{**parent, "name": "other"}]}},
    )
    elsewhere = {**policy, "spec": {"targetRef": {**spec["targetRef"], "group": other}}}
    plan(Access(ORDER, PAYMENT), _server("deny"), elsewhere, route)


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("AuthorizationPolicy", {"targetRef": {"kind": "Namespace", "name": "shop"}}),
        ("ServerAuthorization", {"server": {"selector": {"matchLabels": {}}}}),
        ("ServerAuthorization", {"server": {"selector": {}}}),
    ],
)
def test_a_policy_for_every_server_is_one_for_a_server_that_is_to_be_made(kind: str, spec: Object) -> None:
    policy = _obj(kind, "open-door", spec, "policy.linkerd.io/v1alpha1")
    with pytest.raises(BadInput, match=f"{kind} open-door lets callers pass as well"):
        plan(Access(ORDER, PAYMENT), policy)


def test_calls_that_go_on_through_the_backend_may_not_meet_a_policy_about_callers() -> None:
    slow = Fault(PAYMENT, delay=Duration(1))
    with pytest.raises(NotPossible, match=r"«.*» is not possible here: Server theirs lets only some callers"):
        plan(slow, _server("deny"))
    made, _ = plan(slow)
    with pytest.raises(NotPossible, match=r"while «.*» is in force: the calls that go on come from the fault backend"):
        plan(Access(ORDER, PAYMENT), context=Context((made,)))


def _let_in(identities: list[str], **more: Any) -> list[Object]:
    """A Server with a policy that lets these identities pass."""
    refs = [{"group": "policy.linkerd.io", "kind": "MeshTLSAuthentication", "name": "callers", **more}]
    target = {"group": "policy.linkerd.io", "kind": "Server", "name": "theirs"}
    spec = {"targetRef": target, "requiredAuthenticationRefs": refs}
    return [
        _server(None),
        _obj("MeshTLSAuthentication", "callers", {"identities": identities}, "policy.linkerd.io/v1alpha1"),
        _obj("AuthorizationPolicy", "lets-in", spec, "policy.linkerd.io/v1alpha1"),
    ]


def _from_networks(*networks: Object, identities: list[str] | None = None) -> list[Object]:
    """A Server with a policy that lets calls from these networks pass, and of these identities."""
    kind = {"kind": "NetworkAuthentication"}
    server, authentication, policy = _let_in(identities or [], **({} if identities else kind))
    if identities:
        policy["spec"]["requiredAuthenticationRefs"].append({"group": "policy.linkerd.io", "name": "callers", **kind})
    wide = _obj("NetworkAuthentication", "callers", {"networks": list(networks)}, "policy.linkerd.io/v1alpha1")
    return [server, wide, policy, *([authentication] if identities else [])]


def _by_old_word(client: Object, **server: Any) -> list[Object]:
    """A Server with a ServerAuthorization."""
    spec = {"server": server or {"name": "theirs"}, "client": client}
    return [_server(None), _obj("ServerAuthorization", "old", spec, "policy.linkerd.io/v1beta1")]


def _for_the_namespace(identities: list[str]) -> list[Object]:
    server, authentication, policy = _let_in(identities)
    policy["spec"]["targetRef"] = {"kind": "Namespace", "name": "shop"}
    return [server, authentication, policy]


def _requiring_nothing() -> list[Object]:
    server, _, policy = _let_in([])
    policy["spec"]["requiredAuthenticationRefs"] = []
    return [server, policy]


def _elsewhere(identities: list[str]) -> list[Object]:
    server, authentication, policy = _let_in(identities, namespace="other")
    authentication["metadata"]["namespace"] = "other"
    return [server, authentication, policy]


_ALL: Object = {"cidr": "0.0.0.0/0"}
_SIX: Object = {"cidr": "::/0"}


@pytest.mark.parametrize(
    "objects",
    [
        _let_in(["*"]),
        _for_the_namespace(["*"]),
        _elsewhere(["*"]),
        _from_networks(_ALL),
        _from_networks(_ALL, _SIX),
        _from_networks(_ALL, identities=["*"]),
        _requiring_nothing(),
        _by_old_word({"unauthenticated": True}),
        _by_old_word({"unauthenticated": True, "networks": [_ALL]}),
        _by_old_word({"meshTLS": {"identities": ["*"]}}),
        _by_old_word({"meshTLS": {"identities": ["*"]}}, selector={}),
        _by_old_word({"meshTLS": {"unauthenticatedTLS": True}}),
    ],
)
def test_calls_may_go_on_to_a_server_that_lets_everybody_of_the_mesh_pass(objects: list[Object]) -> None:
    made, _ = plan(Fault(PAYMENT, delay=Duration(1)), *objects)
    assert made.through is not None


@pytest.mark.parametrize(
    "objects",
    [
        _let_in(["client.shop.serviceaccount.identity.linkerd.cluster.local"]),
        _let_in(["*.shop.serviceaccount.identity.linkerd.cluster.local"]),
        _let_in(["*"], namespace="other"),
        _let_in(["*"], name="there-is-none"),
        _let_in(["*"], kind="NetworkAuthentication"),
        _let_in(["*"])[:2],
        _for_the_namespace(["client"]),
        _elsewhere(["client"]),
        _from_networks({"cidr": "10.1.0.0/16"}),
        _from_networks({**_ALL, "except": ["10.1.0.0/16"]}),
        _from_networks(_SIX),
        _from_networks(_ALL, identities=["client"]),
        _from_networks({"cidr": "10.1.0.0/16"}, identities=["*"]),
        _by_old_word({"unauthenticated": True, "networks": [{"cidr": "10.1.0.0/16"}]}),
        _by_old_word({"meshTLS": {"identities": ["client"]}}),
        _by_old_word({"meshTLS": {"serviceAccounts": [{"name": "client"}]}}),
        _by_old_word({"unauthenticated": True}, name="another"),
    ],
)
def test_calls_may_not_go_on_to_a_server_that_lets_only_some_pass(objects: list[Object]) -> None:
    with pytest.raises(NotPossible, match="Server theirs lets only some callers"):
        plan(Fault(PAYMENT, delay=Duration(1)), *objects)


def _at(*addresses: str) -> list[Object]:
    """The pods of the mesh, at these addresses."""
    pods = [_pod("payment-service"), _pod("order-service"), _pod("order-service", "canary"), _pod("client")]
    return [{**pod, "status": {"podIP": address}} for pod, address in zip(pods, addresses * len(pods), strict=False)]


@pytest.mark.parametrize(
    ("networks", "pods", "passes"),
    [
        (["10.0.0.0/8"], [], True),  # a rehearsal: no pod tells its address
        (["fd00::/8"], [], False),
        (["10.0.0.0/8"], _at("10.244.0.7"), True),
        (["10.0.0.0/8", "192.168.0.0/16"], _at("10.244.0.7", "192.168.3.4"), True),
        (["8.0.0.0/5"], _at("10.244.0.7"), True),
        (["127.0.0.0/8"], _at("127.3.0.9"), True),
        (["fd00::/8"], _at("fd00:10::7"), True),
        (["10.0.0.0/8"], _at("10.244.0.7", "192.168.3.4"), False),
        (["10.244.0.0/16"], _at("10.244.0.7"), False),  # who knows where the next pod is
        (["10.0.0.0/8"], _at("127.3.0.9"), False),
        (["0.0.0.0/0"], _at("fd00:10::7"), False),
        (["192.0.2.0/24"], _at("192.0.2.7"), False),
        (["what"], [], False),
    ],
)
def test_networks_let_the_mesh_in_that_hold_the_ranges_of_its_pods(
    networks: list[str], pods: list[Object], *, passes: bool
) -> None:
    for objects in (
        _from_networks(*({"cidr": cidr} for cidr in networks)),
        _by_old_word({"unauthenticated": True, "networks": [{"cidr": cidr} for cidr in networks]}),
    ):
        with contextlib.nullcontext() if passes else pytest.raises(NotPossible, match="Server theirs lets only some"):
            plan(Fault(PAYMENT, delay=Duration(1)), *objects, *pods)


# Manifests


def test_a_manifest_in_another_meshs_words_is_not_possible() -> None:
    theirs = _obj("VirtualService", "payment", {"hosts": ["payment-service"]}, "networking.istio.io/v1")
    with pytest.raises(
        NotPossible, match="On Linkerd meshbdd applies no VirtualService, which the manifest's payment is"
    ):
        refuse_foreign([theirs], "linkerd")
    istios = _obj("AuthorizationPolicy", "payment", {}, "security.istio.io/v1")
    with pytest.raises(NotPossible, match="applies no AuthorizationPolicy"):
        refuse_foreign([istios], "linkerd")


@pytest.mark.parametrize(
    ("kind", "body", "advice"),
    [
        ("Service", {"spec": {"ports": []}}, "let the world have it before the run"),
        ("Deployment", {"spec": {}}, "let the world have it before the run"),
        ("Service", {}, "put Istio's words for it into a file of the same name in a folder istio/"),
    ],
)
def test_what_has_no_other_words_belongs_into_the_world(kind: str, body: dict[str, Any], advice: str) -> None:
    version = "v1" if kind == "Service" else "apps/v1"
    with pytest.raises(NotPossible) as caught:
        refuse_foreign([{"apiVersion": version, "kind": kind, "metadata": {"name": "cart"}, **body}], "istio")
    assert str(caught.value.help).startswith(advice)


def test_the_rules_of_a_manifests_route_are_marked_and_else_as_written() -> None:
    rules = [{"backendRefs": [{"name": "nobody", "port": 80}]}]
    made = linkerd().plan_manifest([_route(rules)], Context())
    [stage] = made.stages
    [rule] = stage.edits[0].make(None)["rules"]
    assert rule["backendRefs"] == rules[0]["backendRefs"]
    assert _headers(rule) == {"x-meshbdd-change": "meshbdd-r1-1"}
    assert [str(marker) for marker in stage.markers] == [
        "route meshbdd-r1-1 of payment-service.shop:80 in HTTPRoute.shop.theirs"
    ]


_TO_CANARY: Object = {"backendRefs": [{"name": "canary", "port": 80}]}
_SLASH: Object = {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}
_CHARGE: Object = {"matches": [{"path": {"value": "/charge"}}]}


@pytest.mark.parametrize(
    ("rules", "theirs", "reached"),
    [
        ([{}], [{}], False),
        ([_TO_CANARY], [_SLASH], False),
        ([_CHARGE], [_SLASH], True),
        ([_CHARGE, {}], [_SLASH], True),  # a rule that says what is there anyway is no mistake
        ([_CHARGE, _TO_CANARY], [_SLASH], False),
        ([{"matches": [{"path": {"type": "Exact", "value": "/charge"}}]}], [_CHARGE], False),
        ([{"matches": [*_CHARGE["matches"], *_SLASH["matches"]]}], [_SLASH], True),
        ([{"matches": [*_CHARGE["matches"], *_SLASH["matches"]]}], [_SLASH, _CHARGE], False),
        ([{}], [{"matches": [{"method": "GET"}]}], True),
        ([{"matches": [{"method": "GET", "path": {"value": "/"}}]}], [{"matches": [{"method": "GET"}]}], False),
    ],
)
def test_a_manifests_route_that_an_older_one_leaves_nothing_to_is_refused(
    rules: list[Object], theirs: list[Object], *, reached: bool
) -> None:
    older = _route(theirs, "older", creationTimestamp="2025-01-01T00:00:00Z")
    told = (
        contextlib.nullcontext()
        if reached
        else pytest.raises(BadInput, match=r"HTTPRoute older\.shop is: that one matches")
    )
    with told:
        linkerd(older).plan_manifest([_route(rules, "mine")], Context())
    # one that is there keeps its age
    mine = _route([{}], "mine", creationTimestamp="2024-01-01T00:00:00Z")
    linkerd(older, mine).plan_manifest([_route(rules, "mine")], Context())


def test_of_a_manifests_route_the_rule_is_named_that_an_older_one_leaves_nothing_to() -> None:
    older = _route([_SLASH], "older")
    with pytest.raises(BadInput, match="Rule 2 of HTTPRoute mine of the manifest would do nothing"):
        linkerd(older).plan_manifest([_route([_CHARGE, _TO_CANARY], "mine")], Context())
    with pytest.raises(BadInput, match="HTTPRoute mine of the manifest would do nothing") as caught:
        linkerd(older).plan_manifest([_route([_SLASH], "mine")], Context())
    assert "Rule" not in caught.value.sentence


def test_a_route_for_callers_elsewhere_competes_with_the_services_own_by_age() -> None:
    """The golden cases r-consumer and r-consumer-older: a proxy has both in one list."""
    there = (_obj("Namespace", "qa", {}), _route([{}], "older"))
    younger, parent = _route([_TO_CANARY], "mine"), {"kind": "Service", "group": "", "name": "payment-service"}
    younger["metadata"]["namespace"] = "qa"
    younger["spec"]["parentRefs"] = [{**parent, "namespace": "shop"}]
    with pytest.raises(BadInput, match=r"would do nothing at .* where HTTPRoute older\.shop is"):
        linkerd(*there).plan_manifest([younger], Context())
    elsewhere = {**younger, "metadata": {"name": "theirs", "namespace": "qa"}}
    linkerd(elsewhere).plan_manifest([_route([{}], "mine")], Context())  # callers in other namespaces have it alone


def test_a_manifests_route_leads_to_a_service_that_the_manifest_makes() -> None:
    route = _route([_CHARGE], "mine")
    route["spec"]["parentRefs"][0]["name"] = "alias"
    made = linkerd().plan_manifest([route, _service("alias")], Context())
    assert [str(edit) for edit in made.edits] == ["Service alias.shop", "HTTPRoute mine.shop"]
    with pytest.raises(BadInput, match="alias"):
        linkerd().plan_manifest([route], Context())


def test_a_manifests_route_after_a_fault_is_refused_with_what_to_do() -> None:
    _, [ours] = plan(Fault(PAYMENT, status=503))
    with pytest.raises(BadInput, match="the HTTPRoute of an earlier step") as caught:
        linkerd(ours).plan_manifest([_route([{}], "mine")], Context())
    assert caught.value.help == "apply the manifest before that step"


def test_a_manifests_http_route_beside_a_grpc_route_is_refused() -> None:
    theirs = {**_route([{}], "older"), "kind": "GRPCRoute"}
    with pytest.raises(BadInput, match="beside a GRPCRoute Linkerd ignores it"):
        linkerd(theirs).plan_manifest([_route([{}], "mine")], Context())


def test_of_a_service_that_is_there_a_manifest_changes_annotations_for_linkerd_alone() -> None:
    wanted = _service("payment-service", annotations={"retry.linkerd.io/http": "5xx", "team": "a"})
    made = linkerd().plan_manifest([wanted], Context())
    assert [edit.path for edit in made.edits] == [("metadata", "annotations", "retry.linkerd.io/http")]
    wanted["spec"]["selector"] = {"app": "other"}
    with pytest.raises(NotPossible, match=r"spec\.selector"):
        linkerd().plan_manifest([wanted], Context())


def test_an_annotation_that_would_be_left_out_is_refused() -> None:
    opaque = _service("payment-service", annotations={"config.linkerd.io/opaque-ports": "80"})
    with pytest.raises(NotPossible, match=r"differs in the annotation config\.linkerd\.io/opaque-ports") as caught:
        linkerd().plan_manifest([opaque], Context())
    assert caught.value.code == "MB0454"
    assert not linkerd(opaque).plan_manifest([opaque], Context()).edits


@pytest.mark.parametrize(
    ("name", "there", "text"),
    [
        ("timeout.linkerd.io/request", "1000ms", "1s"),
        ("retry.linkerd.io/limit", "+2", "2"),
        ("retry.linkerd.io/http", "5xx", "5xx"),
    ],
)
def test_an_annotation_that_says_what_is_there_is_not_written_since_nobody_would_see_it_arrive(
    name: str, there: str, text: str
) -> None:
    cluster = linkerd(_service("payment-service", annotations={name: there}))
    assert not cluster.plan_manifest([_service("payment-service", annotations={name: text})], Context()).edits
    assert linkerd().plan_manifest([_service("payment-service", annotations={name: text})], Context()).edits


_ACCRUAL = "balancer.linkerd.io/failure-accrual"


@pytest.mark.parametrize(
    ("name", "text", "readable"),
    [
        (f"{_ACCRUAL}-consecutive-max-failures", "many", False),
        (f"{_ACCRUAL}-consecutive-max-failures", "1_0", False),
        (f"{_ACCRUAL}-consecutive-max-failures", "4294967296", False),
        (f"{_ACCRUAL}-consecutive-max-failures", " +5 ", True),
        (f"{_ACCRUAL}-consecutive-min-penalty", "1.5s", False),
        (f"{_ACCRUAL}-consecutive-min-penalty", "\u0665s", False),
        (f"{_ACCRUAL}-consecutive-max-penalty", "1d", True),
        (f"{_ACCRUAL}-consecutive-min-penalty", "90s", False),  # above the largest, 60s where nothing is said
        (f"{_ACCRUAL}-consecutive-max-penalty", "4s", False),
        (f"{_ACCRUAL}-consecutive-jitter-ratio", "101", False),
        (f"{_ACCRUAL}-consecutive-jitter-ratio", "nan", False),
        (f"{_ACCRUAL}-consecutive-jitter-ratio", " .5 ", True),
        (_ACCRUAL, "consecutve", False),
        (_ACCRUAL, "unified", True),
        ("retry.linkerd.io/http", "500, 503", False),
        ("retry.linkerd.io/http", "503-500", False),
        ("retry.linkerd.io/http", "600", False),
        ("retry.linkerd.io/http", "5XX,gateway-error,429,500-504", True),
        ("retry.linkerd.io/grpc", "unavailable,unknown", False),
        ("retry.linkerd.io/grpc", "Unavailable,internal", True),
        ("timeout.linkerd.io/request", "5", False),
        ("timeout.linkerd.io/request", "999999999999999999d", False),
        ("timeout.linkerd.io/request", "0", True),
        ("retry.linkerd.io/limit", "70000", False),
    ],
)
def test_an_annotation_of_a_manifest_that_linkerd_cannot_read_is_refused(
    name: str, text: str, *, readable: bool
) -> None:
    said = {
        _ACCRUAL: "consecutive",
        f"{_ACCRUAL}-consecutive-max-failures": "5",
        f"{_ACCRUAL}-consecutive-min-penalty": "5s",
    }
    wanted = _service("payment-service", annotations={**said, name: text})
    with contextlib.nullcontext() if readable else pytest.raises(BadInput, match="would silently leave"):
        linkerd().plan_manifest([wanted], Context())


@pytest.mark.parametrize(
    ("kind", "name", "text", "readable"),
    [
        ("HTTPRoute", "timeout.linkerd.io/request", "1.5s", False),
        ("HTTPRoute", "timeout.linkerd.io/request", "2s", True),
        ("HTTPRoute", "retry.linkerd.io/http", "500, 503", False),
        ("HTTPRoute", "retry.linkerd.io/grpc", "unknown", True),  # it does not look at it
        ("GRPCRoute", "retry.linkerd.io/grpc", "unknown", False),
        ("HTTPRoute", f"{_ACCRUAL}", "consecutve", True),  # a Service's alone
    ],
)
def test_an_annotation_of_a_manifests_route_that_linkerd_cannot_read_is_refused(
    kind: str, name: str, text: str, readable: bool
) -> None:
    wanted = {**_route([{}], "mine", annotations={name: text}), "kind": kind}
    with contextlib.nullcontext() if readable else pytest.raises(BadInput, match="would silently leave"):
        linkerd().plan_manifest([wanted], Context())


def test_annotations_of_a_route_that_is_there_are_written_too() -> None:
    """Before its rules, by which they are seen to have arrived."""
    live = _route([{}], "mine", annotations={"timeout.linkerd.io/request": "1s", "retry.linkerd.io/limit": "1"})
    wanted = _route([{}], "mine", annotations={"timeout.linkerd.io/request": "1000ms", "retry.linkerd.io/limit": "2"})
    [stage] = linkerd(live).plan_manifest([wanted], Context()).stages
    assert [edit.path for edit in stage.edits] == [("metadata", "annotations", "retry.linkerd.io/limit"), ("spec",)]


def test_what_a_service_has_is_read_together_with_what_a_manifest_writes() -> None:
    there = _service("payment-service", annotations={_ACCRUAL: "consecutive", "timeout.linkerd.io/request": "soon"})
    wanted = _service("payment-service", annotations={f"{_ACCRUAL}-consecutive-min-penalty": "90s"})
    with pytest.raises(BadInput, match="least penalty of 90 s and a largest of 60 s"):
        linkerd(there).plan_manifest([wanted], Context())
    wanted["metadata"]["annotations"] = {f"{_ACCRUAL}-consecutive-min-penalty": "9s"}
    linkerd(there).plan_manifest([wanted], Context())


_OLD, _NEW = "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("there", "manifest", "overruled"),
    [
        ([], [("strict", 8080)], False),
        ([("theirs", "http", _OLD)], [("strict", 8080)], True),
        ([("theirs", 9090, _OLD)], [("strict", 8080)], False),
        ([("theirs", "http", _NEW), ("strict", 8080, _OLD)], [("strict", 8080)], False),
        ([("theirs", "http", _OLD), ("strict", 8080, _NEW)], [("strict", 8080)], True),
        ([], [("one", 8080), ("two", 8080)], True),
    ],
)
def test_a_manifests_server_that_an_older_one_overrules_is_refused(
    there: list[tuple[str, Any, str]], manifest: list[tuple[str, Any]], overruled: bool
) -> None:
    """linkerd2 policy-controller/k8s/index/src/inbound/index.rs: by creation, then by name."""
    live = [_server("all-unauthenticated", port, name) for name, port, _ in there]
    for server, (_, _, made) in zip(live, there, strict=True):
        server["metadata"]["creationTimestamp"] = made
    wanted = [_server("all-authenticated", port, name) for name, port in manifest]
    if overruled:
        with pytest.raises(
            BadInput, match=r"would do nothing at port 8080 of pod payment-service-stable, where Server (one|theirs)"
        ):
            linkerd(*live).plan_manifest(wanted, Context())
    else:
        [stage] = linkerd(*live).plan_manifest(wanted, Context()).stages
        assert len(stage.markers) == 1


def test_a_policy_for_a_server_that_an_older_one_overrules_is_refused() -> None:
    spec = {"targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": "strict"}}
    policy = _obj("AuthorizationPolicy", "mine", spec, "policy.linkerd.io/v1alpha1")
    with pytest.raises(
        BadInput, match=r"AuthorizationPolicy mine of the manifest would do nothing .* where Server older"
    ):
        linkerd(_server("deny", name="strict"), _server("deny", name="older")).plan_manifest([policy], Context())


_FOR_SERVER = {"targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": "theirs"}}
_ATTACHED: list[tuple[list[Object] | None, str]] = [
    ([{"name": "payment-service"}], "Gateway payment-service of gateway.networking.k8s.io in namespace shop"),
    ([{"kind": "Service", "name": "payment-service"}], "Service payment-service of gateway.networking.k8s.io"),
    ([{"group": "core", "name": "payment-service"}], "Gateway payment-service of core"),
    ([{"group": "core", "kind": "Service", "name": "payment-service"}, {"name": "a", "namespace": "b"}], "Gateway a of .* in namespace b"),
    ([{"group": "policy.linkerd.io", "kind": "Server", "name": "theirs"}], "Server theirs of policy.linkerd.io in"),
    ([], "it names no parent"),
    (None, "it names no parent"),
]  # fmt: skip


@pytest.mark.parametrize(("parents", "told"), _ATTACHED)
def test_a_manifests_route_that_is_for_nothing_is_refused(parents: list[Object] | None, told: str) -> None:
    """The definitions of routes take a parent without a group and a kind for a Gateway."""
    for kind in ("HTTPRoute", "GRPCRoute"):
        route = {**_route([{}]), "kind": kind}
        route["spec"] = {"rules": [{}]} | ({} if parents is None else {"parentRefs": parents})
        with pytest.raises(BadInput, match=f"{kind} theirs of the manifest would do nothing: .*{told}") as caught:
            linkerd().plan_manifest([route], Context())
        assert caught.value.code == "MB0480"


def test_a_manifests_route_beside_which_its_own_grpc_route_counts_is_refused() -> None:
    http, grpc = _route([{}]), {**_route([{}], "for-grpc"), "kind": "GRPCRoute"}
    with pytest.raises(BadInput, match=r"HTTPRoute theirs .* beside a GRPCRoute Linkerd ignores it") as caught:
        linkerd().plan_manifest([http, grpc], Context())
    assert caught.value.code == "MB0462"
    grpc["spec"]["parentRefs"] = [{**http["spec"]["parentRefs"][0], "name": "order-service"}]
    assert linkerd().plan_manifest([http, grpc], Context()).edits


def test_a_manifests_route_for_a_gateway_or_a_server_that_is_there_is_taken() -> None:
    route = _route([{}])
    route["spec"]["parentRefs"] = [
        {"name": "ingress"},
        {"group": "policy.linkerd.io", "kind": "Server", "name": "theirs"},
    ]
    gateway = _obj("Gateway", "ingress", {}, "gateway.networking.k8s.io/v1")
    assert linkerd(gateway, _server("deny")).plan_manifest([route], Context()).edits
    assert linkerd(gateway).plan_manifest([route, _server("deny")], Context()).edits
    with pytest.raises(BadInput, match="Server theirs"):
        linkerd(gateway).plan_manifest([route], Context())
    route["spec"]["parentRefs"] = [{"group": "policy.linkerd.io", "kind": "EgressNetwork", "name": "out"}]
    assert linkerd().plan_manifest([route], Context()).edits
    istios = _obj("Gateway", "ingress", {}, "networking.istio.io/v1")
    route["spec"]["parentRefs"] = [{"name": "ingress"}]
    with pytest.raises(BadInput, match="Gateway ingress"):
        linkerd(istios).plan_manifest([route], Context())


@pytest.mark.parametrize("kind", ["HTTPLocalRateLimitPolicy", "AuthorizationPolicy"])
def test_a_manifests_policy_for_a_server_that_is_nowhere_is_refused(kind: str) -> None:
    policy = _obj(kind, "mine", _FOR_SERVER, "policy.linkerd.io/v1alpha1")
    with pytest.raises(
        BadInput, match=f"{kind} mine of the manifest would do nothing: its target Server theirs does not"
    ):
        linkerd(_server("deny", name="other")).plan_manifest([policy], Context())
    assert linkerd(_server("deny")).plan_manifest([policy], Context()).edits
    assert linkerd().plan_manifest([policy, _server("deny")], Context()).edits


def _markers(documents: list[Object], *live: Object) -> list[str]:
    """How the objects of a manifest show that they arrived."""
    return [
        str(marker) for stage in linkerd(*live).plan_manifest(documents, Context()).stages for marker in stage.markers
    ]


def _asking(target: Object, *required: str, name: str = "mine") -> Object:
    refs = [{"group": "policy.linkerd.io", "kind": "MeshTLSAuthentication", "name": ref} for ref in required]
    spec = {"targetRef": target, "requiredAuthenticationRefs": refs}
    return _obj("AuthorizationPolicy", name, spec, "policy.linkerd.io/v1alpha1")


_NAMESPACE = {"kind": "Namespace", "name": "shop"}
_CHARGING = {"group": "policy.linkerd.io", "kind": "HTTPRoute", "name": "charging"}
_ANYBODY = _obj("MeshTLSAuthentication", "anybody", {"identities": ["*"]}, "policy.linkerd.io/v1alpha1")


def _charging() -> Object:
    parent = {"group": "policy.linkerd.io", "kind": "Server", "name": "theirs"}
    return _obj("HTTPRoute", "charging", {"parentRefs": [parent], "rules": [{}]}, "policy.linkerd.io/v1beta3")


def test_a_policy_for_a_namespace_or_a_route_arrives_at_the_servers_that_it_is_for() -> None:
    there, other = _server("deny"), _server("deny", port="grpc", name="other")
    assert len(_markers([_asking(_NAMESPACE)], there, other)) == 2
    assert _markers([_asking(_CHARGING)], there, other, _charging()) == ["effect of AuthorizationPolicy mine"]
    assert _markers([_charging()], there, other) == ["effect of HTTPRoute charging"]
    chosen = _obj("ServerAuthorization", "mine", {"server": {"name": "other"}, "client": {"unauthenticated": True}}, "policy.linkerd.io/v1beta1")  # fmt: skip
    assert _markers([chosen], there, other) == ["effect of ServerAuthorization mine"]


@pytest.mark.parametrize("target", [_NAMESPACE, _CHARGING])
def test_a_policy_that_is_for_no_server_that_decides_is_refused(target: Object) -> None:
    for live in ([], [_server("deny", port="no-such-port")], [_server("deny", name="other")][: target is _CHARGING]):
        with pytest.raises(BadInput, match="is for no Server that decides at a port") as caught:
            linkerd(*live, _charging()).plan_manifest([_asking(target)], Context())
        assert caught.value.code == "MB0480"


def test_what_a_policy_requires_arrives_where_the_policy_is_and_is_written_before_it() -> None:
    policy, server = _asking(_FOR_SERVER["targetRef"], "anybody"), _server("deny")
    assert _markers([_ANYBODY], policy, server) == ["effect of MeshTLSAuthentication anybody"]
    assert _markers([_ANYBODY], server) == [], "nobody requires it yet"
    made = linkerd(server).plan_manifest([policy, _ANYBODY], Context())
    assert [edit.kind for edit in made.edits] == ["MeshTLSAuthentication", "AuthorizationPolicy.policy.linkerd.io"]
    [held] = made.stages[0].markers
    assert held.allowed == {"mine"}  # type: ignore[attr-defined]


def test_a_new_server_has_arrived_with_its_new_policies() -> None:
    made = linkerd(_asking(_NAMESPACE, name="before")).plan_manifest([_asking(_FOR_SERVER["targetRef"]), _server("deny")], Context())  # fmt: skip
    [held] = [marker for stage in made.stages for marker in stage.markers]
    assert held.allowed == {"mine"}  # type: ignore[attr-defined]


def test_a_policy_that_linkerd_would_leave_out_is_refused() -> None:
    target, server = _FOR_SERVER["targetRef"], _server("deny")
    with pytest.raises(
        BadInput, match="the MeshTLSAuthentication nobody that it requires does not exist in namespace shop"
    ):
        linkerd(server, _ANYBODY).plan_manifest([_asking(target, "nobody")], Context())
    with pytest.raises(BadInput, match="it requires two of MeshTLSAuthentication and ServiceAccount"):
        linkerd(server, _ANYBODY).plan_manifest([_asking(target, "anybody", "anybody")], Context())


@pytest.mark.parametrize(
    ("port", "selector", "told"),
    [
        ("htpp", {"matchLabels": {"app": "payment-service"}}, r'no pod that it selects has a port of the name "htpp" \(theirs: .*http'),
        (9999, {"matchLabels": {"app": "payment-service"}}, None),
        ("http", {"matchLabels": {"app": "payment-servcie"}}, "its podSelector selects no pod in namespace shop"),
        ("http", {}, None),
    ],
)  # fmt: skip
def test_a_server_that_decides_nowhere_is_refused(port: str | int, selector: Object, told: str | None) -> None:
    server = _obj("Server", "mine", {"podSelector": selector, "port": port}, "policy.linkerd.io/v1beta3")
    if told is None:
        assert linkerd().plan_manifest([server], Context()).edits
        return
    with pytest.raises(BadInput, match=f"Server mine of the manifest would do nothing: {told}") as caught:
        linkerd().plan_manifest([server], Context())
    assert caught.value.code == "MB0480"


def test_of_a_manifests_servers_none_is_told_by_the_arrival_of_another() -> None:
    first = _server("all-unauthenticated", "http", "open")
    second = _server("all-authenticated", 9090, "closed")
    [stage] = linkerd().plan_manifest([first, second], Context()).stages
    tables = [_table("inbound:8080", _held("open", "all-unauthenticated"))]
    assert [m.held([{"configs": tables}, _listening("inbound:8080")]) for m in stage.markers] == [True, False]
    tables.append(_table("inbound:9090", _held("closed", "all-authenticated")))
    both = _listening("inbound:8080", "inbound:9090")
    assert [marker.held([{"configs": tables}, both]) for marker in stage.markers] == [True, True]


def test_a_server_has_arrived_once_the_listener_goes_by_its_routes() -> None:
    """Of a port that was opaque they are delivered before the listener uses them, and stay until it has drained."""
    [stage] = linkerd().plan_manifest([_server("deny", 8080, "closed")], Context()).stages
    [marker] = stage.markers
    tables = {"configs": [_table("inbound:8080", _held("closed"))]}
    assert marker.held([tables, _listening()]) is False
    assert marker.held([tables, _listening("inbound:8080", state="draining_state")]) is False
    assert marker.held([tables, _listening("inbound:8080", state="warming_state")]) is False
    assert marker.held([tables, _listening("inbound:8080")]) is True


def test_a_server_is_in_force_once_no_connection_of_before_is_open() -> None:
    """One to a port that was opaque would pass by it; one to a port that carries HTTP anyway has its requests judged anew."""
    strict, access = MutualTls(TlsMode.STRICT, "shop", PAYMENT), Access(ServiceRef("order-service", "shop"), PAYMENT)
    closed, bytes_ = _server("deny", 8080, "closed"), _server("deny", 8080, "bytes")
    bytes_["spec"]["proxyProtocol"] = "opaque"
    opaque = _pod("payment-service")
    opaque["metadata"]["annotations"] = {"config.linkerd.io/opaque-ports": "8000-8080"}

    def renewed(*more: Object) -> list[bool]:
        steps = [plan(intent, *more)[0] for intent in (strict, access)]
        manifests = [linkerd(*more).plan_manifest([document], Context()) for document in (closed, bytes_)]
        return [PAYMENT in made.stages[-1].renewed for made in (*steps, *manifests)]

    assert renewed() == [False, False, False, True]
    assert renewed(opaque) == [True, True, True, True]
    there = plan(strict, opaque, _server("all-unauthenticated"))[0]
    assert there.stages[-1].renewed == (), "what its port carries stays as it is"
    [ended] = linkerd().renewal({PAYMENT: 1}).markers
    draining = [{"name": "listener_manager.total_filter_chains_draining", "value": 3}]
    assert [ended.held([page]) for page in ({"stats": draining}, {"stats": []})] == [False, True]


def test_a_manifests_policy_for_a_server_that_is_there_is_waited_for() -> None:
    spec = {"targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": "theirs"}}
    policy = _obj("AuthorizationPolicy", "mine", spec, "policy.linkerd.io/v1alpha1")
    [stage] = linkerd(_server("deny")).plan_manifest([policy], Context()).stages
    [marker] = stage.markers
    hosts = [_held("theirs"), _held("theirs", "mine")]
    tables = [{"configs": [_table("inbound:8080", host)]} for host in hosts]
    held = [marker.held([table, _listening("inbound:8080")]) for table in tables]
    assert held == [False, True]


def test_a_manifests_rate_limit_for_a_server_that_is_there_is_waited_for_at_its_pods() -> None:
    limit = _obj(
        "HTTPLocalRateLimitPolicy",
        "few",
        {**_FOR_SERVER, "total": {"requestsPerSecond": 3}},
        "policy.linkerd.io/v1alpha1",
    )
    [stage] = linkerd(_server("all-unauthenticated")).plan_manifest([limit], Context()).stages
    assert [str(marker) for marker in stage.markers] == ["effect of HTTPLocalRateLimitPolicy few"]
    assert stage.markers[0].where == Where("shop", {"app": "payment-service"})
    first, second = linkerd().plan_manifest([limit, _server("all-unauthenticated")], Context()).stages
    assert (first.markers, len(second.markers)) == ((), 1), "by its Server, which comes after it"
    assert not linkerd(_server("deny"), limit).plan_manifest([limit], Context()).markers


def test_a_manifests_server_without_routes_is_told_by_any_change() -> None:
    wanted = _server("all-authenticated", 8080, "bytes")
    wanted["spec"]["proxyProtocol"] = "opaque"
    [stage] = linkerd().plan_manifest([wanted], Context()).stages
    assert [str(marker) for marker in stage.markers] == ["effect of Server bytes"]


def _table(name: str, host: Object) -> Object:
    """A proxy's route table."""
    return {"route_config": {"name": name, "virtual_hosts": [host]}}


def _listening(*tables: str, state: str = "active_state") -> Object:
    """A proxy's page of listeners, whose one goes by these tables."""
    managers = [{"typed_config": {"rds": {"route_config_name": table}}} for table in tables]
    return {"configs": [{state: {"listener": {"name": "inbound", "filter_chains": [{"filters": managers}]}}}]}


_GROUP = "policy.linkerd.io|authorizationpolicy"


def _held(server: str, *policies: str) -> Object:
    """A proxy's virtual host for a Server's port, whose one route lets these pass: policies, or by an access policy all."""
    names = [p if "|" in p else f"|default|{p}" if "-" in p else f"{_GROUP}|{p}" for p in policies]
    rules = {"policies": {name: {} for name in names}}
    settings = {"envoy.filters.http.rbac": {"rbac": {"rules": rules}}}
    route = {"route": {"cluster": "inbound"}, "typed_per_filter_config": settings}
    return {"name": f"server..{server}", "routes": [route]}


@pytest.mark.parametrize(
    ("example", "replaced", "by", "drawn"),
    [
        ("payment-fails-30-percent", "payment-service", "payment-broken", 0.3),
        ("payment-fails-500", "payment-service", "payment-broken", 1),
        ("inventory-delay-5s", "inventory-service", "inventory-slow", 1),
        ("canary-90-10", None, None, 0),
    ],
)
def test_a_manifest_whose_own_backend_answers_for_a_service_is_a_fault_of_it(
    example: str, replaced: str | None, by: str | None, drawn: float
) -> None:
    folder = Path(__file__).resolve().parents[3] / "manifests/examples/linkerd"
    documents = read_manifest(folder / f"{example}.yaml", "shop")
    made = linkerd(_service("inventory-service")).plan_manifest(documents, Context())
    assert made.faulty == ((ServiceRef(replaced, "shop"),) if replaced else ())
    assert made.stand_ins == ((ServiceRef(by, "shop"),) if by else ())
    assert [draw.share for draw in made.draws] == ([drawn] if by else [])
    narrow = [{**d, "spec": {**d["spec"], "rules": _for_qa(d)}} if d["kind"] == "HTTPRoute" else d for d in documents]
    assert linkerd(_service("inventory-service")).plan_manifest(narrow, Context()).draws == (), "not of every call"


def _for_qa(route: Object) -> list[Object]:
    match = {"headers": [{"name": "x-user", "value": "qa"}]}
    return [{**rule, "matches": [match]} for rule in route["spec"]["rules"]]


def test_what_holds_already_moves_no_endpoints() -> None:
    made, _ = plan(MutualTls(TlsMode.PERMISSIVE, "shop", PAYMENT), _server("all-unauthenticated", 8080))
    assert made.service == PAYMENT
    assert not made.edits
    assert not made.moves_endpoints


def test_a_manifest_of_the_meshs_own_folder_comes_first(tmp_path: Path) -> None:
    (tmp_path / "m" / "linkerd").mkdir(parents=True)
    for file in ("m/a.yaml", "m/linkerd/a.yaml", "m/b.yaml"):
        (tmp_path / file).write_text("{}")
    assert find_manifest("m/a.yaml", None, tmp_path, "linkerd") == tmp_path / "m/linkerd/a.yaml"
    assert find_manifest("m/a.yaml", None, tmp_path, "istio") == tmp_path / "m/a.yaml"
    assert find_manifest("m/b.yaml", None, tmp_path, "linkerd") == tmp_path / "m/b.yaml"


# What the proxies tell

_METRICS = """
# TYPE response_total counter
response_total{direction="inbound",tls="true",client_id="order-service.shop.serviceaccount.identity.linkerd.cluster.local",status_code="200"} 7
response_total{direction="inbound",tls="no_identity",no_tls_reason="no_tls_from_remote",status_code="503"} 2
response_total{direction="outbound",authority="payment-service.shop.svc.cluster.local",tls="true",status_code="200"} 4
response_total{direction="outbound",authority="other.shop.svc.cluster.local",tls="true",status_code="200"} 9
"""


def test_linkerds_counters_tell_callers_by_their_service_accounts() -> None:
    inbound = read_linkerd(_pod("payment-service"), _METRICS, PAYMENT, serves=True)
    assert {(r.source, r.security, r.status): n for r, n in inbound.items()} == {
        (("order-service", "shop"), "mutual_tls", "200"): 7,
        (("unknown", "unknown"), "none", "503"): 2,
    }
    outbound = read_linkerd(_pod("client"), _METRICS, PAYMENT, serves=False)
    assert {(r.reporter, r.source): n for r, n in outbound.items()} == {("source", ("client", "shop")): 4}


@pytest.mark.parametrize(
    ("cluster", "host", "every_endpoint"),
    [
        ("outbound|80||payment-service.shop.svc.cluster.local", PAYMENT.host, True),
        ("outbound|80|v1|payment-service.shop.svc.cluster.local", PAYMENT.host, False),
        ("Service.shop.payment-service:80/Service.shop.payment-service:80", PAYMENT.host, True),
        ("Service.shop.payment-service:80/Service.shop.payment-service:80/grpc-retries", PAYMENT.host, True),
        ("Service.shop.payment-service:80/Service.shop.meshbdd-fault-payment-service:80", PAYMENT.host, False),
        ("Service.shop.payment-service:80/HTTPRoute.shop.a/0", PAYMENT.host, False),
        ("inbound|8080||", "", False),
        ("PassthroughCluster", "", False),
    ],
)
def test_a_clusters_name_tells_whom_it_leads_to(cluster: str, host: str, every_endpoint: bool) -> None:
    assert callee(cluster) == host
    if host:
        assert whole(cluster) is every_endpoint


@pytest.mark.parametrize(
    ("own", "above", "why"),
    [
        ({"linkerd.io/inject": "disabled"}, {"linkerd.io/inject": "enabled"}, "its annotation linkerd.io/inject is disabled"),
        ({}, {"linkerd.io/inject": "enabled"}, "it is older than the annotation"),
        ({}, {}, "neither it nor its namespace has the annotation"),
    ],
)  # fmt: skip
def test_why_a_pod_has_no_proxy_is_told_by_linkerds_annotations(own: Object, above: Object, why: str) -> None:
    pod = {"metadata": {"name": "a", "annotations": own}, "spec": {"containers": [{"name": "app"}]}}
    seen = view(pod, {"metadata": {"annotations": above}}, LINKERD)
    assert not seen.meshed
    assert why in seen.why


@pytest.mark.parametrize("intent", [MutualTls(TlsMode.STRICT, "shop", PAYMENT), Access(ORDER, PAYMENT)])
def test_what_a_pod_without_a_proxy_would_not_do_is_refused(intent: Intent) -> None:
    bare = _obj("Pod", "payment-service-bare", {}, labels={"app": "payment-service"})
    with pytest.raises(BadInput, match="pod payment-service-bare has no sidecar"):
        plan(intent, bare)
    plan(MutualTls(TlsMode.STRICT, "shop"), bare)
