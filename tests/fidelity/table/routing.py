"""Which requests go where, and what is changed on their way."""

from __future__ import annotations

from tests.fidelity.calls import Send
from tests.fidelity.checks import (
    answer_header,
    at_port,
    body,
    by_pod,
    by_version,
    count,
    details,
    flags,
    over_all,
    path,
    reached,
    saw,
    share,
    status,
    took,
)
from tests.fidelity.rows import Row
from tests.fidelity.table.faults import PAYMENT, vs
from tests.fidelity.world import OUTSIDE, STRANGER

MATCHES, WEIGHTS, CHANGES = "Matches and hosts", "Weights, subsets and mirrors", "Rewrites and answers of the sidecar"

INNER = "inventory-1.shop"
"""A caller in shop that is not itself an endpoint of order-service."""

ORDER = "http://order-service/"

# The golden cases tell their routes apart by timeouts; a hanging application shows which one was taken.
_HANGS = "hang"


def _order(path_: str, *, method: str = "GET", headers: dict[str, str] | None = None, does: str = _HANGS) -> Send:
    return Send(f"http://order-service{path_}", INNER, method=method, headers=headers or {}, does=does)


_DRY = {"x-user": "qa-7", "x-debug": "", "content-length": "0"}

TWO_PORTS = """
apiVersion: v1
kind: Service
metadata: {name: ledger}
spec:
  selector: {app: notification-service}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: http-admin, port: 9090, targetPort: 9090}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ledger}
spec:
  hosts: [ledger]
  http:
  - {match: [{port: 9090}], headers: {request: {set: {x-port: admin}}}, route: [{destination: {host: ledger, port: {number: 9090}}}]}
  - {headers: {request: {set: {x-port: main}}}, route: [{destination: {host: ledger, port: {number: 80}}}]}
"""

NARROW = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: payment}
spec:
  hosts: [payment-service]
  http:
  - {match: [{uri: {prefix: /charge}}], route: [{destination: {host: payment-service}}]}
"""

MIRROR_ALL = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: payment}
spec:
  hosts: [payment-service]
  http:
  - route: [{destination: {host: payment-service}}]
    mirror: {host: inventory-service}
"""


def _mirrored(answers: object) -> str | None:
    from collections.abc import Sequence

    from tests.fidelity.calls import Answer

    assert isinstance(answers, Sequence)
    wrong = [
        sorted(record["pod"] for record in answer.records)
        for answer in answers
        if isinstance(answer, Answer)
        and sorted(record["pod"] for record in answer.records) != ["inventory-1", "payment-1"]
    ]
    return f"{wrong[:3]}" if wrong else None


ROWS = (
    Row(
        MATCHES, "an exact path and a regular expression match whole paths", "golden 12, §2.3",
        (
            (_order("/checkout"), (status(504), took(0.3, 0.58))),
            (_order("/orders/17"), (status(504), took(0.3, 0.58))),
            (_order("/orders/17/items", does="200@400ms"), (status(200),)),
            (_order("/checkout/now", does="200@400ms"), (status(200),)),
        ),
        case="12-vs-match-uri-kinds", edits=(("1s", "300ms"), ("2s", "600ms")), together=True,
    ),
    Row(
        MATCHES, "a prefix matches beginnings; ignoreUriCase takes any case", "golden 12, §2.3",
        ((_order("/aDMIN/users"), (status(504), took(0.6, 2))),),
        case="12-vs-match-uri-kinds", edits=(("1s", "300ms"), ("2s", "600ms")), mutant=(", ignoreUriCase: true", ""),
    ),
    Row(
        MATCHES, "everything said in a match must hold: method, query, headers, headers that must be absent", "golden 13, §2.3",
        (
            (_order("/?dry=true", method="POST", headers=_DRY), (status(504), took(0.3, 2))),
            (_order("/?dry=true", method="PUT", headers=_DRY, does="200@500ms"), (status(200),)),
            (_order("/?dry=false", method="POST", headers=_DRY, does="200@500ms"), (status(200),)),
            (_order("/?dry=true", method="POST", headers={**_DRY, "x-user": "dev"}, does="200@500ms"), (status(200),)),
            (_order("/?dry=true", method="POST", headers={**_DRY, "x-prod": "1"}, does="200@500ms"), (status(200),)),
        ),
        case="13-vs-match-method-query-headers", edits=(("3s", "300ms"),), together=True,
    ),
    Row(
        MATCHES, "authority and scheme are matched as the caller writes them; port by the port that is called", "golden 14, §2.3",
        (
            (_order("/"), (status(504), took(0.3, 2))),
            (Send("http://order-service.shop/", INNER, does="200@500ms"), (status(200),)),
        ),
        case="14-vs-match-port-authority-scheme", edits=(("4s", "300ms"),), together=True,
    ),
    Row(
        MATCHES, "a request that no route of the host takes is answered 404", "§5.3",
        ((Send("http://payment-service/other"), (status(404), flags("NR"), reached(0))),
         (Send("http://payment-service/charge"), (status(200), reached(1)))),
        resources=NARROW,
    ),
    Row(
        MATCHES, "two ports of one host have routes of their own", "§2.1",
        (
            (Send("http://ledger/"), (status(200), at_port(8080), saw("x-port", "main"))),
            (Send("http://ledger:9090/"), (status(200), at_port(9090), saw("x-port", "admin"))),
        ),
        resources=TWO_PORTS,
    ),
    Row(
        MATCHES, "a VirtualService in another namespace governs a host by its full name", "golden 30, §1.6",
        ((Send(does="hang"), (status(504), took(0.2, 2))),),
        resources=vs("timeout: 200ms").replace("name: payment}", "name: payment, namespace: other}")
        .replace("payment-service", "payment-service.shop.svc.cluster.local"),
    ),
    Row(
        MATCHES, "a short name means the VirtualService's own namespace", "§1.6",
        ((Send(times=3), (status(200), reached(1))),),
        resources=vs("fault: {abort: {httpStatus: 500, percentage: {value: 100}}}").replace("name: payment}", "name: payment, namespace: other}"),
        mutant=("namespace: other", "namespace: shop"),
    ),
    Row(
        MATCHES, "exportTo . hides a VirtualService from other namespaces", "golden 31, §1.6",
        ((Send(does="200@300ms"), (status(200), reached(1))),),
        resources=vs("timeout: 100ms").replace("name: payment}", "name: payment, namespace: other}")
        .replace("hosts: [payment-service]", 'hosts: [payment-service.shop.svc.cluster.local]\n  exportTo: ["."]')
        .replace("host: payment-service}", "host: payment-service.shop.svc.cluster.local}"),
        mutant=('["."]', '["*"]'),
    ),
    Row(
        MATCHES, "names of a service: short in its namespace, with namespace from everywhere", "§2.2",
        (
            (Send("http://payment-service/"), (status(503),)),
            (Send("http://payment-service.shop.svc.cluster.local/", STRANGER), (status(503),)),
            (Send("http://payment-service.shop.svc/", STRANGER), (status(503),)),
            (Send("http://payment-service.shop.svc.cluster.local:80/", STRANGER), (status(503),)),
        ),
        resources=vs("fault: {abort: {httpStatus: 503, percentage: {value: 100}}}"),
    ),
    Row(
        MATCHES, "a port that the Service does not have is a failed connection, not an answer", "§2.7",
        ((Send("http://payment-service:81/"), (status(0),)),),
        resources="", mutant=None,
        declared="loopback has no original destination: the lab's sidecar looks the name up and answers 503 itself. A wrong "
        "port is red on both, with another status.",
    ),
    Row(
        WEIGHTS, "weights share requests out one by one", "golden 16, §2.3",
        ((Send(ORDER, INNER, times=800, at_once=2), (status(200), share("canary", 0.1, lambda a: a.headers.get("x-version") == "canary"))),),
        case="16-vs-canary-90-10",
    ),
    Row(
        WEIGHTS, "weight 0 gets nothing", "golden 17, §2.3",
        ((Send(ORDER, INNER, times=60), (status(200), by_version("stable"))),),
        case="17-vs-weights-with-zero",
    ),
    Row(
        WEIGHTS, "a subset that no DestinationRule defines is 503, no cluster", "golden 18, §2.3",
        ((Send(ORDER, INNER, times=5), (status(503), flags("NC"), reached(0))),),
        case="18-vs-subset-missing",
    ),
    Row(
        WEIGHTS, "a header sends requests to the canary", "golden 19",
        (
            (Send(ORDER, INNER, times=10, headers={"x-canary": "always"}), (by_version("canary"),)),
            (Send(ORDER, INNER, times=10), (by_version("stable"),)),
        ),
        case="19-vs-header-canary",
    ),
    Row(
        WEIGHTS, "a route may lead to another service", "golden 27",
        ((Send(times=3), (status(200), by_pod("inventory-1"))),),
        case="27-vs-other-destination",
    ),
    Row(
        WEIGHTS, "a destination that does not exist is 503, no cluster", "golden 28, §2.3",
        ((Send(times=3), (status(503), flags("NC"), reached(0))),),
        case="28-vs-unknown-destination",
    ),
    Row(
        WEIGHTS, "a mirror gets its share of copies; the caller gets the answer of the route alone", "golden 24, §2.3",
        ((Send(ORDER, INNER, times=600, at_once=2), (
            status(200),
            count("answered by stable", 600, 600, lambda a: a.headers.get("x-version") == "stable"),
            share("copied to canary", 0.1, lambda a: any(r["version"] == "canary" for r in a.records)),
        )),),
        case="24-vs-mirror",
    ),
    Row(
        WEIGHTS, "without mirrorPercentage every request is copied, under its own host name", "§2.3",
        ((Send(times=20), (status(200), over_all("a copy of each", _mirrored), saw("host", "payment-service", "payment-service"))),),
        resources=MIRROR_ALL,
    ),
    Row(
        CHANGES, "a redirect is answered by the sidecar, with its code", "golden 25",
        ((Send("http://order-service/old", INNER), (status(308), answer_header("location", "http://order-service/new"), reached(0))),),
        case="25-vs-redirect-rewrite-direct",
    ),
    Row(
        CHANGES, "a rewrite replaces the matched prefix", "golden 25",
        ((Send("http://order-service/v1/orders?x=1", INNER), (status(200), path("/orders?x=1"), saw("x-envoy-original-path", "/v1/orders?x=1"))),),
        case="25-vs-redirect-rewrite-direct",
    ),
    Row(
        CHANGES, "a direct response needs no service", "golden 25",
        ((Send("http://order-service/teapot", INNER), (status(418), body("short and stout"), details("direct_response"), reached(0))),),
        case="25-vs-redirect-rewrite-direct",
    ),
    Row(
        CHANGES, "paths are normalized before they are matched", "golden 01, §2.7",
        ((Send("http://payment-service/a/../charge"), (status(200), path("/charge"))),),
        resources=NARROW, mutant=("/charge", "/nothing"),
    ),
    Row(
        CHANGES, "a caller without a sidecar takes no route of a VirtualService", "§1.5",
        ((Send(PAYMENT, OUTSIDE), (status(200), by_pod("payment-1"))), (Send(PAYMENT), (by_pod("inventory-1"),))),
        case="27-vs-other-destination",
    ),
)  # fmt: skip
