"""A circuit breaker as a caller's proxy holds it: what it counts, when it ejects, and what it has ejected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from meshbdd.claims.calls import LEFT, Call, circuit_of

_GATEWAY_ERRORS = range(502, 505)
"""Envoy's ``CodeUtility::isGatewayError``."""

_LOCAL = frozenset({"UF", "UC", "UT", "UR", "LR"})
"""Response flags of a call that got no answer from its endpoint, so that none of it is looked at: Envoy counts an error."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """A circuit breaker for one port of a service, and what it has ejected right now.

    Attributes:
        caller: The pod of the proxy.
        endpoints: How many endpoints it knows.
        ejected: How many of these are ejected.
        unready: How many of the others are not ready: it sends nothing to them.
        requests: How many requests it has sent to them.
        errors: Server's errors in a row of one endpoint that eject it; ``None`` where these are not counted.
        gateway_errors: The same of 502, 503 and 504 alone.
        codes: The statuses that are errors, where not every one from 500 on is.
        base: Base ejection time in seconds.
        interval: Seconds between two ticks on which an ejection can end.
        most_percent: ``maxEjectionPercent``, of all endpoints.
        panic_percent: ``minHealthPercent``: with fewer endpoints left, it sends to ejected ones too.
        since: Unix time at which it was set, and began to count.
        seen: Unix time at which it was looked at; ``None``: after every call.
        port: The port of the service; empty where nobody knows.
        sent: Address of each endpoint that it may send to, ejected ones too → requests sent to it; empty where nobody knows.
        out: The addresses of those that are ejected.
        parts: Where routes lead to several of its subsets, the breaker of each: it ejects its own endpoints alone, by its own rule.
        subset: The subset that it is for; empty where it is for all endpoints.
    """

    caller: str
    endpoints: int
    ejected: int
    requests: int
    errors: int | None = None
    base: float = 30.0
    interval: float = 10.0
    most_percent: float = 10.0
    unready: int = 0
    gateway_errors: int | None = None
    codes: tuple[int, ...] | None = None
    panic_percent: float = 0.0
    since: float = 0.0
    seen: float | None = None
    port: str = ""
    sent: Mapping[str, int] = field(default_factory=dict)
    out: tuple[str, ...] = ()
    parts: tuple[Breaker, ...] = ()
    subset: str = ""

    @property
    def circuit(self) -> str:
        """The name of its circuit: a proxy counts for each port of a service apart."""
        return circuit_of(self.caller, self.port)

    @property
    def detects(self) -> bool:
        """Whether it counts anything of each endpoint, so that there is a circuit at all."""
        if self.parts:
            return all(part.detects for part in self.parts)
        return self.errors is not None or self.gateway_errors is not None

    @property
    def can_eject(self) -> bool:
        """Whether it may eject even one endpoint; of subsets, one of each."""
        if self.parts:
            return all(part.can_eject for part in self.parts)
        return self.most_percent * self.endpoints >= 100

    @property
    def unguarded(self) -> list[str]:
        """What is not counted, where other endpoints are: the subset, or the endpoints of something without a name."""
        found = {
            name
            for part in self.parts
            if not part.detects
            for name in ([f'subset "{part.subset}"'] if part.subset else part.sent)
        }
        return sorted(found) if any(part.detects for part in self.parts) else []

    def of(self, endpoint: str) -> Breaker:
        """What rules over one of the endpoints."""
        return next((part for part in self.parts if endpoint in part.sent), self)

    @property
    def is_open(self) -> bool:
        """Whether every endpoint that is ready is ejected, and none of them gets a call nevertheless."""
        return self.ejects_all and not self.panic_percent

    @property
    def ejects_all(self) -> bool:
        """Whether every endpoint that is ready is ejected."""
        return self.ejected > 0 and self.ejected + self.unready == self.endpoints

    @property
    def rule(self) -> Breaker:
        """Without what changes while it stands: two breakers with one rule are the same one, looked at twice."""
        parts = tuple(self._rules) if len(self._rules) > 1 else ()
        return replace(
            self,
            endpoints=0,
            ejected=0,
            unready=0,
            requests=0,
            since=0.0,
            seen=None,
            sent={},
            out=(),
            parts=parts,
            subset="",
        )

    @property
    def _rules(self) -> list[Breaker]:
        """The rules of its subsets, each once."""
        found = list[Breaker]()
        for part in self.parts:
            found += [part.rule] if part.rule not in found else []
        return found

    def looks_at(self, endpoint: str) -> bool:
        """Whether it may send to an endpoint, as far as anybody knows."""
        return not self.sent or endpoint in self.sent

    def why_never(self) -> str:
        """Why its circuit never opens; empty where it may."""
        if self.parts:
            return next((why for part in self.parts if (why := part.why_never())), "")
        if self.panic_percent:
            return f": minHealthPercent {self.panic_percent:g} lets calls go to ejected endpoints when fewer are left"
        if self.can_eject:
            return ""
        s = "s" if self.endpoints > 1 else ""
        return f": maxEjectionPercent {self.most_percent:g} of {self.endpoints} endpoint{s} is none"

    def told_limits(self) -> str:
        """How many errors open the circuit, as a sentence has it."""
        if len(self._rules) > 1:
            return " and ".join(f"{p.told_errors} of {' and '.join(sorted(p.sent))}" for p in self.parts)
        return self.told_errors + (" of each endpoint" if self.endpoints > 1 else "")

    @property
    def told_errors(self) -> str:
        """How many errors in a row eject an endpoint, as a sentence has it."""
        limits = [] if self.errors is None else [f"{self.errors}"]
        if self.gateway_errors is not None:
            limits.append(f"{self.gateway_errors} with status 502, 503 or 504")
        return " or ".join(limits)


@dataclass(frozen=True, slots=True)
class Run:
    """The errors in a row of one endpoint, as Envoy counts them.

    Attributes:
        errors: Server's errors.
        gateway_errors: Those of 502, 503 and 504; another server's error ends them.
    """

    errors: int = 0
    gateway_errors: int = 0

    def most(self, other: Run) -> Run:
        """The longer of each."""
        return Run(max(self.errors, other.errors), max(self.gateway_errors, other.gateway_errors))

    def ejects(self, breaker: Breaker) -> bool:
        """Whether it is long enough for a breaker."""
        enough = breaker.errors is not None and self.errors >= breaker.errors
        return enough or (breaker.gateway_errors is not None and self.gateway_errors >= breaker.gateway_errors)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a breaker has counted since its circuit came into the state that it is in.

    Attributes:
        now: Endpoint → its errors in a row.
        most: Endpoint → the most of them that there ever were.
        anew: Endpoint → those since it was ejected last, when Envoy begins to count anew.
        out: Endpoint → Unix time at which it was ejected, where no call was sent to it since.
    """

    now: Mapping[str, Run] = field(default_factory=dict)
    most: Mapping[str, Run] = field(default_factory=dict)
    anew: Mapping[str, Run] = field(default_factory=dict)
    out: Mapping[str, float] = field(default_factory=dict)

    def after(self, call: Call, breaker: Breaker) -> Counts:
        """The counts after a call that reached its endpoint."""
        endpoint, rule = call.endpoint, breaker.of(call.endpoint)
        code = _code(call, rule)
        run, anew = (_counted(runs.get(endpoint, Run()), code) for runs in (self.now, self.anew))
        most = self.most.get(endpoint, Run()).most(run)
        out = {other: at for other, at in self.out.items() if other != endpoint or call.started <= at}
        if anew.ejects(rule):
            anew, out = Run(), {**out, endpoint: call.ended}
        return Counts({**self.now, endpoint: run}, {**self.most, endpoint: most}, {**self.anew, endpoint: anew}, out)

    @property
    def longest(self) -> int:
        """The most errors in a row of any endpoint."""
        return max((run.errors for run in self.most.values()), default=0)

    def ejects_all(self, breaker: Breaker) -> bool:
        """Whether every endpoint that was called has met enough errors."""
        return bool(self.most) and len(self.were_ejected(breaker)) == len(self.most)

    def opens(self, breaker: Breaker, at: float) -> bool:
        """Whether a refused call tells that the circuit was open.

        Endpoints are refused by the subset. Those of the other subsets were ejected at that time where their errors were enough, no
        longer ago than an ejection lasts at least. Of an endpoint in several of them nobody knows by which one a call came.

        Args:
            breaker: The circuit's.
            at: Unix time of the call.
        """
        if not breaker.parts:
            return self.ejects_all(breaker)
        apart = sum(len(part.sent) for part in breaker.parts) == len(breaker.sent)
        return apart and all(at < self.out.get(e, -math.inf) + breaker.of(e).base for e in breaker.sent)

    def ejected(self, breaker: Breaker) -> list[str]:
        """The endpoints whose last errors in a row are enough."""
        return [endpoint for endpoint, run in self.now.items() if run.ejects(breaker.of(endpoint))]

    def were_ejected(self, breaker: Breaker) -> list[str]:
        """The endpoints that ever met enough errors in a row."""
        return [endpoint for endpoint, run in self.most.items() if run.ejects(breaker.of(endpoint))]


def is_error(call: Call, breaker: Breaker) -> bool:
    """Whether a breaker counts a call as an error."""
    return _code(call, breaker.of(call.endpoint)) >= 500


def is_counted(call: Call) -> bool:
    """Whether a breaker heeds a call at all: one that its caller left is neither an error nor a success of its endpoint."""
    return call.reached and LEFT not in call.flags


def _code(call: Call, breaker: Breaker) -> int:
    """The status that the breaker counts: Envoy's router asks the matcher of errors about answers, not where none came.

    What the matcher takes for an error counts as 500, anything else as 200.
    """
    if call.status == 0 or call.flags & _LOCAL:
        return 503
    if breaker.codes is None or call.grpc is not None:
        return call.code
    return 500 if call.status in breaker.codes else 200


def _counted(run: Run, code: int) -> Run:
    if code < 500:
        return Run()
    return Run(run.errors + 1, run.gateway_errors + 1 if code in _GATEWAY_ERRORS else 0)
