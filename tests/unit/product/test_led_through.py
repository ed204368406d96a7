"""Calls that a fault leads through the fault backend of a service: they are calls to the service, each of them once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.claims import Outcome, Verdict
from meshbdd.errors import Inconclusive
from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Plan, Through
from meshbdd.scenario.arrivals import arrivals
from meshbdd.scenario.counting import Counting
from meshbdd.scenario.fault_calls import FaultCalls
from meshbdd.scenario.in_force import InForce
from meshbdd.scenario.known_pods import KnownPods
from meshbdd.scenario.witnesses import Witnesses
from meshbdd.sidecars import FAULT_LABEL, ISTIO, LINKERD
from meshbdd.telemetry.access_log import Entry
from meshbdd.telemetry.proxies import Proxies
from tests.unit.product.staged import asked_but_once

ORDER, PAYMENT = ServiceRef("order-service", "shop"), ServiceRef("payment-service", "shop")
ADDRESSES = {"order": "127.1.0.1", "payment": "127.1.0.2", "fault": "127.1.0.3"}
THROUGH = Through(
    "t", ServiceRef("meshbdd-fault-payment-service", "shop"), ServiceRef("meshbdd-twin-payment-service", "shop")
)
BESIDE = {FAULT_LABEL: PAYMENT.name}


def _pod(name: str, labels: dict[str, str], account: str) -> dict[str, Any]:
    meta = {"name": name, "uid": name, "namespace": "shop", "labels": labels}
    spec = {"serviceAccountName": account, "containers": [{"name": LINKERD.container}]}
    return {"metadata": meta, "spec": spec, "status": {"phase": "Running", "podIP": ADDRESSES[name]}}


class Cluster:
    """Two services, a fault backend beside one of them, or in its place, and the backend's twin of it."""

    def __init__(self, *, in_its_place: bool = False) -> None:
        self.pods = [
            _pod("order", {"app": ORDER.name}, "order-service"),
            _pod("payment", {"app": PAYMENT.name}, "payment-service"),
            _pod("fault", dict(BESIDE), "meshbdd-fault-payment-service"),
        ]
        own = {"app": PAYMENT.name}
        self.services = {
            ORDER.name: ({"app": ORDER.name}, {}),
            PAYMENT.name: (BESIDE if in_its_place else own, {}),
            "meshbdd-fault-payment-service": (BESIDE, BESIDE),
            "meshbdd-twin-payment-service": (own, BESIDE),
        }

    def _service(self, name: str) -> dict[str, Any]:
        selector, labels = self.services[name]
        return {"metadata": {"name": name, "namespace": "shop", "labels": labels}, "spec": {"selector": selector}}

    def find(self, _kind: str, name: str, _namespace: str) -> dict[str, Any] | None:
        return self._service(name) if name in self.services else None

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        return self.find(kind, name, namespace) or {}

    def list(self, kind: str, _namespace: str = "", labels: str = "") -> list[dict[str, Any]]:
        found = self.pods if kind == "Pod" else [self._service(name) for name in self.services]
        wanted = dict([labels.split("=")]).items() if labels and labels != LINKERD.label else {}.items()
        return [obj for obj in found if wanted <= obj["metadata"]["labels"].items()]


class Looked(Proxies):
    """Proxies whose pages of metrics are made of what was called."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cast("Any", cluster), LINKERD)
        self.counted: Counter[tuple[str, str, str]] = Counter()

    def tunnel(self, pod: Any, _port: int) -> Any:
        lines = "".join(
            f'response_total{{direction="inbound",client_id="{account}.shop.serviceaccount.identity.linkerd.cluster.local",'
            f'tls="{tls}",status_code="200"}} {number}\n'
            for (name, account, tls), number in self.counted.items()
            if name == pod["metadata"]["name"]
        )
        return SimpleNamespace(text=lambda _path: f"# TYPE response_total counter\n{lines}")


class Stage:
    def __init__(self, *, in_its_place: bool) -> None:
        self.cluster = Cluster(in_its_place=in_its_place)
        self.proxies = Looked(self.cluster)
        self.entries: list[Entry] = []

    def begin(self) -> Counting:
        self.entries.clear()
        traffic = SimpleNamespace(
            counts=lambda _id: True,
            has_sent=True,
            wait_met=lambda: None,
            met=lambda verdict, _ids=(): verdict,
        )
        log = SimpleNamespace(proxies=self.proxies, everything=lambda: list(self.entries))
        return Counting(cast("Any", traffic), cast("Any", log), [(ORDER, PAYMENT)], lambda _service: [])

    def _came(self, to: str, who: str, account: str, request_id: str, tls: str = "true") -> None:
        self.proxies.counted[to, account, tls] += 1
        downstream = f"{ADDRESSES[who]}:999"
        self.entries.append(Entry(to, False, "", "", 200, frozenset(), request_id, downstream=downstream))

    def straight(self, request_id: str) -> None:
        self._came("payment", "order", "order-service", request_id)

    def led(self, request_id: str, *, on: bool = True, tls: str = "true") -> None:
        self._came("fault", "order", "order-service", request_id)
        if on:
            self._came("payment", "fault", "meshbdd-fault-payment-service", request_id, tls)


@pytest.fixture(params=[False, True], ids=["beside it", "in its place"])
def stage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr("meshbdd.scenario.counting.or_nothing", asked_but_once)
    return Stage(in_its_place=request.param)


def test_calls_that_a_fault_leads_through_its_backend_are_the_callers_and_each_counts_once(stage: Stage) -> None:
    stage.led("earlier")
    counting = stage.begin()
    stage.straight("r1")
    stage.led("r2")
    stage.led("r3", on=False)  # aborted
    assert counting.reported(ORDER, PAYMENT, 3).outcome is Outcome.PASSED
    seen = counting.reported(ORDER, PAYMENT, 4)
    assert (seen.outcome, seen.numbers["seen"]) == (Outcome.FAILED, 3)
    verdict = counting.mutual_tls(ORDER, PAYMENT)
    assert (verdict.outcome, verdict.numbers["by_policy"]) == (Outcome.PASSED, {"mutual_tls": 3})


def test_what_goes_on_from_the_backend_in_plaintext_proves_no_mutual_tls(stage: Stage) -> None:
    stage.led("earlier", tls="false")  # counted before: of another scenario
    counting = stage.begin()
    stage.led("r1")
    assert counting.mutual_tls(ORDER, PAYMENT).outcome is Outcome.PASSED
    stage.led("r2", tls="false")
    verdict = counting.mutual_tls(ORDER, PAYMENT)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "1 call went on from the fault backend to payment-service.shop without it" in verdict.sentence


def test_calls_of_two_callers_with_one_service_account_are_counted_together(stage: Stage) -> None:
    counting = stage.begin()
    stage.straight("r1")
    stage.cluster.pods.append({**_pod("order", {"app": "batch"}, "order-service")})
    stage.cluster.pods[-1]["metadata"].update(name="batch", uid="batch")
    for claim in (lambda: counting.reported(ORDER, PAYMENT, 1), lambda: counting.mutual_tls(ORDER, PAYMENT)):
        with pytest.raises(Inconclusive, match=r"order-service\.shop shares its own with pod batch") as caught:
            claim()
        assert caught.value.code == "MB0653"
    stage.proxies.sidecars = ISTIO  # whose proxies know callers by their workloads
    counting._refuse_namesakes(ORDER)


def test_a_call_arrives_where_it_came_first(stage: Stage) -> None:
    stage.straight("r1")
    stage.led("r2")
    stage.led("r3", on=False)
    stage.entries.append(Entry("payment", True, ORDER.host, "", 200, frozenset(), "r1"))
    came = arrivals(PAYMENT, stage.entries, stage.proxies)
    assert [(entry.pod, entry.request_id) for entry in came] == [("payment", "r1"), ("fault", "r2"), ("fault", "r3")]


def test_a_fault_backend_is_none_of_the_services_pods(stage: Stage) -> None:
    for found in (stage.proxies.pods(PAYMENT), stage.proxies.meshed(PAYMENT)):
        assert [pod["metadata"]["name"] for pod in found] == ["payment"]
    assert [pod["metadata"]["name"] for pod in stage.proxies.receiving(PAYMENT)] == ["payment", "fault"]
    assert [pod["metadata"]["name"] for pod in stage.proxies.receiving(ORDER)] == ["order"]
    assert stage.proxies.selector(PAYMENT) == {"app": PAYMENT.name}
    stage.proxies.sidecars = ISTIO
    assert [pod["metadata"]["name"] for pod in stage.proxies.receiving(PAYMENT)] == ["payment"]


@pytest.mark.parametrize("name", ["payment", "fault"])
def test_with_either_of_them_went_what_it_had_counted(stage: Stage, name: str) -> None:
    witnesses = Witnesses(cast("Any", SimpleNamespace(has_sent=True)), stage.proxies, asked=True)
    verdict = Verdict(Outcome.PASSED, "it is so")
    assert witnesses.whole(verdict, PAYMENT) == verdict
    stage.cluster.pods = [pod for pod in stage.cluster.pods if pod["metadata"]["name"] != name]
    assert witnesses.gone(PAYMENT) == [name]
    assert witnesses.gone(ORDER) == []


def test_a_backend_has_told_of_a_call_once_it_logged_each_try_of_it(stage: Stage) -> None:
    stage.led("r1", on=False)
    stage.led("r1")
    pods = KnownPods(cast("Any", stage.cluster), LINKERD)
    pods.look()
    logs = SimpleNamespace(injections=[Entry("fault", False, "", "t", 503, frozenset({"FI"}), "r1")])
    calls, item = FaultCalls(cast("Any", logs), pods), InForce(Plan("payment fails", (), through=THROUGH))
    assert not calls.told(item, stage.entries)
    logs.injections.append(Entry("fault", False, "", "t", 200, frozenset(), "r1"))
    assert calls.told(item, stage.entries)


def test_who_has_no_proxy_goes_past_a_fault_backend(stage: Stage) -> None:
    plain = _pod("order", {"app": "client-plain"}, "default")
    plain["spec"]["containers"] = [{"name": "app"}]
    stage.straight("r1")
    item = InForce(Plan("payment fails", (), through=THROUGH))

    def calls() -> list[str]:
        pods = KnownPods(cast("Any", stage.cluster), LINKERD)
        pods.look()
        found = FaultCalls(cast("Any", SimpleNamespace(injections=[])), pods).calls(item, stage.entries, PAYMENT)
        return [who for who, _ in found]

    assert calls() == ["order"]
    stage.cluster.pods[0] = plain
    assert calls() == []


def test_calls_to_another_service_that_are_led_here_are_outside_of_a_fault(stage: Stage) -> None:
    """Linkerd's rules are those of the Service that is called, wherever they lead."""
    item = InForce(Plan("payment fails", (), through=THROUGH))
    asked = Entry("order", True, ORDER.host, "", 200, frozenset(), "r1", upstream=f"{ADDRESSES['payment']}:8080")
    stage.straight("r1")
    stage.entries.append(asked)
    pods = KnownPods(cast("Any", stage.cluster), LINKERD)
    pods.look()
    found = FaultCalls(cast("Any", SimpleNamespace(injections=[])), pods)
    assert found.calls(item, stage.entries, PAYMENT) == []
    assert found.led(item, stage.entries, PAYMENT) == {str(ORDER): 1}
    assert found.bypassed(stage.entries, PAYMENT, set()) == {}
    stage.entries[-1] = replace(asked, service=PAYMENT.host)
    assert [who for who, _ in found.calls(item, stage.entries, PAYMENT)] == ["order"]
    assert found.led(item, stage.entries, PAYMENT) == {}
    stage.entries.append(replace(asked, upstream=f"{ADDRESSES['fault']}:8080"))
    assert found.led(item, stage.entries, PAYMENT) == {}, "another call for the same request"


def test_calls_that_a_service_answered_are_told_where_none_of_its_proxies_counts(stage: Stage) -> None:
    """As at an opaque port: the callers' logs have them."""
    counting = stage.begin()
    went = Entry("order", True, PAYMENT.host, "", 200, frozenset(), "r1", upstream=f"{ADDRESSES['payment']}:8080")
    stage.entries += [went, replace(went, request_id="r2", status=503, flags=frozenset({"UF"}))]
    elsewhere = replace(went, request_id="r3", upstream="127.1.0.9:8080")
    stage.entries.append(elsewhere)
    verdict = counting.mutual_tls(ORDER, PAYMENT)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "1 call of order-service.shop was answered there" in verdict.sentence
    stage.cluster.pods[1]["spec"]["containers"] = [{"name": "app"}]
    verdict = counting.mutual_tls(ORDER, PAYMENT)
    assert verdict.outcome is Outcome.FAILED
    assert "1 call was answered by pods of payment-service.shop without a sidecar: payment" in verdict.sentence
