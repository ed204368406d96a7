"""The claim that a service rejects plaintext: pure functions, and what is asked of a cluster's objects."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from meshbdd.claims import Outcome
from meshbdd.claims.plaintext import Plain, rejects_plaintext
from meshbdd.intents import Intent, ServiceRef
from meshbdd.load import Message, Sample
from meshbdd.scenario.plaintext import ask_in_plaintext
from meshbdd.sidecars import LINKERD
from tests.unit.product.test_linkerd import PAYMENT, _server
from tests.unit.product.test_linkerd_adding_up import ONLY, STRICT, world

BY_THE_SERVICE = {"x-envoy-upstream-service-time": "1"}


def sample(status: int | None, error: str | None = None, headers: dict[str, str] | None = None) -> Sample:
    return Sample("r", 0.0, 0.1, status, error, headers or {})


ANSWERED = sample(404, headers=BY_THE_SERVICE)
RESET = sample(None, "reset")


@pytest.mark.parametrize(
    ("plain", "meshed", "outcome"),
    [
        (RESET, ANSWERED, Outcome.PASSED),
        (RESET, sample(503, headers=BY_THE_SERVICE), Outcome.PASSED),
        (
            RESET,
            sample(403, headers=BY_THE_SERVICE),
            Outcome.PASSED,
        ),  # a certificate brings an answer, none brings none
        (sample(200), ANSWERED, Outcome.FAILED),
        (sample(404), ANSWERED, Outcome.FAILED),
        (sample(403), ANSWERED, Outcome.FAILED),  # a policy's, or the application's: plaintext got so far
        (RESET, sample(503), Outcome.INCONCLUSIVE),  # it answers nobody
        (RESET, sample(403), Outcome.INCONCLUSIVE),  # the client's own proxy made it up
        (RESET, sample(None, "timeout"), Outcome.INCONCLUSIVE),
        (sample(None, "timeout"), ANSWERED, Outcome.INCONCLUSIVE),
    ],
)
def test_it_needs_a_service_that_answers_others(plain: Sample, meshed: Sample, outcome: Outcome) -> None:
    assert rejects_plaintext("x", [Plain(80, "p", True, plain)], {80: meshed}).outcome is outcome


def test_a_denial_for_want_of_an_identity_counts_where_one_with_an_identity_is_let_in() -> None:
    denied = [Plain(80, "p", True, sample(403), denied=True)]
    assert rejects_plaintext("x", denied, {80: ANSWERED}).outcome is Outcome.PASSED
    assert rejects_plaintext("x", denied, {80: sample(403, headers=BY_THE_SERVICE)}).outcome is Outcome.INCONCLUSIVE


def test_where_a_meshed_client_is_denied_too_it_counts_whether_others_are_let_in_by_their_identity() -> None:
    meshed = {80: sample(403, headers=BY_THE_SERVICE)}
    good = Plain(80, "p", True, sample(403), denied=True, let_in="AuthorizationPolicy a lets b pass")
    verdict = rejects_plaintext("x", [good], meshed)
    assert verdict.outcome is Outcome.PASSED
    assert "without a certificate, as a meshed client was at port 80 (403), but AuthorizationPolicy a lets b pass" in (
        verdict.sentence
    )
    verdict = rejects_plaintext("x", [good, replace(good, pod="q", let_in="", doubt="nobody is let in")], meshed)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "turns a meshed client away as well (403), and nobody is let in" in verdict.sentence
    assert "from outside the mesh" in str(verdict.help)


@pytest.mark.parametrize(
    ("grpc", "by_the_service", "outcome"),
    [
        ("12", True, Outcome.PASSED),  # no such method: somebody looked for it
        ("14", False, Outcome.INCONCLUSIVE),  # the client's own proxy found nobody; it says so with the HTTP status 200
        ("7", True, Outcome.INCONCLUSIVE),
    ],
)
def test_a_grpc_call_that_failed_answers_as_far_as_the_service_failed_it(
    grpc: str, *, by_the_service: bool, outcome: Outcome
) -> None:
    meshed = sample(200, headers={"grpc-status": grpc, **(BY_THE_SERVICE if by_the_service else {})})
    denied = [Plain(80, "p", True, sample(403), denied=True)]
    assert rejects_plaintext("x", denied, {80: meshed}).outcome is outcome


def test_one_pod_without_a_sidecar_is_named() -> None:
    good = Plain(80, "good", True, RESET)
    verdict = rejects_plaintext("x", [good, Plain(80, "bare", False, sample(200))], {80: ANSWERED})
    assert verdict.outcome is Outcome.FAILED
    assert "pod bare, which has no sidecar" in verdict.sentence
    verdict = rejects_plaintext("x", [good, Plain(80, "bare", False, RESET)], {80: ANSWERED})
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "pod bare has no sidecar" in verdict.sentence


def test_nothing_asked_is_nothing_rejected() -> None:
    assert rejects_plaintext("x", [], {}, ["port 3306 (mysql)"]).outcome is Outcome.INCONCLUSIVE
    assert rejects_plaintext("x", [], {80: ANSWERED}).outcome is Outcome.INCONCLUSIVE


def _endpoints(*addresses: str, name: str, port: int) -> dict[str, Any]:
    return {"ports": [{"name": name, "port": port}], "endpoints": [{"addresses": [address]} for address in addresses]}


def test_every_endpoint_of_every_http_port_is_asked_and_other_ports_are_named() -> None:
    ports = [
        {"name": "http", "port": 80},
        {"name": "grpc", "port": 9000},
        {"name": "web", "port": 81},  # a mesh looks into its bytes
        {"name": "x", "port": 82, "appProtocol": "kubernetes.io/h2c"},
        {"name": "mysql", "port": 3306},
    ]
    slices = [_endpoints("10.0.0.1", "10.0.0.2", name=str(p["name"]), port=int(str(p["port"])) + 1000) for p in ports]
    cluster = SimpleNamespace(
        find=lambda _kind, name, _namespace: {"metadata": {"name": name}, "spec": {"ports": ports}},
        list=lambda _kind, _namespace, labels: slices if labels.endswith("=twin") else [],
    )
    pods = [
        {"metadata": {"name": "a"}, "status": {"podIP": "10.0.0.1"}},
        {"metadata": {"name": "b"}, "status": {"podIP": "10.0.0.2"}},
    ]
    proxies = SimpleNamespace(
        pods=lambda _: pods,
        meshed=lambda _: pods[:1],
        leading_to=lambda _: {"metadata": {"name": "twin"}},
        sidecars=LINKERD,
    )
    asked: list[str] = []

    def probe(message: Message, *, straight_to: str = "") -> Sample:
        asked.append(straight_to)
        grpc = message.headers.get("content-type") == "application/grpc"
        assert grpc == (not straight_to and ":9000/" in message.url), (
            "a meshed client is answered in what the port speaks"
        )
        return (sample(200) if straight_to == "10.0.0.2:10000" else RESET) if straight_to else ANSWERED

    traffic = SimpleNamespace(own=SimpleNamespace(probe=probe))
    service = ServiceRef("x", "shop")
    verdict = ask_in_plaintext(service, cluster, proxies, traffic, lambda _: False)  # type: ignore[arg-type]
    assert asked.count("") == 4
    assert len([address for address in asked if address]) == 8
    assert verdict.outcome is Outcome.FAILED
    assert "port 9000 of pod b, which has no sidecar" in verdict.sentence
    assert verdict.numbers["not_looked_at"] == ["port 3306 (mysql)"]


@pytest.mark.parametrize(
    ("intents", "more", "outcome", "told"),
    [
        (
            [ONLY],
            [],
            Outcome.PASSED,
            "lets service account order-service.shop pass at Server meshbdd-payment-service-8080",
        ),
        ([STRICT, ONLY], [], Outcome.PASSED, "lets service account order-service.shop pass at Server"),
        (
            [],
            [_server("deny")],
            Outcome.INCONCLUSIVE,
            "no policy is known to let any pod of the mesh pass at Server theirs",
        ),
        ([], [], Outcome.INCONCLUSIVE, "no Server decides at port 8080 of pod payment-service-stable"),
    ],
)
def test_who_is_let_in_is_read_from_what_decides_at_the_pod_where_a_meshed_client_is_denied_too(
    intents: list[Intent], more: list[dict[str, Any]], outcome: Outcome, told: str
) -> None:
    staged = world(*more)
    for intent in intents:
        staged(intent)
    there = staged.cluster
    listed = {"EndpointSlice": [_endpoints("10.0.0.1", name="http", port=8080)]}
    cluster = SimpleNamespace(
        find=there.find,
        list=lambda kind, *args, **more: listed[kind] if kind in listed else there.list(kind, *args, **more),
    )
    pods = [
        {**pod, "status": {"podIP": "10.0.0.1"}}
        for pod in there.list("Pod", "shop")
        if pod["metadata"]["name"] == "payment-service-stable"
    ]
    proxies = SimpleNamespace(pods=lambda _: pods, meshed=lambda _: pods, leading_to=lambda _: None, sidecars=LINKERD)
    denied = sample(403, headers=BY_THE_SERVICE)
    traffic = SimpleNamespace(own=SimpleNamespace(probe=lambda *_args, **_more: denied))
    verdict = ask_in_plaintext(PAYMENT, cluster, proxies, traffic, lambda _: True)  # type: ignore[arg-type]
    assert verdict.outcome is outcome
    assert told in verdict.sentence
