"""A circuit breaker's states, replayed over the time-stamped access log: closed, open, half-open, closed again.

How Envoy's breaker works, measured (one endpoint, 5 errors, base 3 s): it opens after exactly so many errors in a row;
the k-th time it stays open for k times the base ejection time, and ends on a tick of the interval; then it lets all
requests through, not one on trial, and for about a second pays no heed to their errors. So a service that is still
broken gets many calls between two openings: until one of them succeeds, the circuit is half-open and no more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from meshbdd.claims.calls import Call, told_seconds

GRACE_SECONDS = 1.0
"""For so long after an ejection Envoy 1.40 heeds no error: measured; https://github.com/envoyproxy/envoy/issues/40697."""

_UNDER_WAY = 0.05
"""Seconds after an opening in which a call may still have been on its way: proxies share ejections among their threads."""

_SLACK = 0.1
"""Seconds by which an ejection may seem shorter than it was: it began when the last error was counted, not logged."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """A circuit breaker as a caller's proxy holds it, and what it has ejected right now.

    Attributes:
        caller: The pod of the proxy.
        endpoints: How many endpoints it knows.
        ejected: How many of these are ejected.
        unready: How many of the others are not ready: it sends nothing to them.
        requests: How many requests it has sent to them.
        errors: Errors in a row that open it; ``None`` where it has no outlier detection.
        base: Base ejection time in seconds.
        interval: Seconds between two ticks on which an ejection can end.
        most_percent: ``maxEjectionPercent``, of all endpoints.
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

    @property
    def can_eject(self) -> bool:
        """Whether it may eject even one endpoint."""
        return self.most_percent * self.endpoints >= 100

    @property
    def is_open(self) -> bool:
        """Whether every endpoint that is ready is ejected."""
        return self.ejected > 0 and self.ejected + self.unready == self.endpoints


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time in which one caller's circuit was in one state.

    Attributes:
        caller: The pod.
        state: ``closed``, ``open``, or ``half-open``: it lets calls through again, and none has succeeded yet.
        began: Unix time.
        ended: Unix time; ``None`` while it lasts.
        first_error: Unix time of the end of the first failing call in it; ``None`` where there was none.
        last_error: That of the last one.
        run: The most failing calls in a row that reached the service in it.
        recovered: Unix time of the end of the first call since its last error that succeeded; ``None`` where none did.
        refused: Calls that the open circuit answered.
        slowest_refusal: Seconds that the slowest of these took.
    """

    caller: str
    state: str
    began: float
    ended: float | None = None
    first_error: float | None = None
    last_error: float | None = None
    run: int = 0
    recovered: float | None = None
    refused: int = 0
    slowest_refusal: float = 0.0


def replay(calls: Sequence[Call]) -> list[Phase]:
    """The states of each caller's circuit, from what became of its calls.

    A circuit is open from the end of the last failing call before a refusal, and half-open from the start of the first
    call that reaches the service after that; the end of the first one that succeeds closes it. Calls that were under way
    when it opened change nothing.
    """
    by_caller: dict[str, list[Call]] = defaultdict(list)
    for call in sorted(calls, key=lambda c: c.ended):
        by_caller[call.caller].append(call)
    return [phase for caller in sorted(by_caller) for phase in _of_caller(caller, by_caller[caller])]


def _of_caller(caller: str, calls: Sequence[Call]) -> Iterator[Phase]:
    now, run = Phase(caller, "closed", calls[0].started), 0
    for call in calls:
        if call.refused and now.state != "open":
            opened = call.started if now.last_error is None else now.last_error
            yield replace(now, ended=opened)
            now = Phase(caller, "open", opened)
        elif call.reached and now.state == "open" and call.started > now.began + _UNDER_WAY:
            yield replace(now, ended=call.started)
            now, run = Phase(caller, "half-open", call.started), 0
        if call.reached and not call.failed and now.state == "half-open":
            yield replace(now, ended=call.ended)
            now, run = Phase(caller, "closed", call.ended), 0
        if call.refused:
            now = replace(now, refused=now.refused + 1, slowest_refusal=max(now.slowest_refusal, call.seconds))
        elif call.reached and now.state != "open":
            run = run + 1 if call.failed else 0
            now = replace(_after(now, call), run=max(now.run, run))
    yield now


def _after(phase: Phase, call: Call) -> Phase:
    """A phase in which calls go through, after one that did."""
    if not call.failed:
        return phase if phase.recovered is not None else replace(phase, recovered=call.ended)
    first = call.ended if phase.first_error is None else phase.first_error
    return replace(phase, first_error=first, last_error=call.ended, recovered=None)


def doubts(phases: Sequence[Phase], breakers: Sequence[Breaker]) -> list[str]:
    """Where a replay does not agree with base × count and a tick of the interval, a sentence each."""
    rules = {breaker.caller: breaker for breaker in breakers if breaker.errors is not None}
    count: dict[str, int] = defaultdict(int)
    found = []
    for phase in phases:
        rule = rules.get(phase.caller)
        if phase.state != "open" or rule is None:
            continue
        count[phase.caller] += 1
        if phase.ended is not None and phase.ended - phase.began < rule.base - _SLACK:
            found.append(
                f"{phase.caller}: opening {count[phase.caller]} lasted {told_seconds(phase.ended - phase.began)}, less than the base "
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
        opened: The callers whose circuit was open.
        changes: Unix time at which each change of the mesh was begun, and the change in words.
    """
    for rule in breakers:
        if rule.caller not in opened or rule.errors is None:
            continue
        span = _last_opening([phase for phase in phases if phase.caller == rule.caller])
        if span is None or span[1] - span[0] >= rule.base - _SLACK:
            continue
        meanwhile = ", ".join(f"«{told}»" for at, told in changes if span[0] <= at <= span[1])
        why = (
            f"the ejections ended with the change {meanwhile}"
            if meanwhile
            else "a breaker does not end it by itself so soon"
        )
        return (
            f"{rule.caller}'s circuit was open for {told_seconds(span[1] - span[0])}, less than the base ejection time of "
            f"{told_seconds(rule.base)}: {why}"
        )
    return ""


def _last_opening(phases: Sequence[Phase]) -> tuple[float, float] | None:
    """From when to when a caller's circuit was open for the last time; ``None`` where that is not known."""
    spans = [(phase.began, phase.ended) for phase in phases if phase.state == "open"]
    if spans:
        began, ended = spans[-1]
        return (began, ended) if ended is not None else None
    last = phases[-1] if phases else None  # nobody called while it was open, so nobody was refused
    if last is None or last.last_error is None or last.recovered is None:
        return None
    return last.last_error, last.recovered
