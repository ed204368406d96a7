"""What a scenario gets to see of the mesh: its own calls in the logs, and certificates as they change."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.errors import NotPossible
from meshbdd.intents import ServiceRef
from meshbdd.scenario.last_change import none_met
from meshbdd.scenario.observations import Observations
from meshbdd.scenario.witnesses import Witnesses
from meshbdd.sidecars import ISTIO, LINKERD
from meshbdd.telemetry import certificates
from meshbdd.telemetry.access_log import Entry
from meshbdd.telemetry.certificates import WorkloadCertificate
from meshbdd.units import Duration
from meshbdd.waiting import NotYet

PAYMENT = ServiceRef("payment-service", "shop")
ID = "01234567-89ab-4cde-8f01-23456789abcd"
TRACE = ID.replace("-", "")
LOADS = ID.replace("0123", "4567")
"""Of a load that runs beside the step."""


def _pod(name: str, address: str, *containers: str) -> dict[str, Any]:
    meta = {"name": name, "uid": name, "namespace": "shop"}
    return {"metadata": meta, "status": {"podIP": address}, "spec": {"containers": [{"name": c} for c in containers]}}


class Proxies:
    def __init__(self, sidecars: Any = ISTIO, *, bare: bool = False, half: bool = False, others: Any = ()) -> None:
        self.others = others
        self.sidecars = sidecars
        self.bare = bare
        self.half = half

    def pods(self, _service: ServiceRef) -> list[dict[str, Any]]:
        own = [_pod("payment-1", "127.1.0.2", *([] if self.bare else ["istio-proxy"]))]
        return [*own, _pod("payment-2", "127.1.0.3")] if self.half else own

    def meshed(self, service: ServiceRef) -> list[dict[str, Any]]:
        return [] if self.bare else self.pods(service)[:1]

    def receiving(self, service: ServiceRef) -> list[dict[str, Any]]:
        return self.meshed(service)

    def fault_backends(self, _service: ServiceRef) -> list[dict[str, Any]]:
        return []

    def beside(self, _service: ServiceRef) -> frozenset[str]:
        return frozenset(self.others)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has not come after a few looks does not come."""

    def few_looks(probe: Any, otherwise: Any, *_within: Any) -> Any:
        for _ in range(3):
            try:
                return probe()
            except NotYet:
                continue
        return otherwise()

    for room in ("observations", "traces"):
        monkeypatch.setattr(f"meshbdd.scenario.{room}.or_nothing", few_looks)


def observations(*entries: Entry, proxies: Proxies | None = None, change: str = "") -> Observations:
    """What a scenario sees, after a change that no request has met, where there is one."""
    traffic = SimpleNamespace(
        asides={"aside"},
        counts=lambda id_: id_ not in {"aside", "earlier"},
        traces=lambda: [TRACE],
        samples=[],
        loading=False,
        has_sent=True,
        wait_met=lambda: None,
        met=lambda verdict, _ids=(): none_met(verdict, change),
    )
    environment = SimpleNamespace(
        cluster=None,
        mesh=SimpleNamespace(sidecars=ISTIO),
        settings=SimpleNamespace(prometheus="http://127.0.0.1:1"),
        require=lambda *_asked: None,
        sent=SimpleNamespace(are_ours=lambda id_: id_ in {ID, LOADS}),
    )
    proxies = proxies or Proxies()
    witnesses = Witnesses(cast("Any", traffic), cast("Any", proxies), asked=False)
    log = SimpleNamespace(proxies=proxies, witnesses=witnesses, everything=lambda: list(entries))
    return Observations(cast("Any", environment), cast("Any", traffic), cast("Any", log), lambda _name: PAYMENT, ())


def came(request_id: str = ID, status: int = 200, pod: str = "payment-1", **more: Any) -> Entry:
    return Entry(pod, False, "", "", status, frozenset(), request_id, path="/charge", **more)


@pytest.mark.parametrize(
    ("made", "outcome", "words"),
    [
        ({"status": 503, "flags": frozenset({"FI"})}, "failed", "for no call came to it: 1 ended at their callers' proxies with "),
        ({"status": 503, "flags": frozenset({"UF"}), "upstream": "127.1.0.2:8080"}, "failed", "no connection to the service"),
        ({"status": 301, "service": "", "authority": "payment-service"}, "failed", "proxies with status 301"),
        ({"service": "other.shop.svc.cluster.local", "upstream": "127.1.0.9:8080", "authority": "payment-service"},
         "failed", "1 were led to other pods"),
        ({"upstream": "127.1.0.2:8080"}, "inconclusive", "though by its callers' logs 1 call came to it"),
        ({"service": "other.shop.svc.cluster.local", "upstream": "127.1.0.9:8080"}, "inconclusive", "nobody called it"),
        ({"request_id": "earlier"}, "inconclusive", "nobody called it"),
        ({"request_id": "aside"}, "inconclusive", "nobody called it"),
    ],
)  # fmt: skip
def test_calls_that_never_came_to_a_service_are_known_by_its_callers_logs(
    made: dict[str, Any], outcome: str, words: str
) -> None:
    call = Entry("client-1", True, PAYMENT.host, "", 200, frozenset(), ID, path="/charge", namespace="shop")
    verdict = observations(replace(call, **made)).logged(PAYMENT, 1, 503)
    assert verdict.outcome == outcome
    assert words in verdict.sentence


def test_the_log_of_a_service_has_the_calls_of_the_scenario() -> None:
    others = [came("aside"), came("earlier"), came("p", probe=True), came(pod="order-1")]
    outbound = Entry("payment-1", True, PAYMENT.host, "", 200, frozenset(), ID)
    seen = observations(came(), came("r2", 503), *others, outbound)
    assert seen.logged(PAYMENT, 1, 200).outcome == "passed"
    assert seen.logged(PAYMENT, 2, 200).numbers["statuses"] == {200: 1, 503: 1}
    assert observations(*others).logged(PAYMENT, 1, 200).outcome == "inconclusive"
    assert observations(came(), proxies=Proxies(bare=True)).logged(PAYMENT, 1, 200).outcome == "inconclusive"


ALT = "payment-alt.shop.svc.cluster.local"


def test_the_log_of_a_service_has_the_copies_that_were_sent_to_it_and_no_others() -> None:
    proxies = Proxies(others=[ALT])
    asked = [came(authority="payment-service")] * 2
    copy = came(authority="payment-service", copied=True)
    others = observations(*asked, *[replace(copy, backend=ALT)] * 2, proxies=proxies)
    assert others.logged(PAYMENT, 2, 200).outcome == "passed"
    assert others.logged(PAYMENT, 3, 200).outcome == "failed"
    own = observations(*[replace(copy, authority="payment-alt", backend=PAYMENT.host)] * 2, proxies=proxies)
    assert own.logged(PAYMENT, 2, 200).outcome == "passed"
    assert own.logged(PAYMENT, 3, 200).outcome == "failed"


def test_a_copy_that_may_be_another_services_is_counted_for_none() -> None:
    proxies = Proxies(others=[ALT])
    copies = [came(authority="payment-service", copied=True)] * 2
    seen = observations(came(authority="payment-service"), *copies, proxies=proxies)
    outcomes = [seen.logged(PAYMENT, wanted, 200).outcome for wanted in (1, 2, 3, 4)]
    assert outcomes == ["passed", "inconclusive", "inconclusive", "failed"]
    verdict = observations(*copies, proxies=proxies).logged(PAYMENT, 1, 200)
    told = "nobody can tell whether 2 mirrored copies that came to its pods were sent to payment-service.shop or to payment-alt.shop"
    assert told in verdict.sentence
    assert "mutual TLS" in verdict.help
    alone = observations(*copies)
    assert alone.logged(PAYMENT, 2, 200).outcome == "passed", "no other Service has these pods"
    traced = observations(
        *(replace(copy, traceparent=f"00-{TRACE}-0123456789abcdef-01") for copy in copies), proxies=proxies
    )
    verdict = traced.trace_reaches(PAYMENT)
    assert (verdict.outcome, told in verdict.sentence) == ("inconclusive", True)


def test_a_refused_connection_is_no_call() -> None:
    refused = Entry("payment-1", False, "", "", 0, frozenset(), "")
    assert observations(refused).logged(PAYMENT, 1, 200).outcome == "inconclusive"


@pytest.mark.parametrize(
    ("parents", "outcome"),
    [
        ([TRACE], "passed"),
        ([TRACE, TRACE], "passed"),
        ([TRACE, ""], "failed"),  # a second call for the same request, which has lost the trace
        ([TRACE, "f" * 32], "failed"),
        ([""], "failed"),
        ([None], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_a_trace_reaches_a_service_with_every_call(parents: list[str | None], outcome: str) -> None:
    texts = [parent and f"00-{parent}-0123456789abcdef-01" for parent in parents]
    assert observations(*(came(traceparent=text) for text in texts)).trace_reaches(PAYMENT).outcome == outcome


def left(address: str, request_id: str = ID) -> Entry:
    return Entry("order-1", True, PAYMENT.host, "", 200, frozenset(), request_id, upstream=f"{address}:8080")


def test_a_trace_that_went_to_a_pod_without_a_sidecar_is_not_called_lost() -> None:
    half, ours = Proxies(half=True), came(traceparent=f"00-{TRACE}-0123456789abcdef-01")
    gone = observations(left("127.1.0.3"), proxies=half).trace_reaches(PAYMENT)
    assert gone.outcome == "inconclusive"
    assert "1 call came to no proxy of payment-service.shop, of which pod payment-2 has no sidecar" in gone.sentence
    assert (
        observations(left("127.1.0.2"), left("127.1.0.3", "aside"), ours, proxies=half).trace_reaches(PAYMENT).outcome
        == "passed"
    )
    assert observations(left("127.1.0.3"), ours, proxies=half).trace_reaches(PAYMENT).outcome == "inconclusive"
    lost = came(traceparent=f"00-{'f' * 32}-0123456789abcdef-01")
    assert observations(left("127.1.0.3"), lost, proxies=half).trace_reaches(PAYMENT).outcome == "failed"
    none = observations(proxies=Proxies(bare=True)).trace_reaches(PAYMENT)
    assert (none.outcome, "no pod of payment-service.shop has a sidecar" in none.sentence) == ("inconclusive", True)
    assert none.help == "give payment-1 a sidecar"


def test_a_call_of_somebody_else_says_nothing_of_our_traces() -> None:
    ours, theirs = came(traceparent=f"00-{TRACE}-0123456789abcdef-01"), came("theirs", traceparent="")
    assert observations(ours, theirs).trace_reaches(PAYMENT).outcome == "passed"


def test_a_load_beside_the_step_has_traces_of_its_own() -> None:
    def logged(request_id: str, parent: str) -> Entry:
        return came(request_id, traceparent=f"00-{parent}-0123456789abcdef-01")

    ours, loads = logged(ID, TRACE), LOADS.replace("-", "")
    beside = observations(ours, logged(LOADS, loads)).trace_reaches(PAYMENT)
    assert (beside.outcome, beside.numbers["foreign"]) == ("passed", 0)
    assert observations(ours, logged(LOADS, "f" * 32)).trace_reaches(PAYMENT).outcome == "failed"
    assert observations(logged(LOADS, loads)).trace_reaches(PAYMENT).outcome == "inconclusive"


def test_what_was_logged_before_a_change_proves_nothing_after_it() -> None:
    before = observations(came(traceparent=f"00-{TRACE}-0123456789abcdef-01"), change="mutual TLS is disabled")
    for verdict in (before.logged(PAYMENT, 1, 200), before.logged(PAYMENT, 2, 200), before.trace_reaches(PAYMENT)):
        assert verdict.outcome == "inconclusive"
        assert verdict.sentence.endswith("no such call was made since the mesh was changed («mutual TLS is disabled»)")


def _certificates(monkeypatch: pytest.MonkeyPatch, serials: Iterator[str], hours: float = 24) -> None:
    def of_pod(_proxies: Any, pod: Any) -> WorkloadCertificate:
        expires = dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)
        return WorkloadCertificate(pod["metadata"]["name"], next(serials), expires, ())

    monkeypatch.setattr(certificates, "of_pod", of_pod)


def test_a_certificate_rotates_when_its_serial_number_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    _certificates(monkeypatch, iter(["1", "1", "2"]))
    assert observations().certificate_rotates(PAYMENT, Duration(5)).outcome == "passed"
    _certificates(monkeypatch, itertools.repeat("1"))
    assert observations().certificate_rotates(PAYMENT, Duration(5)).outcome == "failed"
    assert observations(proxies=Proxies(bare=True)).certificate_rotates(PAYMENT, Duration(5)).outcome == "inconclusive"


def test_linkerds_proxy_does_not_renew_a_certificate_that_is_valid_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "renewed_within", lambda _pod: None)
    _certificates(monkeypatch, iter("12345678"), hours=24)
    with pytest.raises(NotPossible, match=r"valid for 24\.0 h more"):
        observations(proxies=Proxies(LINKERD)).certificate_rotates(PAYMENT, Duration(5))
    _certificates(monkeypatch, iter("12345678"), hours=7.1)
    assert observations(proxies=Proxies(LINKERD)).certificate_rotates(PAYMENT, Duration(5)).outcome == "passed"


def test_how_long_a_certificate_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    _certificates(monkeypatch, itertools.repeat("1"), hours=2)
    assert observations().certificate_valid(PAYMENT, Duration(7000)).outcome == "passed"
    assert observations().certificate_valid(PAYMENT, Duration(7300)).outcome == "failed"
    assert observations(proxies=Proxies(bare=True)).certificate_valid(PAYMENT, Duration(1)).outcome == "inconclusive"
