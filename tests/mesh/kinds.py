"""Each kind of change of the vocabulary, and how a caller's answer shows whether the change holds for it."""

from __future__ import annotations

from dataclasses import dataclass

from meshbdd.intents import (
    Access,
    CircuitBreaker,
    Down,
    Fault,
    Intent,
    Limit,
    MutualTls,
    Retry,
    Scope,
    Side,
    Split,
    Timeout,
    TlsMode,
)
from meshbdd.mesh import Gate
from meshbdd.units import Duration, Percent
from tests.mesh.keep_alive import BOTH, CALLERS, EAST, HOME, TARGET, Ask, Callers, stale_unless
from tests.tools import until

_SLOWER = Duration(0.3)
_AT_A_TIME = 2

INSERTED = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: own-fault, namespace: south}
spec:
  workloadSelector: {labels: {app: target}}
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
DENYING = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: own-denial, namespace: south}
spec:
  selector: {matchLabels: {app: target}}
  action: DENY
  rules: [{from: [{source: {namespaces: [west]}}]}]
"""
PLAINTEXT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: own, namespace: south}
spec: {selector: {matchLabels: {app: target, version: stable}}, mtls: {mode: DISABLE}}
"""
PLAINTEXT_EVERYWHERE = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: own, namespace: south}
spec: {mtls: {mode: DISABLE}}
"""
DEMANDED_AND_NOT_SENT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: own, namespace: south}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: own, namespace: south}
spec: {host: target, trafficPolicy: {tls: {mode: DISABLE}}}
"""
ALL_STABLE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: own, namespace: south}
spec: {host: versions, subsets: [{name: stable, labels: {version: stable}}, {name: canary, labels: {version: canary}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: own, namespace: south}
spec: {hosts: [versions], http: [{route: [{destination: {host: versions, subset: stable}}]}]}
"""


@dataclass(frozen=True)
class Kind:
    """A kind of change.

    Attributes:
        name: What it is called.
        made: The change: an intent, or a manifest's text.
        on: Asks while it is in force.
        off: Asks while it is not.
        standing: What the tester has beside it all the time.
    """

    name: str
    made: Intent | str
    on: Ask
    off: Ask
    standing: str = ""


def status(*wanted: int, does: str = "200") -> Ask:
    """An answer with another status is stale."""
    return stale_unless(lambda answer: answer.status in wanted, does)


def for_east(theirs: int, others: int, does: str = "200") -> Ask:
    """The callers of one namespace get one status, the others another."""
    return stale_unless(lambda answer: answer.status == (theirs if answer.caller == EAST.namespace else others), does)


def version(wanted: str) -> Ask:
    """An answer of another version is stale."""
    return stale_unless(lambda answer: answer.version == wanted, service=BOTH)


def _for_qa(theirs: int) -> Ask:
    """A request with the header is asked for, then one without."""

    def asked(callers: Callers, _gate: Gate) -> int:
        narrow = callers.ask(headers={"x-user": "qa"})
        return sum(a.status != theirs for a in narrow) + sum(a.status != 200 for a in callers.ask())

    return asked


def _delayed(*, wanted: bool) -> Ask:
    """By what the server's proxy says, since slow is what every answer may be."""

    def asked(callers: Callers, _gate: Gate) -> int:
        answers = callers.ask()
        served = [answer for answer in answers if answer.version]
        flags = [str(entry["response_flags"]) for entry in callers.logged(served)]
        return len(answers) - len(served) + sum(("DI" in flag) != wanted for flag in flags)

    return asked


def _encrypted(*, wanted: bool) -> Ask:
    """What a connection speaks is seen in the server's log: no server name without TLS."""

    def asked(callers: Callers, _gate: Gate) -> int:
        answers = callers.ask()
        served = [answer for answer in answers if answer.version]  # the server logs nothing of what a proxy answers
        names = [entry["requested_server_name"] for entry in callers.logged(served)]
        return len(answers) - len(served) + sum((name is not None) != wanted for name in names)

    return asked


def _opens(callers: Callers, gate: Gate) -> int:
    """One error opens the circuit at each caller; what comes then is answered by its proxy."""
    first = callers.ask("500")
    until("ejections", lambda: len(gate.ejected().get(TARGET.host, ())) == CALLERS, seconds=5)
    return sum(a.status != 500 for a in first) + sum(a.status != 503 for a in callers.ask("500"))


def _stays_closed(callers: Callers, gate: Gate) -> int:
    stale = sum(a.status != 500 for _ in range(2) for a in callers.ask("500"))
    return stale + len(gate.ejected())


def _limited(callers: Callers, _gate: Gate) -> int:
    """All callers at a time, each for longer than it takes them to come."""
    let_in = sum(a.status == 200 for a in callers.ask("200@1000ms"))
    return max(0, let_in - _AT_A_TIME)


def _fault(at: Side, scope: Scope | None = None) -> Fault:
    return Fault(TARGET, status=555, at=at, scope=scope or Scope())


KINDS = (
    Kind("a fault at the server", _fault(Side.SERVER), status(555), status(200)),
    Kind("a fault at the caller", _fault(Side.CALLER), status(555), status(200)),
    Kind("a delay at the server", Fault(TARGET, delay=_SLOWER, at=Side.SERVER), _delayed(wanted=True), _delayed(wanted=False)),
    Kind("a fault at the server for a header", _fault(Side.SERVER, Scope(headers={"x-user": "qa"})), _for_qa(555), _for_qa(200)),
    Kind("a fault at the server for a caller", _fault(Side.SERVER, Scope(EAST)), for_east(555, 200), status(200)),
    Kind("a fault at a caller", _fault(Side.CALLER, Scope(EAST)), for_east(555, 200), status(200)),
    Kind("nobody there", Down(TARGET), status(503), status(200)),
    Kind("a timeout", Timeout(TARGET, Duration(0.1)), status(504, does="200@400ms"), status(200, does="200@400ms")),
    Kind("retries", Retry(TARGET, 2), status(200, does="500,500,200"), status(500, does="500,500,200")),
    Kind("a circuit breaker", CircuitBreaker(TARGET, 1, Duration(60)), _opens, _stays_closed),
    Kind("a limit", Limit(TARGET, _AT_A_TIME), _limited, status(200)),
    Kind("a split", Split(BOTH, (("stable", Percent(0)), ("canary", Percent(100)))), version("canary"), version("stable"), ALL_STABLE),
    Kind("who may call", Access(EAST, TARGET), for_east(200, 403), status(200)),
    Kind("plaintext", MutualTls(TlsMode.DISABLED, HOME, TARGET), _encrypted(wanted=False), _encrypted(wanted=True)),
    Kind("strict", MutualTls(TlsMode.STRICT, HOME, TARGET), _encrypted(wanted=True), _encrypted(wanted=False), PLAINTEXT),
    Kind("strict everywhere", MutualTls(TlsMode.STRICT, HOME), _encrypted(wanted=True), _encrypted(wanted=False), PLAINTEXT_EVERYWHERE),
    Kind("permissive", MutualTls(TlsMode.PERMISSIVE, HOME, TARGET), _encrypted(wanted=True), _encrypted(wanted=False), PLAINTEXT),
    Kind("permissive, then strict again", MutualTls(TlsMode.PERMISSIVE, HOME, TARGET), status(200), status(503), DEMANDED_AND_NOT_SENT),
    Kind("an EnvoyFilter of the tester's", INSERTED, status(556), status(200)),
    Kind("an AuthorizationPolicy of the tester's", DENYING, for_east(200, 403), status(200)),
)  # fmt: skip
