"""Pods of one name in two namespaces, as those of StatefulSets: each is itself in whatever is claimed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.claims import Outcome, circuit
from meshbdd.errors import Inconclusive
from meshbdd.intents import ServiceRef
from meshbdd.load import Sample
from meshbdd.mesh.gate import Gate
from meshbdd.mesh.looking import Proxy
from meshbdd.mesh.markers import ConfigChanged
from meshbdd.scenario.breakers import breakers
from meshbdd.scenario.call_log import CallLog
from meshbdd.scenario.resilience import Resilience
from meshbdd.sidecars import ISTIO
from meshbdd.telemetry.access_log import Entry
from meshbdd.units import Duration

PAYMENT = ServiceRef("payment", "shop")
CALLER, OTHERS = ServiceRef("caller", "shop"), ServiceRef("caller", "other")
ADDRESSES = {
    ("caller-0", "shop"): "10.0.0.1",
    ("caller-0", "other"): "10.0.0.2",
    ("payment-0", "shop"): "10.0.0.3",
    ("payment-0", "other"): "10.0.0.4",
}


def _pod(name: str, namespace: str) -> dict[str, Any]:
    meta = {"name": name, "uid": f"{name}.{namespace}", "namespace": namespace, "labels": {"app": name[:-2]}}
    spec = {"containers": [{"name": ISTIO.container}]}
    return {"metadata": meta, "spec": spec, "status": {"phase": "Running", "podIP": ADDRESSES[name, namespace]}}


class _Cluster:
    def list(self, kind: str, namespace: str | None = None, labels: str | None = None) -> list[dict[str, Any]]:
        app = (labels or "").removeprefix("app=")
        pods = [_pod(*who) for who in ADDRESSES] if kind == "Pod" else []
        own = [pod for pod in pods if namespace in (None, pod["metadata"]["namespace"])]
        return [pod for pod in own if labels in (None, ISTIO.label) or pod["metadata"]["labels"]["app"] == app]

    def find(self, kind: str, name: str, _namespace: str) -> dict[str, Any] | None:
        return {"spec": {"selector": {"app": name}}} if kind == "Service" else None


class _Log(CallLog):
    logged: tuple[Entry, ...] = ()

    def everything(self) -> list[Entry]:
        return list(self.logged)

    def settled(self) -> list[Entry]:
        return self.entries()


def _asked(namespace: str, request: str, tries: int) -> list[Entry]:
    """A request to the caller of a namespace, and its calls to the service."""
    own = ADDRESSES["caller-0", namespace]
    came = Entry("caller-0", False, "", "", 500, frozenset(), request, 1.0, namespace=namespace)
    made = [
        (
            Entry("caller-0", True, PAYMENT.host, "", 500, frozenset(), request, 1.0 + n / 10, port="80",
                  upstream="10.0.0.3:8080", namespace=namespace),
            Entry("payment-0", False, "", "", 500, frozenset(), request, 1.0 + n / 10, port="8080",
                  downstream=f"{own}:9", namespace="shop"),
        )
        for n in range(tries)
    ]  # fmt: skip
    return [came, *(entry for both in made for entry in both)]


def _log(*entries: Entry) -> tuple[SimpleNamespace, SimpleNamespace, _Log]:
    sent = SimpleNamespace(are_ours=lambda _id: True, are_earlier=lambda _id: False)
    environment = SimpleNamespace(
        cluster=_Cluster(),
        target="lab",
        mesh=SimpleNamespace(sidecars=ISTIO),
        sent=sent,
        require=lambda *_asked: None,
    )
    traffic = SimpleNamespace(
        requests=SimpleNamespace(see_ids_differ=lambda: None),
        wait_met=lambda: None,
        met=lambda verdict, _ids: verdict,
        samples=[Sample(id_, 0.0, 1.0, 500) for id_ in ("r1", "r2")],
        has_sent=True,
    )
    log = _Log(cast("Any", environment), cast("Any", traffic), [])
    log.logged = entries
    return environment, traffic, log


@pytest.mark.parametrize(
    ("caller", "entries", "most", "least"),
    [
        (CALLER, [*_asked("shop", "r1", 1), *_asked("other", "r2", 9)], Outcome.PASSED, Outcome.FAILED),
        (OTHERS, [*_asked("shop", "r1", 1), *_asked("other", "r2", 9)], Outcome.FAILED, Outcome.PASSED),
        (CALLER, _asked("other", "r2", 9), Outcome.INCONCLUSIVE, Outcome.INCONCLUSIVE),
    ],
)
def test_tries_of_a_callers_namesake_are_none_of_its(
    caller: ServiceRef, entries: list[Entry], most: Outcome, least: Outcome
) -> None:
    environment, traffic, log = _log(*entries)
    resilience = Resilience(cast("Any", environment), cast("Any", traffic), log, [])
    verdict = resilience.called_at_most(caller, PAYMENT, 1, None)
    assert verdict.outcome is most, verdict.sentence
    verdict = resilience.called_at_least(caller, PAYMENT, 9)
    assert verdict.outcome is least, verdict.sentence


class _Gate(Gate):
    """Two proxies, of which only that of ``shop`` has not got the change yet."""

    changed = False

    def proxies(self) -> list[Proxy]:
        return [
            Proxy(cast("Any", SimpleNamespace(pod="caller-0", namespace=namespace, get=self._page(namespace))), meta)
            for meta in ({"namespace": "shop"}, {"namespace": "other"})
            for namespace in meta.values()
        ]

    def _page(self, namespace: str) -> Any:
        return lambda _path: {"of": namespace, "changed": self.changed and namespace == "other"}


def test_a_change_has_not_arrived_at_a_proxy_that_differs_from_its_namesake() -> None:
    gate = _Gate(cast("Any", None), Duration(0.1))
    marker = ConfigChanged("a change", ("/page",))
    before = gate.before([marker])
    gate.changed = True
    with pytest.raises(Inconclusive, match="no effect of a change"):
        gate.wait_present([marker], before)
    gate.close()


class _Proxies:
    """Each has a breaker of five, that of the other namespace none."""

    def every(self) -> list[dict[str, Any]]:
        return [_pod("caller-0", "shop"), _pod("caller-0", "other")]

    def tunnel(self, pod: dict[str, Any], _port: int) -> Any:
        detecting = {"outlier_detection": {"consecutive_5xx": 5}} if pod["metadata"]["namespace"] == "shop" else {}
        name = f"outbound|80||{PAYMENT.host}"
        status = {"name": name, "host_statuses": [{"stats": [{"name": "rq_total", "value": "4"}], "health_status": {}}]}
        pages = {"/clusters": {"cluster_statuses": [status]}}
        dump = {"configs": [{"cluster": {"name": name, **detecting}}]}
        return SimpleNamespace(get=lambda path: pages.get(path.partition("?")[0], dump))


def test_namesakes_have_circuits_of_their_own() -> None:
    _, _, log = _log(*_asked("shop", "r1", 2), *_asked("other", "r2", 4))
    calls = log.tries_to(PAYMENT)
    assert {call.caller for call in calls} == {"caller-0", "caller-0.other"}
    assert {call.endpoint for call in calls} == {"10.0.0.3"}
    found = breakers(cast("Any", _Proxies()), PAYMENT.host)
    assert [(breaker.caller, breaker.detects) for breaker in found] == [("caller-0", True), ("caller-0.other", False)]
    [held] = breakers(cast("Any", _Proxies()), PAYMENT.host, {"caller-0.other"})
    assert not held.detects
    verdict = circuit.opens_within("payment.shop", Duration(2), found, calls)
    assert verdict.outcome is Outcome.FAILED
    assert "the proxy of caller-0.other (port 80) has no circuit breaker for it" in verdict.sentence
    verdict = circuit.opens_within("payment.shop", Duration(2), found[:1], calls)
    assert "caller-0 (port 80) met 2 errors in a row" in verdict.sentence
