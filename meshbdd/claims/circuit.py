"""The oracle of circuit breakers: a state machine replayed over the time-stamped access log, beside Envoy's own word.

How Envoy's breaker works, measured (one endpoint, 5 errors, base 3 s): it opens after exactly so many errors in a row;
the k-th time it stays open for k times the base ejection time, and ends on a tick of the interval; then it lets all
requests through, not one on trial, and for about a second pays no heed to their errors. So a service that is still
broken gets many calls between two openings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from meshbdd.claims.calls import Call, told_seconds
from meshbdd.claims.verdict import Outcome, Verdict
from meshbdd.units import Duration

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
        requests: How many requests it has sent to them.
        errors: Errors in a row that open it; ``None`` where it has no outlier detection.
        base: Base ejection time in seconds.
        interval: Seconds between two ticks on which an ejection can end.
        most_percent: ``maxEjectionPercent``.
    """

    caller: str
    endpoints: int
    ejected: int
    requests: int
    errors: int | None = None
    base: float = 30.0
    interval: float = 10.0
    most_percent: float = 10.0

    @property
    def can_eject(self) -> bool:
        """Whether it may eject even one endpoint."""
        return self.most_percent * self.endpoints >= 100

    @property
    def is_open(self) -> bool:
        """Whether no endpoint is left."""
        return self.endpoints > 0 and self.ejected == self.endpoints


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time in which one caller's circuit was in one state.

    Attributes:
        caller: The pod.
        state: ``closed`` or ``open``.
        began: Unix time.
        ended: Unix time; ``None`` while it lasts.
        first_error: Unix time of the end of the first failing call in it; ``None`` where there was none.
        last_error: That of the last one.
        run: The most failing calls in a row that reached the service in it.
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
    refused: int = 0
    slowest_refusal: float = 0.0


def replay(calls: Sequence[Call]) -> list[Phase]:
    """The states of each caller's circuit, from what became of its calls.

    A circuit is open from the end of the last failing call before a refusal, and closed again from the start of the
    first call that reaches the service after that. Calls that were under way when it opened change nothing.
    """
    by_caller: dict[str, list[Call]] = defaultdict(list)
    for call in sorted(calls, key=lambda c: c.ended):
        by_caller[call.caller].append(call)
    return [phase for caller in sorted(by_caller) for phase in _of_caller(caller, by_caller[caller])]


def _of_caller(caller: str, calls: Sequence[Call]) -> Iterator[Phase]:
    now, run = Phase(caller, "closed", calls[0].started), 0
    for call in calls:
        if call.refused and now.state == "closed":
            opened = call.started if now.last_error is None else now.last_error
            yield replace(now, ended=opened)
            now = Phase(caller, "open", opened)
        elif call.reached and now.state == "open" and call.started > now.began + _UNDER_WAY:
            yield replace(now, ended=call.started)
            now, run = Phase(caller, "closed", call.started), 0
        if call.refused:
            now = replace(now, refused=now.refused + 1, slowest_refusal=max(now.slowest_refusal, call.seconds))
        elif call.reached and now.state == "closed":
            run = run + 1 if call.failed else 0
            now = replace(now, run=max(now.run, run))
            if call.failed:
                first = call.ended if now.first_error is None else now.first_error
                now = replace(now, first_error=first, last_error=call.ended)
    yield now


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


def _evidence(phases: Sequence[Phase], breakers: Sequence[Breaker]) -> dict[str, object]:
    return {
        "phases": [asdict(phase) for phase in phases],
        "breakers": [asdict(breaker) for breaker in breakers],
        "doubts": doubts(phases, breakers),
        "grace_seconds": GRACE_SECONDS,
    }


def _using(breakers: Sequence[Breaker], calls: Sequence[Call] | None) -> list[Breaker]:
    """The breakers of those who called in this scenario; where no log tells of it, of those who ever called."""
    if calls is None:
        return [breaker for breaker in breakers if breaker.requests]
    callers = {call.caller for call in calls}
    return [breaker for breaker in breakers if breaker.caller in callers]


def _told(breakers: Sequence[Breaker]) -> str:
    return ", ".join(
        f"{b.caller} has ejected {b.ejected} of {b.endpoints}{'' if b.is_open else _why_not(b)}" for b in breakers
    )


def _nothing_to_see(
    claim: str, service: str, using: Sequence[Breaker], evidence: Mapping[str, object]
) -> Verdict | None:
    """What there is to say where no circuit can be looked at."""
    if not using:
        return Verdict.cannot_tell(
            f"{claim}: nobody called it", f"send requests that make somebody call {service}", **evidence
        )
    without = [breaker.caller for breaker in using if breaker.errors is None]
    if without:
        names = ", ".join(without)
        return Verdict(Outcome.FAILED, f"{claim}: the proxy of {names} has no circuit breaker for it", evidence)
    if any(breaker.endpoints == 0 for breaker in using):
        return Verdict.cannot_tell(f"{claim}: it has no endpoints", f"bring the pods of {service} up", **evidence)
    return None


def is_open(service: str, breakers: Sequence[Breaker], calls: Sequence[Call] | None) -> Verdict:
    """Every endpoint of a service is ejected at every caller that sent traffic.

    Args:
        service: The service.
        breakers: Those of all proxies that know it.
        calls: The calls of the scenario; ``None`` where there are no logs.
    """
    claim = f"the circuit to {service} is open"
    phases = replay(calls or ())
    using, evidence = _using(breakers, calls), _evidence(phases, breakers)
    nothing = _nothing_to_see(claim, service, using, evidence)
    if nothing is not None:
        return nothing
    told = _told(using)
    refused = sum(phase.refused for phase in phases)
    slowest = max((phase.slowest_refusal for phase in phases), default=0.0)
    fast = f"; {refused} calls were refused, the slowest after {told_seconds(slowest)}" if refused else ""
    outcome = Outcome.PASSED if all(breaker.is_open for breaker in using) else Outcome.FAILED
    return Verdict(outcome, f"{claim}: {told}{fast}", evidence)


def opens_within(service: str, limit: Duration, breakers: Sequence[Breaker], calls: Sequence[Call] | None) -> Verdict:
    """The circuit of every caller that met errors opens in time, counted from the first of these errors.

    Errors are those since the circuit was last closed.
    """
    claim = f"the circuit to {service} opens within {limit}"
    phases = replay(calls or ())
    using, evidence = _using(breakers, calls), _evidence(phases, breakers)
    nothing = _nothing_to_see(claim, service, using, evidence)
    if nothing is not None:
        return nothing
    lags = {}
    for breaker in using:
        own = [phase for phase in phases if phase.caller == breaker.caller]
        lag = _lag(own, breaker)
        if lag is not None:
            lags[breaker.caller] = lag
            continue
        met = own[-1].run if own else 0
        if breaker.errors is not None and met < breaker.errors:
            return Verdict.cannot_tell(
                f"{claim}: {breaker.caller} met {met} errors in a row, and the circuit opens at {breaker.errors}",
                f"let {service} fail at its own side, and send more requests",
                **evidence,
            )
        return Verdict(
            Outcome.FAILED,
            f"{claim}: {breaker.caller} met {met} errors in a row, and its circuit did not open{_why_not(breaker)}",
            evidence,
        )
    told = ", ".join(f"{caller} after {told_seconds(lag)}" for caller, lag in lags.items())
    outcome = Outcome.PASSED if max(lags.values()) <= limit.seconds else Outcome.FAILED
    return Verdict(outcome, f"{claim}: counted from the first error, {told}", {**evidence, "lags_seconds": lags})


def _why_not(breaker: Breaker) -> str:
    if breaker.can_eject:
        return ""
    return f": maxEjectionPercent {breaker.most_percent:g} of {breaker.endpoints} endpoint{'s' if breaker.endpoints > 1 else ''} is none"


def _lag(phases: Sequence[Phase], breaker: Breaker) -> float | None:
    """Seconds from the first error to the last opening; ``None`` where it did not open."""
    for before, after in zip(reversed(phases[:-1]), reversed(phases[1:]), strict=True):
        if after.state == "open":
            return after.began - before.first_error if before.first_error is not None else 0.0
    now = phases[-1] if phases else None
    if breaker.is_open and now is not None and now.first_error is not None and now.last_error is not None:
        return now.last_error - now.first_error  # nobody has called since, so nobody was refused
    return None


def closes_within(
    service: str,
    limit: Duration,
    waited: float,
    breakers: Sequence[Breaker],
    calls: Sequence[Call] | None,
    *,
    was_open: bool,
) -> Verdict:
    """No endpoint of a service is ejected any more, in time, counted from the step.

    Args:
        service: The service.
        limit: How long at most.
        waited: Seconds from the step's start until the breakers were as given.
        breakers: The breakers then.
        calls: The calls of the scenario.
        was_open: Whether a circuit was seen open in this scenario by its proxy.
    """
    claim = f"the circuit to {service} closes within {limit}"
    phases = replay(calls or ())
    using, evidence = _using(breakers, calls), {**_evidence(phases, breakers), "waited_seconds": waited}
    nothing = _nothing_to_see(claim, service, using, evidence)
    if nothing is not None:
        return nothing
    if not was_open and not any(phase.state == "open" for phase in phases):
        return Verdict.cannot_tell(
            f"{claim}: it was never open", f"let {service} fail at its own side first", **evidence
        )
    ejected = [breaker for breaker in using if breaker.ejected]
    if ejected:
        return Verdict(Outcome.FAILED, f"{claim}: after {told_seconds(waited)} {_told(ejected)}", evidence)
    outcome = Outcome.PASSED if waited <= limit.seconds else Outcome.FAILED
    return Verdict(outcome, f"{claim}: it was closed after {told_seconds(waited)}; {_told(using)}", evidence)
