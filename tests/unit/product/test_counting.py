"""What proxies counted in a scenario: its own calls, whoever else's were counted and logged meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.claims import Verdict
from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.load import Message
from meshbdd.load.ids import RequestIds
from meshbdd.load.merging import MergedIds
from meshbdd.scenario.counting import Counting
from meshbdd.scenario.last_change import none_met
from meshbdd.scenario.sent_ids import SentIds
from meshbdd.sidecars import ISTIO
from meshbdd.telemetry.access_log import Entry
from meshbdd.waiting import NotYet
from tests.unit.product.staged import asked_but_once

ORDER, PAYMENT = ServiceRef("order-service", "shop"), ServiceRef("payment-service", "shop")
ADDRESSES = {"order-service": "127.1.0.1", "payment-service": "127.1.0.2"}


class Proxies:
    """One pod of each service; ``counted`` is what the page of the callee and that of the caller say of calls between."""

    sidecars = ISTIO

    def __init__(self) -> None:
        self.counted = {("destination", "mutual_tls"): 0, ("source", "unknown"): 0}
        self.nowhere = 0
        self.bare: set[str] = set()
        self.gone = False
        self.others: frozenset[str] = frozenset()
        self.counted_as = PAYMENT.name

    def pods(self, service: ServiceRef) -> list[dict[str, Any]]:
        if self.gone:
            raise BadInput("MB0641", "there is no client.")
        meta = {"name": service.name, "uid": service.name, "namespace": "shop", "labels": {}}
        return [{"metadata": meta, "status": {"podIP": ADDRESSES[service.name]}, "spec": {}}]

    def meshed(self, service: ServiceRef) -> list[dict[str, Any]]:
        return [] if service.name in self.bare else self.pods(service)

    def receiving(self, service: ServiceRef) -> list[dict[str, Any]]:
        return self.meshed(service)

    def fault_backends(self, _service: ServiceRef) -> list[dict[str, Any]]:
        return []

    def beside(self, _service: ServiceRef) -> frozenset[str]:
        return self.others

    def tunnel(self, pod: dict[str, Any], _port: int) -> SimpleNamespace:
        reporter = "destination" if pod["metadata"]["name"] == PAYMENT.name else "source"
        counted = [(*key, "-", number) for key, number in self.counted.items()]
        name = self.counted_as if reporter == "destination" else PAYMENT.name
        lines = "".join(
            f'istio_requests_total{{reporter="{by}",source_workload="order-service",source_workload_namespace="shop",'
            f'destination_service_name="{name}",destination_service_namespace="shop",'
            f'connection_security_policy="{policy}",response_code="200",response_flags="{flags}"}} {number}\n'
            for by, policy, flags, number in [*counted, ("source", "unknown", "UH", self.nowhere)]
            if by == reporter
        )
        return SimpleNamespace(text=lambda _path: f"# TYPE istio_requests_total counter\n{lines}")


class Stage:
    """A scenario in which order-service calls payment-service."""

    def __init__(self) -> None:
        self.proxies = Proxies()
        self.entries: list[Entry] = []
        self.earlier: set[str] = set()
        self.asides: set[str] = set()
        self.inbound: list[Entry] = []
        self.older: set[str] = set()
        self.change = ""

    def begin(self) -> Counting:
        traffic = SimpleNamespace(
            samples=[object()],
            asides=self.asides,
            loading=False,
            counts=lambda id_: id_ not in self.asides and id_ not in self.earlier,
            has_sent=True,
            wait_met=lambda: None,
            met=self._met,
        )
        log = SimpleNamespace(proxies=self.proxies, everything=lambda: list(self.entries))
        return Counting(cast("Any", traffic), cast("Any", log), [(ORDER, PAYMENT)], lambda _service: self.inbound)

    def _met(self, verdict: Verdict, ids: Collection[str] = ()) -> Verdict:
        return none_met(verdict, "a change" if ids and set(ids) <= self.older else self.change)

    def call(self, request_id: str, *, policy: str = "mutual_tls") -> None:
        """A call that both proxies count and log."""
        for key in (("destination", policy), ("source", "unknown")):
            self.proxies.counted[key] = self.proxies.counted.get(key, 0) + 1
        sent = Entry(ORDER.name, True, PAYMENT.host, "", 200, frozenset(), request_id, upstream="127.1.0.2:8080")
        came = Entry(PAYMENT.name, False, "", "", 200, frozenset(), request_id, downstream="127.1.0.1:999")
        self.entries += [sent, came]

    def call_other(self, request_id: str, *, policy: str = "mutual_tls") -> None:
        """The same to the other Service of these pods."""
        self.call(request_id, policy=policy)
        sent, came = self.entries[-2:]
        self.proxies.counted["source", "unknown"] -= 1  # by the other one's name
        self.entries[-2:] = [
            replace(sent, service=ALT, authority="payment-alt"),
            replace(came, authority="payment-alt"),
        ]

    def goes_out(self, request_id: str, *, somewhere: bool = True) -> None:
        """A call that the caller's proxy alone counts and logs: it came to no proxy, or there was no endpoint."""
        sent = Entry(ORDER.name, True, PAYMENT.host, "", 200, frozenset(), request_id, upstream="127.1.0.2:8080")
        if somewhere:
            self.proxies.counted["source", "unknown"] += 1
            self.entries.append(sent)
        else:
            self.proxies.nowhere += 1
            self.entries.append(replace(sent, status=503, flags=frozenset({"UH"}), upstream=""))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr("meshbdd.scenario.counting.or_nothing", asked_but_once)
    return Stage()


def told(verdict: Verdict) -> tuple[str, object]:
    return str(verdict.outcome), verdict.numbers.get("seen", verdict.numbers.get("by_policy"))


def test_calls_of_before_a_change_tell_nothing_after_it(stage: Stage) -> None:
    counting = stage.begin()
    stage.call("r1")
    stage.older.add("r1")
    assert counting.mutual_tls(ORDER, PAYMENT).outcome == "inconclusive"
    assert counting.reported(ORDER, PAYMENT, 1).outcome == "passed", "how many there were is true after it too"
    stage.call("r2")
    assert counting.mutual_tls(ORDER, PAYMENT).outcome == "passed"
    stage.change = "mutual TLS is disabled"
    assert counting.mutual_tls(ORDER, PAYMENT).outcome == "inconclusive"
    assert counting.reported(ORDER, PAYMENT, 1).outcome == "inconclusive"


def test_calls_of_before_the_scenario_do_not_count(stage: Stage) -> None:
    stage.call("before")
    counting = stage.begin()
    stage.call("r1")
    assert told(counting.reported(ORDER, PAYMENT, 1)) == ("passed", 1)
    assert told(counting.reported(ORDER, PAYMENT, 2)) == ("failed", 1)


@pytest.mark.parametrize("whose", ["asides", "earlier"])
def test_calls_that_are_none_of_the_scenarios_requests_do_not_count(stage: Stage, whose: str) -> None:
    counting = stage.begin()
    stage.call("r1")
    for number in range(3):
        stage.call(f"other-{number}")
        getattr(stage, whose).add(f"other-{number}")
    assert told(counting.reported(ORDER, PAYMENT, 2)) == ("failed", 1)
    assert told(counting.mutual_tls(ORDER, PAYMENT)) == ("passed", {"mutual_tls": 1})


def test_none_but_calls_of_others_is_no_call(stage: Stage) -> None:
    counting = stage.begin()
    stage.call("late")
    stage.earlier.add("late")
    assert told(counting.reported(ORDER, PAYMENT, 1)) == ("failed", 0)
    assert counting.mutual_tls(ORDER, PAYMENT).outcome == "inconclusive"


def test_what_is_counted_and_not_yet_logged_may_be_anybodys(stage: Stage) -> None:
    """A late call is counted at once, and logged when its proxy flushes the log: until then it looks like one of ours."""
    counting = stage.begin()
    stage.call("ours")
    stage.call("late")
    stage.earlier.add("late")
    assert told(counting.reported(ORDER, PAYMENT, 1)) == ("passed", 1)
    assert told(counting.reported(ORDER, PAYMENT, 2)) == ("failed", 1)
    stage.entries = stage.entries[:2]
    assert told(counting.reported(ORDER, PAYMENT, 1)) == ("passed", 1)
    assert counting.reported(ORDER, PAYMENT, 2).outcome == "inconclusive"
    stage.entries = []
    assert told(counting.reported(ORDER, PAYMENT, 2)) == ("passed", 2), "a mesh that logs nothing is believed"


def test_a_late_call_that_is_counted_and_never_logged_makes_no_claim_true(stage: Stage) -> None:
    counting = stage.begin()
    stage.entries = [Entry(ORDER.name, False, "", "", 200, frozenset(), "ours")]
    stage.proxies.counted["destination", "mutual_tls"] += 1
    assert counting.reported(ORDER, PAYMENT, 1).outcome == "inconclusive"


def test_a_late_call_that_was_counted_before_and_is_logged_now_takes_none_of_ours_away(stage: Stage) -> None:
    stage.call("late")
    stage.earlier.add("late")
    counting = stage.begin()  # its line of the log comes only now
    stage.call("ours")
    assert told(counting.mutual_tls(ORDER, PAYMENT)) == ("passed", {"mutual_tls": 1})
    assert counting.reported(ORDER, PAYMENT, 1).outcome == "inconclusive", "or ours was not counted, and it was"
    assert told(counting.reported(ORDER, PAYMENT, 2)) == ("failed", 0)


ALT = "payment-alt.shop.svc.cluster.local"


def test_counts_by_the_name_of_another_service_of_the_pods_refute_nothing(stage: Stage) -> None:
    counting = stage.begin()
    stage.call("r1")
    stage.proxies.counted["destination", "mutual_tls"] -= 1  # counted as a call to the other one
    assert told(counting.reported(ORDER, PAYMENT, 1)) == ("failed", 0)
    stage.proxies.others = frozenset({ALT})
    verdict = counting.reported(ORDER, PAYMENT, 1)
    assert verdict.outcome == "inconclusive"
    assert "calls to payment-service.shop and to payment-alt.shop" in verdict.sentence
    assert counting.mutual_tls(ORDER, PAYMENT).outcome == "inconclusive"


@pytest.fixture(params=[PAYMENT.name, "payment-alt"], ids="counted as {}".format)
def shared(stage: Stage, request: pytest.FixtureRequest) -> Stage:
    """Two Services of the same pods, whose proxies count by the name of either."""
    stage.proxies.others = frozenset({ALT})
    stage.proxies.counted_as = request.param
    return stage


def test_calls_to_one_of_two_services_of_the_same_pods_are_known_by_the_logs(shared: Stage) -> None:
    counting = shared.begin()
    for number in range(3):
        shared.call(f"r{number}")
    assert told(counting.reported(ORDER, PAYMENT, 3)) == ("passed", 3)
    assert told(counting.reported(ORDER, PAYMENT, 4)) == ("failed", 3)
    assert told(counting.mutual_tls(ORDER, PAYMENT)) == ("passed", {"mutual_tls": 3})


def test_plaintext_to_one_of_two_services_of_the_same_pods_is_known_by_the_logs(shared: Stage) -> None:
    counting = shared.begin()
    shared.call("r1", policy="none")
    assert told(counting.mutual_tls(ORDER, PAYMENT)) == ("failed", {"none": 1})
    shared.call_other("r2", policy="none")
    assert told(counting.mutual_tls(ORDER, PAYMENT)) == ("failed", {"none": 1}), "whichever of them it was"
    shared.call_other("r3")
    verdict = counting.mutual_tls(ORDER, PAYMENT)
    assert verdict.outcome == "inconclusive"
    assert "calls to more than one of these were counted, 1 × mutual_tls and 2 × none" in verdict.sentence
    assert told(counting.reported(ORDER, PAYMENT, 2)) == ("failed", 1), "how many they were is known"


def test_calls_to_another_service_of_the_pods_are_no_calls_to_this_one(shared: Stage) -> None:
    counting = shared.begin()
    shared.call_other("r1", policy="none")
    verdict = counting.mutual_tls(ORDER, PAYMENT)
    assert verdict.outcome == "inconclusive"
    assert "no proxy of payment-service.shop counted a call from order-service.shop" in verdict.sentence
    verdict = counting.reported(ORDER, PAYMENT, 1)
    assert verdict.outcome == "failed"
    assert verdict.sentence.endswith("the proxies of the destination counted 0")


def test_calls_to_another_service_of_the_pods_stand_in_for_none_that_went_past_them(shared: Stage) -> None:
    counting = shared.begin()
    shared.call_other("r1")
    shared.goes_out("r2")
    verdict = counting.mutual_tls(ORDER, PAYMENT)
    assert (verdict.outcome, verdict.numbers["uncounted"]) == ("inconclusive", 1)


def test_a_call_that_nobody_says_whom_it_was_made_to_tells_nothing_of_one_of_two_services(shared: Stage) -> None:
    counting = shared.begin()
    shared.call("r1")
    shared.entries = [replace(entry, authority="elsewhere") for entry in shared.entries if not entry.outbound]
    for verdict in (counting.reported(ORDER, PAYMENT, 1), counting.mutual_tls(ORDER, PAYMENT)):
        assert verdict.outcome == "inconclusive"
        assert "the access logs do not tell of each call whom it was made to" in verdict.sentence
        assert "opaque" not in verdict.sentence


def test_calls_that_a_pod_without_a_proxy_answered_are_known_whatever_is_counted_together(shared: Stage) -> None:
    counting = shared.begin()
    shared.proxies.bare = {PAYMENT.name}
    shared.goes_out("r1")
    shared.proxies.counted["destination", "mutual_tls"] += 1
    assert counting.mutual_tls(ORDER, PAYMENT).outcome == "failed"


def test_counts_that_the_logs_bear_out_are_believed_beside_another_service(stage: Stage) -> None:
    stage.proxies.others = frozenset({ALT})
    counting = stage.begin()
    stage.call("r1")
    assert told(counting.reported(ORDER, PAYMENT, 1)) == ("passed", 1)
    assert told(counting.reported(ORDER, PAYMENT, 2)) == ("failed", 1)
    assert told(counting.mutual_tls(ORDER, PAYMENT)) == ("passed", {"mutual_tls": 1})
    stage.call("r2", policy="none")
    assert counting.mutual_tls(ORDER, PAYMENT).outcome == "failed"
    stage.entries = []
    assert counting.reported(ORDER, PAYMENT, 2).outcome == "inconclusive", "nobody knows whom they called"


def test_one_plaintext_call_among_many(stage: Stage) -> None:
    counting = stage.begin()
    stage.call("r1")
    stage.call("r2", policy="none")
    assert told(counting.mutual_tls(ORDER, PAYMENT)) == ("failed", {"mutual_tls": 1, "none": 1})


def test_calls_that_the_caller_counted_and_no_proxy_of_the_callee_prove_no_mutual_tls(stage: Stage) -> None:
    """As where a pod of the callee has no sidecar, or a port goes past it."""
    counting = stage.begin()
    stage.call("r1")
    stage.goes_out("r2")
    verdict = counting.mutual_tls(ORDER, PAYMENT)
    assert verdict.outcome == "inconclusive"
    assert (
        "1 call was counted by the proxies of order-service.shop and by none of payment-service.shop"
        in verdict.sentence
    )
    stage.goes_out("r3", somewhere=False)
    assert counting.mutual_tls(ORDER, PAYMENT).numbers["uncounted"] == 1, "what got to no endpoint misses at none"


def test_a_call_that_got_nowhere_is_not_taken_for_one_of_others_that_did(stage: Stage) -> None:
    counting = stage.begin()
    stage.call("r1")
    stage.goes_out("r2")
    stage.entries.pop()  # not logged yet
    stage.goes_out("claim", somewhere=False)
    stage.asides.add("claim")
    verdict = counting.mutual_tls(ORDER, PAYMENT)
    assert (verdict.outcome, verdict.numbers["uncounted"]) == ("inconclusive", 1)


def test_calls_that_got_nowhere_were_made_all_the_same(stage: Stage) -> None:
    counting = stage.begin()
    stage.proxies.bare = {PAYMENT.name}
    stage.goes_out("r1", somewhere=False)
    assert told(counting.reported(ORDER, PAYMENT, 1)) == ("passed", 1)


def test_calls_of_another_caller_are_no_evidence_for_those_of_this_one(stage: Stage) -> None:
    """A late call of the caller's is counted and not logged yet; that of the client next to it is not what was counted."""
    counting = stage.begin()
    stage.call("r1")
    stage.call("late")
    stage.entries = stage.entries[:2]
    stage.entries.append(Entry(PAYMENT.name, False, "", "", 200, frozenset(), "r2", downstream="127.1.0.9:999"))
    assert told(counting.reported(ORDER, PAYMENT, 1)) == ("passed", 1)
    assert counting.reported(ORDER, PAYMENT, 2).outcome == "inconclusive"


def test_calls_of_another_service_and_to_another_service_are_no_evidence(stage: Stage) -> None:
    """Where the callee has no proxy the caller's own counts and logs alone tell."""
    counting = stage.begin()
    stage.proxies.bare = {PAYMENT.name}
    stage.call("r1")
    stage.call("late")
    sent = stage.entries[0]
    for other in (replace(sent, pod="client"), replace(sent, service=ALT), replace(sent, outbound=False)):
        stage.entries = [sent, replace(other, request_id="r2")]
        assert counting.reported(ORDER, PAYMENT, 2).outcome == "inconclusive"


def test_calls_that_were_answered_where_no_proxy_counts_are_told_of(stage: Stage) -> None:
    """As at an opaque port: the caller's proxy has them."""
    counting = stage.begin()
    stage.goes_out("r1")
    stage.goes_out("earlier")
    stage.earlier.add("earlier")
    stage.goes_out("no-answer")
    stage.entries[-1] = replace(stage.entries[-1], status=0)
    stage.goes_out("elsewhere")
    stage.entries[-1] = replace(stage.entries[-1], upstream="127.1.0.9:8080")
    verdict = counting.reported(ORDER, PAYMENT, 1)
    assert verdict.outcome == "failed"
    assert "though 1 call was answered there" in verdict.sentence
    stage.call("r2")
    assert "answered there" not in counting.reported(ORDER, PAYMENT, 2).sentence, "it counts such calls"
    stage.proxies.bare = {PAYMENT.name}
    assert "answered there" not in counting.reported(ORDER, PAYMENT, 9).sentence, "nobody there could"


def test_calls_from_others_than_the_callers_own_pods_are_not_its_plain_ones(stage: Stage) -> None:
    counting = stage.begin()
    stage.call("r1")
    stage.proxies.bare = {ORDER.name}
    stage.inbound = [Entry(PAYMENT.name, False, "", "", 200, frozenset(), "r2", downstream="127.1.0.9:999")]
    assert counting.mutual_tls(ORDER, PAYMENT).outcome == "inconclusive"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What happens while a claim waits, one after another."""
    to_come: list[Callable[[], None]] = []

    def asked_again(probe: Callable[[], None], otherwise: Callable[[], None]) -> None:
        while True:
            with contextlib.suppress(NotYet):
                return probe()
            if not to_come:
                return otherwise()
            to_come.pop(0)()

    monkeypatch.setattr("meshbdd.scenario.counting.or_nothing", asked_again)
    return to_come


def test_requests_that_are_counted_late_are_waited_for_and_no_longer(
    stage: Stage, later: list[Callable[[], None]]
) -> None:
    counting = stage.begin()
    later += [lambda: stage.call("r1"), lambda: stage.call("r2"), lambda: stage.call("r3")]
    assert told(counting.reported(ORDER, PAYMENT, 2)) == ("passed", 2)
    assert len(later) == 1


def test_a_first_call_and_what_the_callee_counts_after_the_caller_are_waited_for(
    stage: Stage, later: list[Callable[[], None]]
) -> None:
    def callee_counts() -> None:
        stage.proxies.counted["destination", "mutual_tls"] += 1

    counting = stage.begin()
    stage.entries = [Entry(ORDER.name, False, "", "", 200, frozenset(), "r1")]
    later += [lambda: stage.call("r1"), lambda: stage.call("r2")]
    assert told(counting.mutual_tls(ORDER, PAYMENT)) == ("passed", {"mutual_tls": 1})
    assert len(later) == 1
    stage.call("r3")
    stage.proxies.counted["destination", "mutual_tls"] -= 1
    later.insert(0, callee_counts)
    assert told(counting.mutual_tls(ORDER, PAYMENT)) == ("passed", {"mutual_tls": 2})
    assert len(later) == 1


def test_whose_a_counted_call_was_is_waited_for_where_something_is_logged(
    stage: Stage, later: list[Callable[[], None]]
) -> None:
    counting = stage.begin()
    stage.call("r1")
    stage.call("of-a-claim")
    stage.asides.add("of-a-claim")
    logged, stage.entries = stage.entries, [Entry(ORDER.name, False, "", "", 200, frozenset(), "r1")]
    later += [lambda: stage.entries.extend(logged), lambda: stage.call("r2")]
    assert told(counting.mutual_tls(ORDER, PAYMENT)) == ("passed", {"mutual_tls": 1})
    assert len(later) == 1
    stage.entries = []
    assert told(counting.mutual_tls(ORDER, PAYMENT)) == ("passed", {"mutual_tls": 2}), "no log will come"
    assert len(later) == 1


def test_a_counter_that_fell_began_anew(stage: Stage) -> None:
    for number in range(5):
        stage.call(f"before-{number}")
    counting = stage.begin()
    stage.proxies.counted = {("destination", "mutual_tls"): 2, ("source", "unknown"): 2}
    assert told(counting.reported(ORDER, PAYMENT, 2)) == ("passed", 2)


def test_who_was_not_there_when_the_scenario_began_had_counted_nothing(stage: Stage) -> None:
    stage.proxies.gone = True
    counting = stage.begin()
    stage.proxies.gone = False
    stage.call("r1")
    assert told(counting.reported(ORDER, PAYMENT, 1)) == ("passed", 1)


def test_where_nobody_counts_nothing_is_known(stage: Stage) -> None:
    counting = stage.begin()
    stage.call("r1")
    stage.proxies.bare = {PAYMENT.name}
    by_caller = counting.reported(ORDER, PAYMENT, 1)
    assert (by_caller.outcome, by_caller.numbers["reporter"]) == ("passed", "source")
    stage.proxies.bare = {ORDER.name}
    assert "nobody knows its calls by its name" in counting.reported(ORDER, PAYMENT, 1).sentence
    stage.proxies.bare = {ORDER.name, PAYMENT.name}
    assert "neither order-service.shop nor payment-service.shop" in counting.reported(ORDER, PAYMENT, 1).sentence


def test_a_call_from_a_pod_without_a_proxy_is_plain(stage: Stage) -> None:
    counting = stage.begin()
    stage.call("r1")
    stage.proxies.bare = {ORDER.name}
    stage.inbound = [entry for entry in stage.entries if not entry.outbound]
    verdict = counting.mutual_tls(ORDER, PAYMENT)
    assert verdict.outcome == "failed"
    assert "from pods of order-service.shop without a sidecar" in verdict.sentence


@pytest.mark.parametrize("header", [{}, {"x-request-id": "mine-${uuid}-too"}])
def test_requests_of_an_earlier_scenario_are_known_by_their_ids(header: dict[str, str]) -> None:
    message = Message("r", "GET", "http://a/", header, None)
    mine, others, stranger = (RequestIds(message) for _ in range(3))
    sent = SentIds()
    sent.add(MergedIds([mine, others]))
    assert sent.are_ours(others.of(7))
    assert not sent.are_earlier(mine.of(7))
    sent.begin()
    assert all(sent.are_earlier(ids.of(number)) for ids in (mine, others) for number in (0, 1, 4096))
    assert not sent.are_ours(mine.of(7))
    assert not sent.are_earlier(stranger.of(7))
    assert not sent.are_earlier("")


def test_requests_of_before_a_change_are_known_by_their_ids() -> None:
    message = Message("r", "GET", "http://a/", {}, None)
    before, load, after = (RequestIds(message) for _ in range(3))
    sent = SentIds()
    sent.add(before)
    sent.add(load)
    sent.changed(load)
    sent.add(after)
    assert [sent.are_older(ids.of(3)) for ids in (before, load, after)] == [True, False, False]
    sent.changed()
    assert all(sent.are_older(ids.of(3)) for ids in (before, load, after))
    assert not sent.are_older("of nobody")
    sent.begin()
    assert not sent.are_older(before.of(3))


def test_whose_a_request_with_a_fixed_id_is_nobody_knows() -> None:
    sent = SentIds()
    sent.add(fixed := RequestIds(Message("r", "GET", "http://a/", {"x-request-id": "always-the-same"}, None)))
    sent.begin()
    assert not sent.are_earlier(fixed.of(1))
