"""A scenario's traffic against a real server: what is sent, what claims judge, and what is too old or never came."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from meshbdd.claims import Outcome, Verdict, fields, judge, quantiles, responses, shares
from meshbdd.claims.share import unexplained
from meshbdd.cluster import Cluster
from meshbdd.errors import BadInput, EnvironmentBroken, Inconclusive
from meshbdd.evidence import Event, TrafficSent
from meshbdd.mesh import Gate, Istio
from meshbdd.scenario import Environment
from meshbdd.scenario.traffic import MOST_COUNTED, Traffic
from meshbdd.scenario.vantages import OUTBOUND_ANNOTATION
from meshbdd.settings import Settings
from meshbdd.units import Duration, Percent, Rate
from tests.load.server import Server
from tests.tools import until


class Pods:
    """A cluster of one client pod, whose sidecar is the server itself."""

    namespace = "shop"

    def __init__(self, address: str) -> None:
        self.found = [{"status": {"phase": "Running"}, "metadata": {"annotations": {OUTBOUND_ANNOTATION: address}}}]

    def find(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        return {} if (kind, name, namespace) == ("Service", "service", "shop") else None

    def list(self, _kind: str, _namespace: str, labels: str) -> list[dict[str, Any]]:
        assert labels == "app=client"
        return self.found


class Stage:
    def __init__(self, address: str, *, fields: tuple[str, ...] = ()) -> None:
        self.sent: list[str] = []
        self.told: list[Event] = []
        none = cast("Any", None)
        self.pods = Pods(address)
        cluster = cast("Cluster", self.pods)
        environment = Environment(
            Settings(), cluster, Istio(cluster, "run"), cast("Gate", none), "run", "lab", self.told.append
        )
        self.traffic = Traffic(environment, lambda ids, _unseen: self.sent.extend(ids), fields=fields)
        for path in ("ok", "mix", "hang", "slowly", "status/503", "echo"):
            self.traffic.define(path, f"GET http://service/{path}\n", None)

    @property
    def samples_told(self) -> list[int]:
        return [len(event.samples) for event in self.told if isinstance(event, TrafficSent)]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def stage(server: Server) -> Iterator[Stage]:
    stage = Stage(f"127.0.0.1:{server.port}")
    yield stage
    stage.traffic.end()


def test_what_was_sent_is_what_the_server_saw(server: Server, stage: Stage) -> None:
    stage.traffic.send("mix", 200, 5)
    assert [sample.request_id for sample in stage.traffic.samples] == stage.sent
    assert sorted(stage.sent) == sorted(server.ids)
    assert stage.samples_told == [200]
    failed = stage.traffic.judge(shares.every_status_is(200), unexplained)
    assert failed.outcome is Outcome.FAILED
    assert "4 × reset" in failed.sentence
    assert "2 × 503" in failed.sentence


def test_a_rate_is_kept_and_each_request_is_told(server: Server, stage: Stage) -> None:
    stage.traffic.send_at_rate("ok", Rate(200), Duration(1))
    assert len(stage.traffic.samples) == len(server.ids) == 200
    assert stage.samples_told == [200]
    assert stage.traffic.judge(quantiles.latency_below(50, Duration(5)), unexplained).outcome is Outcome.PASSED


@pytest.fixture
def ctrl_c(server: Server) -> Iterator[None]:
    """Ctrl-C once the server has seen some requests; where a shell runs the tests in the background, it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    sent = threading.Thread(
        target=lambda: (until("requests", lambda: len(server.ids) > 60), os.kill(os.getpid(), signal.SIGINT))
    )
    sent.start()
    yield
    sent.join()
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_what_was_sent_until_ctrl_c_is_told(server: Server, stage: Stage) -> None:
    with pytest.raises(KeyboardInterrupt):
        stage.traffic.send_at_rate("ok", Rate(100), Duration(60))
    assert len(stage.samples_told) == 1
    assert 50 < stage.samples_told[0] <= len(server.ids) + 1


@pytest.mark.usefixtures("ctrl_c")
def test_a_number_of_requests_that_ctrl_c_ends_is_told(server: Server, stage: Stage) -> None:
    with pytest.raises(KeyboardInterrupt):
        stage.traffic.send("ok", MOST_COUNTED)
    assert len(stage.samples_told) == 1
    assert 50 < stage.samples_told[0] <= len(server.ids)


@pytest.mark.usefixtures("ctrl_c")
def test_what_a_claim_has_drawn_until_ctrl_c_is_told(server: Server, stage: Stage) -> None:
    stage.traffic.enough("slowly")
    with pytest.raises(KeyboardInterrupt):
        stage.traffic.judge(shares.every_status_is(200), unexplained)
    assert 50 < sum(stage.samples_told) <= len(server.ids)


def test_enough_is_drawn_by_claims_and_told_once_each(server: Server, stage: Stage) -> None:
    stage.traffic.enough("ok")
    assert not server.ids
    for claim in (shares.succeed_more_than(Percent(95)), shares.fail_at_most(Percent(10)), shares.every_status_is(200)):
        judge(stage.traffic.judge(claim, unexplained))
    assert len(server.ids) == len(stage.sent) == len(stage.traffic.samples) == sum(stage.samples_told)
    assert len(stage.samples_told) == 2, "the second claim needed no more"
    stage.traffic.close()


def test_enough_that_nobody_asked_for_is_not_green(stage: Stage) -> None:
    stage.traffic.enough("ok")
    stage.traffic.send("ok")
    with pytest.raises(Inconclusive, match="no claim follows that asks for any"):
        stage.traffic.close()


def test_the_fields_that_claims_ask_for_are_kept_of_every_answer(server: Server) -> None:
    stage = Stage(f"127.0.0.1:{server.port}", fields=("nothing.there",))
    stage.traffic.send_at_rate("ok", Rate(300), Duration(1))
    claim = fields.between(Percent(0), Percent(10), "nothing.there", "x")
    with pytest.raises(Inconclusive, match=r"300 had no field 'nothing.there'"):
        judge(stage.traffic.judge(claim, unexplained))


def test_a_load_in_the_background_is_judged_when_it_has_stopped(server: Server, stage: Stage) -> None:
    traffic = stage.traffic
    traffic.send("ok")
    traffic.keep_sending("ok", Rate(200))
    with pytest.raises(BadInput, match="cannot be judged yet"):
        traffic.judge(responses.status_is([200]), unexplained)
    with pytest.raises(BadInput, match="still being sent"):
        traffic.keep_sending("ok", Rate(1))
    traffic.send("status/503")
    judge(traffic.judge(responses.status_is([503]), unexplained))
    until("requests of the load", lambda: len(server.ids) > 50)
    traffic.stop_load()
    judge(traffic.judge(shares.every_status_is(200), unexplained))
    assert len(traffic.samples) == len(server.ids) - 2
    assert set(stage.sent) == set(server.ids)
    with pytest.raises(BadInput, match="no load to stop"):
        traffic.stop_load()


def test_a_load_ends_with_the_scenario(server: Server, stage: Stage) -> None:
    stage.traffic.keep_sending("hang", Rate(100))
    until("requests under way", lambda: server.seen.total() > 10)
    stage.traffic.end()
    seen = server.seen.total()
    stage.traffic.send("ok")
    assert server.seen.total() == seen + 1


def test_a_client_that_is_replaced_is_entered_by_its_new_address(server: Server) -> None:
    def pod(address: str, ready: str, **meta: str) -> dict[str, Any]:
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}
        return {"status": status, "metadata": {"annotations": {OUTBOUND_ANNOTATION: address}, **meta}}

    nobody = "127.0.0.1:9"
    stage, here = Stage(nobody), f"127.0.0.1:{server.port}"
    with pytest.raises(EnvironmentBroken, match="took no connection"):
        stage.traffic.send("ok")
    stage.pods.found = [
        pod(nobody, "True", deletionTimestamp="2026-03-01T10:00:00Z"),
        pod(nobody, "False"),
        pod(here, "True"),
    ]
    stage.traffic.send("ok")
    judge(stage.traffic.judge(responses.status_is([200]), unexplained))


def test_what_was_sent_before_a_change_proves_nothing_after_it(stage: Stage) -> None:
    traffic, claim = stage.traffic, responses.status_is([200])
    traffic.send("ok")
    traffic.mesh_changes("payment fails")
    traffic.mesh_changed()
    with pytest.raises(Inconclusive, match="no request was sent since the mesh was changed"):
        judge(traffic.judge(claim, unexplained))
    assert traffic.nothing_since("the field is unchanged")
    traffic.send("ok")
    judge(traffic.judge(claim, unexplained))
    assert not traffic.nothing_since("the field is unchanged")
    traffic.mesh_changes("payment fails is withdrawn")
    with pytest.raises(Inconclusive, match="«payment fails is withdrawn»"):
        judge(traffic.judge(claim, unexplained))


def test_what_a_claim_drew_before_a_change_proves_nothing_after_it(stage: Stage) -> None:
    traffic = stage.traffic
    traffic.enough("ok")
    judge(traffic.judge(shares.succeed_at_least(Percent(95)), unexplained))
    traffic.mesh_changes("payment fails")
    traffic.mesh_changed()
    for claim in (shares.fail_at_most(Percent(5)), quantiles.latency_below(0.95, Duration(2))):
        with pytest.raises(Inconclusive, match="no request was sent since the mesh was changed"):
            judge(traffic.judge(claim, unexplained))
    traffic.enough("ok")
    judge(traffic.judge(shares.fail_at_most(Percent(5)), unexplained))
    traffic.close()


def test_a_load_makes_no_old_answer_new(server: Server, stage: Stage) -> None:
    traffic, claim = stage.traffic, responses.status_is([200])
    traffic.keep_sending("ok", Rate(200))
    traffic.send("ok")
    traffic.mesh_changes("only order-service may call payment-service")
    traffic.mesh_changed()
    traffic.wait_met()
    assert not traffic.nothing_since("it is unchanged"), "the load has met it"
    with pytest.raises(Inconclusive, match="it judges were sent before the mesh was changed"):
        judge(traffic.judge(claim, unexplained))
    traffic.send("ok")
    judge(traffic.judge(claim, unexplained))


def test_a_verdict_on_calls_needs_one_that_met_the_last_change(stage: Stage) -> None:
    traffic, seen = stage.traffic, Verdict.of(True, "all calls use mutual TLS: of 1 call 1 × mutual_tls")
    traffic.send("ok")
    [old] = stage.sent
    assert traffic.met(seen, [old]) is seen
    traffic.mesh_changes("mutual TLS is disabled")
    traffic.mesh_changed()
    assert traffic.met(seen).outcome == "inconclusive"
    traffic.send("ok")
    assert traffic.met(seen, stage.sent) is seen
    assert "no such call was made since" in traffic.met(seen, [old]).sentence, (
        "others were, and they tell nothing of these"
    )
    assert traffic.met(seen, ["of nobody"]) is seen, "a service that gives its calls new ids"
    traffic.mesh_changes("mutual TLS is disabled is withdrawn")
    assert traffic.met(seen, stage.sent).outcome == "inconclusive"
    unknown = Verdict.cannot_tell("all calls use mutual TLS: nobody counts", "give it a sidecar")
    assert traffic.met(unknown) is unknown, "its own reason is the better one"


def test_a_load_that_goes_on_meets_the_change(server: Server, stage: Stage) -> None:
    traffic = stage.traffic
    traffic.keep_sending("ok", Rate(200))
    until("requests before", lambda: len(server.ids) > 10)
    traffic.mesh_changes("payment fails")
    noted = len(stage.sent)
    assert noted > 0
    traffic.mesh_changed()
    assert traffic.nothing_since("it is unchanged")

    def met() -> bool:
        traffic.note_load()
        return traffic.nothing_since("it is unchanged") is None

    until("requests after", met)
    traffic.stop_load()
    judge(traffic.judge(shares.every_status_is(200), unexplained))


def test_a_broken_way_in_says_nothing_of_a_service() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    stage = Stage(address)
    with pytest.raises(EnvironmentBroken, match=r"3 of 3 requests did not get into the mesh"):
        stage.traffic.send("ok", 3)
    stage.traffic.enough("ok")
    with pytest.raises(EnvironmentBroken, match="took no connection"):
        stage.traffic.judge(shares.succeed_more_than(Percent(95)), unexplained)


def test_a_request_that_is_not_defined(stage: Stage) -> None:
    for send in (stage.traffic.enough, lambda name: stage.traffic.keep_sending(name, Rate(1))):
        with pytest.raises(BadInput, match='There is no request "nope"'):
            send("nope")
