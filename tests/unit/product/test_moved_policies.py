"""A policy that a manifest moves, narrows or widens is awaited where it was, as well as where it comes to be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.mesh import Istio, Plan
from meshbdd.mesh.markers import ConfigChanged, PolicyHeld, TransportTaken
from meshbdd.mesh.remains import Otherwise
from tests.unit.product.staged import Staged

Object = dict[str, Any]
MESHED = {"security.istio.io/tlsMode": "istio"}
BOTH, TLS = "tls or plaintext", "tls"


def _object(kind: str, name: str, spec: Object, namespace: str = "shop", **meta: Any) -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace, **meta}, "spec": spec}


def _pod(app: str, port: int = 8080, namespace: str = "shop", **labels: str) -> Object:
    containers = [{"name": "app", "ports": [{"name": "web", "containerPort": port}]}]
    return _object("Pod", app, {"containers": containers}, namespace, labels={"app": app, **MESHED, **labels})


def _service(app: str, namespace: str = "shop", **selector: str) -> Object:
    ports = [{"port": 80, "targetPort": "web"}]
    return _object("Service", app, {"selector": selector or {"app": app}, "ports": ports}, namespace)


WORLD = (
    {"kind": "Namespace", "metadata": {"name": "shop"}},
    _pod("pay", 8080), _service("pay"), _pod("backup", 9090), _service("backup"),
    _object("Pod", "job", {"containers": []}, labels={"app": "pay", **MESHED}) | {"status": {"phase": "Succeeded"}},
)  # fmt: skip


def _tls(mode: str, name: str = "own", namespace: str = "shop", created: str = "", **labels: str) -> Object:
    spec = {**({"selector": {"matchLabels": labels}} if labels else {}), **({"mtls": {"mode": mode}} if mode else {})}
    meta = {"creationTimestamp": created} if created else {}
    return {**_object("PeerAuthentication", name, spec, namespace, **meta), "apiVersion": "security.istio.io/v1"}


def _policy(action: str, **labels: str) -> Object:
    spec = {**({"selector": {"matchLabels": labels}} if labels else {}), "action": action, "rules": [{}]}
    return {**_object("AuthorizationPolicy", "own", spec), "apiVersion": "security.istio.io/v1"}


def _filter(value: str, **labels: str) -> Object:
    spec = {**({"workloadSelector": {"labels": labels}} if labels else {}), "configPatches": [{"applyTo": value}]}
    return {**_object("EnvoyFilter", "own", spec), "apiVersion": "networking.istio.io/v1alpha3"}


def _plan(*there: Object, manifest: list[Object], world: tuple[Object, ...] = WORLD) -> tuple[Plan, Staged]:
    staged = Staged(Istio, [*world, *there])
    return staged(manifest), staged


def _awaited(*there: Object, manifest: list[Object], world: tuple[Object, ...] = WORLD) -> set[tuple[str, str]]:
    """Pods and what is awaited of them."""
    plan, staged = _plan(*there, manifest=manifest, world=world)
    pods = [pod["metadata"] for pod in staged.cluster.list("Pod") if pod.get("status", {}).get("phase") != "Succeeded"]
    return {(pod["name"], told) for pod in pods for m in plan.markers if m.where.takes(pod) for told in _told(m)}


def _told(marker: Any) -> Iterator[str]:
    if isinstance(marker, TransportTaken):
        yield {frozenset({"tls"}): TLS, frozenset({"raw_buffer"}): "plaintext"}.get(marker.transports, BOTH)
    elif isinstance(marker, Otherwise):
        yield from (f"no {told}" for told in _told(marker.marker))
    else:
        yield {PolicyHeld: "held", ConfigChanged: "changed"}[type(marker)]


@pytest.mark.parametrize(
    ("there", "written", "awaited"),
    [
        ([_tls("STRICT", app="pay")], [_tls("STRICT", app="backup")], {("pay", BOTH), ("backup", TLS)}),
        ([_tls("STRICT")], [_tls("STRICT", app="backup")], {("pay", BOTH), ("backup", TLS)}),
        ([_tls("STRICT", app="backup")], [_tls("STRICT")], {("pay", TLS), ("backup", TLS)}),
        ([_tls("PERMISSIVE")], [_tls("UNSET")], {("pay", BOTH), ("backup", BOTH)}),
        ([], [_tls("")], {("pay", BOTH), ("backup", BOTH)}),
        ([_tls("STRICT", app="pay")], [_tls("STRICT", app="nobody")], {("pay", BOTH)}),
        # an older one for the same pods, for the whole mesh, one that is written with it
        ([_tls("DISABLE", "old", created="2025", app="pay"), _tls("PERMISSIVE", created="2026", app="backup")],
         [_tls("STRICT", app="pay")], {("pay", "plaintext"), ("backup", BOTH)}),
        ([_tls("STRICT", "all", "istio-system"), _tls("DISABLE", app="pay")], [_tls("DISABLE", app="backup")],
         {("pay", TLS), ("backup", "plaintext")}),
        ([_tls("STRICT")], [_tls("STRICT", app="backup"), _tls("DISABLE", "rest")], {("pay", "plaintext"), ("backup", TLS)}),
        ([_tls("STRICT", namespace="istio-system")], [_tls("DISABLE", namespace="istio-system")],
         {("pay", "plaintext"), ("backup", "plaintext")}),
    ],
)  # fmt: skip
def test_the_modes_that_are_then_in_force_are_awaited_at_all_its_pods(
    there: list[Object], written: list[Object], awaited: set[tuple[str, str]]
) -> None:
    assert _awaited(*there, manifest=written) == awaited


def test_a_port_of_its_own_is_told_apart_by_the_name_that_each_pod_gives_it() -> None:
    own = _tls("STRICT", app="pay")
    own["spec"]["portLevelMtls"] = {9090: {"mode": "DISABLE"}}
    world = (
        *WORLD,
        _pod("pay-2", 9090) | {"metadata": _pod("pay", 9090, version="two")["metadata"] | {"name": "pay-2"}},
    )
    plan, _ = _plan(manifest=[own], world=world)
    assert {(m.ports, *m.transports) for m in plan.markers if isinstance(m, TransportTaken)} == {
        ((8080,), "tls"),
        ((9090,), "raw_buffer"),
    }


def test_pods_with_more_labels_may_be_under_another_policy() -> None:
    canary = _object("Pod", "canary", _pod("pay")["spec"], labels={"app": "pay", "version": "canary", **MESHED})
    there = _tls("DISABLE", "old", created="2025", version="canary")
    awaited = _awaited(there, manifest=[_tls("STRICT")], world=(*WORLD, canary))
    assert awaited == {("pay", TLS), ("backup", TLS), ("canary", "plaintext")}


@pytest.mark.parametrize(
    ("there", "written", "awaited"),
    [
        ([], [_policy("DENY", app="pay")], {("pay", "held")}),
        ([_policy("DENY", app="pay")], [_policy("DENY", app="backup")], {("pay", "no held"), ("backup", "held")}),
        ([_policy("DENY")], [_policy("DENY", app="backup")], {("pay", "no held")}),
        ([_policy("DENY")], [_policy("AUDIT", app="backup")], {("pay", "no held"), ("backup", "changed")}),
        ([_policy("DENY", app="pay")], [_policy("DENY")], {("backup", "held")}),
        ([_policy("DENY", app="pay")], [_policy("AUDIT", app="pay")], {("pay", "changed")}),
        ([_policy("DENY", app="pay")], [_policy("DENY", app="nobody")], {("pay", "no held")}),
        ([_filter("A", app="pay")], [_filter("A", app="backup")], {("pay", "changed"), ("backup", "changed")}),
        ([_filter("A")], [_filter("A", app="backup")], {("pay", "changed")}),
        ([_filter("A")], [_filter("B", app="backup")], {("pay", "changed"), ("backup", "changed")}),
        ([_filter("A", app="pay")], [_filter("B", app="pay")], {("pay", "changed")}),
    ],
)
def test_a_policy_is_awaited_to_come_to_go_and_to_change(
    there: list[Object], written: list[Object], awaited: set[tuple[str, str]]
) -> None:
    assert _awaited(*there, manifest=written) == awaited


CLIENT = _pod("client", 9090)
INBOUND, BOTH_WAYS, OUTBOUND = ["SIDECAR_INBOUND"], ["SIDECAR_INBOUND", "ANY"], ["SIDECAR_OUTBOUND"]


def _patches(contexts: list[str], value: str = "A", **labels: str) -> Object:
    made = _filter("", **labels)
    made["spec"]["configPatches"] = [{"applyTo": value, "match": {"context": context}} for context in contexts]
    return made


@pytest.mark.parametrize(
    ("there", "written", "awaited"),
    [
        ([], _policy("DENY"), {("pay", "held"), ("backup", "held")}),
        ([], _policy("DENY", app="client"), {("client", "held")}),
        ([_policy("DENY", app="pay")], _policy("DENY"), {("backup", "held")}),
        ([_policy("DENY")], _policy("DENY", app="pay"), {("backup", "no held")}),
        ([_policy("DENY")], _policy("AUDIT"), {("pay", "changed"), ("backup", "changed")}),
        ([], _patches(INBOUND), {("pay", "changed"), ("backup", "changed")}),
        ([], _patches(BOTH_WAYS), {("pay", "changed"), ("backup", "changed"), ("client", "changed")}),
        ([], _patches(OUTBOUND), {("pay", "changed"), ("backup", "changed"), ("client", "changed")}),
        ([], _patches(INBOUND, app="client"), {("client", "changed")}),
        ([_patches(INBOUND)], _patches(INBOUND, app="pay"), {("backup", "changed")}),
        ([_patches(INBOUND)], _patches(INBOUND, "B"), {("pay", "changed"), ("backup", "changed")}),
        ([_patches(OUTBOUND)], _patches(INBOUND), {("pay", "changed"), ("backup", "changed"), ("client", "changed")}),
    ],
)
def test_what_is_for_calls_that_come_in_is_awaited_where_a_service_leads(
    there: list[Object], written: Object, awaited: set[tuple[str, str]]
) -> None:
    assert _awaited(*there, manifest=[written], world=(*WORLD, CLIENT)) == awaited


def _all_but_pay(*more: Object) -> set[tuple[str, str]]:
    found = _awaited(manifest=[_patches(INBOUND)], world=(*WORLD, CLIENT, *more))
    return found - {("pay", "changed"), ("backup", "changed")}


def test_a_service_may_lead_to_pods_in_other_ways_than_by_its_selector() -> None:
    by_hand = _service("by-hand")
    del by_hand["spec"]["selector"]
    chosen = {"hosts": ["out.example"], "workloadSelector": {"labels": {"app": "client"}}}
    for leading in (by_hand, _object("ServiceEntry", "out", chosen)):
        assert _all_but_pay(leading) == {("client", "changed")}
    name = _object("Service", "name", {"type": "ExternalName", "externalName": "out.example"})
    elsewhere = _service("client", "other")
    assert not _all_but_pay(name, elsewhere)


def test_pods_with_the_labels_of_one_that_no_service_leads_to_and_more_may_be_led_to() -> None:
    more = {**CLIENT["metadata"], "name": "canary", "labels": {**CLIENT["metadata"]["labels"], "track": "canary"}}
    assert _all_but_pay({**CLIENT, "metadata": more}, _service("canary", track="canary")) == {("canary", "changed")}


def test_a_policy_for_nobody_is_held_by_nobody() -> None:
    """The gate says so."""
    there, written = _policy("DENY", app="nobody"), _policy("DENY", app="no-one")
    plan, _ = _plan(there, manifest=[written])
    assert [type(marker) for marker in plan.markers] == [PolicyHeld]


@pytest.mark.parametrize("make", [lambda app: _tls("STRICT", app=app), lambda app: _policy("DENY", app=app),
                                  lambda app: _filter("A", app=app)])  # fmt: skip
def test_the_callers_of_both_services_open_new_connections(make: Any) -> None:
    plan, _ = _plan(make("pay"), manifest=[make("backup")])
    renewed = [service for stage in plan.stages for service in stage.renewed]
    assert renewed == [ServiceRef("pay", "shop"), ServiceRef("backup", "shop")]


def _page(*policies: str) -> Object:
    rules: Object = {"policies": {name: {} for name in policies}}
    http = {"http_filters": [{"name": "rbac", "typed_config": {"rules": rules}}]}
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": http}]}
    listener = {"name": "virtualInbound", "traffic_direction": "INBOUND", "filter_chains": [chain]}
    return {"configs": [{"active_state": {"listener": listener}}]}


def test_what_a_policy_leaves_shows_by_its_name_when_it_is_back() -> None:
    plan, _ = _plan(_policy("DENY", app="pay"), manifest=[_policy("DENY", app="backup")])
    [gone] = [marker for marker in plan.markers if isinstance(marker, Otherwise)]
    held, free = _page("ns[shop]-policy[own]-rule[0]"), _page("ns[shop]-policy[other]-rule[0]")
    assert (gone.held([held]), gone.held([free]), str(gone)) == (
        False,
        True,
        "settings without AuthorizationPolicy own",
    )
    assert gone.unique, "no other change makes it so"


@pytest.mark.parametrize("targets", ["targetRef", "targetRefs"])
@pytest.mark.parametrize("make", [_policy, _filter])
def test_a_policy_for_waypoints_and_gateways_is_refused(make: Any, targets: str) -> None:
    policy = make("DENY")
    service = {"kind": "Service", "group": "", "name": "pay"}
    policy["spec"][targets] = [service] if targets == "targetRefs" else service
    with pytest.raises(
        BadInput, match="own has targetRefs: waypoints and gateways heed it and no sidecar does"
    ) as caught:
        _plan(manifest=[policy])
    assert (caught.value.code, bool(caught.value.help)) == ("MB0493", True)


def test_a_policy_that_was_for_a_waypoint_was_at_no_sidecar() -> None:
    there = _policy("DENY")
    there["spec"]["targetRefs"] = [{"kind": "Service", "group": "", "name": "backup"}]
    assert _awaited(there, manifest=[_policy("DENY", app="pay")]) == {("pay", "held")}


def _route(*parents: str, to: str = "pay", port: int | None = None) -> Object:
    refs = [{"group": "", "kind": "Service", "name": name, **({"port": port} if port else {})} for name in parents]
    spec = {"parentRefs": refs, "rules": [{"backendRefs": [{"name": to, "port": 80}]}]}
    return {**_object("HTTPRoute", "r", spec), "apiVersion": "gateway.networking.k8s.io/v1"}


PAY, BACKUP = "pay.shop.svc.cluster.local", "backup.shop.svc.cluster.local"
COME, GONE, CHANGED = "route shop.r.* of {}", "routes of {} without shop.r.*", "effect of HTTPRoute r"


@pytest.mark.parametrize(
    ("there", "written", "awaited"),
    [
        (_route("pay"), _route("backup"), [COME.format(BACKUP), GONE.format(PAY)]),
        (_route("pay"), _route("backup", to="backup"), [COME.format(BACKUP), GONE.format(PAY)]),
        (_route("pay", "backup"), _route("backup"), [GONE.format(PAY)]),
        (_route("pay"), _route("pay", "backup"), [COME.format(BACKUP)]),
        (_route("pay"), _route("pay", "backup", to="backup"), [COME.format(BACKUP), CHANGED]),
        (_route("pay"), _route("pay", to="backup"), [CHANGED]),
        (_route("pay"), _route("pay", port=80), [CHANGED]),
        (_route(), _route(to="backup"), [CHANGED]),
    ],
)
def test_an_http_route_is_awaited_at_the_services_that_it_comes_to_and_leaves(
    there: Object, written: Object, awaited: list[str]
) -> None:
    plan, _ = _plan(there, manifest=[written])
    assert [str(marker) for marker in plan.markers] == awaited


def _routes(**routes: list[str]) -> Object:
    hosts = [
        {"name": f"{app}.shop.svc.cluster.local:80", "routes": [{"name": n} for n in ns]} for app, ns in routes.items()
    ]
    return {"configs": [{"route_config": {"virtual_hosts": hosts}}]}


def test_the_rules_of_an_http_route_are_looked_for_among_the_routes_of_its_service() -> None:
    come, gone = _plan(_route("pay"), manifest=[_route("backup")])[0].markers
    for page, (here, left) in (
        (_routes(pay=["shop.r.0"], backup=["default"]), (False, False)),
        (_routes(pay=["default"], backup=["shop.r.0"]), (True, True)),
        (_routes(pay=["shop.r.0"]), (None, False)),
        (_routes(other=["shop.r.0"]), (None, None)),
    ):
        assert (come.held([page]), gone.held([page])) == (here, left)
