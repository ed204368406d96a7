"""A DestinationRule for a pattern of hosts: what a step does for one of them leaves the others alone."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest

from meshbdd.errors import BadInput
from meshbdd.intents import CircuitBreaker, Intent, Limit, Mirror, ServiceRef, Split
from meshbdd.lab.compile import Mesh, compile_pod
from meshbdd.mesh import Istio
from meshbdd.mesh.base import Dump
from meshbdd.mesh.istio.hosts import governing_rule, ruled_host
from meshbdd.mesh.markers import CLUSTERS, SubsetHeld
from meshbdd.sense import check
from meshbdd.sense.ruling import Rules
from meshbdd.units import Duration, Percent
from tests.golden.meaning import world
from tests.unit.product.staged import Staged

ORDER = ServiceRef("order-service", "shop")
SERVICES = ("order-service", "payment-service", "inventory-service")
BREAKER, LIMIT = CircuitBreaker(ORDER, 3, Duration(5)), Limit(ORDER, 2)
Object = dict[str, Any]


def _rule(host: str = "*.shop.svc.cluster.local", namespace: str = "shop", name: str = "wide", **more: Any) -> Object:
    meta = {"name": name, "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:00Z"}
    policy = {"tls": {"mode": "ISTIO_MUTUAL"}, "loadBalancer": {"simple": "RANDOM"}}
    spec = {
        "host": host,
        "trafficPolicy": policy,
        "subsets": [{"name": "one", "labels": {"version": "stable"}}],
        **more,
    }
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": meta,
        "spec": copy.deepcopy(spec),
    }


def _world(*rules: Object) -> Staged:
    return Staged(Istio, [*world(), *copy.deepcopy(rules)])


def _rules(there: Staged) -> dict[str, Object]:
    return {f"{r['metadata']['name']}.{r['metadata']['namespace']}": r for r in there.cluster.list("DestinationRule")}


def _clusters(there: Staged) -> dict[str, Object]:
    """The clusters of a caller in another namespace, by service."""
    objects = [*world(), *there.cluster.list("DestinationRule")]
    found = compile_pod(Mesh.read(objects), "client-1", "other").to_json()["clusters"]
    told = {name: found[f"outbound|80||{name}.shop.svc.cluster.local"] for name in SERVICES}
    return {name: {**cluster, "metadata": None} for name, cluster in told.items()}  # it names the rule


@pytest.mark.parametrize(
    ("host", "namespace"), [("*.shop.svc.cluster.local", "shop"), ("*.local", "istio-system"), ("*", "istio-system")]
)
@pytest.mark.parametrize(("intent", "field"), [(BREAKER, "outlier_detection"), (LIMIT, "circuit_breakers")])
def test_a_policy_for_one_service_leaves_the_others_alone(
    intent: Intent, field: str, namespace: str, host: str
) -> None:
    theirs = _rule(host, namespace)
    before = _clusters(_world(theirs))
    there = _world(theirs)
    there(intent)
    after = _clusters(there)
    assert {name: after[name] for name in SERVICES[1:]} == {name: before[name] for name in SERVICES[1:]}
    assert after["order-service"].pop(field) != before["order-service"].pop(field, None)
    assert after["order-service"] == before["order-service"], "all else that the pattern's rule says stays"
    assert _rules(there)[f"wide.{namespace}"]["spec"] == theirs["spec"]


def test_the_services_own_rule_has_the_words_of_that_for_the_pattern() -> None:
    theirs = _rule(exportTo=["*"])
    there = _world(theirs)
    [edit] = there(BREAKER).edits
    own = _rules(there)["meshbdd-order-service.shop"]["spec"]
    marker = own["subsets"].pop()
    assert own.pop("host") == ORDER.host
    assert own["trafficPolicy"].pop("outlierDetection")["consecutive5xxErrors"] == 3
    assert own == {key: value for key, value in theirs["spec"].items() if key != "host"}
    assert marker["labels"] == {"meshbdd.dev/marker": marker["name"]}
    assert edit.of == ("DestinationRule", "wide", "shop")


@pytest.mark.parametrize(
    "later", [LIMIT, Split(ORDER, (("stable", Percent(50)), ("canary", Percent(50)))), Mirror(ORDER, "canary")]
)
def test_a_later_step_changes_the_same_rule(later: Intent) -> None:
    there = _world(_rule())
    there(BREAKER)
    there(later)
    assert _rules(there).keys() == {"wide.shop", "meshbdd-order-service.shop"}
    spec = _rules(there)["meshbdd-order-service.shop"]["spec"]
    assert spec["trafficPolicy"]["outlierDetection"]["consecutive5xxErrors"] == 3
    assert len(spec["subsets"]) > 2
    assert _rules(there)["wide.shop"]["spec"] == _rule()["spec"]


def test_no_sense_check_takes_the_two_for_rivals() -> None:
    there = _world(_rule())
    before = check(there.cluster.list("Namespace") + _everything(there))
    there(BREAKER)
    assert check(there.cluster.list("Namespace") + _everything(there)) == before


def _everything(there: Staged) -> list[Object]:
    return [o for kind in ("Service", "Pod", "DestinationRule", "VirtualService") for o in there.cluster.list(kind)]


def test_a_rule_in_another_namespace_is_named_by_the_services_too() -> None:
    there = _world(_rule(namespace="istio-system"))
    there(BREAKER)
    assert _rules(there).keys() == {"wide.istio-system", "meshbdd-order-service.shop.istio-system"}


def test_two_rules_for_one_host_that_istio_would_merge_are_not_made() -> None:
    private = _rule(exportTo=["."])
    public = _rule("order-service", name="own")
    hidden = _rule("order-service", name="own", exportTo=["."])
    for rules in ([private], [_rule(), hidden], [private, _rule("*.local", name="wider")]):
        with pytest.raises(BadInput) as caught:
            _world(*rules)(BREAKER)
        assert caught.value.code == "MB0491"
        assert "order-service.shop" in caught.value.sentence
    there = _world(private, public)  # in their own namespace the exact one counts, too
    there(BREAKER)
    assert _rules(there)["own.shop"]["spec"]["trafficPolicy"]["outlierDetection"]


def test_a_manifest_after_it_may_not_say_what_istio_would_not_look_at() -> None:
    there = _world(_rule())
    there(BREAKER)
    for document in (_rule(), _rule("order-service", name="exact"), _rule("*.local", name="wider")):
        with pytest.raises(BadInput, match="is in force, so Istio would ignore what") as caught:
            there([document])
        assert caught.value.code == "MB0409"
    there([_rule("payment-service", name="others")])
    first = _world()
    first([_rule()])
    first(BREAKER)
    with pytest.raises(BadInput, match=r"cannot be removed: .* by a copy of its DestinationRule wide") as caught:
        first.mesh.see_removable(first.plans[:1], first.plans[1:], dict)
    assert caught.value.code == "MB0316"
    first.mesh.see_removable(first.plans[1:], first.plans[:1], dict)


def test_where_no_rule_is_one_is_made_as_before() -> None:
    there = _world()
    [edit] = there(BREAKER).edits
    assert (edit.name, edit.namespace, edit.of) == ("meshbdd-order-service", "shop", None)
    assert cast("Object", edit.new)["spec"]["host"] == ORDER.host


def _held(
    there: Staged, documents: list[Object], others: tuple[Object, ...] = (), namespace: str = "other"
) -> list[bool | None]:
    """Apply a manifest; what of its markers, and before that, a caller's proxy shows that holds the rules as they then are."""
    markers = [m for stage in there(documents).stages for m in stage.markers if isinstance(m, SubsetHeld)]
    caller = {"name": "client-1", "namespace": namespace, "labels": {}}
    rules = _rules(there).values()
    return [m.held([_page([*rules, *others], namespace), _NOTHING]) for m in markers if m.where.takes(caller)]


_NOTHING: Dump = {}


def _page(rules: list[Object], namespace: str) -> Dump:
    pod = {"other": "client-1", "shop": "order-stable-1"}[namespace]
    found = compile_pod(Mesh.read([*world(), *rules]), pod, namespace).to_json()["clusters"]
    return {"configs": [{"cluster": cluster} for cluster in found.values()]}


_EXACT = _rule("order-service", name="exact")
HERE, THERE = ({"name": "client-1", "namespace": name, "labels": {"app": "client"}} for name in ("shop", "other"))


@pytest.mark.parametrize(
    ("before", "documents", "markers"),
    [
        ([], [_rule()], 1),
        ([], [_rule("*.local", "istio-system")], 1),
        ([], [_rule(exportTo=["other", "."])], 1),
        ([_EXACT], [_rule()], 1),
        ([], [_EXACT, _rule()], 2),
        ([], [_rule(), _EXACT], 2),
        ([], [_EXACT], 1),
        ([], [_rule("order-service", name="one"), _rule("order-service", name="two")], 2),
        ([_rule(ORDER.host, "istio-system")], [_EXACT], 1),
        ([], [_rule(ORDER.host, "other")], 1),
        ([_EXACT], [_rule(ORDER.host, "other")], 1),
    ],
)
def test_a_manifests_rule_for_a_pattern_is_seen_at_each_service_that_it_governs(
    before: list[Object], documents: list[Object], markers: int
) -> None:
    found = _held(_world(*before), documents)
    assert found == [True] * markers


def test_the_hosts_of_a_pattern_are_those_that_no_rule_before_it_governs() -> None:
    there = _world(_EXACT)
    [marker] = there([_rule()]).stages[0].markers
    assert isinstance(marker, SubsetHeld)
    assert ORDER.host not in marker.governed
    assert set(marker.governed) >= {f"{name}.shop.svc.cluster.local" for name in SERVICES[1:]}
    wanted = _rules(there)["wide.shop"]
    assert marker.held([_page([_EXACT, wanted], "other"), _NOTHING]) is True
    assert marker.held([_page([_EXACT], "other"), _NOTHING]) is False, "not yet there"
    assert marker.held([_NOTHING, _NOTHING]) is None, "knows none of them"
    one = {
        "configs": [c for c in _page([_EXACT, wanted], "other")["configs"] if "payment-service" in c["cluster"]["name"]]
    }
    assert marker.held([one, _NOTHING]) is True, "the others it does not know"
    assert marker.held([_page([_EXACT, wanted], "other"), one]) is False, "on its way"
    assert marker.pages[0] == CLUSTERS


def test_a_pattern_that_takes_no_service_in_is_left_to_the_gate() -> None:
    [marker] = _world()([_rule("*.nowhere.svc.cluster.local")]).stages[0].markers
    assert isinstance(marker, SubsetHeld)
    assert marker.governed == ()


def test_a_rule_for_a_pattern_and_some_pods_is_seen_at_these() -> None:
    chosen = {"matchLabels": {"app": "order-service"}}
    [marker] = _world(_rule(name="all"))([_rule(workloadSelector=chosen)]).stages[0].markers
    assert isinstance(marker, SubsetHeld)
    assert set(marker.governed) >= {f"{name}.shop.svc.cluster.local" for name in SERVICES}
    assert (marker.where.namespace, marker.where.labels) == ("shop", {"app": "order-service"})


@pytest.mark.parametrize("selector", [None, {"matchLabels": {"app": "client"}}])
@pytest.mark.parametrize("standing", [True, False])
def test_a_manifest_after_it_may_not_overrule_it_for_some_callers(
    standing: bool, selector: dict[str, Any] | None
) -> None:
    there = _world(*[_rule("order-service", name="own")] * standing)
    there(BREAKER)
    theirs = _rule(ORDER.host, "other", "theirs", **({"workloadSelector": selector} if selector else {}))
    with pytest.raises(
        BadInput, match=r"callers in namespace other take what DestinationRule theirs.other says"
    ) as caught:
        there([theirs])
    action = (
        "have the manifest and that step in different scenarios" if selector else "apply the manifest before that step"
    )
    assert (caught.value.code, caught.value.help) == ("MB0497", action)
    there([_rule("payment-service.shop.svc.cluster.local", "other", "others")])
    with pytest.raises(BadInput, match="comes before it") as caught:
        there([_rule(ORDER.host, "istio-system", "root")])
    assert caught.value.code == "MB0499"


def test_a_manifest_after_it_may_not_stand_beside_a_rule_that_it_changed() -> None:
    there = _world(_rule("order-service", name="own"))
    there(BREAKER)
    with pytest.raises(BadInput, match="is in force, so Istio would ignore what exact says") as caught:
        there([_rule("order-service", name="exact")])
    assert caught.value.help == "write it into own, before that step"
    there([_rule()])  # which Istio takes for others of its namespace alone, with the step and without


@pytest.mark.parametrize("host", [ORDER.host, "*.shop.svc.cluster.local"])
def test_a_rule_of_callers_own_namespace_is_awaited_of_them_alone(host: str) -> None:
    there = _world()
    theirs = _rule(host, "other")
    markers = [m for m in there([theirs]).markers if isinstance(m, SubsetHeld)]
    written = [*_rules(there).values()]
    for meta, namespace, awaited, held in ((THERE, "other", True, True), (HERE, "shop", False, None)):
        [marker] = [m for m in markers if m.where.takes(meta)]
        assert (marker.awaited, marker.held([_page(written, namespace), _NOTHING])) == (awaited, held)
        assert marker.held([_page([], namespace), _NOTHING]) is (False if awaited else None)


def test_callers_that_come_to_hold_a_rule_later_are_to_lose_it_with_its_end() -> None:
    there = _world(_rule(ORDER.host, "other", "theirs"))
    [marker] = [m for m in there([_EXACT]).markers if m.where.takes(THERE)]
    written = _rules(there)["exact.shop"]
    assert marker.held([_page([*_rules(there).values()], "other"), _NOTHING]) is None
    assert marker.held([_page([written], "other"), _NOTHING]) is True


def test_a_host_that_is_no_service_is_awaited_of_whoever_knows_it() -> None:
    for host in ("out.example", "nowhere.shop.svc.cluster.local"):
        [marker] = _world()([_rule(host, "other")]).markers
        assert marker == SubsetHeld(host, marker.subset)  # type: ignore[attr-defined] # a SubsetHeld


@pytest.mark.parametrize(
    ("there", "written", "why", "action"),
    [
        ([], _rule(ORDER.host, "third"),
         "callers in other, shop look in their own namespace, in the service's and in istio-system, and not in third", "move it"),
        ([_EXACT], _rule(ORDER.host, "istio-system"), "DestinationRule exact.shop comes before it", "write what it says into"),
        ([_rule()], _rule("*.local", "shop", "wider"), "DestinationRule wide.shop comes before it", "write what it says into"),
        ([_rule("*.shop.svc.cluster.local")], _rule("*.local", "istio-system"), "DestinationRule wide.shop", "write what it says into"),
        ([], _rule(ORDER.host, "other", exportTo=["shop"]), "callers in shop look in", "move it"),
    ],
)  # fmt: skip
def test_a_rule_that_no_caller_would_take_is_refused(
    there: list[Object], written: Object, why: str, action: str
) -> None:
    with pytest.raises(BadInput) as caught:
        _world(*there)([written])
    assert caught.value.code == "MB0499"
    assert why in caught.value.sentence
    assert (caught.value.help or "").startswith(action)


def test_a_rule_for_some_pods_counts_whatever_it_is_exported_to() -> None:
    chosen = {"matchLabels": {"app": "client"}}
    [marker] = _world()([_rule(ORDER.host, "other", workloadSelector=chosen, exportTo=["shop"])]).markers
    assert (marker.where.namespace, marker.where.labels) == ("other", {"app": "client"})


def test_where_nobody_knows_the_pods_a_rule_is_awaited_of_everybody() -> None:
    there = Staged(Istio, [obj for obj in world() if obj["kind"] not in {"Pod", "Deployment"}])
    [marker] = there([_rule(ORDER.host, "third")]).markers
    assert marker.where == SubsetHeld("", "").where


def test_callers_of_the_root_namespace_take_the_services_rule_before_one_for_the_mesh() -> None:
    public, private = _rule("*.local", "istio-system"), _rule("*.local", "istio-system", exportTo=["."])
    for rules, governs in (([public, _EXACT], _EXACT), ([private, _EXACT], private), ([public], public)):
        assert governing_rule(ORDER, rules, "istio-system") is governs


def test_a_step_makes_no_rule_beside_one_that_only_some_callers_see() -> None:
    with pytest.raises(
        BadInput, match=r"own.shop is for order-service.shop and not exported to all of its callers"
    ) as caught:
        _world(_rule("order-service", name="own", exportTo=["other"]))(BREAKER)
    assert (caught.value.code, caught.value.help) == ("MB0491", "export own.shop to all callers of order-service.shop")
    _world(_rule("payment-service", name="own", exportTo=["other"]))(BREAKER)


def test_a_step_is_not_taken_where_some_pods_have_a_rule_of_their_own() -> None:
    selector = {"matchLabels": {"app": "client"}}
    for rule in (_rule(ORDER.host, "other", "some", workloadSelector=selector), _rule(workloadSelector=selector)):
        with pytest.raises(BadInput, match="is for some pods of its namespace alone") as caught:
            _world(rule)(BREAKER)
        assert caught.value.code == "MB0489"
    _world(_rule(ORDER.host, "nobody", "some", workloadSelector=selector))(BREAKER)


@pytest.mark.parametrize(
    ("host", "told"), [("order-service", "callers that see both would take"), ("*.local", "Istio would ignore what")]
)
def test_a_manifest_after_it_that_only_some_callers_see_goes_into_a_scenario_of_its_own(host: str, told: str) -> None:
    there = _world()
    there(BREAKER)
    with pytest.raises(BadInput, match=told) as caught:
        there([_rule(host, name="some", exportTo=["other"])])
    assert (caught.value.code, caught.value.help) == (
        "MB0409",
        "have the manifest and that step in different scenarios",
    )


@pytest.mark.parametrize(
    ("exact", "caller", "governs"),
    [
        (["other"], "other", "exact"),
        (["other"], "team", None),
        (["other"], "shop", "wide"),
        (["."], "team", "wide"),
        (["."], "shop", "exact"),
        (None, "team", "exact"),
    ],
)
def test_a_host_is_found_before_it_is_asked_who_sees_its_rule(
    exact: list[str] | None, caller: str, governs: str | None
) -> None:
    rules = [_rule(), _rule("order-service", name="exact", **({"exportTo": exact} if exact else {}))]
    found = governing_rule(ORDER, rules, caller)
    assert (found and found["metadata"]["name"]) == governs
    sensed = Rules([(ruled_host(rule), rule) for rule in rules], "istio-system").governing(ORDER.host, "shop", caller)
    assert [rule["metadata"]["name"] for rule in sensed] == ([governs] if governs else [])
