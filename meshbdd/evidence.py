"""What happened in a scenario, as typed events: the scenario tells them, the report shows them.

An event carries facts with their units, no pictures and no mark-up, so that the world needs no report and the report
nothing but these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from meshbdd.load.message import Message
from meshbdd.load.sample import Sample


@dataclass(frozen=True, slots=True)
class RunBegan:
    """A run is connected.

    Attributes:
        facts: Where it takes place, and with what: words for a reviewer.
    """

    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ChangeArrived:
    """A change was written, and every proxy that it is for holds it.

    Attributes:
        summary: The intent in a sentence.
        reason: The injection point, and why there.
        differences: A unified diff of YAML for each object written.
        began: Unix time of the first write.
        written_ms: Milliseconds until the last write was answered.
        proxies: Pod → milliseconds, after the last write, until its sidecar was seen to hold the change.
        service: The service it is about, ``name.namespace``; empty where it is about none.
        findings: Sentences of the sense checks that did not keep it from being written.
        faulty: The services that it makes fail, slow or absent; none where it is a policy.
    """

    summary: str
    reason: str
    differences: tuple[str, ...]
    began: float
    written_ms: float
    proxies: Mapping[str, float] = field(default_factory=dict)
    service: str = ""
    findings: tuple[str, ...] = ()
    faulty: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangeWithdrawn:
    """A change was taken back, and no proxy holds it any more.

    Attributes:
        summary: The intent in a sentence.
        began: Unix time at which the undo began.
        kept: What others had changed meanwhile and was kept, a sentence each.
    """

    summary: str
    began: float
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrafficSent:
    """Requests were sent.

    Attributes:
        name: What the tester calls the request.
        vantage: The pod that they came from.
        target: Host that they asked.
        samples: One for each request, in the order of their starts.
        request: What was sent, as the tester wrote it.
        rate: How the rate was held that was asked for; empty where none was.
    """

    name: str
    vantage: str
    target: str
    samples: Sequence[Sample]
    request: Message | None = None
    rate: str = ""


@dataclass(frozen=True, slots=True)
class FaultAccounted:
    """How many calls a fault met.

    Attributes:
        summary: The fault in a sentence.
        service: The service, ``name.namespace``.
        calls: Calls to it that its callers' sidecars logged while the fault was in force.
        hit: How many of these the fault was injected into.
        flags: Envoy's response flags of the calls hit.
        callers: Pod of the caller → (calls, hit).
        sent: Requests that the scenario sent while the fault was in force.
        seen: How many of these some calling proxy logged.
        bypassed: Who called the service past every calling proxy → calls.
        unreached: How they ended, by Envoy's response flag or their status → calls that a caller's sidecar sent nowhere, so
            that the fault could not meet them: an open circuit breaker's, or those that no route is for, for instance.
        strange: How many of the calls bear no request id of the scenario's requests: somebody else made them, or a service
            did that passes none on.
        led: Of other services those whose rules led calls to this one, and whose calls the fault is not for → calls.
        copied: Whose calls to another service were mirrored to this one → copies, which no rule of this one's led here.
        away: Other services to which rules led calls to this one, past a fault at its own endpoints → calls.
    """

    summary: str
    service: str
    calls: int
    hit: int
    flags: tuple[str, ...] = ()
    callers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    sent: int = 0
    seen: int = 0
    bypassed: Mapping[str, int] = field(default_factory=dict)
    unreached: Mapping[str, int] = field(default_factory=dict)
    strange: int = 0
    led: Mapping[str, int] = field(default_factory=dict)
    copied: Mapping[str, int] = field(default_factory=dict)
    away: Mapping[str, int] = field(default_factory=dict)

    @property
    def others(self) -> str:
        """What is to be told where all the calls may be somebody else's; empty where one is the scenario's for sure."""
        if not self.strange or self.strange < self.calls:
            return ""
        return "none of them has the request id of a request of this scenario: others made them, or a caller passes none on"


@dataclass(frozen=True, slots=True)
class VerdictReached:
    """A claim was judged.

    Attributes:
        outcome: ``passed``, ``failed`` or ``inconclusive``.
        sentence: The claim and what was seen.
        numbers: What the sentence rests on.
        notes: What a reviewer should know of the rule by which it was judged, a sentence each.
    """

    outcome: str
    sentence: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QueryAnswered:
    """Prometheus answered a query.

    Attributes:
        promql: The query.
        rows: Labels and value of each series.
    """

    promql: str
    rows: tuple[tuple[Mapping[str, str], float], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """Calls of one workload to one service that ended alike, as the caller's sidecar logged them.

    Attributes:
        caller: The workload.
        service: The service's name, with its namespace where that is not the default one.
        status: HTTP status, 0 where there was no answer.
        flags: Envoy's response flags.
        injected: Whether a fault was injected into them, at either side.
        count: How many.
        part_of: The service that the caller belongs to, named as above; empty where it belongs to none.
        began: Unix time of the first one's start; 0 where that is not known.
        ended: Unix time of the last one's end.
    """

    caller: str
    service: str
    status: int
    flags: tuple[str, ...]
    injected: bool
    count: int = 1
    part_of: str = ""
    began: float = 0.0
    ended: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether they had no answer, or one that says so."""
        return self.status == 0 or self.status >= 400


@dataclass(frozen=True, slots=True)
class CallsLogged:
    """What the sidecars logged since the scenario's last change arrived, or since its beginning.

    Attributes:
        calls: Each kind of call once.
    """

    calls: tuple[Call, ...]


Event = (
    RunBegan
    | ChangeArrived
    | ChangeWithdrawn
    | TrafficSent
    | FaultAccounted
    | VerdictReached
    | QueryAnswered
    | CallsLogged
)
"""Everything that a scenario tells."""

Tell = Callable[[Event], None]
"""Who listens to a scenario."""
