"""What each policy writes, where it writes it, and how a proxy shows it: on a cluster made of dicts."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest

from meshbdd.cluster import Cluster
from meshbdd.errors import BadInput
from meshbdd.intents import (
    Access,
    CircuitBreaker,
    Fault,
    Intent,
    Limit,
    Mirror,
    MutualTls,
    Retry,
    Scope,
    ServiceRef,
    Side,
    Split,
    Timeout,
    TlsMode,
)
from meshbdd.mesh import Context, Istio, Plan
from meshbdd.mesh.base import preview
from meshbdd.mesh.istio.arming import fault_settings
from meshbdd.mesh.markers import TransportTaken
from meshbdd.units import Duration, Percent

PAYMENT, ORDER = ServiceRef("payment-service", "shop"), ServiceRef("order-service", "shop")
MESHED = "security.istio.io/tlsMode"


def _obj(kind: str, name: str, spec: dict[str, Any], namespace: str = "shop", **meta: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace, **meta}, "spec": spec}


def _pod(app: str, version: str = "stable", account: str = "", namespace: str = "shop") -> dict[str, Any]:
    port = {"name": "http", "containerPort": 8080}
    spec = {"serviceAccountName": account or app, "containers": [{"ports": [port]}]}
    return _obj("Pod", f"{app}-{version}", spec, namespace, labels={"app": app, "version": version, MESHED: "istio"})


def _service(name: str) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return _obj("Service", name, {"selector": {"app": name}, "ports": ports})


class Objects:
    """As much of a cluster as planning reads."""

    context = "test"

    def __init__(self, *more: dict[str, Any]) -> None:
        pods = [_pod("payment-service"), _pod("order-service"), _pod("order-service", "canary"), _pod("client")]
        self.objects = [*pods, _service("payment-service"), _service("order-service"), *more]

    def list(self, kind: str, namespace: str | None = None, labels: str | None = None) -> list[dict[str, Any]]:
        return [
            o
            for o in self.objects
            if o["kind"] == kind
            and namespace in (None, o["metadata"]["namespace"])
            and all(
                (o["metadata"].get("labels") or {}).get(part.partition("=")[0]) == part.partition("=")[2]
                for part in (labels or "").split(",")
                if part
            )
        ]

    def find(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        return next((o for o in self.list(kind, namespace) if o["metadata"]["name"] == name), None)


def plan(intent: Intent, *more: dict[str, Any], context: Context | None = None) -> tuple[Plan, list[dict[str, Any]]]:
    """The plan, and what its edits make of the objects."""
    cluster = Objects(*more)
    made = Istio(cast("Cluster", cluster), "r1").plan(intent, context or Context())
    return made, [preview(edit, cluster.find(edit.kind, edit.name, edit.namespace)) for edit in made.edits]


VS = _obj(
    "VirtualService",
    "theirs",
    {
        "hosts": ["payment-service"],
        "http": [
            {"name": "a", "match": [{"uri": {"prefix": "/x"}}], "retries": {"attempts": 1, "perTryTimeout": "1s"},
             "route": [{"destination": {"host": "payment-service", "port": {"number": 80}}}]},
            {"route": [{"destination": {"host": "payment-service"}}]},
        ],
    },
)  # fmt: skip


def test_a_timeout_goes_into_copies_of_the_routes_that_govern() -> None:
    made, [vs] = plan(Timeout(PAYMENT, Duration(0.5)), VS)
    assert vs["metadata"]["name"] == "theirs"
    assert [route.get("timeout") for route in vs["spec"]["http"]] == ["500ms", "500ms", None, None]
    assert vs["spec"]["http"][2:] == VS["spec"]["http"]
    assert [str(marker) for marker in made.markers] == [f"route {made.tags[0]}*"]


def test_retries_keep_the_time_limit_of_a_try() -> None:
    _, [vs] = plan(Retry(PAYMENT, 3), VS)
    first, second = (route["retries"] for route in vs["spec"]["http"][:2])
    assert (first["attempts"], first["perTryTimeout"]) == (3, "1s")
    assert "perTryTimeout" not in second
    assert {"5xx", "reset", "connect-failure", "unavailable"} <= set(second["retryOn"].split(","))


def test_a_breaker_can_open_and_reaches_nested_policies() -> None:
    rule = _obj(
        "DestinationRule",
        "theirs",
        {
            "host": "payment-service",
            "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}, "portLevelSettings": [{"port": {"number": 80}}]},
            "subsets": [{"name": "v1", "trafficPolicy": {"outlierDetection": {"consecutive5xxErrors": 50}}}],
        },
    )
    made, [new] = plan(CircuitBreaker(PAYMENT, 5, Duration(3)), rule)
    wanted = {"consecutive5xxErrors": 5, "interval": "1s", "baseEjectionTime": "3s", "maxEjectionPercent": 100}
    policy = new["spec"]["trafficPolicy"]
    assert policy["loadBalancer"] == {"simple": "RANDOM"}
    assert policy["outlierDetection"] == policy["portLevelSettings"][0]["outlierDetection"] == wanted
    assert new["spec"]["subsets"][0]["trafficPolicy"]["outlierDetection"] == wanted
    assert "maxEjectionPercent 100" in made.reason
    assert new["spec"]["subsets"][1]["name"] in str(made.markers[0])


def test_a_limit_is_envoys_limit_of_requests() -> None:
    _, [rule] = plan(Limit(PAYMENT, 2))
    assert rule["metadata"]["name"] == "meshbdd-payment-service"
    assert rule["spec"]["trafficPolicy"] == {"connectionPool": {"http": {"http2MaxRequests": 2}}}


def test_a_split_makes_its_subsets_first() -> None:
    made, [rule, vs] = plan(Split(ORDER, (("stable", Percent(97.5)), ("canary", Percent(2.5)))))
    assert [subset["labels"] for subset in rule["spec"]["subsets"][:2]] == [
        {"version": "stable"},
        {"version": "canary"},
    ]
    assert [[e.kind for e in stage.edits] for stage in made.stages] == [["DestinationRule"], ["VirtualService"]]
    weights = {e["destination"]["subset"]: e["weight"] for e in vs["spec"]["http"][0]["route"]}
    assert weights == {"stable": 39, "canary": 1}


def test_a_subset_of_the_rule_is_taken_as_it_stands() -> None:
    known = {"host": "order-service", "subsets": [{"name": "new", "labels": {"version": "canary"}}]}
    _, [rule, vs] = plan(Mirror(ORDER, "new"), _obj("DestinationRule", "theirs", known))
    assert rule["spec"]["subsets"][0] == known["subsets"][0]  # type: ignore[index]
    assert vs["spec"]["http"][0]["mirrors"][0]["destination"]["subset"] == "new"


@pytest.mark.parametrize(
    ("intent", "words"),
    [
        (Split(ORDER, (("stable", Percent(90)), ("canary", Percent(20)))), "sum to 110%"),
        (Split(ORDER, (("stable", Percent(50)), ("stable", Percent(50)))), "stands twice"),
        (Split(ORDER, (("stable", Percent(99.999)), ("canary", Percent(0.001)))), '0.001% for "canary"'),
        (Mirror(ORDER, "beta"), 'no subset "beta" with a pod'),
        (Timeout(ServiceRef("paymnt-service", "shop"), Duration(1)), 'Service "paymnt-service" does not exist'),
        (Access(ServiceRef("client", "shop"), PAYMENT), 'Service "client" does not exist'),
    ],
)
def test_what_cannot_be_is_one_sentence(intent: Intent, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        plan(intent)
    assert words in caught.value.sentence
    assert caught.value.help


def test_strict_for_a_namespace_leaves_no_exception() -> None:
    old = _obj("PeerAuthentication", "old", {"mtls": {"mode": "PERMISSIVE"}}, creationTimestamp="2025")
    young = _obj("PeerAuthentication", "young", {"mtls": {"mode": "PERMISSIVE"}}, creationTimestamp="2026")
    one = _obj(
        "PeerAuthentication",
        "one",
        {"selector": {"matchLabels": {"app": "x"}}, "portLevelMtls": {"8080": {"mode": "DISABLE"}}},
    )
    made, new = plan(MutualTls(TlsMode.STRICT, "shop"), young, old, one)
    assert [obj["metadata"]["name"] for obj in new] == ["old", "one"]
    assert new[1]["spec"]["portLevelMtls"] == {"8080": {"mode": "STRICT"}}
    assert set(made.stages[0].renewed) == {PAYMENT, ORDER}


def _shown_by(*existing: dict[str, Any]) -> set[str]:
    """Services whose proxies have to show a manifest that makes a namespace strict."""
    strict = _obj("PeerAuthentication", "strict", {"mtls": {"mode": "STRICT"}})
    made = Istio(cast("Cluster", Objects(*existing)), "r1").plan_manifest([strict], Context())
    markers = [m for m in made.markers if isinstance(m, TransportTaken) and m.transports == {"tls"}]
    return {(marker.where.labels or {})["app"] for marker in markers}


def test_a_strict_manifest_is_not_awaited_where_an_exception_decides() -> None:
    """It would be awaited in vain, and a service that was left open would be inconclusive, not red."""
    of_payment = {"selector": {"matchLabels": {"app": "payment-service"}}}
    exception = _obj("PeerAuthentication", "x", {**of_payment, "mtls": {"mode": "PERMISSIVE"}})
    silent = _obj("PeerAuthentication", "x", of_payment)
    other = _obj("PeerAuthentication", "y", {"selector": {"matchLabels": {"app": "nobody"}}})
    assert _shown_by(other) == {"payment-service", "order-service"}
    assert _shown_by(silent) == {"payment-service", "order-service"}, "one without a mode leaves it to the namespace"
    assert _shown_by(exception) == {"order-service"}


def test_a_mode_for_one_service_has_its_selector() -> None:
    _, [new] = plan(MutualTls(TlsMode.DISABLED, "shop", PAYMENT))
    assert new["spec"] == {"selector": {"matchLabels": {"app": "payment-service"}}, "mtls": {"mode": "DISABLE"}}


def _team(mode: str, name: str = "team", created: str = "2025", **labels: str) -> dict[str, Any]:
    spec = {"selector": {"matchLabels": labels}, "mtls": {"mode": mode}}
    return _obj("PeerAuthentication", name, spec, creationTimestamp=created)


def _strict(*existing: dict[str, Any], service: ServiceRef = PAYMENT) -> list[str]:
    """The policies that become strict by a step for a service."""
    _, new = plan(MutualTls(TlsMode.STRICT, "shop", service), *existing)
    assert all(obj["spec"]["mtls"] == {"mode": "STRICT"} for obj in new)
    return [obj["metadata"]["name"] for obj in new]


def test_the_policy_that_decides_for_the_pods_of_a_service_is_changed_whatever_the_service_selects() -> None:
    """A second one beside it would be ignored: the oldest counts."""
    assert _strict(_team("PERMISSIVE", account="none")) == ["meshbdd-payment-service"]
    only_payment = _pod("payment-service", "two") | {"metadata": {**_pod("payment-service", "two")["metadata"]}}
    only_payment["metadata"]["labels"] = {**only_payment["metadata"]["labels"], "tier": "back"}
    assert _strict(only_payment, _team("PERMISSIVE", tier="back")) == ["team", "meshbdd-payment-service"]
    both = [_team("PERMISSIVE", "young", "2026", app="payment-service"), _team("PERMISSIVE", app="payment-service")]
    assert _strict(*both) == ["team"]
    assert _strict(_team("PERMISSIVE", app="order-service", version="canary"), service=ORDER) == [
        "team",
        "meshbdd-order-service",
    ]


def test_a_policy_that_decides_for_pods_of_others_as_well_is_not_changed() -> None:
    with pytest.raises(BadInput) as caught:
        plan(STRICT, _team("PERMISSIVE", version="stable"))
    assert caught.value.code == "MB0492"
    assert (
        "PeerAuthentication team decides for its pods, and for pod order-service-stable as well"
        in caught.value.sentence
    )
    assert caught.value.help == "give team a selector that takes pods of payment-service.shop alone"
    with pytest.raises(BadInput) as caught:
        plan(STRICT, _team("PERMISSIVE", "meshbdd-all", version="stable"))
    assert caught.value.help == "take the step that made meshbdd-all into another scenario"
    assert _strict(_team("STRICT", version="stable")) == ["team"], "it says so already"
    older = [_team("PERMISSIVE", f"old-{app}", "2024", app=app) for app in ("order-service", "client")]
    assert _strict(_team("PERMISSIVE", version="stable"), *older) == ["team"], "others have older ones"
    bare = _obj("Pod", "bare", {}, labels={"app": "x", "version": "canary"})
    assert _strict(_team("PERMISSIVE", app="payment-service"), bare) == ["team"]


def test_only_one_may_call_also_where_others_are_allowed() -> None:
    _, [allow] = plan(Access(ORDER, PAYMENT))
    principal = "cluster.local/ns/shop/sa/order-service"
    assert allow["spec"]["rules"] == [{"from": [{"source": {"principals": [principal]}}]}]
    _, new = plan(Access(ORDER, PAYMENT), _obj("AuthorizationPolicy", "theirs", {"rules": [{}]}))
    assert [(o["spec"]["action"], o["spec"]["rules"][0]["from"][0]["source"]) for o in new] == [
        ("ALLOW", {"principals": [principal]}),
        ("DENY", {"notPrincipals": [principal]}),
    ]


def test_a_shared_account_tells_nobody_apart() -> None:
    with pytest.raises(BadInput, match="shares its service account"):
        plan(Access(ORDER, PAYMENT), _pod("other", account="order-service"))


def test_a_fault_at_the_server_is_armed_and_then_switched() -> None:
    made, _ = plan(Fault(PAYMENT, Percent(50), status=503, at=Side.SERVER))
    [arm] = made.standing
    assert arm.renewed == (PAYMENT,)
    off, on = (arm.edits[0].new or {})["spec"]["configPatches"], made.edits[0].make(None)
    assert off[0] == on[0], "the listeners stay as they are"
    assert "abort" not in off[1]["patch"]["value"]["typed_config"]
    assert on[1]["patch"]["value"]["typed_config"]["abort"]["http_status"] == 503
    second, _ = plan(Fault(PAYMENT, delay=Duration(1), at=Side.SERVER), context=Context((made,)))
    assert second.edits[0].name != made.edits[0].name, "one filter holds one fault"


@pytest.mark.parametrize(
    "intent",
    [Fault(PAYMENT, status=503, at=Side.SERVER), Access(ORDER, PAYMENT), MutualTls(TlsMode.STRICT, "shop", PAYMENT)],
)
def test_a_change_of_listeners_is_one_for_the_callers_of_every_service_of_their_pods(intent: Intent) -> None:
    beside = _obj("Service", "payment-alt", {"selector": {"version": "stable", "app": "payment-service"}, "ports": []})
    made, _ = plan(intent, beside)
    [renewed] = [stage.renewed for stage in (*made.standing, *made.stages) if stage.renewed]
    assert renewed == (PAYMENT, ServiceRef("payment-alt", "shop"))


def test_the_scope_of_a_fault_at_the_server() -> None:
    scope = Scope(method="POST", path="/charge.now", headers={"X-User": "qa"})
    settings = fault_settings(Fault(PAYMENT, Percent(2.5), status=503, scope=scope), ("ns/shop/sa/order-service",), "t")
    assert settings["abort"]["percentage"] == {"numerator": 25_000, "denominator": "MILLION"}
    by_name = {h["name"]: h["string_match"] for h in settings["headers"]}
    assert by_name["x-user"] == {"exact": "qa"}
    assert by_name[":method"] == {"exact": "POST"}
    path, identity = (re.compile(by_name[n]["safe_regex"]["regex"]) for n in (":path", "x-forwarded-client-cert"))
    assert [bool(path.fullmatch(p)) for p in ("/charge.now", "/charge.now?a=1", "/chargexnow", "/charge.now/2")] == [
        True, True, False, False,
    ]  # fmt: skip
    own = 'By=spiffe://td/ns/shop/sa/payment;Hash=ab;Subject="";URI=spiffe://td/ns/shop/sa/order-service'
    assert identity.fullmatch(own)
    assert identity.fullmatch(f"By=x;URI=spiffe://td/ns/shop/sa/client,{own}")
    assert not identity.fullmatch(f"{own},By=x;URI=spiffe://td/ns/shop/sa/client"), "the last element is the caller"
    assert not identity.fullmatch(own + "-2")


_OWN_NAMES = ["payment-service", "Payment-Service.shop:80", "payment-service.shop.svc", "payment-service-shadow:80",
              "payment-service.shop.svc.cluster.local", "payment-service.shop.svc.cluster.local.:8080"]  # fmt: skip
_STRANGE_NAMES = ["payment-alt", "payment-alt.shop", "payment-service-2", "x.payment-service", "x.payment-service.shop", "payment-service.other",
                  "payment-service.shopx", "payment-service.shop.example.com", "10.0.0.7:80", "payment-serviceXshop"]  # fmt: skip


def _fault_at_shared_pods(**alt: Any) -> tuple[Plan, Plan]:
    """Plans of a fault at the server for each of two Services of the same pods."""
    beside = _obj(
        "Service", "payment-alt", {**_service("payment-alt")["spec"], "selector": {"app": "payment-service"}, **alt}
    )
    first, _ = plan(Fault(PAYMENT, status=503, at=Side.SERVER), beside)
    second, _ = plan(Fault(ServiceRef("payment-alt", "shop"), status=503, at=Side.SERVER), beside)
    return first, second


def test_a_fault_at_pods_of_several_services_is_for_calls_by_the_names_of_its_own() -> None:
    alone, _ = plan(Fault(PAYMENT, status=503, at=Side.SERVER))
    assert not alone.authority
    assert ":authority" not in str(alone.edits[0].make(None)), "no other Service has its pods"
    made, _ = _fault_at_shared_pods()
    [header] = made.edits[0].make(None)[1]["patch"]["value"]["typed_config"]["headers"]
    assert header == {"name": ":authority", "string_match": {"safe_regex": {"regex": made.authority}}}
    assert [name for name in _OWN_NAMES if not re.fullmatch(made.authority, name)] == []
    assert [name for name in _STRANGE_NAMES if re.fullmatch(made.authority, name)] == []
    assert made.reason.endswith("for calls by its own names alone, since payment-alt.shop selects its pods, too")
    assert made.standing[0].edits[0].new == alone.standing[0].edits[0].new, "it is armed as ever"


@pytest.mark.parametrize(("address", "taken"), [("10.0.0.7", False), ("None", True)])
def test_the_names_of_a_headless_service_are_those_of_its_pods_as_well(address: str, *, taken: bool) -> None:
    _, made = _fault_at_shared_pods(clusterIP=address)
    assert re.fullmatch(made.authority, "payment-alt.shop:80")
    assert bool(re.fullmatch(made.authority, "db-0.payment-alt.shop.svc:80")) is taken
    assert not re.fullmatch(made.authority, "payment-service.shop")
    assert not re.fullmatch(made.authority, "db-0.payment-alt"), "that may be a service of another namespace"


def test_a_policy_that_would_never_see_the_fault_in_force_is_refused() -> None:
    fault, _ = plan(Fault(PAYMENT, status=503, at=Side.CALLER))
    with pytest.raises(BadInput, match="would never see the fault in force"):
        plan(Retry(PAYMENT, 2), context=Context((fault,)))


def test_each_namespace_with_a_virtual_service_of_its_own_is_served() -> None:
    private = _obj("VirtualService", "mine", {**VS["spec"], "hosts": ["payment-service.shop.svc.cluster.local"],
                                              "exportTo": ["."]}, "other")  # fmt: skip
    made, new = plan(Timeout(PAYMENT, Duration(1)), VS, private, _pod("client", namespace="other"))
    assert [obj["metadata"]["namespace"] for obj in new] == ["other", "shop"]
    assert [marker.where.namespace for marker in made.markers] == ["other", "shop"]


def test_who_shows_no_identity_cannot_be_told_from_others() -> None:
    plain = ServiceRef("client-plain", "shop")
    pod = _obj("Pod", "client-plain-1", {"serviceAccountName": "plain"}, labels={"app": "client-plain"})
    service = _service("client-plain")
    for intent in (
        Access(plain, PAYMENT),
        Fault(PAYMENT, status=503, scope=Scope(called_by=plain), at=Side.SERVER),
    ):
        with pytest.raises(BadInput, match="its pod client-plain-1 has no sidecar") as caught:
            plan(intent, pod, service)
        assert caught.value.code == "MB0474"


STRICT = MutualTls(TlsMode.STRICT, "shop", PAYMENT)
BARE = _obj("Pod", "payment-service-bare", {}, labels={"app": "payment-service"})


@pytest.mark.parametrize("intent", [STRICT, Access(ORDER, PAYMENT), Fault(PAYMENT, status=503, at=Side.SERVER)])
def test_what_a_pod_without_a_sidecar_would_not_do_is_refused(intent: Intent) -> None:
    with pytest.raises(BadInput, match="pod payment-service-bare has no sidecar") as caught:
        plan(intent, BARE)
    assert caught.value.code == "MB0428"
    plan(intent, {**BARE, "status": {"phase": "Succeeded"}})  # nobody calls what has ended


def test_a_mode_that_is_true_of_a_pod_without_a_sidecar_needs_none_there() -> None:
    for mode in (TlsMode.PERMISSIVE, TlsMode.DISABLED):
        plan(MutualTls(mode, "shop", PAYMENT), BARE)
    plan(MutualTls(TlsMode.STRICT, "shop"), BARE)  # such pods are in a namespace on purpose


LEGACY = ServiceRef("legacy", "plain")
PLAIN = (
    _obj("Namespace", "plain", {}),
    _obj("Service", "legacy", {"selector": {"app": "legacy"}, "ports": [{"port": 80}]}, "plain"),
    _obj("Pod", "legacy-0", {}, "plain", labels={"app": "legacy"}),
)


@pytest.mark.parametrize(
    "intent",
    [MutualTls(mode, "plain", service) for mode in TlsMode for service in (None, LEGACY)]
    + [Access(ORDER, LEGACY), Fault(PAYMENT, status=503, scope=Scope(called_by=LEGACY), at=Side.CALLER)],
)
def test_what_no_pod_is_there_to_hold_is_refused_before_it_is_written(intent: Intent) -> None:
    with pytest.raises(BadInput, match="legacy-0"):
        plan(intent, *PLAIN)


def test_a_world_that_does_not_tell_who_has_a_sidecar_refuses_nothing() -> None:
    untold = [obj for obj in PLAIN if obj["kind"] != "Namespace"]
    plan(MutualTls(TlsMode.STRICT, "plain", LEGACY), *untold)
