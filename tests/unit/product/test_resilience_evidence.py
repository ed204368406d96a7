"""Which calls the oracles get to see: only those of requests that the caller is through with."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.claims import Outcome, Verdict, circuit, circuit_closing
from meshbdd.claims.breaker import Breaker
from meshbdd.claims.calls import Call
from meshbdd.intents import ServiceRef
from meshbdd.load import Sample, read_message
from meshbdd.load.ids import RequestIds
from meshbdd.scenario.call_log import CallLog, call_of, with_deadlines
from meshbdd.scenario.circuits import Circuits, _came
from meshbdd.scenario.last_change import none_met
from meshbdd.scenario.leads import as_trials, leading_to, only_failing
from meshbdd.scenario.resilience import Resilience
from meshbdd.scenario.sent_ids import SentIds
from meshbdd.scenario.tries import between
from meshbdd.scenario.unmeshed import callers_of, pods_that_called, seen_by_half
from meshbdd.sidecars import ISTIO
from meshbdd.telemetry.access_log import Entry
from meshbdd.units import Duration

ORDER, PAYMENT, CLIENT = (ServiceRef(name, "shop") for name in ("order-service", "payment-service", "client"))
HOST = "payment-service.shop.svc.cluster.local"


class _Cluster:
    """A Service with one pod, and a client that is none."""

    def find(self, kind: str, name: str, _namespace: str) -> dict[str, Any] | None:
        return {"spec": {"selector": {"app": name}}} if (kind, name) == ("Service", "order-service") else None

    def list(self, _kind: str, _namespace: str = "", labels: str = "") -> list[dict[str, Any]]:
        if not labels.startswith("app="):
            return []  # no fault stands in for anybody
        return [{"metadata": {"name": labels.removeprefix("app=")}, "status": {"phase": "Running"}}]


def call(pod: str, request: str) -> Entry:
    return Entry(pod, True, HOST, "", 503, frozenset(), request, upstream="10.0.0.3:8080")


def served(pod: str, request: str) -> Entry:
    return Entry(pod, False, "", "", 503, frozenset(), request)


@pytest.mark.parametrize(
    ("caller", "entries", "known", "strangers", "unknown"),
    [
        (ORDER, [call("order-service", "r1"), served("order-service", "r1")], 1, 0, 0),
        # Its client has gone, but the service has not answered: there may be more calls to come.
        (ORDER, [call("order-service", "r1")], 0, 1, 0),
        (ORDER, [call("order-service", "its-own"), served("order-service", "r1")], 0, 1, 1),
        # Its first try passes the id on, and its second does not.
        (ORDER, [call("order-service", i) for i in ("r1", "")] + [served("order-service", "r1")], 1, 1, 1),
        (ORDER, [call("client", "r1"), served("order-service", "r1")], 0, 0, 0),
        (CLIENT, [call("client", "r1")], 1, 0, 0),
        (CLIENT, [call("client", "somebody-elses")], 0, 1, 1),
    ],
)
def test_calls_of_requests_that_are_through(
    caller: ServiceRef, entries: list[Entry], known: int, strangers: int, unknown: int
) -> None:
    traffic = SimpleNamespace(samples=[Sample("r1", 0.0, 30.0, None, "timeout")])
    sent = SimpleNamespace(are_ours=lambda request_id: request_id == "r1")
    environment = SimpleNamespace(cluster=_Cluster(), target="lab", mesh=SimpleNamespace(sidecars=ISTIO), sent=sent)
    log = CallLog(cast("Any", environment), cast("Any", traffic), [])
    resilience = Resilience(cast("Any", environment), cast("Any", traffic), log, [])
    found, others = resilience._sent(caller, entries, between(caller, PAYMENT, entries, log.proxies, log.names()))
    assert (len(found), others.number, others.unknown) == (known, strangers, unknown)


class _Log(CallLog):
    """What the only caller's proxy logs of the first request, and of the trials so far."""

    trials = 0

    def entries(self) -> list[Entry]:
        return [call("client", "r1"), *[replace(call("client", "trial"), started=1.0)] * self.trials]

    def settled(self) -> list[Entry]:
        return self.entries()


class _Tried(Circuits):
    """A circuit whose only caller is let through once more, by a call that opens it anew.

    Args:
        misses: How many trials come to another caller before one comes to it.
    """

    def __init__(self, misses: int = 0) -> None:
        self.measured = 0
        self._misses = misses
        traffic = SimpleNamespace(
            samples=[],
            loading=False,
            last_name="charge",
            own=SimpleNamespace(measure=self._measure),
            changes=[],
            requests=SimpleNamespace(all={}),
        )
        environment = SimpleNamespace(
            cluster=_Cluster(), require=lambda *_asked: None, mesh=SimpleNamespace(sidecars=ISTIO), sent=SentIds()
        )
        self.log = _Log(cast("Any", environment), cast("Any", traffic), [])
        super().__init__(cast("Any", environment), cast("Any", traffic), self.log)
        self._seen = {PAYMENT: {"client": [Breaker("client", 1, ejected=1, requests=1, errors=5, base=0.5, seen=0.5)]}}

    def _measure(self, _name: str, count: int) -> list[Sample]:
        self.measured += count
        self.log.trials = max(0, self.measured - self._misses)
        return [Sample("trial", 1.0, 0.1, 503)] * count

    def _breakers(self, service: ServiceRef, _callers: object = None) -> list[Breaker]:
        ejected, requests = min(self.log.trials, 1), 1 + self.log.trials
        return [Breaker("client", 1, ejected=ejected, requests=requests, errors=5, base=0.5)]


def test_a_circuit_that_a_trial_opens_anew_was_half_open() -> None:
    for misses in (0, 3):
        tried = _Tried(misses)
        assert tried.half_opens(PAYMENT, Duration(60)).outcome == "passed", (
            "at once: a second look would find it open anew"
        )
        assert (tried.measured, tried.log.trials) == (misses + 1, 1), "it is tried until it was, and once"


@pytest.mark.parametrize("claim", ["is_open", "opens", "half_opens", "closes"])
def test_no_claim_about_a_circuit_holds_of_callers_that_have_none(claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried, judged = _Tried(), Verdict(Outcome.PASSED, "it does", {})
    bare = dict.fromkeys(("callers_of", "pods_that_called"), lambda *_args: ["order-canary"])
    monkeypatch.setattr("meshbdd.scenario.call_log.unmeshed", SimpleNamespace(seen_by_half=seen_by_half, **bare))
    for module, name in [
        (circuit, "is_open"), (circuit, "opens_within"),
        (circuit_closing, "half_opens_within"), (circuit_closing, "closes_within"),
    ]:  # fmt: skip
        monkeypatch.setattr(module, name, lambda *_args, **_named: judged)
    found = getattr(tried, claim)(PAYMENT, *([] if claim == "is_open" else [Duration(0.1)]))
    assert (found.outcome, "order-canary called" in found.sentence) == ("inconclusive", True)


def _resilience(entries: list[Entry], **traffic: Any) -> Resilience:
    """What is claimed of the client's calls, of which these are logged."""
    stub = SimpleNamespace(
        samples=[Sample("r1", 0.0, 0.1, 503)],
        wait_met=lambda: None,
        requests=SimpleNamespace(see_ids_differ=lambda: None),
        **traffic,
    )
    environment = SimpleNamespace(
        cluster=_Cluster(),
        target="lab",
        require=lambda *_asked: None,
        mesh=SimpleNamespace(sidecars=ISTIO),
        sent=SimpleNamespace(are_ours=lambda _id: True),
    )
    log = CallLog(cast("Any", environment), cast("Any", stub), [])
    log.settled = log.entries = lambda: entries  # type: ignore[method-assign]
    log.proxies = _proxies(lambda _: [{"metadata": {"name": "client"}}], lambda _: [])
    return Resilience(cast("Any", environment), cast("Any", stub), log, [])


def _proxies(pods: Any, meshed: Any) -> Any:
    """Those of services beside which no fault backend stands."""
    return SimpleNamespace(pods=pods, meshed=meshed, receiving=meshed, fault_backends=lambda _: [], beside=lambda _: ())


def test_calls_of_before_a_change_tell_nothing_after_it() -> None:
    asked: list[list[str]] = []

    def met(verdict: Verdict, ids: list[str]) -> Verdict:
        asked.append(ids)
        return none_met(verdict, "payment-service fails 100%")

    left = replace(call("client", "r1"), flags=frozenset({"DC"}))
    resilience = _resilience([left], loading=False, met=met)
    for verdict in (
        resilience.called_at_least(CLIENT, PAYMENT, 1),
        resilience.called_at_most(CLIENT, PAYMENT, 0, None),
        resilience.gives_up(CLIENT, PAYMENT, Duration(1)),
    ):
        assert (verdict.outcome, asked.pop()) == ("inconclusive", ["r1"])
        assert "no such call was made since" in verdict.sentence


@pytest.mark.parametrize(
    ("loading", "active", "outcome"), [(True, 1, "inconclusive"), (True, 0, "passed"), (False, 1, "failed")]
)
def test_a_call_that_does_not_end_is_seen_under_a_load_too(
    monkeypatch: pytest.MonkeyPatch, loading: bool, active: int, outcome: str
) -> None:
    monkeypatch.setattr("meshbdd.scenario.resilience.active_calls", lambda *_where: active)
    left = replace(call("client", "r1"), flags=frozenset({"DC"}))
    resilience = _resilience([left], loading=loading, met=lambda verdict, _ids: verdict)
    assert resilience.gives_up(CLIENT, PAYMENT, Duration(0.1)).outcome == outcome


def test_what_made_a_caller_call_is_sent_again() -> None:
    """Two requests that look alike in a log, to one path of one host, are told apart by their ids."""
    messages = [
        read_message("as qa", "POST http://payment-service/charge\nX-User: qa"),
        read_message("charge", "POST http://payment-service/charge"),
        read_message("checkout", "POST http://order-service/checkout"),
        read_message("orders", "GET http://order-service/orders"),
    ]
    sent, ids = SentIds(), {message.name: RequestIds(message) for message in messages}
    for name, those in ids.items():
        sent.add(those, name)
    entries = [
        Entry("client", True, HOST, "", 503, frozenset(), ids["as qa"].of(1), port="80"),
        Entry("client", True, HOST, "", 503, frozenset(), ids["charge"].of(7), port="9000"),
        Entry("order-1", True, HOST, "", 503, frozenset(), ids["checkout"].of(1), port="80"),
        Entry("order-2", True, HOST, "", 503, frozenset(), ids["checkout"].of(2), port="80"),
        Entry("order-3", True, HOST, "", 503, frozenset(), "an-id-of-its-own", port="80"),
        Entry("client", True, "order-service.shop.svc.cluster.local", "", 200, frozenset(), ids["orders"].of(1)),
    ]
    assert leading_to(PAYMENT, entries, sent.name_of) == {
        "as qa": {"client (port 80)"},
        "charge": {"client (port 9000)"},
        "checkout": {"order-1 (port 80)", "order-2 (port 80)"},
    }
    sent.begin()
    assert not leading_to(PAYMENT, entries, sent.name_of), "an earlier scenario sent them"


def test_a_request_that_met_nothing_but_errors_is_known() -> None:
    sent, rule = SentIds(), Breaker("client (port 80)", 1, 0, 9, errors=3)
    answers = {"poison": [503, 500], "third": [503, 200], "refused": [0], "ok": [200], "front's": [503]}
    entries = []
    for name, statuses in answers.items():
        ids = RequestIds(read_message(name, "GET http://payment-service/ok"))
        sent.add(ids, name)
        for number, status in enumerate(statuses):
            made = replace(call("front" if name == "front's" else "client", ids.of(number)), port="80", status=status)
            entries.append(made if status else replace(made, status=503, upstream="", flags=frozenset({"UH"})))
    assert only_failing(PAYMENT, entries, sent.name_of, {"client (port 80)": rule}) == {"poison"}
    assert list(leading_to(PAYMENT, entries, sent.name_of)) == list(answers), "those that were sent at one time"
    late = [replace(entry, started=float(number)) for number, entry in enumerate(entries)]
    assert next(iter(leading_to(PAYMENT, late, sent.name_of))) == "front's", "the latest first"


A, B = {"a"}, {"b"}


@pytest.mark.parametrize(
    ("last", "leading", "failing", "first", "then"),
    [
        ("solo", {"solo": A, "poison": A}, {"poison"}, ["solo"], ["poison"]),
        ("poison", {"poison": A, "solo": A}, {"poison"}, ["poison", "solo"], []),  # it is what the step says it sends
        ("version", {"poison": A, "solo": A}, {"poison"}, ["solo"], ["poison"]),
        ("version", {"poison": A}, {"poison"}, [], ["poison"]),
        (
            "solo",
            {"beta": A, "solo": A, "front": B},
            set(),
            ["solo", "beta"],
            [],
        ),  # "front" leads to what is tried already
        ("solo", {}, set(), ["solo"], []),
        ("blind", {"poison": A}, {"poison"}, [], ["poison"]),
    ],
)
def test_the_request_sent_last_is_tried_first_and_none_that_fails_before_others(
    last: str, leading: dict[str, set[str]], failing: set[str], first: list[str], then: list[str]
) -> None:
    assert [list(names) for names in as_trials(last, leading, failing, A)] == [first, then]


def test_a_circuit_that_no_request_is_known_to_lead_to_is_tried_by_the_last() -> None:
    assert as_trials("blind", {"ok": A}, set(), A | B) == [{"blind": B, "ok": A}, {}]


def test_a_trial_is_the_request_that_was_sent_last() -> None:
    """What opened the circuit opens it anew; the last request was refused by it, and has met nothing else."""
    tried = _Tried()
    ids = {name: RequestIds(read_message(name, "GET http://payment-service/ok")) for name in ("poison", "solo")}
    for name, those in ids.items():
        tried._environment.sent.add(those, name)
    refused = replace(call("client", ids["solo"].of(1)), upstream="", flags=frozenset({"UH"}), started=0.5)
    logged = [call("client", ids["poison"].of(1)), refused]
    tried.log.entries = lambda: [*logged, *[call("client", "trial")] * tried.log.trials]  # type: ignore[method-assign]
    tried._traffic.last_name = "solo"
    names: list[str] = []

    def measure(name: str, count: int) -> list[Sample]:
        names.append(name)
        return tried._measure(name, count)

    tried._traffic.own = cast("Any", SimpleNamespace(measure=measure))
    tried._try(PAYMENT, ["client"], {})
    assert names == ["solo"]


@pytest.mark.parametrize(
    ("sent", "out", "came"),
    [
        ({"a": 2, "b": 1}, (), False),
        ({"a": 2, "b": 2}, (), True),
        ({"a": 2, "b": 1}, ("b",), True),  # it was ejected anew, and gets nothing
        ({"a": 2}, (), True),  # its pod is gone
    ],
)
def test_a_trial_has_to_come_to_each_endpoint(sent: dict[str, int], out: tuple[str, ...], came: bool) -> None:
    before = Breaker("client", 2, 0, 2, 5, sent={"a": 1, "b": 1})
    now = replace(before, requests=3, sent=sent, out=out)
    assert _came(now, before, ["a", "b"]) is came
    assert _came(now, before, ()), "where none has to answer, any is enough"
    assert not _came(before, before, ())


class _Mesh:
    """payment-service has a proxy and order-service has one too; a canary of it, a scraper and a client have none."""

    PLAIN = ("order-canary", "scraper", "client-plain", "node")

    def pod(self, name: str, *, proxy: bool = False) -> dict[str, Any]:
        names = ("payment", "order", *self.PLAIN)
        return {
            "metadata": {"name": name, "labels": {"app": name}},
            "status": {"podIP": f"10.0.0.{names.index(name)}"},
            "spec": {"containers": [{"name": "istio-proxy" if proxy else "app"}], "hostNetwork": name == "node"},
        }

    def meshed(self, _service: ServiceRef) -> list[dict[str, Any]]:
        return [self.pod("payment", proxy=True)]

    def fault_backends(self, _service: ServiceRef) -> list[dict[str, Any]]:
        return []

    def beside(self, _service: ServiceRef) -> frozenset[str]:
        return frozenset()

    def pods(self, _service: ServiceRef) -> list[dict[str, Any]]:
        return [self.pod("order", proxy=True), self.pod("order-canary")]

    def every(self) -> list[dict[str, Any]]:
        return [self.pod("payment", proxy=True), self.pod("order", proxy=True)]

    def list(self, _kind: str) -> list[dict[str, Any]]:
        return [*self.every(), *(self.pod(name) for name in self.PLAIN)]


def test_a_caller_without_a_sidecar_is_seen_where_its_calls_arrive() -> None:
    mesh = cast("Any", _Mesh())
    ids = {"scraper": "its own"}
    came = [
        replace(served("payment", ids.get(pod["metadata"]["name"], "ours")), downstream=f"{pod['status']['podIP']}:999")
        for pod in mesh.list("Pod")[1:]
    ]
    found = callers_of(PAYMENT, came, mesh, mesh, lambda request_id: request_id == "ours")
    assert found == ["order-canary"]
    assert pods_that_called(ORDER, PAYMENT, came, mesh) == ["order-canary"]
    assert pods_that_called(ORDER, PAYMENT, came[:1], mesh) == [], "only its twin with a sidecar called"
    assert callers_of(PAYMENT, came[:1], mesh, mesh, lambda _: True) == []


def test_what_a_caller_without_a_sidecar_did_may_refute_a_claim_that_holds_of_the_others() -> None:
    passed, failed = Verdict(Outcome.PASSED, "it is open", {}), Verdict(Outcome.FAILED, "it is not", {})
    open_ = seen_by_half(passed, PAYMENT, ["order-canary"])
    assert open_.outcome is Outcome.INCONCLUSIVE
    assert "order-canary called payment-service.shop too, and has no sidecar that tells of it" in open_.sentence
    assert seen_by_half(failed, PAYMENT, ["order-canary"]) is failed
    assert seen_by_half(passed, PAYMENT, []) is passed


def test_a_deadline_that_the_callees_proxy_kept_is_its_callers() -> None:
    call_ = Call("client", "r1", 0.0, 0.3, 200, grpc=4)
    came = [Entry("payment", False, "", "", 200, frozenset(), "r1", details="max_duration_timeout")]
    assert [c.not_waited_for for c in with_deadlines([call_], came)] == [True]
    own = [replace(came[0], details="via_upstream")]
    assert [c.not_waited_for for c in with_deadlines([call_], own)] == [False], "the service said so itself"
    assert [c.not_waited_for for c in with_deadlines([replace(call_, request_id="r2")], came)] == [False]


@pytest.mark.parametrize(
    ("pods", "forwarded", "tries", "mixed"),
    [
        (("order", "order-canary"), ("", "10.9.9.9"), {2: 2}, 0),
        (("order", "order-canary"), ("192.0.2.7", "192.0.2.7,10.9.9.9"), {2: 2}, 0),
        (("order", "order-canary"), ("192.0.2.7", "192.0.2.7"), {4: 1}, 0),  # its client's proxy tried another pod
        (("order", "order-canary", "order-canary"), ("", "", "10.9.9.9"), {2: 1}, 1),
        (("order", "order-canary", "order-canary"), ("", "10.9.9.9", "10.9.9.9"), {2: 1}, 1),
    ],
)
def test_a_mirrored_copy_of_a_request_is_one_of_its_own(
    pods: tuple[str, ...], forwarded: tuple[str, ...], tries: dict[int, int], mixed: int
) -> None:
    def pod(name: str) -> dict[str, Any]:
        sidecar = {"containers": [{"name": "istio-proxy"}]}
        return {"metadata": {"name": name}, "spec": sidecar, "status": {"podIP": f"10.0.0.{len(name)}"}}

    made: list[Entry] = []
    for name, header in zip(pods, forwarded, strict=True):
        came = replace(served("payment", "r1"), downstream=f"10.0.0.{len(name)}:999")
        made += [replace(served(name, "r1"), forwarded=header), *[call(name, "r1"), came] * 2]
    resilience = _resilience(made, loading=False, met=lambda verdict, _ids: verdict)
    there = {ORDER: [pod("order"), pod("order-canary")], PAYMENT: [pod("payment")]}
    resilience._log.proxies = _proxies(there.get, there.get)
    verdict = resilience.called_at_most(ORDER, PAYMENT, 9, None)
    assert verdict.numbers["tries"] == tries
    assert (verdict.outcome, "1 request came to one pod" in verdict.sentence) == (
        "inconclusive" if mixed else "passed",
        bool(mixed),
    )
    assert resilience.called_at_least(ORDER, PAYMENT, 1).numbers["tries"] == tries


def test_what_a_fault_backend_injected_behind_its_own_proxy_is_known_of_the_tries() -> None:
    environment = SimpleNamespace(cluster=_Cluster(), target="lab", mesh=SimpleNamespace(sidecars=ISTIO))
    log = CallLog(cast("Any", environment), cast("Any", SimpleNamespace()), [])
    came = [replace(call("backend", name), outbound=False) for name in ("r1", "r2")]
    injected = replace(came[0], flags=frozenset({"FI"}))
    log._logs = cast("Any", SimpleNamespace(injections=[injected, replace(injected, pod="other", request_id="r2")]))
    assert [call_of(entry).faulted for entry in log.with_injected(came)] == [True, False]
