"""Two Services in front of the same pods: a call to one of them is none to the other."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.errors import Inconclusive
from meshbdd.evidence import FaultAccounted
from meshbdd.intents import Fault, Scope, ServiceRef, Side
from meshbdd.mesh.base import Plan
from meshbdd.mesh.istio.hosts import authority_of
from meshbdd.scenario import Accounting, Environment
from meshbdd.scenario.arrivals import arrivals, untold_arrivals
from meshbdd.scenario.call_log import CallLog
from meshbdd.scenario.hits import Suspect, is_meant, told_apart
from meshbdd.scenario.in_force import InForce
from meshbdd.scenario.shares import share_of
from meshbdd.scenario.vacuity import Unmet, see_met
from meshbdd.sidecars import ISTIO, LINKERD
from meshbdd.telemetry.access_log import Entry
from meshbdd.telemetry.proxies import Proxies
from meshbdd.telemetry.shared_pods import hosts_beside, to_no_other, whom_made_to

PAYMENT, ALT, ORDER = (ServiceRef(name, "shop") for name in ("payment-service", "payment-alt", "order-service"))
BESIDE = frozenset({ALT.host})
ADDRESSES = {"order-1": "127.1.0.1", "payment-1": "127.1.0.2"}


def _service(name: str, **selector: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {"selector": selector} if selector else {}}


def _pod(name: str, **labels: str) -> dict[str, Any]:
    meta = {"name": name, "uid": name, "namespace": "shop", "labels": labels}
    spec = {"containers": [{"name": "istio-proxy"}]}
    return {"metadata": meta, "spec": spec, "status": {"phase": "Running", "podIP": ADDRESSES.get(name, "127.1.0.9")}}


class Cluster:
    services = (
        _service(PAYMENT.name, app="payment"),
        _service(ALT.name, app="payment"),
        _service(ORDER.name, app="order"),
        _service("external"),
    )
    pods = (_pod("order-1", app="order"), _pod("payment-1", app="payment", version="stable"))

    def find(self, _kind: str, name: str, _namespace: str) -> dict[str, Any] | None:
        return next((service for service in self.services if service["metadata"]["name"] == name), None)

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        return self.find(kind, name, namespace) or {}

    def list(self, kind: str, _namespace: str = "", labels: str | None = None) -> list[dict[str, Any]]:
        if kind == "Service":
            return list(self.services)
        wanted = dict(item.split("=") for item in (labels or "").split(",") if item.startswith("app=")).items()
        return [pod for pod in self.pods if wanted <= pod["metadata"]["labels"].items()]


def left(to: ServiceRef, authority: str, request: str = "r1") -> Entry:
    upstream = {"upstream": "127.1.0.2:8080", "port": "80", "authority": authority}
    return Entry("order-1", True, to.host, "", 200, frozenset(), request, 1.0, **cast("Any", upstream))


def came(authority: str, request: str = "r1", *flags: str) -> Entry:
    more = {"downstream": "127.1.0.1:999", "port": "8080", "authority": authority}
    return Entry("payment-1", False, "", "", 503, frozenset(flags), request, 1.0, **cast("Any", more))


@pytest.mark.parametrize(
    ("made", "authority", "kept"),
    [
        ([], "payment-alt", False),
        ([], "Payment-Alt.shop:80", False),
        ([], "payment-alt.shop.svc.cluster.local.", False),
        ([], "payment-service:80", True),
        ([], "payment", True),
        ([], "127.0.0.9:80", True),
        ([], "[::1]:80", True),
        ([], "", True),
        ([], "shop.example.com", True),
        ([], "payment-alt.elsewhere", True),
        ([], "payment-alt-shadow", True),  # a mirrored copy
        ([left(ALT, "127.0.0.9")], "127.0.0.9", False),
        ([left(ALT, "shop.example.com")], "shop.example.com", False),
        ([left(PAYMENT, "shop.example.com")], "shop.example.com", True),
        ([left(PAYMENT, "payment-alt")], "payment-alt", True),  # by a route from there to here
        ([left(ALT, "payment-service")], "payment-service", True),  # by a route from here to there
        ([left(ALT, "payment-alt"), left(PAYMENT, "payment-service")], "payment-service", True),
        ([left(ALT, "payment-alt"), left(PAYMENT, "payment-service")], "payment-alt", False),
        ([left(ALT, "shop.example.com"), left(PAYMENT, "shop.example.com")], "shop.example.com", True),
        ([left(ALT, "shop.example.com", "r2")], "shop.example.com", True),
        ([left(ORDER, "shop.example.com")], "shop.example.com", True),
    ],
)
def test_only_what_clearly_came_for_another_service_is_none_of_this_ones(
    made: list[Entry], authority: str, *, kept: bool
) -> None:
    entry = came(authority)
    assert to_no_other(PAYMENT, [*made, entry], BESIDE) == [*made, *([entry] if kept else [])]
    assert to_no_other(PAYMENT, [*made, entry], ()) == [*made, entry]


FOREIGN = "elsewhere.shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("made", "entry", "kept"),
    [
        # the server name of mutual TLS tells to which of them a call was sent
        ([], {"backend": ALT.host}, True),  # by a route from here to there
        ([], {"authority": "payment-alt", "backend": PAYMENT.host}, True),
        ([], {"authority": "shop.example.com", "backend": ALT.host}, False),
        ([], {"authority": "shop.example.com", "backend": PAYMENT.host}, True),
        ([], {"authority": "shop.example.com", "backend": FOREIGN}, True),
        ([left(PAYMENT, "shop.example.com")], {"authority": "shop.example.com", "backend": ALT.host}, False),
        # a mirrored copy asks for whom the request asked, wherever it was sent
        ([left(ORDER, "payment-service")], {"backend": ALT.host, "copied": True}, False),
        ([left(ORDER, "payment-service")], {"backend": FOREIGN, "copied": True}, False),
        ([left(ORDER, "payment-service")], {"backend": PAYMENT.host, "copied": True}, True),
        ([left(ALT, "payment-alt")], {"authority": "payment-alt", "backend": PAYMENT.host, "copied": True}, True),
        ([left(PAYMENT, "payment-service")], {"backend": ALT.host, "copied": True}, False),
        ([left(PAYMENT, "payment-service")], {"copied": True}, False),  # nobody knows
    ],
)
def test_whom_a_call_was_sent_to_is_told_by_its_server_name(
    made: list[Entry], entry: dict[str, Any], *, kept: bool
) -> None:
    found = replace(came("payment-service"), **entry)
    assert to_no_other(PAYMENT, [*made, found], BESIDE) == [*made, *([found] if kept else [])]
    assert to_no_other(PAYMENT, [*made, found], ()) == [*made, found]


def test_of_a_copy_without_a_server_name_nobody_knows_to_which_service_of_its_pods_it_came() -> None:
    copy = replace(came("payment-service"), copied=True)
    entries = [left(ORDER, "payment-service"), came("payment-alt"), copy, replace(copy, backend=ALT.host)]
    proxies = Proxies(cast("Any", Cluster()))
    assert untold_arrivals(PAYMENT, entries, proxies) == untold_arrivals(ALT, entries, proxies) == [copy]
    assert untold_arrivals(ORDER, entries, proxies) == []
    assert arrivals(PAYMENT, entries, proxies) == []
    assert arrivals(ALT, entries, proxies) == entries[1::2]


def test_another_service_of_the_pods_selects_one_of_them() -> None:
    canary = _service("canary", app="payment", version="canary")
    assert hosts_beside(PAYMENT, [*Cluster.services, canary], [Cluster.pods[1]]) == BESIDE
    both = [Cluster.pods[1], _pod("payment-2", app="payment", version="canary")]
    assert hosts_beside(PAYMENT, [*Cluster.services, canary], both) == {ALT.host, "canary.shop.svc.cluster.local"}


def test_what_came_for_another_service_did_not_arrive_at_this_one() -> None:
    entries = [left(ALT, "payment-alt"), came("payment-alt"), left(PAYMENT, "payment-service"), came("payment-service")]
    cluster = cast("Any", Cluster())
    assert arrivals(PAYMENT, iter(entries), Proxies(cluster)) == [entries[3]]
    assert arrivals(ALT, entries, Proxies(cluster)) == [entries[1]]
    assert len(arrivals(PAYMENT, entries, Proxies(cluster, LINKERD))) == 2


def test_a_call_to_another_service_is_no_try_of_a_call_to_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = SimpleNamespace(cluster=Cluster(), mesh=SimpleNamespace(sidecars=ISTIO))
    log = CallLog(cast("Any", environment), cast("Any", None), [])
    entries = [left(PAYMENT, "payment-service"), came("payment-service"), left(ALT, "payment-alt"), came("payment-alt")]
    monkeypatch.setattr(log, "entries", lambda: entries)
    assert len(log.tries_to(PAYMENT)) == 1
    entries.append(came("payment-service"))
    assert len(log.tries_to(PAYMENT)) == 2


OWN, EVERY_CALL = authority_of(PAYMENT), Scope()


def _account(
    *entries: Entry, monkeypatch: pytest.MonkeyPatch, authority: str = "", scope: Scope = EVERY_CALL
) -> list[Any]:
    """What a fault at the server tells that these calls met."""
    events: list[Any] = []
    environment = SimpleNamespace(
        cluster=Cluster(),
        mesh=SimpleNamespace(sidecars=ISTIO),
        target="lab",
        tell=events.append,
        sent=SimpleNamespace(are_earlier=lambda _id: False),
    )
    accounting = Accounting(cast("Environment", environment))
    monkeypatch.setattr(accounting, "_entries", lambda _item, _met: entries)
    fault = Fault(PAYMENT, status=503, scope=scope, at=Side.SERVER)
    plan = Plan(str(fault), (), intent=fault, side=Side.SERVER, faulty=(PAYMENT,), authority=authority)
    item = InForce(plan, requests=["r1"])
    accounting.account([item], final=True)
    return events


def test_a_fault_at_the_server_that_only_calls_to_another_service_met_is_vacuous(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = [left(ALT, "payment-alt"), came("payment-alt", "r1", "FI")]
    with pytest.raises(Unmet, match=r"Nobody called payment-service\.shop .* as far as the proxies tell\."):
        _account(*others, monkeypatch=monkeypatch)
    own = [replace(left(PAYMENT, "payment-service"), started=2.0), came("payment-service", "r1", "FI")]
    [event] = _account(*others, *own, monkeypatch=monkeypatch)
    assert (event.calls, event.hit, dict(event.bypassed)) == (1, 1, {})


def test_a_fault_at_shared_pods_meets_no_copy_of_a_call_to_another_service(monkeypatch: pytest.MonkeyPatch) -> None:
    copy = replace(came("payment-alt"), copied=True, backend=PAYMENT.host)
    calls = [left(ALT, "payment-alt"), came("payment-alt")]
    with pytest.raises(Inconclusive, match="spared 1 call that came to its pods for payment-alt"):
        _account(*calls, copy, monkeypatch=monkeypatch, authority=OWN)
    own = [left(PAYMENT, "payment-service"), came("payment-service", "r1", "FI")]
    [event] = _account(*own, *calls, copy, monkeypatch=monkeypatch, authority=OWN)
    assert (event.calls, event.hit) == (1, 1), "nobody sees what becomes of the copy"
    others = replace(came("payment-service", "r1", "FI"), copied=True, backend=ALT.host)
    [event] = _account(*own, others, monkeypatch=monkeypatch, authority=OWN)
    assert (event.calls, event.hit) == (1, 1), "it was sent to the other one"


def test_a_fault_at_shared_pods_meets_the_calls_by_the_names_of_its_own_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = [left(PAYMENT, "payment-service:80"), came("payment-service:80", "r1", "FI")]
    others = [left(ALT, "payment-alt"), came("payment-alt", "r1")]
    [event] = _account(*own, *others, monkeypatch=monkeypatch, authority=OWN)
    assert (event.calls, event.hit) == (1, 1)


@pytest.mark.parametrize(
    ("entries", "spared"),
    [
        ([left(PAYMENT, "www.example.com"), came("www.example.com")], True),
        ([left(PAYMENT, "www.example.com", "r2"), came("www.example.com", "r2")], True),
        ([left(PAYMENT, "payment-alt"), came("payment-alt")], True),  # by a route from there to here
        ([came("127.0.0.9:80")], True),
        ([came("127.0.0.9:80", "r2")], False),  # a scrape, for instance: none of the scenario's
        ([left(ALT, "www.example.com"), came("www.example.com")], False),
        ([left(PAYMENT, "www.example.com"), replace(came("www.example.com"), details="rbac_access_denied")], False),
    ],
)
def test_a_call_by_another_name_that_a_fault_at_shared_pods_spared_is_told(
    entries: list[Entry], monkeypatch: pytest.MonkeyPatch, *, spared: bool
) -> None:
    own = [left(PAYMENT, "payment-service"), came("payment-service", "r1", "FI")]
    if not spared:
        [event] = _account(*own, *entries, monkeypatch=monkeypatch, authority=OWN)
        assert (event.calls, event.hit) == (1, 1)
        return
    with pytest.raises(Inconclusive) as caught:
        _account(*own, *entries, monkeypatch=monkeypatch, authority=OWN)
    assert (caught.value.code, isinstance(caught.value, Unmet)) == ("MB0486", False)
    assert f"spared 1 call that came to its pods for {entries[-1].authority}: {ALT.host} sel" in caught.value.sentence


def test_what_a_scope_leaves_out_is_not_spared_for_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [left(PAYMENT, "payment-service"), replace(came("payment-service", "r1", "FI"), path="/charge")]
    other = [left(PAYMENT, "www.example.com", "r2"), replace(came("www.example.com", "r2"), path="/other")]
    [event] = _account(*own, *other, monkeypatch=monkeypatch, authority=OWN, scope=Scope(path="/charge"))
    assert (event.calls, event.hit) == (2, 1), "it is a call nevertheless"
    [event] = _account(*other, monkeypatch=monkeypatch, authority=OWN, scope=Scope(path="/charge"))
    assert (event.calls, event.hit) == (1, 0)
    _account(*own, *other, monkeypatch=monkeypatch, authority=OWN, scope=Scope(headers={"x-user": "qa"}))
    with pytest.raises(Inconclusive, match="spared 1 call"):
        _account(*own, *other, monkeypatch=monkeypatch, authority=OWN, scope=Scope(path="/other"))


def test_faults_of_two_services_at_the_same_pods_are_told_apart_by_whom_calls_ask() -> None:
    plans = [
        Plan("", (), intent=Fault(ref, status=503), side=Side.SERVER, authority=authority_of(ref))
        for ref in (PAYMENT, ALT)
    ]
    hit = [("order-1", came("payment-service", "r1", "FI"))]
    assert told_apart(Suspect(plans[0]), [Suspect(plans[1])], hit) == (hit, [])
    assert told_apart(Suspect(plans[1]), [Suspect(plans[0])], hit) == ([], [])
    assert is_meant(plans[0], replace(hit[0][1], authority="")), "the log does not tell"


@pytest.mark.parametrize(
    ("authority", "service", "backend", "made"),
    [
        ("payment-alt", ALT, "", {ALT}),
        ("payment-service.shop:80", ALT, "", {ALT, PAYMENT}),
        ("", PAYMENT, "", {PAYMENT}),
        ("order-service", ORDER, ALT.host, {ALT}),
        ("order-service", ORDER, "", set()),
    ],
)
def test_whom_a_call_to_shared_pods_was_made_to(
    authority: str, service: ServiceRef, backend: str, made: set[ServiceRef]
) -> None:
    came = Entry("payment-1", False, "", "", 200, frozenset(), "r1", authority=authority)
    sent = replace(came, pod="order-1", outbound=True, service=service.host, backend=backend)
    anothers = replace(sent, request_id="r2", service=PAYMENT.host)
    found = whom_made_to([came], [sent, came, anothers], {PAYMENT.host, ALT.host})
    assert found == [(came, {one.host for one in made})]


def test_a_call_that_a_route_led_from_one_service_to_another_is_counted_for_both() -> None:
    """A canary by Services of the same pods."""
    came = Entry("payment-1", False, "", "", 200, frozenset(), "r1", authority="payment-service", backend=ALT.host)
    sent = replace(came, pod="order-1", outbound=True, service=ALT.host, backend="")
    third = ServiceRef("payment-all", "shop")
    for ref, number in ((PAYMENT, 1), (ALT, 1), (third, 0)):
        others = {one.host for one in (PAYMENT, ALT, third)} - {ref.host}
        share = share_of(ref, others, Counter(mutual_tls=1), [came], [sent, came], lambda _id: True)
        assert (share.calls, share.by_policy.total(), share.unknown, share.mixed) == (number, number, "", "")


def test_a_call_whose_caller_logs_nothing_was_made_to_whom_it_asks_for() -> None:
    came = Entry("payment-1", False, "", "", 200, frozenset(), "r1", authority="payment-alt.shop")
    assert whom_made_to([came], [came], {PAYMENT.host, ALT.host}) == [(came, {ALT.host})]


def test_a_copy_was_made_to_the_service_that_its_server_name_tells() -> None:
    names = {PAYMENT.host, ALT.host}
    copy = Entry("payment-1", False, "", "", 200, frozenset(), "r1", authority="payment-service", copied=True)
    sent = replace(copy, pod="order-1", outbound=True, service=PAYMENT.host, copied=False)
    told = replace(copy, backend=ALT.host)
    assert whom_made_to([told, copy], [sent, told, copy], names) == [(told, {ALT.host}), (copy, frozenset())]
    asked = [replace(entry, authority="www.example.com", copied=False) for entry in (sent, told)]
    assert whom_made_to(asked[1:], asked, names) == [(asked[1], {ALT.host})], "not where another call of its kind went"


@pytest.mark.parametrize("shared", [True, False])
def test_a_fault_at_the_server_is_no_remedy_where_it_would_spare_the_copies(*, shared: bool) -> None:
    event = FaultAccounted("it fails", str(PAYMENT), 0, 0, copied={"order-1": 2})
    with pytest.raises(Unmet) as caught:
        see_met(event, [], shared=shared)
    assert (caught.value.code, "at the server" in caught.value.help) == ("MB0617", not shared)
