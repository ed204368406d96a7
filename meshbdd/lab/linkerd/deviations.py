"""In what the lab's Envoy differs from linkerd-proxy, and what that means for a tester.

Every line is shown by ``meshbdd lab status --json`` and in the environment of a run's report; ``tests/fidelity`` holds the lab
against recorded behaviour and lets nothing differ that is not declared here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deviation:
    """One difference.

    Attributes:
        key: Its name, for tests.
        differs: What is different.
        effect: What that does to a verdict.
    """

    key: str
    differs: str
    effect: str

    def __str__(self) -> str:
        return f"{self.differs} {self.effect}"


DEVIATIONS = (
    Deviation(
        "balancing",
        "Envoy takes the less busy of two random endpoints; Linkerd weighs them by latency.",
        "How requests spread over the endpoints of one backend is another; shares between backends are the same.",
    ),
    Deviation(
        "probation",
        "After the penalty Envoy takes an endpoint back whole; Linkerd sends one request as a probe, holds the others, "
        "and breaks the circuit again if that one fails. Envoy's penalty grows by its first length each time, Linkerd's "
        "doubles.",
        "In the lab max-failures requests may fail again after each penalty, and a request that arrives while the "
        "circuit is open is never held until it closes.",
    ),
    Deviation(
        "success-rate",
        "Under failure-accrual: unified Envoy judges an endpoint's success rate every 0.2 seconds, by the requests since it last "
        "did and in whole percents of failures; Linkerd judges it with every answer, by the whole window. As many failures in a "
        "row as min-requests, and five at least, break the circuit in the lab whatever came before.",
        "The circuit opens up to 0.2 seconds later and a penalty may last as much longer; an endpoint with fewer requests in 0.2 "
        "seconds than min-requests is broken by failures in a row alone, so that with few calls or slow ones a circuit may stay "
        "closed which Linkerd opens; after many successes it may open some failures earlier.",
    ),
    Deviation(
        "queue",
        "A request that finds no endpoint waits the three seconds even if one appears meanwhile; a try that is a retry never "
        "draws a backend of a split that has no endpoint at all; one whose endpoints are all broken is passed over at once.",
        "It gets 504 where Linkerd might still have answered it; a retry does not wait where Linkerd's might, nor does the "
        "first request for a broken backend, which in Linkerd waits three seconds for its 504.",
    ),
    Deviation(
        "fail-fast",
        "A proxy that failed fast for a backend without endpoints does so until one answers, or nobody asked for five seconds; "
        "Linkerd's stops as soon as there is an endpoint again.",
        "A service that is down once more within five seconds, and was not called in between, is told by 503 at once, where Linkerd "
        "waits three seconds and tells 504.",
    ),
    Deviation(
        "shared-endpoints",
        "A pod behind several backends of one split is one endpoint, of the first of them, with the shares of all.",
        "The shares are as written; the proxies' counts name the first backend, whose header filters alone apply to that pod.",
    ),
    Deviation(
        "hedging",
        "When a try passes retry.linkerd.io/timeout the next one starts without the first being cut, unless the request's "
        "own timeout ends the last try anyway.",
        "A service that takes longer than retry.linkerd.io/timeout, and not as long as all tries may take, answers sooner than in "
        "Linkerd and after fewer tries, by a try that Linkerd would have cut: so also where Linkerd's last try, which begins after "
        "the others were cut, would be too late for the request's timeout and end in 504.",
    ),
    Deviation(
        "idle",
        "timeout.linkerd.io/idle is not applied.",
        "A body that pauses is not cut.",
    ),
    Deviation(
        "response-timeout",
        "With retries, timeout.linkerd.io/response covers all tries together.",
        "Several slow tries together may end in 504 earlier.",
    ),
    Deviation(
        "egress-networks",
        "Of EgressNetworks those that name networks are not applied: the lab sees hosts, not the addresses behind them.",
        "A call that such a network denies goes through.",
    ),
    Deviation(
        "undeclared-port",
        "To a port that a pod does not declare the first request is judged by the pod's default; in Linkerd it is the first "
        "connection, also one without HTTP, and again the first one after nobody has been connected for 90 seconds. While a "
        "Server says that such a port is opaque no connection is. A port that no Service leads to either cannot be reached. "
        "The lab's probes pass by the proxy: a port to which a readinessProbe connects (`tcpSocket`) counts as asked for, as it is in "
        "Linkerd by then; `grpc` probes the lab does not know.",
        "A later connection is judged by the port's policy where Linkerd would take the default once more.",
    ),
    Deviation(
        "authority",
        "The lab takes the address that was dialled from the request's authority, since nothing intercepts connections.",
        "A request whose Host header names another Service than the address goes to that Service.",
    ),
    Deviation(
        "opaque",
        "Ports that are opaque on the calling side are balanced for each request, not for each connection.",
        "Only HTTP can be sent through the lab's sidecars.",
    ),
    Deviation(
        "open-connections",
        "Connections that are open when a port ceases to be opaque, or becomes so, go by the old rules for five seconds, and are "
        "closed then; Linkerd closes those at once which the new rules do not allow, and leaves the others open.",
        "meshbdd waits these seconds before it goes on; a request that takes longer and was under way gets no answer.",
    ),
    Deviation(
        "profile-budget",
        "A ServiceProfile's retries are counted when a request ends.",
        "Requests at the same time may together use more than the budget.",
    ),
    Deviation(
        "request-headers",
        "The conditions of l5d-retry-http and l5d-retry-grpc are added to those of the route instead of replacing them, and "
        "l5d-retry-grpc does not see statuses in trailers.",
        "None, unless the control plane was installed to allow these headers.",
    ),
    Deviation(
        "metrics",
        "The lab counts no ServiceProfile's routes, no denied connections and no backend in fail-fast, and a try that was cut "
        "or tried again has not always Linkerd's error in outbound_*_route_backend_response_statuses_total.",
        "A query about just that finds nothing, or another label; requests, their statuses and retries are counted alike.",
    ),
    Deviation(
        "regular-expressions",
        "A route whose regular expression only linkerd-proxy could play is refused when it is applied: Envoy has RE2's syntax, "
        "which knows no classes within classes, no (?x), no \\u, no \\<, no {2000}.",
        "None: the request to the API fails and says why.",
    ),
    Deviation(
        "headers",
        "Envoy adds x-request-id and x-forwarded-proto to requests; the lab's own markers never reach an application.",
        "None, unless the application counts its headers.",
    ),
)


def sentences() -> dict[str, str]:
    """The deviations as sentences, by their names."""
    return {deviation.key: str(deviation) for deviation in DEVIATIONS}
