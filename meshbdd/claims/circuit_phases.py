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
from meshbdd.claims.calls import Call, circuit_of, told_seconds

GRACE_SECONDS = 1.0
"""For so long after an ejection Envoy 1.40 heeds no error: measured; https://github.com/envoyproxy/envoy/issues/40697."""

_UNDER_WAY = 0.05
"""Seconds after an opening in which a call may still have been on its way: proxies share ejections among their threads."""

_ROUNDED = 0.005
"""Seconds by which a refusal may seem to have begun before the end of the error that led to it: the log has milliseconds.
What counts is its begin, for a mesh may hold a call for as long as the circuit is open."""

SLACK = 0.1
"""Seconds by which an ejection may seem shorter than it was: it began when the last error was counted, not logged."""


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
        if call is None or (call.refused and breaker.can_eject and now.counts.ejects_all(breaker)):
            if now.state != "open":
                opened = _opened(now, call, at)
                yield replace(now, ended=opened)
                now = _next(now, "open", opened, {*now.owing, *now.counts.were_ejected(breaker)})
            if isinstance(event, Breaker):
                now = replace(now, owing=tuple(sorted({*now.owing, *event.out})))
        elif now.state == "open" and is_counted(call) and call.started > now.began + _UNDER_WAY:
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


def doubts(phases: Sequence[Phase], breakers: Sequence[Breaker]) -> list[str]:
    """Where a replay does not agree with base × count and a tick of the interval, a sentence each."""
    rules = {breaker.circuit: breaker for breaker in breakers if breaker.detects}
    count: dict[str, int] = defaultdict(int)
    found = []
    for phase in phases:
        rule = rules.get(phase.circuit)
        if phase.state != "open" or rule is None:
            continue
        count[phase.circuit] += 1
        if phase.ended is not None and phase.ended - phase.began < rule.base - SLACK:
            found.append(
                f"{phase.circuit}: opening {count[phase.circuit]} lasted {told_seconds(phase.ended - phase.began)}, less than the base "
                f"ejection time of {told_seconds(rule.base)}; its proxy was given a new cluster meanwhile, or a new endpoint came"
            )
    return found


def ended_early(
    phases: Sequence[Phase],
    breakers: Sequence[Breaker],
    opened: Collection[str],
    changes: Sequence[tuple[float, str]],
) -> str:
    """Why the last ejection of a caller did not end by itself: it was shorter than the base ejection time; empty where none was.

    Args:
        phases: The states of the circuits.
        breakers: The rules that they stand under.
        opened: The circuits that were open.
        changes: Unix time at which each change of the mesh was begun, and the change in words.
    """
    for rule in breakers:
        if rule.circuit not in opened or not rule.detects:
            continue
        span = _last_opening([phase for phase in phases if phase.circuit == rule.circuit])
        if span is None or span[1] - span[0] >= rule.base - SLACK:
            continue
        meanwhile = ", ".join(f"«{told}»" for at, told in changes if span[0] <= at <= span[1])
        why = (
            f"the ejections ended with the change {meanwhile}"
            if meanwhile
            else "a breaker does not end it by itself so soon"
        )
        return (
            f"the circuit of {rule.circuit} was open for {told_seconds(span[1] - span[0])}, less than the base ejection time of "
            f"{told_seconds(rule.base)}: {why}"
        )
    return ""


def _last_opening(phases: Sequence[Phase]) -> tuple[float, float] | None:
    """From when to when a caller's circuit was open for the last time; ``None`` where it never was, or still is."""
    spans = [(phase.began, phase.ended) for phase in phases if phase.state == "open"]
    began, ended = spans[-1] if spans else (0.0, None)
    return None if ended is None else (began, ended)
