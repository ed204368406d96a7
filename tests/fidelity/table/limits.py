"""Connection pools, and the ways in which a call finds no server."""

from __future__ import annotations

import itertools

from tests.fidelity.calls import Answer, Send
from tests.fidelity.checks import (
    body,
    count,
    flags,
    over_all,
    reached,
    server_flags,
    status,
)
from tests.fidelity.rows import Row
from tests.fidelity.table.faults import PAYMENT, vs
from tests.fidelity.table.routing import INNER
from tests.fidelity.world import OUTSIDE

LIMITS, GONE, BALANCE = "Connection limits", "No server", "Load balancing"


def pool(words: str, host: str = "payment-service") -> str:
    """A DestinationRule with a connection pool."""
    return (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: pool}\n"
        f"spec: {{host: {host}, trafficPolicy: {{connectionPool: {{{words}}}}}}}\n"
    )


SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: ledger}
spec:
  selector: {SELECTOR}
  ports: [{name: http, port: 80, targetPort: TARGET}]
"""


def service(selector: str, target: int) -> str:
    """A Service named ledger."""
    return SERVICE.replace("SELECTOR", selector).replace("TARGET", str(target))


def _connections(answers: object) -> set[str]:
    assert isinstance(answers, list)
    return {e["downstream_remote_address"] for a in answers for e in a.server}


def _fresh(answers: object) -> str | None:
    assert isinstance(answers, list)
    seen = len(_connections(answers))
    return None if seen == len(answers) else f"{seen} connections for {len(answers)} requests"


def _one(answers: object) -> str | None:
    seen = len(_connections(answers))
    return None if seen == 1 else f"{seen} connections"


def _alternate(answers: object) -> str | None:
    assert isinstance(answers, list)
    pods = [a.records[0]["pod"] for a in answers if a.records]
    return None if all(a != b for a, b in itertools.pairwise(pods)) else " ".join(pods)


def _overflow(answer: Answer) -> bool:
    return answer.status == 503 and answer.flags == "UO" and answer.headers.get("x-envoy-overloaded") == "true"


ROWS = (
    Row(
        LIMITS, "beyond one connection and one pending request the sidecar answers 503 at once", "golden 37, §2.5",
        ((Send(does="200@400ms", times=12, at_once=12), (
            status(200, 503), count("overflow", 6, 11, _overflow), count("served", 1, 4, lambda a: a.status == 200),
        )),),
        case="37-dr-connection-pool",
    ),
    Row(
        LIMITS, "http2MaxRequests limits HTTP/1.1 too", "§2.5",
        ((Send(does="200@400ms", times=12, at_once=12), (count("overflow", 7, 11, _overflow),)),),
        resources=pool("http: {http2MaxRequests: 2}"),
    ),
    Row(
        LIMITS, "a limit of 0 is no limit", "§2.5",
        ((Send(does="200@300ms", times=12, at_once=12), (status(200), flags("-"))),),
        resources=pool("http: {http2MaxRequests: 0, http1MaxPendingRequests: 0}"), mutant=("0", "1"),
    ),
    Row(
        LIMITS, "maxRequestsPerConnection 1 opens a connection for each request", "§2.5",
        ((Send(times=5), (status(200), over_all("a connection each", _fresh))),),
        resources=pool("http: {maxRequestsPerConnection: 1}"),
    ),
    Row(
        LIMITS, "otherwise sidecars keep their connections to each other", "§4.1",
        ((Send(times=5), (status(200), over_all("one connection", _one))),),
        resources=pool("http: {maxRequestsPerConnection: 100}"), mutant=("100", "1"),
    ),
    Row(
        LIMITS, "the limits bind the callee's own sidecar as well", "§2.5",
        ((Send(PAYMENT, OUTSIDE, does="200@400ms", times=12, at_once=12), (
            status(200, 503), count("refused", 7, 11, lambda a: a.status == 503 and not a.records),
        )),),
        resources=pool("http: {http2MaxRequests: 2}"),
    ),
    Row(
        LIMITS, "a rule for a pattern of hosts binds each of them", "golden 43",
        ((Send("http://inventory-service/", does="200@400ms", times=12, at_once=12), (count("overflow", 7, 11, _overflow),)),),
        resources=pool("http: {http2MaxRequests: 2}", '"*.shop.svc.cluster.local"'),
    ),
    Row(
        LIMITS, "a port's own settings replace the host's", "golden 42, §2.5",
        ((Send(does="200@400ms", times=12, at_once=12), (count("overflow", 7, 11, _overflow),)),),
        resources="apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: pool}\nspec:\n"
        "  host: payment-service\n  trafficPolicy:\n    connectionPool: {http: {http2MaxRequests: 100}}\n"
        "    portLevelSettings: [{port: {number: 80}, connectionPool: {http: {http2MaxRequests: 2}}}]\n",
        mutant=("number: 80", "number: 9999"),
    ),
    Row(
        LIMITS, "maxRetries bounds retries in flight: beyond it the answer stands as it is", "§2.5, trap 22",
        ((Send(does="503@50ms, 200@600ms", times=10, at_once=10), (
            count("retried", 1, 4, lambda a: len(a.records) == 2), count("not retried", 6, 9, lambda a: a.status == 503),
        )),),
        resources=vs("retries: {attempts: 1, retryOn: 5xx}") + "\n---\n" + pool("http: {maxRetries: 1}"),
        mutant=("maxRetries: 1", "maxRetries: 100"),
    ),
    Row(
        GONE, "a Service without endpoints is 503, no healthy upstream", "§5.3",
        ((Send("http://ledger/", times=3), (status(503), flags("UH"), body("no healthy upstream"), reached(0))),),
        resources=service("app: nobody", 8080), mutant=("nobody", "notification-service"),
    ),
    Row(
        GONE, "an application that does not listen is 503 by its own sidecar, which could not connect", "§2.7",
        ((Send("http://ledger/"), (status(503), reached(0), flags("-"), server_flags("URX,UF"))),),
        resources=service("app: notification-service", 7777), mutant=("7777", "8080"),
    ),
    Row(
        GONE, "a caller that goes away is DC at its sidecar; the request is ended at the application's side too", "§5.3",
        ((Send(does="hang", patience=1.0), (status(0), flags("DC"), reached(1))),),
        resources=vs("timeout: 30s"), mutant=("30s", "200ms"),
    ),
    Row(
        BALANCE, "ROUND_ROBIN takes one endpoint after the other", "golden 38, §2.5",
        ((Send("http://order-service/", INNER, times=20), (status(200), over_all("in turn", _alternate))),),
        resources="apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: order}\n"
        "spec: {host: order-service, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}\n",
        mutant=("ROUND_ROBIN", "RANDOM"),
    ),
    Row(
        BALANCE, "a hash of a header binds equal values to one endpoint", "golden 38, §2.5",
        tuple((Send("http://order-service/", INNER, times=12, headers={"x-user": user}), (
            status(200), over_all("one pod", lambda answers: None if len({a.records[0]["pod"] for a in answers}) == 1 else "both"),
        )) for user in ("ann", "bob", "cem")),
        resources="apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: order}\n"
        "spec: {host: order-service, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}\n",
        mutant=("x-user", "x-request-id"),
    ),
    Row(
        BALANCE, "by default the endpoint with fewer requests under way is taken", "golden 01, §2.5",
        ((Send("http://order-service/", INNER, times=60, at_once=6, headers={"x-do-canary": "200@150ms"}), (
            status(200), count("by the slow one", 1, 24, lambda a: a.records[0]["version"] == "canary"),
        )),),
        resources="apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: order}\n"
        "spec: {host: order-service, trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST}}}\n",
        mutant=("LEAST_REQUEST", "ROUND_ROBIN"),
    ),
)  # fmt: skip
