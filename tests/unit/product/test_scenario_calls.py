"""Who called whom and why calls failed, from the lines that sidecars log."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from meshbdd.evidence import Call
from meshbdd.scenario.calls import Places, calls_logged, reasons
from meshbdd.telemetry.access_log import Entry, read_entries

ORDER, CANARY = "order-service-cs54mxzmw7-gbqn8", "order-service-canary-78tcgb24d5-9tq4p"
CLIENT, PAYMENT = "client-hpptc2cmgd-crv7r", "payment-service-zq6lx7hl98-mgbz2"
"""Names as the lab makes them, and a cluster does."""


def _pod(name: str, namespace: str = "shop", **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels}}


def _service(name: str, namespace: str = "shop", **selector: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"selector": selector} if selector else {}}


_PAYMENTS = [
    _service("payment-service", app="payment-service"),
    _service("payment-service", "bank", app="ledger"),
]
PLACES = Places.of(
    [
        _pod(ORDER, app="order-service", version="stable"),
        _pod(CANARY, app="order-service", version="canary"),
        _pod(PAYMENT, app="payment-service"),
        _pod(CLIENT, app="client"),
        _pod("ledger-0", "bank", app="ledger"),
    ],
    [
        _service("order-service", app="order-service"),
        _service("order-service-canary", app="order-service", version="canary"),
        *_PAYMENTS,
        _service("external"),
    ],
    "shop",
)


def _line(
    pod: str, to: str, status: int = 200, flags: str = "-", request: str = "r1", at: float = 15.0, **more: Any
) -> Entry:
    """One line of a log: of a call to a service, or (``to`` empty) of one that came in."""
    data = {
        "upstream_cluster": f"outbound|80||{to}.svc.cluster.local" if to else "inbound|8080||",
        "response_code": status, "response_flags": flags, "request_id": request, "duration": 250,
        "start_time": f"1970-01-01T00:00:{at:06.3f}Z", **more,
    }  # fmt: skip
    (entry,) = read_entries(pod, json.dumps(data).encode())
    return entry


def test_callers_are_workloads_and_parts_of_the_services_that_are_called() -> None:
    told = calls_logged(
        [
            _line(CLIENT, "order-service.shop"),
            _line(CLIENT, "order-service.shop", at=5),
            _line(CLIENT, "order-service.shop", user_agent="meshbdd-probe"),
            _line(ORDER, "", 200),
            _line(ORDER, "payment-service.shop"),
            _line(CANARY, "payment-service.shop", at=16),
            _line(CANARY, "payment-service.shop", at=18),
            _line("ledger-0", "order-service.shop"),
        ],
        [], 10, PLACES,
    )  # fmt: skip
    assert set(told.calls) == {
        Call("client", "order-service", 200, (), False, 1, "", 15, 15.25),
        Call("order-service", "payment-service", 200, (), False, 1, "order-service", 15, 15.25),
        Call("order-service-canary", "payment-service", 200, (), False, 2, "order-service", 16, 18.25),
        Call("ledger", "order-service", 200, (), False, 1, "payment-service.bank", 15, 15.25),
    }


def test_faults_at_the_service_are_found_among_the_tries_of_a_request() -> None:
    """The caller's sidecar sees a plain 503 for each try that the service's own answered by a fault."""
    told = calls_logged(
        [
            _line(ORDER, "payment-service.shop", 503, at=15),
            _line(ORDER, "payment-service.shop", 503, at=16),
            _line(ORDER, "payment-service.shop", 503, "UH", at=17),
            _line(ORDER, "inventory-service.shop", 503),
            _line(CANARY, "payment-service.shop", 503, request="r2"),
            _line(PAYMENT, "", 503, "FI", at=15),
            _line(PAYMENT, "", 503, "FI", at=16),
        ],
        [], 10, PLACES,
    )  # fmt: skip
    counted = {(c.caller, c.service, c.flags, c.injected): c.count for c in told.calls}
    assert counted == {
        ("order-service", "payment-service", (), True): 2,
        ("order-service", "payment-service", ("UH",), False): 1,
        ("order-service", "inventory-service", (), False): 1,
        ("order-service-canary", "payment-service", (), False): 1,
    }


def test_a_fault_at_pods_of_several_services_is_told_by_the_one_that_was_called() -> None:
    alias = _service("alias", app="payment-service")
    pods, places = PLACES.hosts, Places.of([_pod(PAYMENT, app="payment-service")], [alias, *_PAYMENTS], "shop")
    assert set(places.hosts[PAYMENT]) > set(pods[PAYMENT])
    came = _line(PAYMENT, "", 503, "FI", authority="front.example.com")
    assert reasons([_line(ORDER, "payment-service.shop", 503, authority="front.example.com"), came], [], places) == {
        "r1": "payment-service, response flag FI"
    }
    assert reasons([_line(ORDER, "alias.shop", 503, authority="front.example.com"), came], [], places) == {
        "r1": "alias, response flag FI"
    }
    assert reasons([came], [], places) == {"r1": "payment-service, response flag FI"}, "by its workload's name"
    both = [_line(PAYMENT, "", 503, "FI", authority="alias.shop:80", request="r2")]
    assert reasons(both, [], places) == {"r2": "alias, response flag FI"}
    assert reasons([_line("strange-0", "", 503, "FI")], [], places) == {"r1": "strange-0, response flag FI"}


def test_what_became_of_a_copy_is_no_reason_why_a_request_failed() -> None:
    failed = _line(ORDER, "payment-service.shop", 503, "UH")
    copy = replace(_line(PAYMENT, "", 503, "FI"), copied=True)
    assert reasons([failed, copy], [], PLACES) == reasons([failed], [], PLACES)
    [told] = calls_logged([_line(ORDER, "payment-service.shop", 503), copy], [], 0.0, PLACES).calls
    assert not told.injected


def test_why_the_calls_of_a_request_failed() -> None:
    entries = [
        _line(CLIENT, "order-service.shop", 503),
        _line(ORDER, "payment-service.shop", 503),
        _line(PAYMENT, "", 503, "FI"),
        _line(ORDER, "payment-service.shop", 503, "UH"),
        _line(ORDER, "payment-service.shop", 503, "UH", request="r2"),
        _line(ORDER, "payment-service.shop", 200, "DI", request="r3"),
        _line(ORDER, "payment-service.shop", 200, request="r4"),
    ]
    assert reasons(entries, [], PLACES) == {
        "r1": "payment-service, response flags FI, UH: no healthy endpoint, all are ejected or there are none",
        "r2": "payment-service, response flag UH: no healthy endpoint, all are ejected or there are none",
        "r3": "payment-service, response flag DI",
    }
