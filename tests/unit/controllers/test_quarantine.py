"""An object at which the compiler fails freezes nobody's configuration; a compiler with a mistake stands in for one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshbdd.lab.admission import crds
from meshbdd.lab.api.core import Api
from meshbdd.lab.certificates import CertificateAuthority
from meshbdd.lab.controllers.istio import IstioKind
from meshbdd.lab.controllers.mesh import ControlPlane
from meshbdd.lab.controllers.quarantine import Quarantine
from meshbdd.lab.controllers.refusals import sentence_of
from meshbdd.units import Duration
from meshbdd.waiting import NotYet, eventually_async

VIRTUAL_SERVICES = "virtualservices.networking.istio.io"


def _object(name: str, value: Any, kind: str = "VirtualService") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": value}


def _attempt(objects: list[Any]) -> Exception | None:
    """A compiler that fails at what says "bad", and at a pair that says "one" and "two"."""
    said = [obj["spec"] for obj in objects]
    return ValueError("so") if "bad" in said or {"one", "two"} <= set(said) else None


def test_one_of_several_changes_is_held_back_and_the_others_count() -> None:
    quarantine = Quarantine()
    first = [_object("a", "good"), _object("b", "good")]
    quarantine.passed(first)
    now = [_object("a", "better"), _object("b", "bad"), _object("c", "bad"), _object("d", "good")]
    assert [obj["metadata"]["name"] for obj, _ in quarantine.hold_back(now, _attempt)] == ["b", "c"]
    assert quarantine.in_force(now) == [now[0], first[1], now[3]]
    assert quarantine.release(now) == []
    mended = [*now[:1], _object("b", "mended"), now[3]]
    assert quarantine.release(mended) == [mended[1]]
    assert quarantine.in_force(mended) == mended


def test_of_two_that_fail_together_the_first_stays() -> None:
    quarantine = Quarantine()
    now = [_object("a", "one"), _object("b", "two")]
    assert [obj["metadata"]["name"] for obj, _ in quarantine.hold_back(now, _attempt)] == ["b"]
    assert quarantine.in_force(now) == now[:1]


def test_nothing_is_held_back_for_what_fails_without_any_change() -> None:
    quarantine = Quarantine()
    now = [_object("a", "good"), _object("p", "bad", kind="Pod")]
    assert quarantine.hold_back(now, _attempt) == []
    assert quarantine.in_force(now) == now


def test_a_write_of_the_status_alone_is_no_mending() -> None:
    quarantine = Quarantine()
    bad = _object("a", "bad")
    quarantine.hold_back([bad], _attempt)
    told = {**bad, "metadata": {**bad["metadata"], "resourceVersion": "7"}, "status": {"conditions": []}}
    assert quarantine.release([told]) == []
    assert quarantine.in_force([told]) == []


class _Mistaken(IstioKind):
    """A compiler with a mistake: it fails for a host of one name, in the index or for one pod alone."""

    def __init__(self, pod: str | None) -> None:
        self._pod = pod

    def compiler(self, objects: Any) -> Any:
        objects = list(objects)
        hosts = [obj["spec"]["hosts"][0] for obj in objects if obj["kind"] == "VirtualService"]
        if "broken.example" in hosts and self._pod is None:
            raise KeyError("a mistake of the compiler")

        def compile_(pod: str, _namespace: str) -> Any:
            if "broken.example" in hosts and pod == self._pod:
                raise KeyError("a mistake of the compiler")
            return hosts

        return compile_, ()

    def deliver(self, _identity: Any, _log: Path, compiled: Any) -> Any:
        route = {"virtual_hosts": [{"name": host, "domains": [host]} for host in compiled]}
        return {"type.googleapis.com/envoy.config.route.v3.RouteConfiguration": {"80": {"name": "80", **route}}}


@dataclass
class _Ads:
    """Takes what is delivered."""

    hosts: dict[str, list[str]] = field(default_factory=dict)

    def set(self, node: str, snapshot: Any) -> None:
        (table,) = snapshot.of("type.googleapis.com/envoy.config.route.v3.RouteConfiguration").values()
        self.hosts[node] = [
            host for host in ("good.example", "broken.example", "other.example", "mended.example")
            if host.encode() in table.body.value
        ]  # fmt: skip

    def pending(self) -> list[str]:
        return []

    def forget(self, node: str) -> None:
        del self.hosts[node]


def _virtual_service(name: str, host: str) -> dict[str, Any]:
    spec = {"hosts": [host], "http": [{"directResponse": {"status": 200}}]}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": spec,
    }


def _pod(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"containers": [{"name": "app", "image": "a"}]},
    }


def _runtime(name: str) -> Any:
    identity = SimpleNamespace(node=name, pod=name, namespace="shop", service_account="default")
    return SimpleNamespace(identity=identity, meshed=True, access_log=Path("unused"))


def _refused(api: Api, name: str) -> str:
    status = api.get(VIRTUAL_SERVICES, name, "shop").get("status") or {}
    return "".join(condition["message"] for condition in status.get("conditions") or [])


@pytest.mark.parametrize("pod", [None, "two"], ids=["the index fails", "one pod fails"])
def test_an_object_that_fails_is_told_and_later_changes_reach_every_sidecar(pod: str | None) -> None:
    asyncio.run(_isolated(_Mistaken(pod)))


async def _isolated(mesh: IstioKind) -> None:
    api, ads = Api(), _Ads()
    api.create("namespaces", {"metadata": {"name": "shop"}})
    for definition in crds():
        api.create("customresourcedefinitions.apiextensions.k8s.io", definition)
    kubelet = SimpleNamespace(pods={})
    for name in ("one", "two", "three"):
        made = api.create("pods", _pod(name), "shop")
        api.set_status("pods", name, "shop", {"podIP": "127.0.0.9"})
        kubelet.pods[made["metadata"]["uid"]] = _runtime(name)
    control = ControlPlane(api, kubelet, ads, CertificateAuthority("test"), mesh, lambda: None)  # type: ignore[arg-type]

    async def delivered(*hosts: str) -> None:
        async def look() -> None:
            if not control.idle or set(map(tuple, ads.hosts.values())) != {hosts} or len(ads.hosts) != 3:
                raise NotYet(str(ads.hosts))

        await eventually_async(look, what=f"the delivery of {hosts}", within=Duration(10))

    api.create(VIRTUAL_SERVICES, _virtual_service("a", "good.example"), "shop")
    await delivered("good.example")
    api.create(VIRTUAL_SERVICES, _virtual_service("b", "broken.example"), "shop")
    api.create(VIRTUAL_SERVICES, _virtual_service("c", "other.example"), "shop")
    await delivered("good.example", "other.example")
    assert "a mistake of the compiler" in _refused(api, "b")
    assert _refused(api, "a") == _refused(api, "c") == ""

    held = api.get(VIRTUAL_SERVICES, "a", "shop")
    api.update(VIRTUAL_SERVICES, {**held, "spec": _virtual_service("a", "broken.example")["spec"]})
    api.create(VIRTUAL_SERVICES, _virtual_service("d", "mended.example"), "shop")
    await delivered("good.example", "other.example", "mended.example")
    assert "a mistake of the compiler" in _refused(api, "a")

    for name in ("a", "b"):
        held = api.get(VIRTUAL_SERVICES, name, "shop")
        api.update(VIRTUAL_SERVICES, {**held, "spec": _virtual_service(name, "good.example")["spec"]})
    await delivered("good.example", "other.example", "mended.example")
    assert _refused(api, "a") == _refused(api, "b") == ""


ANSWER = """goo.gle/debugstr
name: "outbound|80||payment-service.shop.svc.cluster.local"
type: EDS
eds_cluster_config {
  eds_config {
  }
}
: Proto constraint validation failed (ClusterValidationError.RingHashLbConfig: embedded message failed validation | caused by RingHashLbConfigValidationError.MinimumRingSize: value must be less than or equal to 8388608)"""


def test_of_a_message_that_envoy_quotes_in_full_its_name_is_told() -> None:
    told = sentence_of(f"Error adding/updating cluster(s) x: {ANSWER}, y: {ANSWER}")
    one = (
        "outbound|80||payment-service.shop.svc.cluster.local: Proto constraint validation failed (ClusterValidationError."
        "RingHashLbConfig: embedded message failed validation | caused by RingHashLbConfigValidationError.MinimumRingSize: "
        "value must be less than or equal to 8388608)"
    )
    assert told == f"Error adding/updating cluster(s) x: {one}, y: {one}"
    assert sentence_of("no dump\nin here") == "no dump in here"
