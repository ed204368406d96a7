"""A Server's policies add up: what lets pass whom a step keeps out is refused, whichever of the two comes first."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.errors import BadInput, NotPossible
from meshbdd.intents import Access, Fault, Intent, Mention, MutualTls, ServiceRef, TlsMode, Topic
from meshbdd.mesh import Plan
from meshbdd.mesh.base import preview
from meshbdd.sidecars import FAULT_LABEL
from meshbdd.units import Duration
from tests.unit.product.staged import Staged
from tests.unit.product.test_linkerd import ORDER, PAYMENT, _obj, _pod, _server, _service
from tests.unit.product.test_linkerd_manifests_beside_faults import ACCRUAL, world

Object = dict[str, Any]
GROUP = "policy.linkerd.io"
STRICT = MutualTls(TlsMode.STRICT, "shop", PAYMENT)
STRICT_ALL = MutualTls(TlsMode.STRICT, "shop")
PERMISSIVE = MutualTls(TlsMode.PERMISSIVE, "shop", PAYMENT)
ONLY = Access(ORDER, PAYMENT)
NAMESPACE: Object = {"kind": "Namespace", "name": "shop"}
THEIRS: Object = {"group": GROUP, "kind": "Server", "name": "theirs"}
THE_NEXT: Object = {"group": GROUP, "kind": "Server", "name": "next"}
ROUTE: Object = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "probe"}

ANYWHERE = _obj("NetworkAuthentication", "anywhere", {"networks": [{"cidr": "0.0.0.0/0"}]}, f"{GROUP}/v1alpha1")


def _matching(*matches: Object) -> Object:
    spec = {"parentRefs": [THEIRS], "rules": [{"matches": list(matches)}] if matches else []}
    return _obj("HTTPRoute", "probe", spec, "gateway.networking.k8s.io/v1")


def _exactly(path: str, **more: str) -> Object:
    return {"path": {"type": "Exact", "value": path}, **more}


PROBE: Object = _exactly("/healthz", method="GET")
FROM_ANYWHERE: Object = {"group": GROUP, "kind": "NetworkAuthentication", "name": "anywhere"}
CALLERS: Object = {"group": GROUP, "kind": "MeshTLSAuthentication", "name": "callers"}
THE_ORDERS: Object = {"kind": "ServiceAccount", "name": "order-service", "namespace": "shop"}
THE_CLIENT: Object = {"kind": "ServiceAccount", "name": "client"}
IDENTITY = "order-service.shop.serviceaccount.identity.linkerd.cluster.local"


def _callers(**spec: Any) -> Object:
    return _obj("MeshTLSAuthentication", "callers", spec, f"{GROUP}/v1alpha1")


def _policy(target: Object, *required: Object) -> Object:
    spec = {"targetRef": target, "requiredAuthenticationRefs": list(required)}
    return _obj("AuthorizationPolicy", "mine", spec, f"{GROUP}/v1alpha1")


def _older(server: str = "theirs", **client: Any) -> Object:
    return _obj("ServerAuthorization", "mine", {"server": {"name": server}, "client": client}, f"{GROUP}/v1beta1")


OPENING = [
    [_policy(THEIRS, FROM_ANYWHERE), ANYWHERE],
    [_policy(NAMESPACE, FROM_ANYWHERE), ANYWHERE],
    [_policy(ROUTE, FROM_ANYWHERE), ANYWHERE, _matching(PROBE)],  # no pod has such a probe
    [_policy(THEIRS)],
    [_older(unauthenticated=True)],
    [_older(meshTLS={"unauthenticatedTLS": True})],
]
"""What lets callers without an identity pass."""
ASKING = [
    [_policy(THEIRS, CALLERS), _callers(identities=["*"])],
    [_policy(THEIRS, FROM_ANYWHERE, CALLERS), _callers(identities=["*"]), ANYWHERE],
    [_policy(THEIRS, THE_CLIENT)],
    [_older(meshTLS={"identities": ["*"]})],
    [_older("another", unauthenticated=True)],
]
"""What lets pass whoever has some identity, or is for others."""
CONFINED = [
    [_policy(THEIRS, CALLERS), _callers(identityRefs=[THE_ORDERS])],
    [_policy(THEIRS, CALLERS), _callers(identities=[IDENTITY])],
    [_policy(THEIRS, FROM_ANYWHERE, THE_ORDERS), ANYWHERE],
    [_older(meshTLS={"serviceAccounts": [{"name": "order-service"}]})],
    [_policy(THEIRS, FROM_ANYWHERE)],  # Linkerd leaves it out, since what it requires is not there
]
"""What lets nobody pass but order-service."""
WIDER = [
    [_policy(THEIRS, CALLERS), _callers(identityRefs=[THE_ORDERS, THE_CLIENT])],
    [_policy(THEIRS, CALLERS), _callers(identityRefs=[{"kind": "Namespace", "name": "order-service"}])],
    [_policy(THEIRS, CALLERS), _callers(identities=[IDENTITY, "*.shop.serviceaccount.identity.linkerd.cluster.local"])],
    [_policy(NAMESPACE, THE_CLIENT)],
    [_older(meshTLS={"serviceAccounts": [{"name": "order-service"}, {"name": "client"}]})],
]
"""What lets others with an identity pass."""


@pytest.mark.parametrize("access", ["deny", "all-unauthenticated", "all-authenticated"])
@pytest.mark.parametrize("policies", OPENING)
def test_strict_is_refused_beside_a_policy_that_lets_callers_without_an_identity_pass(
    policies: list[Object], access: str
) -> None:
    for intent in (STRICT, STRICT_ALL):
        with pytest.raises(
            BadInput, match=r"would not come true: .* mine lets callers without an identity pass"
        ) as caught:
            world(_server(access), *policies)(intent)
        assert caught.value.code == "MB0448"
    own = "let mine require a MeshTLSAuthentication as well"
    if policies[0]["kind"] == "ServerAuthorization":
        own = "let mine name the callers' identities (client.meshTLS)"
    if policies[0]["spec"].get("targetRef") == ROUTE:
        own = f"where it is for probes let HTTPRoute probe match GET of their paths alone (type: Exact), else {own}"
    assert caught.value.help == own


def _probed(version: str = "stable", **probes: Object) -> Object:
    pod = _pod("payment-service", version)
    pod["spec"]["containers"][0].update({name: {"httpGet": get} for name, get in probes.items()})
    return pod


READY = {"path": "/ready", "port": 8080}
PODS = [
    _probed(livenessProbe={"path": "/healthz", "port": "http"}, readinessProbe=READY),
    _probed("canary", startupProbe={"path": "/healthz?slow", "port": 8080}, readinessProbe=READY),
]


@pytest.mark.parametrize("intent", [STRICT, STRICT_ALL, ONLY])
@pytest.mark.parametrize("matches", [[PROBE], [PROBE, _exactly("/ready", method="GET")]])
def test_a_policy_that_opens_the_probes_alone_is_none_of_those(matches: list[Object], intent: Intent) -> None:
    policies = [_policy(ROUTE, FROM_ANYWHERE), ANYWHERE, _matching(*matches)]
    world(*PODS, _server("deny"), *policies)(intent)
    there = world(*PODS, _server("deny"))
    there(intent)
    there(policies)


@pytest.mark.parametrize(
    ("pods", "matches"),
    [
        (PODS, [{"path": {"type": "PathPrefix", "value": "/healthz"}, "method": "GET"}]),
        (PODS, [{"path": {"value": "/healthz"}, "method": "GET"}]),
        (PODS, [_exactly("/healthz")]),
        (PODS, [_exactly("/healthz", method="POST")]),
        (PODS, [PROBE, _exactly("/pay", method="GET")]),
        (PODS, []),
        (PODS[:1], [PROBE]),
        ([PODS[0], _probed("canary", livenessProbe={"path": "/healthz", "port": 9090})], [PROBE]),
    ],
)
def test_one_that_opens_more_than_the_probes_is_refused(pods: list[Object], matches: list[Object]) -> None:
    for intent in (STRICT, ONLY):
        with pytest.raises(BadInput, match=r"AuthorizationPolicy mine lets callers .*pass") as caught:
            world(*pods, _server("deny"), _policy(ROUTE, FROM_ANYWHERE), ANYWHERE, _matching(*matches))(intent)
        assert (caught.value.help or "").startswith(
            "where it is for probes let HTTPRoute probe match GET of their paths"
        )


@pytest.mark.parametrize("policies", [*ASKING, *CONFINED])
def test_strict_stands_beside_policies_that_require_an_identity(policies: list[Object]) -> None:
    there = world(_server("deny"))
    there(STRICT)
    if not _lacks(policies):
        there(policies)
    world(_server("deny"), *policies)(STRICT)


def _lacks(policies: list[Object]) -> bool:
    """Whether a manifest of these would be refused for what it names and nobody has."""
    return policies == [_policy(THEIRS, FROM_ANYWHERE)] or policies[0]["spec"].get("server") == {"name": "another"}


def test_strict_is_refused_where_a_policy_of_the_namespace_is_for_the_server_that_it_would_make() -> None:
    with pytest.raises(BadInput, match="mine lets callers without an identity pass"):
        world(_policy(NAMESPACE, FROM_ANYWHERE), ANYWHERE)(STRICT)


def test_permissive_leaves_such_policies_alone() -> None:
    world(_server("deny"), *OPENING[0])(PERMISSIVE)


@pytest.mark.parametrize("intent", [STRICT, STRICT_ALL, ONLY])
@pytest.mark.parametrize("policies", OPENING)
def test_a_manifest_that_lets_callers_without_an_identity_pass_is_refused(
    policies: list[Object], intent: Intent
) -> None:
    there = world(_server("deny"))
    there(intent)
    with pytest.raises(
        BadInput, match=r"With the manifest «.*» would not be true any more: .* mine of the manifest"
    ) as caught:
        there(policies)
    assert caught.value.code == "MB0448"


@pytest.mark.parametrize("policies", WIDER)
def test_only_is_refused_beside_policies_that_let_others_pass_whichever_is_first(policies: list[Object]) -> None:
    with pytest.raises(BadInput, match="mine lets callers pass as well") as caught:
        world(_server("deny"), *policies)(ONLY)
    assert caught.value.help == "have mine let nobody pass but order-service.shop"
    there = world(_server("deny"))
    there(ONLY)
    with pytest.raises(BadInput, match="mine of the manifest lets callers pass as well"):
        there(policies)


@pytest.mark.parametrize("policies", CONFINED)
def test_only_stands_beside_a_policy_that_lets_the_caller_alone_pass(policies: list[Object]) -> None:
    made = world(_server("deny"), *policies)(ONLY)
    assert "AuthorizationPolicy.policy.linkerd.io" in {edit.kind for edit in made.edits}
    if not _lacks(policies):
        there = world(_server("deny"))
        there(ONLY)
        there(policies)


def test_a_manifest_that_widens_what_a_policy_that_stands_requires_is_refused() -> None:
    there = world(_server("deny"), *CONFINED[0])
    there(ONLY)
    with pytest.raises(BadInput, match="AuthorizationPolicy mine lets callers pass as well"):
        there([_callers(identityRefs=[THE_ORDERS, THE_CLIENT])])


def test_a_manifest_that_brings_what_a_policy_that_stands_requires_is_refused() -> None:
    there = world(_server("deny"), *CONFINED[-1])
    there(STRICT)
    with pytest.raises(BadInput, match="AuthorizationPolicy mine lets callers without an identity pass"):
        there([ANYWHERE])


def _moved() -> Object:
    server = _server("deny")
    server["spec"]["podSelector"] = {"matchLabels": {"app": "order-service"}}
    return server


@pytest.mark.parametrize(
    ("access", "wanted", "how"),
    [
        ("all-authenticated", _server("all-unauthenticated"), "open Server theirs"),
        ("deny", _server("audit"), "open Server theirs"),
        ("deny", _moved(), "take Server theirs away from pods of payment-service.shop"),
    ],
)
def test_a_manifest_may_not_change_a_server_that_strict_found_as_it_should_be(
    access: str, wanted: Object, how: str
) -> None:
    there = world(_server(access))
    there(STRICT)
    with pytest.raises(BadInput, match=f"would {how}, by which «{STRICT}» is in force") as caught:
        there([wanted])
    assert (caught.value.code, caught.value.help) == ("MB0471", "apply the manifest before that step")
    before = world(_server(access))
    before([wanted])
    before(STRICT)


def test_a_manifest_may_change_such_a_server_as_long_as_it_asks_for_an_identity() -> None:
    for access, wanted in (("all-authenticated", "deny"), ("deny", "all-authenticated")):
        there = world(_server(access))
        there(STRICT)
        there([_server(wanted)])


def test_the_latest_mode_of_a_service_is_the_one_that_a_manifest_is_held_against() -> None:
    there = world(_server("deny"))
    there(STRICT)
    there(PERMISSIVE)
    there(OPENING[0])


def _of_the_same_pods() -> tuple[Staged, ServiceRef]:
    twin = _service("payment-twin")
    twin["spec"]["selector"] = {"app": "payment-service"}
    return world(twin, _service("cart"), _pod("cart")), ServiceRef("payment-twin", "shop")


def test_of_two_steps_about_callers_of_the_same_pods_the_other_one_is_named() -> None:
    there, twin = _of_the_same_pods()
    there(ONLY)
    told = (
        r"«only order-service.shop may call payment-service.shop» is in force and lets order-service.shop pass as well"
    )
    for service, shared in (
        (PAYMENT, ", and"),
        (twin, ", as payment-service.shop and payment-twin.shop share pods, and"),
    ):
        with pytest.raises(BadInput, match=told + shared) as caught:
            there(Access(ServiceRef("cart", "shop"), service))
        assert (caught.value.code, caught.value.help) == ("MB0448", "have the two steps in different scenarios")


def test_the_same_caller_may_be_the_only_one_of_services_that_share_pods() -> None:
    there, twin = _of_the_same_pods()
    there(ONLY)
    there(Access(ORDER, twin))


# A fault backend in the place of the endpoints


def _stood_in(*more: Object) -> Staged:
    """A world in which a fault backend is in the place of payment-service, as the scenery of its scenario puts it there."""
    said = (Mention(Topic.BREAKER, PAYMENT, "opens"), Mention(Topic.FAULT, PAYMENT, "fails"))
    there = world(_service("payment-service", annotations=ACCRUAL), *more, said=said)
    for stage in there.mesh.early(there.context):
        for edit in stage.edits:
            there.cluster.replace(preview(edit, there.cluster.find(edit.kind, edit.name, edit.namespace)))
    for needed in there.mesh.scenery(there.context):
        there.write(needed)
    return there


def _chosen(plan: Plan) -> dict[str, tuple[Object, int, str]]:
    made = [edit.new for edit in plan.edits if edit.new is not None and edit.kind == "Server"]
    return {
        new["metadata"]["name"]: (
            new["spec"]["podSelector"]["matchLabels"],
            new["spec"]["port"],
            new["spec"]["accessPolicy"],
        )
        for new in made
    }


OWN, BACKEND = {"app": "payment-service"}, {FAULT_LABEL: "payment-service"}


@pytest.mark.parametrize(("mode", "access"), [(STRICT, "all-authenticated"), (PERMISSIVE, "all-unauthenticated")])
def test_a_mode_holds_for_the_services_own_pods_and_for_the_fault_backend_in_their_place(
    mode: MutualTls, access: str
) -> None:
    made = {
        "meshbdd-payment-service-8080": (OWN, 8080, access),
        "meshbdd-payment-service-8080-fault": (BACKEND, 8080, access),
    }
    assert _chosen(_stood_in()(mode)) == made
    whole = _chosen(_stood_in()(MutualTls(mode.mode, "shop")))
    assert {name: spec for name, spec in whole.items() if "payment" in name} == made


@pytest.mark.parametrize(
    ("there", "access"),
    [
        ([_server("all-authenticated")], "all-authenticated"),
        ([_server("audit")], "all-unauthenticated"),
        ([_server("deny"), _policy(THEIRS, CALLERS), _callers(identities=["*"])], "all-authenticated"),
        ([_server("deny"), *OPENING[0]], "all-unauthenticated"),
        ([], None),
    ],
)
def test_a_fault_backend_takes_plaintext_where_the_pods_do_in_whose_place_it_comes(
    there: list[Object], access: str | None
) -> None:
    [scenery] = _stood_in(*there).plans
    assert _chosen(scenery) == (
        {"meshbdd-payment-service-8080-fault": (BACKEND, 8080, access)} if access is not None else {}
    )
    assert scenery.edits[-1].path == ("spec", "selector"), "no call comes before it is so"


def test_strict_holds_at_a_fault_backend_that_a_later_manifest_needs() -> None:
    there = world(said=(Mention(Topic.FAULT, PAYMENT, "it fails"),))
    assert there.mesh.scenery(there.context) == ()
    there(STRICT)
    there(
        [
            {
                **_service("payment-service"),
                "metadata": {"name": PAYMENT.name, "namespace": "shop", "annotations": ACCRUAL},
            }
        ]
    )
    [needed] = there.mesh.scenery(there.context)
    assert _chosen(needed) == {"meshbdd-payment-service-8080-fault": (BACKEND, 8080, "all-authenticated")}


def test_a_server_that_decides_for_the_own_pods_is_changed_while_a_fault_backend_is_in_their_place() -> None:
    plan = _stood_in(_server("all-unauthenticated"))(STRICT)
    assert [edit.name for edit in plan.edits] == ["theirs", "meshbdd-payment-service-8080-fault"]


def test_what_keeps_strict_from_the_own_pods_is_told_while_a_fault_backend_is_in_their_place() -> None:
    with pytest.raises(BadInput, match="mine lets callers without an identity pass"):
        _stood_in(_server("all-authenticated"), *OPENING[0])(STRICT)
    there = _stood_in(_server("all-authenticated"))
    there(STRICT)
    with pytest.raises(BadInput, match="mine of the manifest lets callers without an identity pass"):
        there(OPENING[0])
    bare = _pod("payment-service", "bare")
    del bare["metadata"]["labels"]["linkerd.io/control-plane-ns"]
    with pytest.raises(BadInput, match="pod payment-service-bare has no sidecar"):
        _stood_in(bare)(STRICT)
    past = _pod("payment-service", "past")
    past["metadata"]["annotations"] = {"config.linkerd.io/skip-inbound-ports": "8080"}
    with pytest.raises(BadInput, match="would not hold at port 8080 of pod payment-service-past"):
        _stood_in(past)(STRICT)


def test_only_is_refused_while_a_fault_backend_is_in_the_place_of_the_pods_whichever_service_selects_them() -> None:
    twin = _service("payment-twin")
    twin["spec"]["selector"] = {"app": "payment-service"}
    for service, shared in ((PAYMENT, ""), (ServiceRef("payment-twin", "shop"), "; .* share pods")):
        with pytest.raises(NotPossible, match=f"the calls that go on come from the fault backend.*{shared}") as caught:
            _stood_in(twin)(Access(ORDER, service))
        assert (caught.value.code, caught.value.help) == (
            "MB0449",
            "have faults and the policy in different scenarios",
        )


@pytest.mark.parametrize(
    ("fault", "how"),
    [
        (Fault(ServiceRef("payment-twin", "shop"), delay=Duration(0.3)), "the calls that go on come from the fault"),
        (Fault(ServiceRef("payment-twin", "shop"), status=503), "the fault backend answers, and holds the policies"),
    ],
)
def test_only_is_refused_after_a_fault_of_a_service_that_shares_the_pods(fault: Fault, how: str) -> None:
    there, _twin = _of_the_same_pods()
    there(fault)
    with pytest.raises(NotPossible, match=f"{how}.*; payment-twin.shop and payment-service.shop share pods") as caught:
        there(ONLY)
    assert caught.value.code == "MB0449"
    there(Access(ORDER, ServiceRef("cart", "shop")))


def test_a_mode_for_a_service_undoes_none_of_another_one_with_the_same_pods() -> None:
    there, twin = _of_the_same_pods()
    there(STRICT)
    for_twin = MutualTls(TlsMode.PERMISSIVE, "shop", twin)
    told = (
        f"«{for_twin}» would undo «{STRICT}», which is in force: payment-service.shop and payment-twin.shop share pods"
    )
    with pytest.raises(BadInput, match=told) as caught:
        there(for_twin)
    assert (caught.value.code, caught.value.help) == ("MB0448", "have the two steps in different scenarios")
    there(MutualTls(TlsMode.STRICT, "shop", twin))


def test_an_exception_from_the_mode_of_a_namespace_holds_for_pods_that_other_services_select_too() -> None:
    there, _twin = _of_the_same_pods()
    there.cluster.create(_server("deny"))
    there(STRICT_ALL)
    there(PERMISSIVE)
    there(OPENING[0])


def test_an_exception_holds_at_the_ports_of_its_service_alone() -> None:
    other = _service("payment-admin")
    other["spec"] |= {"selector": {"app": "payment-service"}, "ports": [{"port": 9000, "targetPort": 9090}]}
    there = world(other, _server("deny"), _server("deny", name="admin", port=9090))
    there(STRICT_ALL)
    there(PERMISSIVE)
    there(OPENING[0])
    with pytest.raises(BadInput, match="would open Server admin"):
        there([_server("all-unauthenticated", name="admin", port=9090)])


def _of_orders(server: Object) -> Object:
    server["spec"]["podSelector"] = {"matchLabels": {"app": "order-service"}}
    return server


@pytest.mark.parametrize("access", ["all-unauthenticated", "audit", None])
def test_strict_is_lost_where_another_server_that_is_open_takes_over(access: str | None) -> None:
    """A Server that was there for others keeps its age, and its policies."""
    there = world(_server("all-authenticated"), _of_orders(_server("deny", name="next")), _policy(THE_NEXT))
    there(STRICT)
    manifest = [_of_orders(_server("all-authenticated")), _server(access or "deny", name="next")]
    told = (
        f"The manifest would have Server next decide at pods of payment-service.shop instead of Server theirs, by which «{STRICT}»"
        if access
        else "With the manifest .* would not be true any more: AuthorizationPolicy mine lets callers without an identity"
    )
    with pytest.raises(BadInput, match=told):
        there(manifest)


def test_strict_may_pass_to_another_server_that_asks_for_an_identity() -> None:
    there = world(_server("all-authenticated"), _of_orders(_server("all-authenticated", name="next")))
    there(STRICT)
    there([_of_orders(_server("all-authenticated")), _server("all-authenticated", name="next")])


def test_only_is_lost_where_another_server_takes_over() -> None:
    there = world(_server("deny"), _of_orders(_server("deny", name="a-older")))
    there(ONLY)
    with pytest.raises(
        BadInput, match=r"would have Server a-older decide at pods of payment-service.shop instead of Server theirs"
    ):
        there([_server("all-authenticated", name="a-older")])
