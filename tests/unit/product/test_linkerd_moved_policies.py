"""Changed policies of Linkerd are awaited where they come, where they go, and as they are taken back."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from meshbdd.mesh.base import Marker, Plan, Where
from meshbdd.mesh.linkerd.authorizing import is_at, is_for
from meshbdd.mesh.linkerd.server_markers import ServerHeld
from meshbdd.mesh.markers import LISTENERS, ROUTES
from tests.unit.product.staged import Staged
from tests.unit.product.test_linkerd_policy_arrival import (
    ANYBODY,
    BACKUP,
    GROUP,
    NAMESPACE,
    PAIR,
    _met,
    _obj,
    _pod,
    _policy,
    _server,
    _world,
)

Object = dict[str, Any]
Met = list[tuple[str, list[str]]]

SOMEBODY = _obj("MeshTLSAuthentication", "somebody", {"identities": ["a"]})
GATEWAY = "gateway.networking.k8s.io"


def _at(server: str) -> Object:
    return {"group": GROUP, "kind": "Server", "name": server}


def _two(*more: Object) -> Staged:
    """Server s at backup, and t at pair."""
    return _world(_server("s", BACKUP), _server("t", PAIR), ANYBODY, SOMEBODY, *more)


def _open(server: str, selector: Object, **more: Any) -> Object:
    made = _server(server, selector)
    made["spec"] |= {"accessPolicy": "all-unauthenticated"} | more
    return made


def _named(kind: str, **spec: Any) -> Object:
    return _obj(kind, "mine", spec, f"{GROUP}/v1beta1")


def _on_route(name: str) -> Object:
    return {"group": GATEWAY, "kind": "HTTPRoute", "name": name}


def _route(*servers: str, **more: Any) -> Object:
    parents = [_at(server) for server in servers]
    return _obj("HTTPRoute", "r", {"parentRefs": parents, "rules": [{}], **more}, f"{GATEWAY}/v1")


CHOSEN = {"name": "s"}, {"name": "t"}
ANY = {"unauthenticated": True}
GONE, COME = ("Server s without mine", ["backup"]), ("Server t with the access policy deny", ["pair"])


def _effect(what: str, pod: str) -> tuple[str, list[str]]:
    return f"effect of {what}", [pod]


@pytest.mark.parametrize(
    ("live", "wanted", "met"),
    [
        (_policy(_at("s"), "anybody"), _policy(_at("t"), "anybody"), [GONE, COME]),
        (_policy(_at("s"), "anybody"), _policy(_at("t"), "somebody"), [GONE, COME]),
        (_policy(NAMESPACE, "anybody"), _policy(_at("t"), "anybody"), [GONE]),
        (_policy(_at("s"), "anybody"), _policy(NAMESPACE, "anybody"), [COME]),
        (
            _policy(NAMESPACE, "anybody"),
            _policy(_at("t"), "somebody"),
            [GONE, _effect("AuthorizationPolicy mine", "pair")],
        ),
        (
            _policy(_at("s"), "anybody"),
            _policy(_at("s"), "somebody"),
            [_effect("AuthorizationPolicy mine", "backup")],
        ),
        (
            _policy(_at("s"), "anybody"),
            _policy(_on_route("r"), "anybody"),
            [_effect("AuthorizationPolicy mine", "backup")],
        ),
        (
            _named("ServerAuthorization", server=CHOSEN[0], client=ANY),
            _named("ServerAuthorization", server=CHOSEN[1], client=ANY),
            [GONE, _effect("ServerAuthorization mine", "pair")],
        ),
        (
            _named("HTTPLocalRateLimitPolicy", targetRef=_at("s"), total={"requestsPerSecond": 1}),
            _named("HTTPLocalRateLimitPolicy", targetRef=_at("t"), total={"requestsPerSecond": 1}),
            [_effect("HTTPLocalRateLimitPolicy mine", pod) for pod in ("backup", "pair")],
        ),
        (_route("s"), _route("t"), [_effect("HTTPRoute r", pod) for pod in ("backup", "pair")]),
        (_policy(_at("s"), "anybody"), _policy(_at("s"), "anybody"), []),
    ],
)
def test_a_changed_policy_is_awaited_where_it_comes_and_where_it_goes(live: Object, wanted: Object, met: Met) -> None:
    there = [] if live["kind"] == "HTTPRoute" else [_route("s")]
    assert _met(_two(*there, live)([wanted])) == met


def test_a_policy_that_goes_over_to_a_route_of_the_same_manifest_is_gone_where_it_was() -> None:
    world = _two(_policy(_at("s"), "anybody"))
    met = _met(world([_policy(_on_route("r"), "anybody"), _route("t")]))
    assert met == [GONE, _effect("HTTPRoute r", "pair")]


def test_a_policy_that_was_left_out_is_not_seen_to_go() -> None:
    """Linkerd leaves out what requires something that is not there."""
    world = _world(_server("s", BACKUP), _server("t", PAIR), ANYBODY, _policy(_at("s"), "nobody"))
    assert _met(world([_policy(_at("t"), "anybody")])) == [COME]


def test_what_a_policy_requires_is_not_awaited_as_long_as_something_else_that_it_requires_lacks() -> None:
    policy = _policy(_at("s"), "anybody")
    policy["spec"]["requiredAuthenticationRefs"].append(
        {"group": GROUP, "kind": "NetworkAuthentication", "name": "near"}
    )
    assert _met(_world(_server("s", BACKUP), policy)([ANYBODY])) == []
    near = _obj("NetworkAuthentication", "near", {"networks": []})
    met = _met(_world(_server("s", BACKUP), policy, near)([ANYBODY]))
    assert met == [_effect("MeshTLSAuthentication anybody", "backup")]


def test_what_pods_without_a_proxy_alone_could_show_is_not_awaited() -> None:
    bare = _pod("bare", {"http": 8080})
    del bare["metadata"]["labels"]["linkerd.io/control-plane-ns"]
    of_bare = _server("of-bare", {"matchLabels": {"app": "bare"}})
    world = _two(bare, of_bare, _policy(NAMESPACE, "anybody"))
    assert _met(world([_policy(_at("t"), "anybody")])) == [GONE]
    assert _met(world([_policy(NAMESPACE, "anybody")])) == [("Server s with the access policy deny", ["backup"])]


def test_a_policy_for_a_server_of_pods_that_are_yet_to_start_is_awaited_by_their_labels() -> None:
    template = {"metadata": {"labels": {"app": "new"}}, "spec": _pod("new", {"http": 8080})["spec"]}
    deployment = _obj("Deployment", "new", {"template": template}, "apps/v1")
    world = _world(_server("s", {"matchLabels": {"app": "new"}}), ANYBODY)
    [marker] = _markers(world([deployment, _policy(_at("s"), "anybody")]))
    assert marker.where == Where("shop", {"app": "new"})


# Servers


@pytest.mark.parametrize(
    ("live", "wanted", "met"),
    [
        (
            _server("s", BACKUP),
            _server("s", PAIR),
            [("port 8080 without Server s", ["backup"]), ("Server s with the access policy deny", ["pair"])],
        ),
        (_server("s", {}), _server("s", BACKUP), [("port 8080 without Server s", ["pair"])]),
        (_server("s", BACKUP), _server("s", {}), [("Server s with the access policy deny", ["pair"])]),
        (
            _server("s", BACKUP),
            _server("s", BACKUP, 9090),
            [("port 8080 without Server s", ["backup"]), ("Server s with the access policy deny", ["backup"])],
        ),
        (_server("s", BACKUP), _server("s", BACKUP, 8080), []),
        (
            _open("s", {}),
            _server("s", BACKUP),
            [("port 8080 without Server s", ["pair"]), ("Server s with the access policy deny", ["backup"])],
        ),
        (
            _open("s", BACKUP, proxyProtocol="opaque"),
            _open("s", PAIR, proxyProtocol="opaque"),
            [_effect("Server s", pod) for pod in ("backup", "pair")],
        ),
        (_server("s", BACKUP), _open("s", BACKUP), [("Server s with the access policy all-unauthenticated", ["backup"])]),
        (_open("s", BACKUP), _open("s", BACKUP, proxyProtocol="HTTP/2"), [_effect("Server s", "backup")]),
    ],
)  # fmt: skip
def test_a_changed_server_is_awaited_where_it_comes_and_where_it_goes(live: Object, wanted: Object, met: Met) -> None:
    assert _met(_world(live)([wanted])) == met


def test_a_server_that_moves_is_not_awaited_at_pods_without_a_proxy_or_where_an_older_one_decides() -> None:
    bare = _pod("bare", {"http": 8080})
    del bare["metadata"]["labels"]["linkerd.io/control-plane-ns"]
    older = _server("a", PAIR)
    older["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    everywhere = _server("s", {})
    [marker] = [m for stage in _world(bare, older, everywhere)([_server("s", BACKUP, 9090)]).stages for m in stage.markers if "without" in str(m)]  # fmt: skip
    assert marker.where == Where("shop", pods=frozenset({"backup"}))


# What proxies show


def _pages(*tables: tuple[str, str, list[list[str]]]) -> list[Object]:
    """A proxy's pages of routes and listeners: for each table in use its name, its Server, and whom its routes let pass."""
    routes = []
    for table, server, allowed in tables:
        hosts = [{"name": f"server..{server}", "routes": [_passing(names) for names in allowed]}]
        routes.append({"route_config": {"name": table, "virtual_hosts": hosts}})
    in_use = [{"active_state": {"route_config_name": table}} for table, *_ in tables]
    return [{"configs": routes}, {"configs": in_use}]


def _passing(names: list[str]) -> Object:
    rbac: Object = {"rbac": {"rules": {"policies": {f"{GROUP}|authorizationpolicy|{name}": {} for name in names}}}}
    return {"route": {"cluster": "inbound"}, "typed_per_filter_config": {"envoy.filters.http.rbac": rbac}}


def _markers(plan: Plan) -> list[Marker]:
    return [marker for stage in plan.stages for marker in stage.markers]


def test_a_policy_is_gone_from_a_server_that_stays() -> None:
    [gone, come] = _markers(_two(_policy(_at("s"), "anybody"))([_policy(_at("t"), "anybody")]))
    assert gone.held(_pages(("inbound:8080", "s", [[], ["mine"]]))) is False
    assert gone.held(_pages(("inbound:8080", "s", [["other"]]))) is True
    assert gone.held(_pages(("inbound:8080", "default", [["mine"]]))) is None, "its Server went at the same time"
    assert (gone.unique, come.unique) == (False, False)


def test_a_server_is_gone_from_a_port() -> None:
    [away, _] = _markers(_world(_server("s", BACKUP))([_server("s", BACKUP, 9090)]))
    table = [["mine"]]
    assert away.held(_pages(("inbound:8080", "s", table))) is False
    assert away.held(_pages(("inbound:8080:unmeshed", "s", table))) is False
    assert away.held(_pages(("inbound:8080", "default", table), ("inbound:9090", "s", table))) is True
    assert away.unique is False


def test_one_route_that_lets_others_pass_is_enough_for_a_server_not_to_be_there_yet() -> None:
    marker = ServerHeld("s", "deny", frozenset({"mine"}), Where("shop"))
    assert marker.held(_pages(("inbound:8080", "s", [["mine"], ["mine"]]))) is True
    assert marker.held(_pages(("inbound:8080", "s", [["mine"], []]))) is False
    assert marker.held(_pages(("inbound:8080", "s", [["mine"]]), ("inbound:8080:unmeshed", "s", [[]]))) is False


@pytest.mark.parametrize(
    ("live", "wanted", "pages"),
    [
        (_open("s", BACKUP), _policy(_at("s"), "somebody"), (ROUTES,)),
        (_open("s", BACKUP, proxyProtocol="TLS"), _policy(_at("s"), "somebody"), (LISTENERS,)),
        (_open("s", BACKUP), _open("s", BACKUP, proxyProtocol="HTTP/2"), (ROUTES, LISTENERS)),
        (_open("s", BACKUP), _open("s", BACKUP, proxyProtocol="opaque"), (LISTENERS,)),
        (_open("s", BACKUP, proxyProtocol="opaque"), _open("s", BACKUP), (LISTENERS,)),
    ],
)
def test_what_leaves_no_name_is_read_where_it_decides(live: Object, wanted: Object, pages: tuple[str, ...]) -> None:
    """Policies of HTTP stand in the listener as well, perhaps before, and routes are there before a listener goes by them."""
    [marker] = _markers(_world(live, ANYBODY, SOMEBODY, _policy(_at("s"), "anybody"))([wanted]))
    assert (str(marker), marker.pages) == (f"effect of {wanted['kind']} {wanted['metadata']['name']}", pages)


# Taken back


def _written(world: Staged, wanted: Object, *originals: Object | None, created: bool = False) -> tuple[Plan, Object]:
    """A policy that a manifest has changed, with the record of what it was."""
    plan = world([wanted])
    [edit] = plan.edits
    there = world.cluster.find(edit.kind, edit.name, edit.namespace)
    assert there is not None
    layers = [{"id": str(n), "path": ["spec"], "original": was and was["spec"]} for n, was in enumerate(originals)]
    owner = {"host": "", "pid": 1, "started": ""}
    record = {"run": "r1", "cluster": "", "uid": "", "created": created, "layers": layers, "owner": owner}
    there["metadata"]["annotations"] = {"meshbdd.dev/undo": json.dumps(record)}
    world.cluster.replace(there)
    return plan, there


def _leaving(world: Staged, plan: Plan) -> Met:
    markers = [marker for stage in plan.stages for marker in world.mesh.leaving(stage)]
    pods = world.cluster.list("Pod", "shop")
    return [(str(m), [p["metadata"]["name"] for p in pods if m.where.takes(p["metadata"])]) for m in markers]


@pytest.mark.parametrize(
    ("was", "will"),
    [
        (_policy(_at("s"), "anybody"), _policy(_at("t"), "anybody")),
        (_policy(NAMESPACE, "anybody"), _policy(_at("t"), "anybody")),
        (_policy(_at("s"), "anybody"), _policy(NAMESPACE, "anybody")),
    ],
)
def test_what_its_own_markers_see_come_back_is_seen_by_nothing_else(was: Object, will: Object) -> None:
    world = _two(was)
    plan, _ = _written(world, will, was)
    assert _leaving(world, plan) == []


def test_a_policy_that_comes_back_to_a_server_that_came_later_is_seen_there() -> None:
    was = _policy(NAMESPACE, "anybody")
    world = _world(_server("s", BACKUP), ANYBODY, was)
    plan, _ = _written(world, _policy(_at("s"), "anybody"), was)
    world([_server("t", PAIR)])
    assert _leaving(world, plan) == [_effect("the withdrawal of AuthorizationPolicy mine", "pair")]


@pytest.mark.parametrize(
    ("originals", "created", "seen"),
    [
        ([None], True, "Server t without mine"),
        ([None, _policy(NAMESPACE, "somebody")], True, "effect of the withdrawal of AuthorizationPolicy mine"),
        ([_policy(NAMESPACE, "somebody")], False, "effect of the withdrawal of AuthorizationPolicy mine"),
    ],
)
def test_a_policy_is_known_to_go_by_its_name_only_if_it_is_deleted(
    originals: list[Object | None], seen: str, *, created: bool
) -> None:
    world = _world(_server("s", BACKUP), ANYBODY, SOMEBODY)
    plan, _ = _written(world, _policy(NAMESPACE, "anybody"), *originals, created=created)
    world([_server("t", PAIR)])
    assert _leaving(world, plan) == [(seen, ["pair"])]


def test_a_policy_is_not_awaited_to_go_where_no_pod_has_a_proxy() -> None:
    bare = _pod("bare", {"http": 8080})
    del bare["metadata"]["labels"]["linkerd.io/control-plane-ns"]
    world = _world(bare, _server("s", BACKUP), ANYBODY, SOMEBODY)
    plan, _ = _written(world, _policy(NAMESPACE, "anybody"), None, created=True)
    world.cluster.replace(_server("t", {"matchLabels": {"app": "bare"}}))
    assert _leaving(world, plan) == []


# Of another namespace


def test_routes_and_policies_of_another_namespace_are_not_for_a_server() -> None:
    def elsewhere(obj: Object) -> Object:
        return {**obj, "metadata": {**copy.deepcopy(obj["metadata"]), "namespace": "other"}}

    server, route = _server("s", BACKUP), _route("s")
    chosen = _named("ServerAuthorization", server={"name": "s"}, client=ANY)
    policies = _policy(_at("s")), _policy({"kind": "Namespace", "name": "other"}), chosen
    assert is_at(route, server)
    assert not is_at(elsewhere(route), server)
    for policy in policies:
        assert is_for(policy, server, [])
        assert not is_for(elsewhere(policy), server, [])
    assert not is_for(_policy(_on_route("r")), server, [elsewhere(route)])
