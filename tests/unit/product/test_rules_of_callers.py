"""A fault is held against the rules that govern its callers, in whatever namespace these lie, and against no other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from meshbdd.errors import BadInput
from meshbdd.intents import Fault, Mention, Scope, ServiceRef, Side, Topic
from meshbdd.mesh import Context, Istio
from meshbdd.mesh.base import Where
from meshbdd.mesh.markers import RouteHeld
from meshbdd.units import Duration
from tests.unit.product.staged import Staged

Object = dict[str, Any]
LEDGER, PORTAL, CLIENT = (
    ServiceRef("ledger", "billing"),
    ServiceRef("portal", "front"),
    ServiceRef("client", "shop"),
)
HOST = "ledger.billing.svc.cluster.local"
WIDE = "*.billing.svc.cluster.local"
SLOW = Fault(LEDGER, delay=Duration(1))


def _meshed(ref: ServiceRef) -> list[Object]:
    labels = {"app": ref.name, "version": "v1", "security.istio.io/tlsMode": "istio"}
    meta = {"name": ref.name, "namespace": ref.namespace}
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    return [
        {"kind": "Namespace", "metadata": {"name": ref.namespace}},
        {"kind": "Service", "metadata": meta, "spec": {"selector": {"app": ref.name}, "ports": ports}},
        {
            "kind": "Pod",
            "metadata": {**meta, "name": f"{ref.name}-1", "labels": labels},
            "spec": {"serviceAccountName": ref.name},
        },
    ]


WORLD = [obj for ref in (LEDGER, PORTAL, CLIENT) for obj in _meshed(ref)]


def _object(kind: str, namespace: str, spec: Object, name: str = "theirs") -> Object:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def _vs(namespace: str = "front", export_to: tuple[str, ...] = (".",), **route: Any) -> Object:
    plain = {"route": [{"destination": {"host": HOST}}]}
    http = [{**plain, **route}, *([plain] if "match" in route else [])]
    return _object("VirtualService", namespace, {"hosts": [HOST], "exportTo": list(export_to), "http": http})


def _wide(namespace: str = "front", export_to: tuple[str, ...] = (".",), host: str = WIDE, **route: Any) -> Object:
    """One for a pattern that takes ledger in, with a name of its own."""
    made = _vs(namespace, export_to, **route)
    return _object("VirtualService", namespace, {**made["spec"], "hosts": [host]}, "wide")


def _rule(namespace: str = "front", export_to: tuple[str, ...] = (".",), **spec: Any) -> Object:
    return _object("DestinationRule", namespace, {"host": HOST, "exportTo": list(export_to), **spec})


BREAKER = {"trafficPolicy": {"outlierDetection": {"consecutive5xxErrors": 3}}}
HTTP_ROUTE = _object(
    "HTTPRoute",
    "front",
    {"parentRefs": [{"group": "", "kind": "Service", "name": "ledger", "namespace": "billing"}], "rules": []},
)
PRODUCER = _object("HTTPRoute", "billing", HTTP_ROUTE["spec"])
GOVERNING = [
    (_vs(timeout="300ms"), "VirtualService theirs.front gives its calls a timeout"),
    (_vs("shop", retries={"attempts": 3}), "VirtualService theirs.shop retries its calls"),
    (_vs(mirror={"host": HOST}), "VirtualService theirs.front mirrors its calls"),
    (_vs("billing", ("shop", "front"), timeout="300ms"), "VirtualService theirs gives its calls a timeout"),
    (_vs("shop", ("front",), timeout="300ms"), "VirtualService theirs.shop gives its calls a timeout"),
    (_vs(timeout="1s", match=[{"sourceNamespace": "front"}]), "VirtualService theirs.front gives its calls a timeout"),
    (_rule(**BREAKER), "DestinationRule theirs.front has outlier detection"),
    (_rule("billing", ("front",), **BREAKER), "DestinationRule theirs has outlier detection"),
    (_rule(trafficPolicy={"connectionPool": {"http": {}}}), "DestinationRule theirs.front limits its connections"),
    (_rule(workloadSelector={"matchLabels": {"app": "portal"}}, **BREAKER), "DestinationRule theirs.front has outlier"),
    (HTTP_ROUTE, "HTTPRoute theirs.front routes its calls"),
]
GOVERNING_NOBODY = [
    _vs("shop", ("nobody",), timeout="300ms"),
    _vs("nobody", timeout="300ms"),
    _vs(timeout="300ms", match=[{"sourceNamespace": "shop"}]),  # whose callers do not see it
    _vs(retries={"attempts": 0}),
    _rule("shop", ("front",), **BREAKER),  # callers in front do not look there
    _rule("nobody", **BREAKER),
    _rule("nobody", workloadSelector={"matchLabels": {"app": "portal"}}, **BREAKER),
]


@pytest.mark.parametrize(("rule", "words"), GOVERNING)
def test_a_rule_that_governs_some_callers_alone_has_to_see_the_fault(rule: Object, words: str) -> None:
    standing, brought = Staged(Istio, [*WORLD, rule]), Staged(Istio, WORLD)
    brought([rule])
    for there in (standing, brought):
        plan = there(SLOW)
        assert plan.side is Side.SERVER
        assert words in plan.reason
        assert plan.standing, "the filter is armed where none was early"


@pytest.mark.parametrize(
    ("rules", "instead"),
    [
        ([_rule(**BREAKER)], "write | inject at | caller | or | called by | … | with a caller in namespace shop"),
        ([_rule("billing", ("*",), **BREAKER)], "write | inject at | caller |"),
        ([HTTP_ROUTE, _vs("shop")], "write | called by | … | with a caller in namespace shop"),
        ([HTTP_ROUTE], "write | called by | … | with a caller in namespace shop"),
        ([PRODUCER], "take what needs "),
    ],
)
def test_where_the_server_cannot_have_the_fault_the_rule_that_would_have_it_there_is_told(
    rules: list[Object], instead: str
) -> None:
    """Of a rule of callers who may never call, too: which of them do, nobody knows before."""
    bare = _meshed(LEDGER)
    del bare[-1]["metadata"]["labels"]["security.istio.io/tlsMode"]
    elsewhere = [*_meshed(PORTAL), *_meshed(CLIENT), *rules]
    other = {**bare[-1], "metadata": {"name": "other", "namespace": LEDGER.namespace}}
    for ledger, what in (bare, "pod ledger-1 has no sidecar"), ([*bare[:-1], other], "it has no pod"):
        with pytest.raises(BadInput) as caught:
            Staged(Istio, [*ledger, *elsewhere])(SLOW)
        assert caught.value.code == "MB0428"
        assert f"{what}; the fault's place is at the server's sidecars" in caught.value.sentence
        assert rules[0]["kind"] in caught.value.sentence
        assert f", or {instead}" in (caught.value.help or "")
    with pytest.raises(BadInput) as caught:
        Staged(Istio, [*bare, *elsewhere])(replace(SLOW, at=Side.SERVER))
    assert caught.value.sentence.endswith("pod ledger-1 has no sidecar.")


@pytest.mark.parametrize("rule", GOVERNING_NOBODY)
def test_a_rule_that_governs_no_caller_leaves_the_fault_there(rule: Object) -> None:
    assert Staged(Istio, [*WORLD, rule])(SLOW).side is Side.CALLER


@pytest.mark.parametrize(
    ("caller", "rule", "side"),
    [
        (PORTAL, _vs(timeout="300ms"), Side.SERVER),
        (CLIENT, _vs(timeout="300ms"), Side.CALLER),
        (PORTAL, _vs("billing", timeout="300ms"), Side.CALLER),  # seen by those in billing alone
        (PORTAL, _vs(timeout="300ms", match=[{"sourceLabels": {"app": "portal"}}]), Side.SERVER),
        (PORTAL, _vs(timeout="300ms", match=[{"sourceLabels": {"app": "desk"}}]), Side.CALLER),
        (PORTAL, _rule(**BREAKER), Side.SERVER),
        (CLIENT, _rule(**BREAKER), Side.CALLER),
        (PORTAL, _rule(workloadSelector={"matchLabels": {"app": "portal", "version": "v1"}}, **BREAKER), Side.SERVER),
        (PORTAL, _rule(workloadSelector={"matchLabels": {"app": "desk"}}, **BREAKER), Side.CALLER),
    ],
)
def test_of_a_fault_for_one_caller_the_rules_of_that_one_count(caller: ServiceRef, rule: Object, side: Side) -> None:
    assert Staged(Istio, [*WORLD, rule])(replace(SLOW, scope=Scope(called_by=caller))).side is side


def test_where_the_step_says_the_caller_it_is_told_what_does_not_see_it() -> None:
    plan = Staged(Istio, [*WORLD, _vs(timeout="300ms")])(replace(SLOW, at=Side.CALLER))
    assert plan.side is Side.CALLER
    assert "meanwhile VirtualService theirs.front gives its calls a timeout does not see it" in plan.reason


@pytest.mark.parametrize(
    ("rules", "armed"), [([_vs(timeout="300ms")], 1), ([_vs("nobody", timeout="300ms")], 0), ([], 0)]
)
def test_a_filter_is_armed_early_for_the_sake_of_callers_rules(rules: list[Object], armed: int) -> None:
    said = (Mention(Topic.FAULT, LEDGER, "ledger.billing is slowed by 1s"),)
    assert len(Staged(Istio, [*WORLD, *rules]).mesh.early(Context(said=said))) == armed


def test_where_nobody_knows_the_pods_nothing_is_armed_for_callers_rules() -> None:
    said = (Mention(Topic.FAULT, LEDGER, "ledger.billing is slowed by 1s"),)
    there = Staged(Istio, [*(obj for obj in WORLD if obj["kind"] != "Pod"), _vs(timeout="300ms")])
    assert there.mesh.early(Context(said=said)) == ()


def test_a_manifest_whose_rule_for_some_callers_would_not_see_a_fault_in_force_is_refused() -> None:
    there = Staged(Istio, WORLD)
    assert there(SLOW).side is Side.CALLER
    with pytest.raises(
        BadInput, match=r"With the manifest DestinationRule theirs\.front has outlier detection"
    ) as caught:
        there([_rule(**BREAKER)])
    assert caught.value.code == "MB0429"
    there = Staged(Istio, WORLD)
    there(replace(SLOW, scope=Scope(called_by=CLIENT)))
    there([_rule(**BREAKER)])


FAILS = Fault(LEDGER, status=503)
PUBLIC = _vs("billing", ("*",))


@pytest.mark.parametrize(
    ("there", "manifest", "callers"),
    [
        ([], _vs(), "front"),
        ([PUBLIC], _vs(), "front"),
        ([], _vs("shop", ("front",)), "front"),
        ([], _vs("billing"), "billing"),
        ([_wide("billing", ("*",))], _wide(), "front"),
        ([_vs("billing", ("front",))], _vs("front", ("front",)), "front"),
    ],
)
def test_a_manifest_whose_routes_some_callers_would_take_in_the_place_of_a_steps_is_refused(
    there: list[Object], manifest: Object, callers: str
) -> None:
    manifest = {**manifest, "metadata": {**manifest["metadata"], "name": "own"}}
    world = Staged(Istio, [*WORLD, *there])
    assert world(FAILS).side is Side.CALLER
    name = f"own.{manifest['metadata']['namespace']}"
    with pytest.raises(
        BadInput, match=f"callers in namespace {callers} take what VirtualService {name} says"
    ) as caught:
        world([manifest])
    assert (caught.value.code, caught.value.help) == ("MB0497", "apply the manifest before that step")


def test_an_http_route_that_some_callers_would_take_in_the_place_of_a_steps_is_refused() -> None:
    world = Staged(Istio, WORLD)
    world(FAILS)
    with pytest.raises(BadInput, match="HTTPRoute theirs then routes the calls to ledger") as caught:
        world([HTTP_ROUTE])
    assert caught.value.code == "MB0472"


@pytest.mark.parametrize(
    ("there", "manifest"),
    [
        ([], _wide()),
        ([], _wide("billing")),
        ([], _vs("shop", ("shop",), match=[{"uri": {"exact": "/"}}])),
        ([_wide("billing", ("*",))], _wide("billing", ("*",), "*.svc.cluster.local")),
    ],
)
def test_what_comes_after_a_steps_routes_is_applied_beside_them(there: list[Object], manifest: Object) -> None:
    manifest = {**manifest, "metadata": {**manifest["metadata"], "name": "own"}}
    world = Staged(Istio, [*WORLD, *there])
    called_by = PORTAL if manifest["metadata"]["namespace"] == "shop" else None
    assert world(replace(FAILS, scope=Scope(called_by=called_by))).side is Side.CALLER
    world([manifest])


def _failing(manifest: Object, **match: Any) -> Object:
    """A manifest's routes with a fault in the first, that of the calls that match."""
    fault = {"fault": {"abort": {"httpStatus": 503, "percentage": {"value": 100}}}}
    [first, *_] = manifest["spec"]["http"]
    http = [{**first, **fault, **({"match": [match]} if match else {})}, *([first] if match else [])]
    meta = {**manifest["metadata"], "name": "fault"}
    return {**manifest, "metadata": meta, "spec": {**manifest["spec"], "http": http}}


OTHERS_ROUTE = {**HTTP_ROUTE, "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "portal"}], "rules": []}}


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (_vs(), ("MB0497", "callers in namespace front take what VirtualService theirs.front says of ledger")),
        (_vs("shop", ("front",)), ("MB0497", "callers in namespace front take what VirtualService theirs.shop says")),
        (
            HTTP_ROUTE,
            ("MB0472", "«the manifest's VirtualService fault» would have no effect any more: HTTPRoute theirs"),
        ),
        (_vs("nobody"), None),
        (_rule(**BREAKER), None),
        (OTHERS_ROUTE, None),
    ],
)
def test_a_manifest_that_leads_some_callers_past_the_fault_of_one_before_is_refused(
    manifest: Object, told: tuple[str, str] | None
) -> None:
    world = Staged(Istio, WORLD)
    world([_failing(PUBLIC)])
    if told is None:
        world([manifest])
        return
    with pytest.raises(BadInput, match=told[1]) as caught:
        world([manifest])
    assert caught.value.code == told[0]


def test_one_that_leads_callers_past_a_fault_of_a_delegate_is_refused() -> None:
    led, root = _failing(PUBLIC), _vs("billing", ("*",))
    del led["spec"]["hosts"]
    root["spec"]["http"] = [{"delegate": {"name": "fault"}}]
    world = Staged(Istio, [*WORLD, root])
    world([led])
    with pytest.raises(BadInput, match="callers in namespace front take") as caught:
        world([_vs()])
    assert caught.value.code == "MB0497"


def test_callers_whom_the_fault_of_a_manifest_is_not_for_may_be_led_elsewhere() -> None:
    for fault in (_failing(PUBLIC, sourceNamespace="shop"), _failing(_vs("billing", ("shop",)))):
        world = Staged(Istio, WORLD)
        world([fault])
        world([_vs()])
    world = Staged(Istio, [*WORLD, _vs("shop", ("front",))])
    world([_failing(PUBLIC)])
    world([{**_vs(), "metadata": {"name": "own", "namespace": "front"}}])


def test_an_http_route_that_stood_before_a_step_is_not_the_blame_of_a_manifest_after_it() -> None:
    old = {**PUBLIC, "metadata": {**PUBLIC["metadata"], "creationTimestamp": "2020-01-01T00:00:00Z"}}
    young = {**HTTP_ROUTE, "metadata": {**HTTP_ROUTE["metadata"], "creationTimestamp": "2021-01-01T00:00:00Z"}}
    world = Staged(Istio, [*WORLD, old, young])
    world([{**_failing(PUBLIC), "metadata": old["metadata"]}])
    portal = "portal.front.svc.cluster.local"
    http = [{"route": [{"destination": {"host": portal}}]}]
    world([_object("VirtualService", "front", {"hosts": [portal], "http": http})])


def test_a_manifest_for_callers_whom_a_step_is_not_for_is_applied_beside_it() -> None:
    world = Staged(Istio, WORLD)
    world(replace(FAILS, scope=Scope(called_by=CLIENT)))
    world([_vs(timeout="300ms")])


@pytest.mark.parametrize(
    ("there", "manifest", "ignored"),
    [
        ([PUBLIC], _vs(), False),
        ([_vs()], _vs("billing", ("*",)), False),
        ([_vs("shop", ("*",))], _vs("billing"), False),
        ([_vs()], _vs(), True),
        ([PUBLIC], _vs("front", ("*",)), True),
        ([_vs("billing", ("front",))], _vs("front", ("front",)), False),
        ([_vs("billing", ("front",))], _vs("front", (".", "shop")), False),
        ([_vs("shop", ("front",))], _vs("billing", ("front",)), True),
        ([_wide("front", ("*",))], PUBLIC, False),
        ([_wide()], PUBLIC, False),
    ],
)
def test_istio_ignores_a_manifests_routes_where_others_come_first(
    there: list[Object], manifest: Object, ignored: bool
) -> None:
    world = Staged(Istio, [*WORLD, *there])
    young = {**manifest, "metadata": {**manifest["metadata"], "name": "young"}}
    if not ignored:
        world([young])
        return
    with pytest.raises(BadInput, match=r"already, so Istio would ignore young \(IST0109\)") as caught:
        world([young])
    assert caught.value.code == "MB0409"


WIDE_AND_EXACT = [_wide(timeout="300ms"), _vs("billing", ("*",))]


def test_a_rule_for_the_host_governs_those_whose_own_namespace_has_one_for_a_pattern() -> None:
    world = Staged(Istio, [*WORLD, *WIDE_AND_EXACT])
    plan = world(SLOW)
    assert (plan.side, "timeout" in plan.reason) == (Side.CALLER, False)
    plan = Staged(Istio, [*WORLD, *WIDE_AND_EXACT])(replace(FAILS, scope=Scope(called_by=PORTAL)))
    assert [(edit.name, edit.namespace) for edit in plan.edits] == [("theirs", "billing")]


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_patterns_the_longer_one_governs(order: int) -> None:
    both = [_wide(host="*.svc.cluster.local", timeout="300ms"), _wide("billing", ("*",))]
    plan = Staged(Istio, [*WORLD, *both[::order]])(replace(FAILS, scope=Scope(called_by=PORTAL)))
    assert [(edit.name, edit.namespace) for edit in plan.edits] == [("wide", "billing")]


def test_an_http_route_governs_those_who_else_have_a_rule_for_a_pattern() -> None:
    world = Staged(Istio, [*WORLD, _wide("shop"), PRODUCER])
    plan = world(replace(SLOW, scope=Scope(called_by=CLIENT)))
    assert "HTTPRoute theirs routes its calls" in plan.reason


def test_a_manifest_that_stands_after_another_for_the_services_own_callers_says_so() -> None:
    world = Staged(Istio, [*WORLD, _vs("billing")])
    young = {**PUBLIC, "metadata": {"name": "young", "namespace": "billing"}}
    with pytest.raises(BadInput, match=r"Istio would ignore young for callers in namespace billing \(IST0109\)"):
        world([young])


BUT_FRONT = Where(but=(Where("front"),))
STOCK = "stock.billing.svc.cluster.local"


def _for(*matches: Object) -> Object:
    http = [{"match": list(matches), "route": [{"destination": {"host": HOST}}]}]
    return {**PUBLIC, "spec": {**PUBLIC["spec"], "http": http}}


def _awaited(manifest: Object, *there: Object) -> list[tuple[tuple[str, ...], Where]]:
    """The hosts and the proxies of the markers of a manifest's routes."""
    young = {**manifest, "metadata": {**manifest["metadata"], "name": "young"}}
    plan = Staged(Istio, [*WORLD, *there])([young])
    return [(marker.hosts, marker.where) for marker in plan.markers if isinstance(marker, RouteHeld)]


@pytest.mark.parametrize(
    ("there", "manifest", "wheres"),
    [
        ([], PUBLIC, [Where()]),
        ([_vs()], PUBLIC, [BUT_FRONT]),
        ([_wide()], PUBLIC, [Where()]),
        ([_vs()], _wide("billing", ("*",)), [BUT_FRONT, Where("front")]),
        ([_wide()], _wide("billing", ("*",)), [BUT_FRONT]),
        ([_vs("shop", ("front",))], _vs("billing", ("front", "shop")), [Where("shop")]),
        ([_vs()], _for({"sourceLabels": {"app": "a"}}), [Where(None, {"app": "a"}, BUT_FRONT.but)]),
        ([_vs()], _for({"sourceNamespace": "shop"}, {"sourceNamespace": "front"}), [Where("shop")]),
    ],
)  # fmt: skip
def test_a_manifests_routes_are_awaited_of_no_proxy_whose_namespace_has_another_rule(
    there: list[Object], manifest: Object, wheres: list[Where]
) -> None:
    assert [where for _, where in _awaited(manifest, *there)] == wheres


def test_of_several_hosts_each_is_awaited_where_the_manifest_governs_it() -> None:
    both = {**PUBLIC, "spec": {**PUBLIC["spec"], "hosts": [HOST, STOCK]}}
    assert _awaited(both, _vs()) == [((HOST,), BUT_FRONT), ((STOCK,), Where())]
    assert _awaited(both) == [((HOST, STOCK), Where())]


def test_where_all_who_call_have_another_rule_the_manifest_is_refused() -> None:
    theirs = [_vs(namespace) for namespace in ("front", "shop", "billing")]
    with pytest.raises(BadInput, match=r"would ignore young \(IST0109\)"):
        _awaited(PUBLIC, *theirs)


def _page(*routes: tuple[str, str]) -> Object:
    hosts = [{"name": f"{host}:80", "routes": [{"name": name}]} for host, name in routes]
    return {"configs": [{"route_config": {"virtual_hosts": hosts}}]}


@pytest.mark.parametrize("there", [_vs(), PUBLIC])
def test_the_routes_for_a_pattern_are_not_awaited_of_who_knows_those_hosts_alone_that_others_route(
    there: Object,
) -> None:
    plan = Staged(Istio, [*WORLD, there])([_wide("shop", ("*",))])
    markers = [marker for marker in plan.markers if isinstance(marker, RouteHeld)]
    front = markers[-1]
    assert front.held([_page((HOST, "theirs"))]) is None
    assert front.held([_page((HOST, "theirs"), (STOCK, "default"))]) is False
    assert front.held([_page((HOST, "theirs"), (STOCK, f"{front.tag}0"))]) is True
    if there is not PUBLIC:
        assert markers[0].where == BUT_FRONT
        assert markers[0].held([_page((HOST, "default"))]) is False
