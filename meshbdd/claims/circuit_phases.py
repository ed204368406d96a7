"""A circuit breaker's states, replayed over the time-stamped access log: closed, open, half-open, closed again.

How Envoy's breaker works, measured (one endpoint, 5 errors, base 3 s): it opens after exactly so many errors in a row;
the k-th time it stays open for k times the base ejection time, and ends on a tick of the interval; then it lets all
requests through, not one on trial, and for about a second pays no heed to their errors. So a service that is still
broken gets many calls between two openings: until one of them succeeds, the circuit is half-open and no more.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from meshbdd.claims.breaker import Breaker, Counts, is_counted, is_error
from meshbdd.claims.calls import Call, circuit_of

GRACE_SECONDS = 1.0
"""For so long after an ejection Envoy 1.40 heeds no error: measured; https://github.com/envoyproxy/envoy/issues/40697."""

UNDER_WAY = 0.05
"""Seconds after an opening in which a call may still have been on its way: proxies share ejections among their threads."""

_ROUNDED = 0.005
"""Seconds by which a refusal may seem to have begun before the end of the error that led to it: the log has milliseconds.
What counts is its begin, for a mesh may hold a call for as long as the circuit is open."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time in which one caller's circuit to one port was in one state.

    Attributes:
        caller: The pod.
        state: ``closed``, ``open``, or ``half-open``: it lets calls through again, and not every endpoint that was ejected has
            answered one well yet.
        began: Unix time.
        ended: Unix time; ``None`` while it lasts.
        first_error: Unix time of the end of the first failing call in it; ``None`` where there was none.
        last_error: That of the last one.
        counts: The failing calls in a row that reached each endpoint in it.
        recovered: Unix time of the end of the first call since its last error that succeeded; ``None`` where none did.
        refused: Calls that the open circuit answered.
        slowest_refusal: Seconds that the slowest of these took.
        last_refusal: Unix time of the end of the last one.
        port: The port; empty where nobody knows.
        owing: The endpoints that were ejected, and have answered no call well since.
    """

    caller: str
    state: str
    began: float
    ended: float | None = None
    first_error: float | None = None
    last_error: float | None = None
    counts: Counts = field(default_factory=Counts)
    recovered: float | None = None
    refused: int = 0
    slowest_refusal: float = 0.0
    last_refusal: float | None = None
    port: str = ""
    owing: tuple[str, ...] = ()

    @property
    def circuit(self) -> str:
        """The name of the circuit."""
        return circuit_of(self.caller, self.port)

    @property
    def run(self) -> int:
        """The most failing calls in a row that reached one endpoint in it."""
        return self.counts.longest


def replay(calls: Sequence[Call], breakers: Sequence[Breaker], sightings: Sequence[Breaker] = ()) -> list[Phase]:
    """The states of each circuit since its breaker was set, from what became of the calls.

    A circuit is open from the end of the last failing call before a refusal, and half-open from the start of the first
    call that reaches the service after that; it is closed once each endpoint that was ejected has answered a call well, or
    is looked at no more. Calls that were under way when it opened change nothing. A refusal shows an open circuit only
    where its breaker has met errors enough: a service without endpoints refuses calls in the same way.

    Args:
        calls: The calls.
        breakers: The breakers in force; a caller without one has no circuit.
        sightings: Breakers as they were seen earlier, by which a circuit is known to be open though nobody was refused.
    """
    rules = {breaker.circuit: breaker for breaker in breakers if breaker.detects}
    events: dict[str, list[tuple[float, Call | Breaker]]] = defaultdict(list)
    for call in calls:
        rule = rules.get(call.circuit)
        if rule is not None and call.started >= rule.since:
            events[call.circuit].append((call.started + _ROUNDED if call.refused else call.ended, call))
    for seen in (*sightings, *breakers):
        rule = rules.get(seen.circuit)
        at = math.inf if seen.seen is None else seen.seen
        if rule is not None and seen.is_open and at >= rule.since:
            events[seen.circuit].append((at, seen))
    return [
        phase
        for circuit in sorted(events)
        for phase in _of_circuit(rules[circuit], sorted(events[circuit], key=lambda event: event[0]))
    ]


def _of_circuit(breaker: Breaker, events: Sequence[tuple[float, Call | Breaker]]) -> Iterator[Phase]:
    at, first = events[0]
    now = Phase(breaker.caller, "closed", first.started if isinstance(first, Call) else at, port=breaker.port)
    for at, event in events:
        call = event if isinstance(event, Call) else None
        if call is None or (call.refused and breaker.can_eject and now.counts.opens(breaker, call.started)):
            if now.state != "open":
                opened = _opened(now, call, at)
                yield replace(now, ended=opened)
                now = _next(now, "open", opened, {*now.owing, *now.counts.were_ejected(breaker)})
            if isinstance(event, Breaker):
                now = replace(now, owing=tuple(sorted({*now.owing, *event.out})))
        elif now.state == "open" and is_counted(call) and call.started > now.began + UNDER_WAY:
            yield replace(now, ended=call.started)
            now = _next(now, "half-open", call.started, now.owing)
        if call is None:
            continue
        if call.refused and now.state == "open":
            slowest = max(now.slowest_refusal, call.seconds)
            now = replace(now, refused=now.refused + 1, slowest_refusal=slowest, last_refusal=call.ended)
        elif is_counted(call) and now.state != "open":
            if now.state == "half-open" and not is_error(call, breaker):
                now = replace(now, owing=tuple(e for e in now.owing if e != call.endpoint and breaker.looks_at(e)))
                if not now.owing:
                    yield replace(now, ended=call.ended)
                    now = _next(now, "closed", call.ended, ())
            now = _after(now, call, breaker)
    yield now


def _next(phase: Phase, state: str, began: float, owing: Collection[str]) -> Phase:
    """The phase of the same circuit that follows."""
    return Phase(phase.caller, state, began, port=phase.port, owing=tuple(sorted(owing)))


def _opened(now: Phase, call: Call | None, at: float) -> float:
    """When a circuit opened that is found open: when its last error ended."""
    if now.last_error is not None and now.recovered is None:
        return now.last_error
    return at if call is None else call.started


def _after(phase: Phase, call: Call, breaker: Breaker) -> Phase:
    """A phase in which calls go through, after one that did."""
    phase = replace(phase, counts=phase.counts.after(call, breaker))
    if not is_error(call, breaker):
        return phase if phase.recovered is not None else replace(phase, recovered=call.ended)
    first = call.ended if phase.first_error is None else phase.first_error
    return replace(phase, first_error=first, last_error=call.ended, recovered=None)
