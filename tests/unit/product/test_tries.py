"""A call is to whom it asks for, wherever a rule leads it; so are its tries."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.claims import Outcome
from meshbdd.intents import ServiceRef
from meshbdd.load import Sample
from meshbdd.scenario.call_log import CallLog
from meshbdd.scenario.resilience import Resilience
from meshbdd.sidecars import ISTIO, LINKERD, Sidecars
from meshbdd.telemetry.access_log import Entry
from meshbdd.telemetry.asked import Names
from meshbdd.units import Duration

CLIENT, EDGE, BACK, NODES = (ServiceRef(name, "team") for name in ("client", "edge", "back", "nodes"))
ADDRESSES = {"client": "127.1.0.1", "edge": "127.1.0.2", "back": "127.1.0.3", "nodes": "127.1.0.4"}
CLUSTER_IPS = {"edge": "10.0.0.2", "back": "10.0.0.3", "nodes": "None"}
SERVICES = [
    {"metadata": {"name": n, "namespace": "team"}, "spec": {"selector": {"app": n}, "clusterIP": ip}}
    for n, ip in CLUSTER_IPS.items()
]


@pytest.mark.parametrize(
    ("authority", "namespace", "named"),
    [
        ("edge", "team", EDGE.host),
        ("Edge:80", "team", EDGE.host),
        ("edge", "shop", ""),  # a short name is the caller's own
        ("edge.team", "shop", EDGE.host),
        ("edge.team.svc:8080", "shop", EDGE.host),
        ("edge.team.svc.cluster.local.", "shop", EDGE.host),
        ("edge.team.example.com", "team", ""),
        ("edge.shop", "team", ""),
        ("10.0.0.2:80", "shop", EDGE.host),
        ("127.1.0.2:8080", "team", ""),
        ("[::1]:80", "team", ""),
        ("nodes-0.nodes.team.svc.cluster.local", "shop", NODES.host),
        ("nodes-0.nodes.team", "shop", NODES.host),
        ("www.edge.team", "shop", ""),
        ("payments.internal", "team", ""),
        ("", "team", ""),
    ],
)
def test_a_service_is_asked_for_by_its_names_and_addresses(authority: str, namespace: str, named: str) -> None:
    assert Names(SERVICES, ISTIO).named(authority, namespace) == named
    led = Entry("client", True, BACK.host, "", 200, frozenset(), "r1", authority=authority, namespace=namespace)
    assert Names(SERVICES, ISTIO).called(led) == (named or BACK.host)
    assert Names(SERVICES, ISTIO).called(replace(led, service="")) == "", "answered by the proxy itself, for nobody"
    assert Names(SERVICES, LINKERD).called(led) == BACK.host, "Linkerd's cluster tells who was called"


def _pod(name: str, *, proxy: bool = True) -> dict[str, Any]:
    spec = {"containers": [{"name": "istio-proxy" if proxy else "app"}]}
    meta = {"name": name, "uid": name, "namespace": "team", "labels": {"app": name}}
    return {"metadata": meta, "spec": spec, "status": {"phase": "Running", "podIP": ADDRESSES[name]}}


class Cluster:
    def __init__(self, *bare: str) -> None:
        self.pods = [_pod(name, proxy=name not in bare) for name in ADDRESSES]

    def find(self, kind: str, name: str, _namespace: str) -> dict[str, Any] | None:
        found = (service for service in SERVICES if service["metadata"]["name"] == name)
        return cast("Any", next(found, None)) if kind == "Service" else None

    def list(self, kind: str, _namespace: str = "", labels: str | None = None) -> list[dict[str, Any]]:
        if kind == "Service":
            return [] if labels else cast("Any", SERVICES)
        wanted = dict(item.split("=") for item in (labels or "").split(",") if item.startswith("app=")).items()
        return [pod for pod in self.pods if wanted <= pod["metadata"]["labels"].items()]


def made(led: ServiceRef, authority: str, request: str = "r1", status: int = 503, **more: Any) -> Entry:
    upstream = f"{ADDRESSES[led.name]}:8080"
    known = {"namespace": "team", "authority": authority, "backend": led.host, "upstream": upstream, **more}
    return Entry("client", True, known.pop("service", led.host), "", status, frozenset(), request, 1.0, 0.1, **known)


def came(to: ServiceRef, authority: str, request: str = "r1", **more: Any) -> Entry:
    known = {"downstream": f"{ADDRESSES['client']}:999", "namespace": "team", "authority": authority, **more}
    return Entry(to.name, False, "", "", 503, frozenset(), request, 1.0, 0.1, **known)


def _resilience(
    entries: list[Entry], *bare: str, sidecars: Sidecars = ISTIO, before: list[Entry] | None = None
) -> Resilience:
    traffic = SimpleNamespace(
        samples=[Sample("r1", 0.0, 0.1, 503)], loading=False, wait_met=lambda: None, met=lambda verdict, _ids: verdict,
        requests=SimpleNamespace(see_ids_differ=lambda: None),
    )  # fmt: skip
    environment = SimpleNamespace(
        cluster=Cluster(*bare), target="lab", require=lambda *_asked: None, mesh=SimpleNamespace(sidecars=sidecars),
        sent=SimpleNamespace(are_ours=lambda _id: True),
    )  # fmt: skip
    log = CallLog(cast("Any", environment), cast("Any", traffic), [])
    log.settled = lambda: entries  # type: ignore[method-assign]
    log.entries = lambda: before or entries  # type: ignore[method-assign]
    return Resilience(cast("Any", environment), cast("Any", traffic), log, [])


HALF = [entry for led in (EDGE, BACK) for entry in (made(led, "edge.team"), came(led, "edge.team")) * 4]
"""Eight calls to edge, of which a canary of two Services leads half to back."""


def _judge(resilience: Resilience, callee: ServiceRef, most: int, least: int) -> tuple[str, str]:
    at_most = resilience.called_at_most(CLIENT, callee, most, None)
    return at_most.outcome, resilience.called_at_least(CLIENT, callee, least).outcome


def test_calls_that_a_rule_leads_to_another_service_are_tries_of_the_one_that_was_called() -> None:
    assert _judge(_resilience(HALF), EDGE, 6, 8) == ("failed", "passed")
    assert _judge(_resilience(HALF), EDGE, 8, 9) == ("passed", "failed")
    assert _judge(_resilience(HALF), BACK, 6, 1) == ("inconclusive", "inconclusive"), "nobody called it"
    none_own = [entry for entry in HALF if BACK.host == entry.service or entry.pod == BACK.name]
    assert _judge(_resilience(none_own), EDGE, 3, 4) == ("failed", "passed")


def test_calls_to_the_service_to_which_others_are_led_are_its_own_alone() -> None:
    own = [made(BACK, "back"), came(BACK, "back")] * 2
    assert _judge(_resilience([*HALF, *own]), BACK, 2, 2) == ("passed", "passed")
    assert _judge(_resilience([*HALF, *own]), EDGE, 8, 8) == ("passed", "passed")
    unnamed = [made(BACK, "payments.internal"), came(BACK, "payments.internal")]
    assert _judge(_resilience([*own, *unnamed]), BACK, 2, 3) == ("failed", "passed"), "no other is asked for"
    by_address = [made(BACK, "10.0.0.2"), came(BACK, "10.0.0.2")]
    assert _judge(_resilience(by_address * 3), EDGE, 2, 3) == ("failed", "passed")


def test_the_tries_of_a_proxy_count_where_a_rule_leads_them() -> None:
    """The caller's log has a line for a call, however often its proxy tries."""
    tried = [made(BACK, "edge.team"), *[came(BACK, "edge.team")] * 3]
    assert _judge(_resilience(tried), EDGE, 2, 3) == ("failed", "passed")
    copies = [came(EDGE, "edge.team", copied=True), came(BACK, "edge.team", copied=True)]
    assert _judge(_resilience([*tried, *copies]), EDGE, 3, 3) == ("passed", "passed")


def test_linkerds_log_tells_who_was_called_whatever_the_call_asks_for() -> None:
    led = made(BACK, "edge.team", service=EDGE.host)
    tried = [led, *[came(BACK, "edge.team")] * 3]
    own = [made(BACK, "back.team"), came(BACK, "back.team")]
    resilience = _resilience([*tried, *own], sidecars=LINKERD)
    assert _judge(resilience, EDGE, 2, 3) == ("failed", "passed")
    assert _judge(resilience, BACK, 1, 1) == ("passed", "passed"), "what another's rule led there is none of its"


def test_nobody_counts_the_tries_at_a_pod_without_a_proxy_to_which_a_rule_leads() -> None:
    resilience = _resilience([made(BACK, "edge.team"), made(EDGE, "edge.team"), came(EDGE, "edge.team")], "back")
    at_most = resilience.called_at_most(CLIENT, EDGE, 2, None)
    assert at_most.outcome is Outcome.INCONCLUSIVE
    assert "a rule led calls to edge.team to back, which has no sidecar that counts tries" in at_most.sentence
    assert _judge(resilience, EDGE, 1, 2) == ("failed", "passed")
    assert resilience.called_at_least(CLIENT, EDGE, 3).outcome is Outcome.INCONCLUSIVE


def test_giving_up_on_a_service_is_seen_where_its_calls_are_led(monkeypatch: pytest.MonkeyPatch) -> None:
    active = {BACK.host: 0}
    monkeypatch.setattr("meshbdd.scenario.resilience.active_calls", lambda _p, _pods, host: active.get(host, 0))
    slow = replace(made(BACK, "edge.team", status=200), seconds=0.7)
    assert _resilience([slow]).gives_up(CLIENT, EDGE, Duration(0.3)).outcome is Outcome.FAILED
    left = replace(made(BACK, "edge.team", status=0), seconds=0.2, flags=frozenset({"DC"}))
    assert _resilience([left]).gives_up(CLIENT, EDGE, Duration(0.3)).outcome is Outcome.PASSED
    active[BACK.host] = 1
    verdict = _resilience([left]).gives_up(CLIENT, EDGE, Duration(0.3))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "calls to back.team are under way still, to which a rule led calls to edge.team" in verdict.sentence


def test_calls_of_a_slow_service_are_those_that_were_made_or_led_to_it() -> None:
    log = _resilience([made(BACK, "edge.team"), made(BACK, "back.team"), made(EDGE, "edge.team")])._log
    assert [len(log.calls_to(service)) for service in (EDGE, BACK, NODES)] == [2, 2, 0]
