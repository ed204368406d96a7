"""Where a fault goes in a virtual service: pure functions on dicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from meshbdd.cluster import Cluster
from meshbdd.errors import BadInput
from meshbdd.intents import Fault, Scope, ServiceRef
from meshbdd.mesh import Context, Istio
from meshbdd.mesh.base import Where
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.istio.hosts import governing
from meshbdd.mesh.istio.routes import fault_block, faulted_routes, is_beside_another, shaped_routes
from meshbdd.mesh.manifest import find_manifest, read_manifest, read_objects
from meshbdd.rehearsal.stage import StageCluster
from meshbdd.units import Duration, Percent

PAYMENT = ServiceRef("payment-service", "shop")
TO = [{"destination": {"host": "payment-service"}}]


BOMB = "a0: &a0 [1, 2]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 9))


def vs(name: str, hosts: list[str], created: str, namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created},
        "spec": {"hosts": hosts, **spec},
    }


def test_the_oldest_governs_and_an_exact_host_beats_a_pattern() -> None:
    young = vs("young", ["payment-service"], "2026-02-01T00:00:00Z")
    old = vs("old", ["payment-service.shop.svc.cluster.local"], "2026-01-01T00:00:00Z", "other")
    star = vs("star", ["*.shop.svc.cluster.local"], "2025-01-01T00:00:00Z")
    edge = vs("edge", ["payment-service"], "2020-01-01T00:00:00Z", gateways=["ingress"])
    elsewhere = vs("elsewhere", ["payment-service"], "2020-01-01T00:00:00Z", "other")
    found = governing(PAYMENT, [young, star, old, edge, elsewhere])
    assert found is old
    assert governing(PAYMENT, [star]) is star
    assert governing(PAYMENT, [edge, elsewhere]) is None


def test_each_route_gets_a_faulted_copy_with_both_conditions() -> None:
    routes = [{"name": "a", "match": [{"uri": {"prefix": "/charge"}}], "timeout": "3s", "route": TO}, {"route": TO}]
    fault = Fault(PAYMENT, Percent(30), status=503, scope=Scope(path="/charge/now", headers={"X-User": "qa"}))
    made = faulted_routes(routes, fault, Where("shop", {"app": "order"}), "meshbdd-r-1-")
    assert [r["name"] for r in made] == ["meshbdd-r-1-0", "meshbdd-r-1-1"]
    condition = {
        "uri": {"exact": "/charge/now"},
        "headers": {"x-user": {"exact": "qa"}},
        "sourceLabels": {"app": "order"},
        "sourceNamespace": "shop",
    }
    assert made[0]["match"] == [condition]
    assert made[0]["timeout"] == "3s"
    assert made[1]["match"] == [condition]
    assert made[0]["fault"] == {"abort": {"httpStatus": 503, "percentage": {"value": 30}}}
    assert "fault" not in routes[0], "the tester's own routes are not touched"


def test_a_route_that_the_scope_cannot_meet_gets_none() -> None:
    routes = [{"match": [{"method": {"exact": "GET"}}], "route": TO}, {"redirect": {"uri": "/"}}]
    assert faulted_routes(routes, Fault(PAYMENT, status=500, scope=Scope(method="POST")), Where(), "meshbdd-r-1-") == []


def test_a_route_that_answers_keeps_its_calls_where_it_stands_before_others() -> None:
    old = {"match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/new"}}
    teapot = {"match": [{"uri": {"prefix": "/tea"}}], "directResponse": {"status": 418}}
    routes = [old, {"route": TO}, teapot]
    made = faulted_routes(routes, Fault(PAYMENT, status=500), Where(), "meshbdd-r-1-")
    assert made[0] == {**old, "name": "meshbdd-r-1-0"}
    assert [route.get("fault") is not None for route in made] == [False, True]
    [alone] = faulted_routes(routes, Fault(PAYMENT, status=500, scope=Scope(path="/pay")), Where(), "meshbdd-r-1-")
    assert alone["fault"]
    shaped = shaped_routes(routes, PAYMENT, lambda route: route.update(timeout="1s"), "meshbdd-r-1-")
    assert [route.get("timeout") for route in shaped] == [None, "1s"]
    again = shaped_routes([*shaped, *routes], PAYMENT, lambda route: route.update(timeout="2s"), "meshbdd-r-2-")
    assert [("redirect" in route, route.get("timeout")) for route in again] == [(True, None), (False, "2s")] * 2


def test_a_fault_of_the_testers_own_is_not_hidden() -> None:
    with pytest.raises(BadInput, match="already has a fault of its own on its route theirs"):
        faulted_routes(
            [{"name": "theirs", "fault": {"abort": {}}, "route": TO}],
            Fault(PAYMENT, status=500),
            Where(),
            "meshbdd-r-1-",
        )


def test_what_another_run_put_there_is_for_the_cluster_to_refuse() -> None:
    """Its routes cannot be let recover by this scenario, which is what a tester would be told to do."""
    theirs = [{"name": "meshbdd-other-1-0", "fault": {"abort": {"httpStatus": 500}}, "route": TO}]
    ours = [{**theirs[0], "name": "meshbdd-r-1-0"}]
    fault = Fault(PAYMENT, status=503)
    assert not is_beside_another(theirs, fault, Where(), "meshbdd-r-")
    assert faulted_routes(theirs, fault, Where(), "meshbdd-r-2-")
    assert is_beside_another(ours, fault, Where(), "meshbdd-r-")
    with pytest.raises(BadInput, match="beside the other failure"):
        faulted_routes(ours, fault, Where(), "meshbdd-r-2-")


def test_the_kinds_of_faults() -> None:
    assert fault_block(Fault(PAYMENT, delay=Duration(0.25)))["delay"]["fixedDelay"] == "250ms"
    assert fault_block(Fault(PAYMENT, grpc_status="UNAVAILABLE"))["abort"]["grpcStatus"] == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", 'key "a" appears twice (lines 1 and 2)'),
        ("kind: Secret\nmetadata: {name: x}\nspec: {}\n", "holds a Secret"),
        ("", "holds no object"),
        ("[1, 2]", "without kind and metadata.name"),
        ("kind: VirtualService\nmetadata: {name: x}\n", "has no spec"),
        (BOMB, "expands without end"),
        ("a: !!python/object/apply:os.system [true]", "not valid"),
        ("a: [", "not valid"),
        ("kind: VirtualService\nmetadata: {name: X_y}\nspec: {}\n", 'VirtualService "X_y" has a name that Kubernetes does not take'),
        (f"kind: Sidecar\nmetadata: {{name: {'x' * 254}}}\nspec: {{}}\n", "has a name that Kubernetes does not take"),
        ("kind: VirtualService\nmetadata: {name: x, namespace: [y]}\nspec: {}\n", "VirtualService x has a namespace that is no text"),
        ("kind: VirtualService\nmetadata: {name: x, namespace: 5}\nspec: {}\n", "has a namespace that is no text"),
        ("kind: Service\nmetadata: {name: x, annotations: {a/b: 2}}\n", "Service x: metadata.annotations must be strings, and a/b is none"),
        ("kind: Service\nmetadata: {name: x, labels: [2]}\n", "Service x: metadata.labels must be strings"),
        ("kind: Service\nmetadata: {name: x, labels: {2: a}}\n", "and 2 is none"),
        ("? [a]\n: b\n", "a key is a list or a mapping"),
        ("a: 2001-99-99\n", '"2001-99-99" cannot be read'),
        ("apiVersion: networking.istio.io/v9\nkind: VirtualService\nmetadata: {name: x}\nspec: {}\n",
         "VirtualService x is of networking.istio.io/v9, a version that there is not"),
        ("apiVersion: networking.istio.io/v1\nkind: EnvoyFilter\nmetadata: {name: x}\nspec: {}\n", "is of networking.istio.io/v1"),
    ],
)  # fmt: skip
def test_a_bad_manifest_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(text)
    with pytest.raises(BadInput) as caught:
        read_manifest(file, "shop")
    assert words in caught.value.sentence
    assert caught.value.help


def test_a_bad_name_or_version_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    for field in ("apiVersion: security.istio.io/v2", "metadata: {name: -x}"):
        sound = ["metadata: {name: x}"] if field.startswith("api") else []
        file.write_text("\n".join(["kind: PeerAuthentication", "spec: {}", *sound, field]))
        with pytest.raises(BadInput) as caught:
            read_manifest(file, "shop")
        assert caught.value.place is not None
        assert caught.value.place.line == len(sound) + 3
    for version in ("v1", "v1beta1"):
        file.write_text(
            f"apiVersion: security.istio.io/{version}\nkind: PeerAuthentication\nmetadata: {{name: x.y-1}}\nspec: {{}}"
        )
        assert read_manifest(file, "shop")


def test_a_value_that_cannot_be_read_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    for bad, line in (
        ("metadata: {name: x, namespace: [y]}", 2),
        ("metadata: {name: x}\nspec: {a: 2001-99-99}", 3),
        ('metadata:\n  name: x\n  annotations:\n    a.b/c: "1"\n    retry.linkerd.io/limit: 2', 6),
        ("metadata:\n  name: x\n  labels:\n    a: b\n    c: true", 6),
        ("metadata:\n  name: x\n  labels: {5: b}", 4),
        ("metadata:\n  name: x\n  labels: [b]", 4),
    ):
        file.write_text(f"kind: VirtualService\n{bad}\n")
        with pytest.raises(BadInput) as caught:
            read_objects(file, "shop")
        assert caught.value.place is not None
        assert caught.value.place.line == line


@pytest.mark.parametrize("empty", ["", '""', "null"])
def test_an_empty_namespace_is_none(tmp_path: Path, empty: str) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(f"kind: VirtualService\nmetadata:\n  name: x\n  namespace: {empty}\nspec: {{}}\n")
    (document,) = read_objects(file, "shop")
    assert document["metadata"]["namespace"] == "shop"


def test_a_manifest_outside_the_project_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "secret.yaml").write_text("a: 1")
    with pytest.raises(BadInput, match="There is no manifest"):
        find_manifest("../secret.yaml", tmp_path / "project" / "x.feature", tmp_path / "project")


@pytest.mark.parametrize(
    ("homes", "asked", "action"),
    [
        (["team"], "pricing", 'did you mean "pricing.team"?'),
        (["team", "ops"], "pricing", 'did you mean "pricing.ops"?'),
        (["team"], "pricng", 'did you mean "pricings"?'),
        (["team"], "zzz", "name one of: pricings"),
        (["team"], "pricing.nowhere", 'did you mean "pricing.team"?'),
        (["team"], "pricing.teem", 'did you mean "team"?'),
    ],
)
def test_a_service_of_that_name_in_another_namespace_is_the_best_guess(
    homes: list[str], asked: str, action: str
) -> None:
    spaces = [{"kind": "Namespace", "metadata": {"name": name}} for name in ("shop", *homes)]
    services = [("pricings", "shop"), *(("pricing", home) for home in homes)]
    made = [{"kind": "Service", "metadata": {"name": n, "namespace": s}, "spec": {}} for n, s in services]
    cluster = cast("Cluster", StageCluster([*spaces, *made], "shop", lambda _: None))
    with pytest.raises(BadInput) as caught:
        Catalog(cluster).see_known(ServiceRef.parse(asked, "shop"))
    assert caught.value.help == action


def test_a_policy_for_some_pods_of_a_service_is_awaited_at_these_alone() -> None:
    def pod(version: str) -> dict[str, Any]:
        labels = {"app": "a", "version": version, "security.istio.io/tlsMode": "istio"}
        return {"kind": "Pod", "metadata": {"name": version, "namespace": "b", "labels": labels}, "spec": {}}

    spec = {"selector": {"app": "a"}, "ports": [{"port": 80, "targetPort": 8080}]}
    service = {"kind": "Service", "metadata": {"name": "a", "namespace": "b"}, "spec": spec}
    policy = {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "strict", "namespace": "b"},
        "spec": {"selector": {"matchLabels": {"version": "canary"}}, "mtls": {"mode": "STRICT"}},
    }
    cluster = StageCluster([service, pod("stable"), pod("canary")], "b", lambda _: None)
    [marker] = Istio(cast("Cluster", cluster), "r1").plan_manifest([policy], Context()).markers
    assert [marker.where.takes(pod(version)["metadata"]) for version in ("stable", "canary")] == [False, True]
