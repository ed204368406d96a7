"""Where and how policies of Linkerd are seen to arrive, and to go: on a cluster made of dicts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshbdd.mesh import Linkerd
from meshbdd.mesh.base import Plan, Where
from meshbdd.mesh.linkerd.selecting import selects
from meshbdd.mesh.linkerd.server_markers import ServerHeld
from tests.unit.product.staged import Staged

Object = dict[str, Any]
GROUP = "policy.linkerd.io"


def _obj(kind: str, name: str, spec: Object, version: str = f"{GROUP}/v1alpha1", **labels: str) -> Object:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop", "labels": labels},
        "spec": spec,
    }


def _pod(app: str, ports: Object) -> Object:
    listed = [{"name": name, "containerPort": number} for name, number in ports.items()]
    spec = {"serviceAccountName": app, "containers": [{"name": "app", "ports": listed}]}
    return _obj("Pod", app, spec, "v1", app=app, **{"linkerd.io/control-plane-ns": "linkerd"})


def _server(name: str, selector: Object, port: str | int = "http") -> Object:
    return _obj("Server", name, {"podSelector": selector, "port": port}, f"{GROUP}/v1beta3")


def _policy(target: Object, *required: str) -> Object:
    refs = [{"group": GROUP, "kind": "MeshTLSAuthentication", "name": name} for name in required]
    return _obj("AuthorizationPolicy", "mine", {"targetRef": target, "requiredAuthenticationRefs": refs})


def _world(*more: Object) -> Staged:
    pods = [_pod("backup", {"http": 8080}), _pod("pair", {"http": 8080}), _pod("client", {})]
    return Staged(Linkerd, [*pods, *more])


def _met(plan: Plan) -> list[tuple[str, list[str]]]:
    """The markers of a plan, and the pods at which each is looked for."""
    pods = {pod["metadata"]["name"]: pod["metadata"] for pod in _world().cluster.list("Pod", "shop")}
    markers = [marker for stage in plan.stages for marker in stage.markers]
    return [(str(marker), sorted(name for name in pods if marker.where.takes(pods[name]))) for marker in markers]


ANYBODY = _obj("MeshTLSAuthentication", "anybody", {"identities": ["*"]})
NAMESPACE = {"kind": "Namespace", "name": "shop"}
SERVER = {"group": GROUP, "kind": "Server", "name": "s"}
BACKUP, PAIR = {"matchLabels": {"app": "backup"}}, {"matchLabels": {"app": "pair"}}


@pytest.mark.parametrize(
    ("selector", "picked"),
    [
        ({}, True),
        (None, True),
        ({"matchLabels": {"app": "a"}}, True),
        ({"matchLabels": {"app": "b"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["a"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In"}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Exists", "values": ["a"]}]}, False),
        (
            {
                "matchLabels": {"app": "a"},
                "matchExpressions": [{"key": "tier", "operator": "Exists"}],
            },
            False,
        ),
    ],
)
def test_which_labels_a_selector_picks(selector: Object | None, picked: bool) -> None:
    assert selects(selector, {"app": "a"}) is picked


@pytest.mark.parametrize(
    ("selector", "port", "pods"),
    [
        (BACKUP, "http", ["backup"]),
        ({}, "http", ["backup", "pair"]),
        ({}, 8080, ["backup", "client", "pair"]),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["pair", "client"]}]}, 8080, ["backup"]),
    ],
)
def test_a_server_is_looked_for_at_the_pods_at_which_it_decides(
    selector: Object, port: str | int, pods: list[str]
) -> None:
    [(_, met)] = _met(_world()([_server("s", selector, port)]))
    assert met == pods


def test_a_server_is_not_looked_for_at_pods_whose_proxies_its_port_is_led_past() -> None:
    skipping = _pod("skipping", {"http": 8080})
    skipping["metadata"]["annotations"] = {"config.linkerd.io/skip-inbound-ports": "25,8000-8080"}
    plan = _world(skipping)([_server("s", {}, "http")])
    [marker] = plan.stages[-1].markers
    assert not marker.where.takes(skipping["metadata"])


@pytest.mark.parametrize(
    ("expression", "met"),
    [
        ({"key": "app", "operator": "In", "values": ["backup"]}, {"backup"}),
        ({"key": "app", "operator": "NotIn", "values": ["pair", "client"]}, {"backup", "fault", "bare"}),
        ({"key": "fault", "operator": "Exists"}, {"fault"}),
        ({"key": "app", "operator": "DoesNotExist"}, {"fault", "bare"}),
    ],
)
def test_pods_that_start_meanwhile_are_told_by_what_a_servers_expressions_ask_for(
    expression: Object, met: set[str]
) -> None:
    """Such as a fault backend's, or those of a Deployment that grows: none of them is known as the change is planned."""
    there = [
        _obj("Pod", word, _pod(word, {"http": 8080})["spec"], "v1", **{word: "known"}) for word in ("fault", "tier")
    ]
    plan = _world(*there)([_server("s", {"matchExpressions": [expression]}, 8080)])
    [marker] = plan.stages[-1].markers
    labels = {"backup": {"app": "backup"}, "pair": {"app": "pair"}, "fault": {"fault": "x"}, "bare": {}}
    new = {name: {"name": f"{name}-new", "namespace": "shop", "labels": own} for name, own in labels.items()}
    assert {name for name, pod in new.items() if marker.where.takes(pod)} == met


def test_a_pod_at_which_a_server_does_not_decide_is_known_when_it_is_started_anew() -> None:
    plan = _world()([_server("s", {}, "http")])
    [marker] = plan.stages[-1].markers
    client = _pod("client", {})["metadata"]
    assert not marker.where.takes({**client, "name": "client-2"})
    more = {**client["labels"], "version": "v2"}
    assert marker.where.takes({**client, "name": "client-3", "labels": more}), "one with other labels may have the port"


def test_a_server_for_pods_that_come_with_it_is_looked_for_by_their_labels() -> None:
    template = {"metadata": {"labels": {"app": "new"}}, "spec": _pod("new", {"http": 8080})["spec"]}
    deployment = _obj("Deployment", "new", {"template": template}, "apps/v1")
    plan = _world()([deployment, _server("s", {}, "http")])
    [marker] = plan.stages[-1].markers
    assert marker.where.takes({"name": "new-1", "namespace": "shop", "labels": {"app": "new"}})
    assert not marker.where.takes({"name": "client", "namespace": "shop", "labels": {"app": "client"}})


def _pages(host: Object) -> list[Object]:
    """A proxy's pages of routes and listeners, whose one listener goes by a table of this virtual host."""
    manager = {"typed_config": {"rds": {"route_config_name": "inbound:8080"}}}
    listener = {"name": "inbound", "filter_chains": [{"filters": [manager]}]}
    table = {"name": "inbound:8080", "virtual_hosts": [host]}
    return [{"configs": [{"route_config": table}]}, {"configs": [{"active_state": {"listener": listener}}]}]


@pytest.mark.parametrize(
    ("access", "allowed", "held"), [("deny", "audit", True), ("audit", "audit", False), ("audit", "other", False)]
)
def test_a_policy_by_the_name_of_an_access_policy_is_none(access: str, allowed: str, *, held: bool) -> None:
    policies: Object = {f"{GROUP}|authorizationpolicy|{allowed}": {}}
    settings = {"envoy.filters.http.rbac": {"rbac": {"rules": {"policies": policies}}}}
    host = {"name": "server..s", "routes": [{"route": {"cluster": "inbound"}, "typed_per_filter_config": settings}]}
    marker = ServerHeld("s", access, frozenset({allowed}), Where("shop"))
    assert marker.held(_pages(host)) is held


def test_what_a_port_that_no_pod_declares_says_of_its_first_connection_is_not_the_servers() -> None:
    def route(server: str, policy: str) -> Object:
        rbac: Object = {"rbac": {"rules": {"policies": {policy: {}}}}}
        return {
            "route": {"cluster": "inbound"},
            "metadata": {"filter_metadata": {"linkerd": {"server": server}}},
            "typed_per_filter_config": {"envoy.filters.http.rbac": rbac},
        }

    default, own = (
        route("|default|deny", "|default|all-unauthenticated"),
        route(f"{GROUP}|server|s", "|default|all-authenticated"),
    )
    marker = ServerHeld("s", "all-authenticated", frozenset(), Where("shop"))
    for routes, held in (([default, own], True), ([default], False)):
        host = {"name": "server..s", "routes": routes}
        assert marker.held(_pages(host)) is held


def _filled(server: Object) -> Object:
    """A Server as the API has it."""
    return server | {"spec": {"accessPolicy": "deny", "proxyProtocol": "unknown"} | server["spec"]}


@pytest.mark.parametrize(
    ("manifest", "met"),
    [
        ([_server("s", BACKUP)], []),
        ([_server("s", BACKUP), ANYBODY, _policy(SERVER, "anybody")], [("Server s with the access policy deny", ["backup"])]),
        ([_server("s", {})], [("Server s with the access policy deny", ["pair"])]),
        ([_server("s", BACKUP) | {"spec": _server("s", BACKUP)["spec"] | {"proxyProtocol": "HTTP/1"}}],
         [("effect of Server s", ["backup"])]),
    ],
)  # fmt: skip
def test_of_a_server_that_is_there_what_the_api_fills_in_is_no_change(
    manifest: list[Object], met: list[tuple[str, list[str]]]
) -> None:
    """Nothing of it would ever show in a proxy."""
    assert _met(_world(_filled(_server("s", BACKUP)))(manifest)) == met


def test_a_policy_for_a_route_of_the_same_manifest_arrives_with_the_route() -> None:
    parent = {"group": GROUP, "kind": "Server", "name": "s"}
    route = _obj("HTTPRoute", "r", {"parentRefs": [parent], "rules": [{}]}, "gateway.networking.k8s.io/v1")
    target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "r"}
    plan = _world(_server("s", BACKUP), ANYBODY)([_policy(target, "anybody"), route])
    assert _met(plan) == [("effect of HTTPRoute r", ["backup"])]


def _leaving(world: Staged, plan: Plan) -> list[tuple[str, list[str]]]:
    markers = [marker for stage in plan.stages for marker in world.mesh.leaving(stage)]
    pods = world.cluster.list("Pod", "shop")
    return [(str(m), [p["metadata"]["name"] for p in pods if m.where.takes(p["metadata"])]) for m in markers]


def test_what_a_later_policy_requires_is_seen_to_go_at_the_policys_servers() -> None:
    world = _world()
    required = world([ANYBODY])
    assert _leaving(world, required) == [], "nobody requires it yet"
    world([_server("s", BACKUP), _policy({"group": GROUP, "kind": "Server", "name": "s"}, "anybody")])
    assert _leaving(world, required) == [("effect of the withdrawal of MeshTLSAuthentication anybody", ["backup"])]


def test_a_policy_for_a_namespace_is_seen_to_go_at_servers_that_came_later() -> None:
    world = _world(_server("s", BACKUP), ANYBODY)
    policy = world([_policy(NAMESPACE, "anybody")])
    assert _leaving(world, policy) == [], "its own marker looks there"
    world([_server("t", PAIR)])
    assert _leaving(world, policy) == [("effect of the withdrawal of AuthorizationPolicy mine", ["pair"])]
    world.cluster.delete(ANYBODY)
    assert _leaving(world, policy) == [], "Linkerd has left it out already"


@pytest.mark.parametrize("required", [True, False])
def test_a_policy_that_goes_with_what_is_deleted_is_seen_to_go_by_its_name(*, required: bool) -> None:
    made = {"layers": [{"id": "1", "path": ["spec"], "original": None}], "owner": {"host": "", "pid": 1, "started": ""}}
    record = made | {"run": "r1", "cluster": "", "uid": "", "created": True}
    world = _world(_server("t", PAIR)) if required else _world(_server("s", BACKUP), ANYBODY)
    plan = world([ANYBODY if required else _policy(NAMESPACE, "anybody")])
    world([_policy(NAMESPACE, "anybody")] if required else [_server("t", PAIR)])
    [edit] = plan.edits
    there = world.cluster.find(edit.kind, edit.name, edit.namespace)
    assert there is not None
    there["metadata"]["annotations"] = {"meshbdd.dev/undo": json.dumps(record)}
    world.cluster.replace(there)
    [marker] = [marker for stage in plan.stages for marker in world.mesh.leaving(stage)]
    assert str(marker) == "Server t without mine"

    def held(*tables: Object) -> bool | None:
        hosts: list[Object] = [
            {
                "name": "server..t",
                "routes": [{"typed_per_filter_config": {"envoy.filters.http.rbac": {"rbac": {"rules": rules}}}}],
            }
            for rules in tables
        ]
        in_use = [{"active_state": {"route_config_name": str(number)}} for number in range(len(hosts))]
        routes: list[Object] = [
            {"route_config": {"name": str(n), "virtual_hosts": [host]}} for n, host in enumerate(hosts)
        ]
        left_over = {
            "route_config": {"name": "opaque by now", "virtual_hosts": routes[0]["route_config"]["virtual_hosts"]}
        }
        assert marker.held([{"configs": [left_over]}, {"configs": in_use}]) is True
        return marker.held([{"configs": routes}, {"configs": in_use}])

    with_it: Object = {"policies": {f"{GROUP}|authorizationpolicy|mine": {}}}
    assert [held(with_it, with_it), held({}, with_it), held({}, {})] == [False, False, True]


def _auth(name: str) -> Object:
    return _obj("MeshTLSAuthentication", name, {"identities": [name]})


def _staged(plan: Plan) -> list[tuple[list[str], list[str]]]:
    return [([edit.name for edit in s.edits], [str(marker) for marker in s.markers]) for s in plan.stages]


def test_an_authentication_that_a_changed_policy_asks_for_only_then_changes_nothing_by_itself() -> None:
    there = _world(_server("s", BACKUP), _auth("one"), _policy(SERVER, "one"))
    assert _staged(there([_auth("two"), _policy(SERVER, "two")])) == [
        (["two"], []),
        (["mine"], ["effect of AuthorizationPolicy mine"]),
    ]


@pytest.mark.parametrize("names", [("one", "two"), ("two", "one")])
def test_a_policy_comes_with_the_last_of_what_it_lacked(names: tuple[str, str]) -> None:
    there = _world(_server("s", BACKUP), _policy(SERVER, "one", "two"))
    first, last = names
    assert _staged(there([_auth(first), _auth(last)])) == [
        ([first], []),
        ([last], [f"effect of MeshTLSAuthentication {last}"]),
    ]
