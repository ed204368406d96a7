"""Which calls the oracles get to see: only those of requests that the caller is through with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.intents import ServiceRef
from meshbdd.load import Sample
from meshbdd.scenario.resilience import Resilience
from meshbdd.sidecars import ISTIO
from meshbdd.telemetry.access_log import Entry

ORDER, PAYMENT, CLIENT = (ServiceRef(name, "shop") for name in ("order-service", "payment-service", "client"))
HOST = "payment-service.shop.svc.cluster.local"


class _Cluster:
    """A Service with one pod, and a client that is none."""

    def find(self, kind: str, name: str, _namespace: str) -> dict[str, Any] | None:
        return {"spec": {"selector": {"app": name}}} if (kind, name) == ("Service", "order-service") else None

    def list(self, _kind: str, _namespace: str, labels: str) -> list[dict[str, Any]]:
        return [{"metadata": {"name": labels.removeprefix("app=")}, "status": {"phase": "Running"}}]


def call(pod: str, request: str) -> Entry:
    return Entry(pod, True, HOST, "", 503, frozenset(), request, upstream="10.0.0.3:8080")


def served(pod: str, request: str) -> Entry:
    return Entry(pod, False, "", "", 503, frozenset(), request)


@pytest.mark.parametrize(
    ("caller", "entries", "known", "strangers"),
    [
        (ORDER, [call("order-service", "r1"), served("order-service", "r1")], 1, 0),
        # Its client has gone, but the service has not answered: there may be more calls to come.
        (ORDER, [call("order-service", "r1")], 0, 1),
        (ORDER, [call("order-service", "its-own"), served("order-service", "r1")], 0, 1),
        (ORDER, [call("client", "r1"), served("order-service", "r1")], 0, 0),
        (CLIENT, [call("client", "r1")], 1, 0),
        (CLIENT, [call("client", "somebody-elses")], 0, 1),
    ],
)
def test_calls_of_requests_that_are_through(
    caller: ServiceRef, entries: list[Entry], known: int, strangers: int
) -> None:
    traffic = SimpleNamespace(samples=[Sample("r1", 0.0, 30.0, None, "timeout")])
    environment = SimpleNamespace(cluster=_Cluster(), target="lab", mesh=SimpleNamespace(sidecars=ISTIO))
    resilience = Resilience(cast("Any", environment), cast("Any", traffic), [])
    found, others = resilience._sent(caller, PAYMENT, entries)
    assert (len(found), others) == (known, strangers)
