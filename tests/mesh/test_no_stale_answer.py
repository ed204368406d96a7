"""Callers that keep their connections and are slow to use them never see a change that the gate had let through late.

A caller here is a pod with a sidecar of its own; it sends one request for each switch, on and off, over the connections
that it has had from the beginning: it stays idle in between, which is when an old connection shows itself.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from meshbdd.intents import Access, Fault, Intent, MutualTls, ServiceRef, Side, Split, TlsMode
from meshbdd.units import Percent
from tests.mesh.conftest import Scenario
from tests.tools import OUTBOUND, LabUnderTest, until

CALLERS, NAMESPACES = 8, ("east", "west")
SWITCHES = 200 if os.environ.get("FULL") else 2
PAYMENT, ORDER = ServiceRef("payment-service", "shop"), ServiceRef("order-service", "shop")

WORKLOAD = """
apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}, labels: {{istio-injection: enabled}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: caller, namespace: {namespace}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: caller}}}}
  template:
    metadata: {{labels: {{app: caller}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: client, image: meshbdd/client}}]
"""
INSERTED = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: own-fault}
spec:
  workloadSelector: {labels: {app: payment-service}}
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
      listener:
        filterChain:
          filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: own.fault
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
          abort: {http_status: 556, percentage: {numerator: 100}}
"""


@dataclass(frozen=True)
class Answer:
    status: int
    version: str
    request_id: str


class Callers:
    def __init__(self, addresses: list[str]) -> None:
        self._sessions = []
        for address in addresses:
            session = requests.Session()
            session.trust_env = False
            session.proxies = {"http": f"http://{address}"}
            self._sessions.append(session)
        self._pool = ThreadPoolExecutor(len(addresses))

    def ask(self, url: str = "http://payment-service.shop/charge") -> list[Answer]:
        """One request from each caller, all at a time."""

        def one(session: requests.Session) -> Answer:
            request_id = str(uuid.uuid4())
            method, body = ("POST", {"sku": "A1"}) if url.endswith("charge") else ("GET", None)
            answer = session.request(method, url, json=body, timeout=20, headers={"x-request-id": request_id})
            version = json.loads(answer.content).get("version", "") if url.endswith("version") else ""
            return Answer(answer.status_code, version, request_id)

        return list(self._pool.map(one, self._sessions))


@pytest.fixture(scope="module")
def callers(shop_lab: LabUnderTest) -> Iterator[Callers]:
    texts = [WORKLOAD.format(namespace=namespace, replicas=CALLERS // len(NAMESPACES)) for namespace in NAMESPACES]
    made = [shop_lab.cluster.create(obj) for text in texts for obj in yaml.safe_load_all(text)]

    def ready() -> list[str]:
        pods = [p for n in NAMESPACES for p in shop_lab.cluster.list("Pod", n) if shop_lab._ready(p)]
        return [str(p["metadata"]["annotations"][OUTBOUND]) for p in pods] if len(pods) == CALLERS else []

    yield Callers(until(f"{CALLERS} callers", ready, seconds=60))
    for obj in reversed(made):
        shop_lab.cluster.delete(obj)
    until("no caller", lambda: not any(shop_lab.cluster.list("Pod", n) for n in NAMESPACES), seconds=30)


Stale = Callable[[list[Answer]], int]


def _switch(scenario: Scenario, callers: Callers, intent: Intent, on: Stale, off: Stale, url: str) -> tuple[int, int]:
    """Stale answers after switching on and after switching off."""
    stale = [0, 0]
    for _ in range(SWITCHES):
        with scenario() as world:
            world.changes.make(intent)
            stale[0] += on(callers.ask(url))
            world.changes.take_back_all()
            stale[1] += off(callers.ask(url))
    return stale[0], stale[1]


def _other_than(status: int) -> Stale:
    return lambda answers: sum(answer.status != status for answer in answers)


CHARGE, VERSION = "http://payment-service.shop/charge", "http://order-service.shop/version"


@pytest.mark.parametrize(
    ("intent", "on"),
    [
        (Fault(PAYMENT, status=555, at=Side.SERVER), 555),
        (Fault(PAYMENT, status=555, at=Side.CALLER), 555),
        (Access(ORDER, PAYMENT), 403),
    ],
    ids=["fault at the server", "fault at the caller", "who may call"],
)
@pytest.mark.timeout(3600 if os.environ.get("FULL") else 120)
def test_no_answer_is_stale(scenario: Scenario, callers: Callers, intent: Intent, on: int) -> None:
    assert {answer.status for answer in callers.ask()} == {200}
    stale = _switch(scenario, callers, intent, _other_than(on), _other_than(200), CHARGE)
    print(f"\n{intent}: {stale} stale of {SWITCHES * CALLERS} answers each, {SWITCHES} switches on and off")
    assert stale == (0, 0)


@pytest.mark.timeout(3600 if os.environ.get("FULL") else 120)
def test_no_answer_is_stale_with_mutual_tls(scenario: Scenario, callers: Callers, lab: LabUnderTest) -> None:
    """What a connection speaks is seen in the server's log: no server name without TLS."""

    def names(answers: list[Answer]) -> list[object]:
        return [lab.last_logged("payment-service", answer.request_id)["requested_server_name"] for answer in answers]

    stale = _switch(
        scenario,
        callers,
        MutualTls(TlsMode.DISABLED, "shop", PAYMENT),
        on=lambda answers: sum(name is not None for name in names(answers)),
        off=lambda answers: sum(name is None for name in names(answers)),
        url=CHARGE,
    )
    print(f"\nmutual TLS disabled: {stale} stale of {SWITCHES * CALLERS} answers each, {SWITCHES} switches on and off")
    assert stale == (0, 0)


@pytest.mark.timeout(3600 if os.environ.get("FULL") else 120)
def test_no_answer_is_stale_with_a_split(scenario: Scenario, callers: Callers) -> None:
    stale = 0
    for number in range(SWITCHES):
        to, rest = ("canary", "stable") if number % 2 else ("stable", "canary")
        with scenario() as world:
            world.changes.make(Split(ORDER, ((to, Percent(100)), (rest, Percent(0)))))
            stale += sum(answer.version != to for answer in callers.ask(VERSION))
    print(f"\nsplit: {stale} stale of {SWITCHES * CALLERS} answers, {SWITCHES} switches")
    assert stale == 0


@pytest.mark.timeout(3600 if os.environ.get("FULL") else 120)
def test_no_answer_is_stale_with_a_filter_of_the_testers_own(
    scenario: Scenario, callers: Callers, tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text(INSERTED)
    stale = [0, 0]
    for _ in range(SWITCHES):
        with scenario() as world:
            world.changes.apply_manifest("own.yaml")
            stale[0] += _other_than(556)(callers.ask())
            world.changes.remove_manifest("own.yaml")
            stale[1] += _other_than(200)(callers.ask())
    print(f"\nan EnvoyFilter of the tester's: {stale} stale of {SWITCHES * CALLERS} answers each")
    assert stale == [0, 0]
