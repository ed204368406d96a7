"""The oracle of circuit breakers: Envoy's own word of what is ejected, beside the states replayed over the access log."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

from meshbdd.claims.calls import Call, told_seconds
from meshbdd.claims.circuit_phases import GRACE_SECONDS, Breaker, Phase, doubts, ended_early, replay
from meshbdd.claims.verdict import Outcome, Verdict
from meshbdd.units import Duration

_UNDISTURBED = "change nothing between the opening and the claim but the service's recovery"


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
    if any(breaker.endpoints == breaker.unready for breaker in using):
        return Verdict.cannot_tell(f"{claim}: it has no ready endpoint", f"bring the pods of {service} up", **evidence)
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
    return Verdict(outcome, f"{claim}: {told}{fast}{_over(phases, using)}", evidence)


def _over(phases: Sequence[Phase], breakers: Sequence[Breaker]) -> str:
    """That a circuit was open earlier, where it is no more: a claim that comes too late looks like one that is wrong."""
    were_open = {phase.caller for phase in phases if phase.state == "open"}
    told = [
        f"{b.caller} for {told_seconds(b.base)} or more" for b in breakers if not b.is_open and b.caller in were_open
    ]
    return f"; it was open before, at {', '.join(told)}, and that was over when this was asked" if told else ""


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
    """Seconds from the first error to the last opening; ``None`` where it did not open.

    Errors that came after the circuit had closed again are answered by no earlier opening.
    """
    now = phases[-1] if phases else None
    anew = now is not None and now.state == "closed" and now.first_error is not None
    for before, after in zip(reversed(phases[:-1]), reversed(phases[1:]), strict=True):
        if after.state == "open" and not anew:
            return after.began - before.first_error if before.first_error is not None else 0.0
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
    began: float,
    were_open: Collection[str] = (),
    trials: Collection[str] = (),
    changes: Sequence[tuple[float, str]] = (),
) -> Verdict:
    """No endpoint of a service is ejected any more, and calls succeed again, in time, counted from the step.

    An ejection that has merely ended leaves a circuit half-open: a service that still fails is no closed circuit.

    Args:
        service: The service.
        limit: How long at most.
        waited: Seconds from the step's start until the breakers were as given.
        breakers: The breakers then.
        calls: The calls of the scenario.
        began: Unix time of the step's start.
        were_open: The callers whose proxy was seen to have ejected every endpoint in this scenario.
        trials: Ids of requests that were sent to see whether calls go through.
        changes: Unix time at which the scenario began each change of the mesh, and the change in words.
    """
    claim = f"the circuit to {service} closes within {limit}"
    phases = replay(calls or ())
    using, evidence = _using(breakers, calls), {**_evidence(phases, breakers), "waited_seconds": waited}
    opened = {phase.caller for phase in phases if phase.state == "open"} | set(were_open)
    nothing = _nothing_to_see(claim, service, using, evidence) or _never_open(claim, service, opened, evidence)
    if nothing is not None:
        return nothing
    if any(breaker.ejected for breaker in using):
        return _ejected(claim, waited, using, evidence)
    errors = {breaker.caller: breaker.errors for breaker in using}
    since = {
        caller: _closed_since([p for p in phases if p.caller == caller], errors.get(caller))
        for caller in sorted(opened)
    }
    half = [caller for caller, moment in since.items() if moment is None]
    if half:
        tried = {call.caller for call in calls or () if call.reached and call.request_id in trials}
        return _not_closed(claim, service, half, phases, tried, {**evidence, "untried": half})
    waited = max(waited, *(moment - began for moment in since.values() if moment is not None))
    outcome = Outcome.PASSED if waited <= limit.seconds else Outcome.FAILED
    early = ended_early(phases, using, opened, changes) if outcome is Outcome.PASSED else ""
    if early:
        return Verdict.cannot_tell(f"{claim}: {early}", _UNDISTURBED, **evidence)
    told = f"{claim}: it was closed after {told_seconds(waited)}, and calls succeed; {_told(using)}"
    return Verdict(outcome, told, {**evidence, "waited_seconds": waited})


def _never_open(claim: str, service: str, opened: Collection[str], evidence: Mapping[str, object]) -> Verdict | None:
    if opened:
        return None
    return Verdict.cannot_tell(f"{claim}: it was never open", f"let {service} fail at its own side first", **evidence)


def _ejected(claim: str, waited: float, using: Sequence[Breaker], evidence: Mapping[str, object]) -> Verdict:
    ejected = [breaker for breaker in using if breaker.ejected]
    return Verdict(Outcome.FAILED, f"{claim}: after {told_seconds(waited)} {_told(ejected)}", evidence)


def _closed_since(phases: Sequence[Phase], errors: int | None) -> float | None:
    """Since when calls of one caller succeed again, after its circuit was open; ``None`` while none does.

    Args:
        phases: The states of its circuit.
        errors: Errors in a row that open it: where so many were the last that it met, it has opened once more.
    """
    if any(phase.state == "open" for phase in phases):
        last = phases[-1]
        anew = errors is not None and last.run >= errors and last.recovered is None
        return last.began if last.state == "closed" and not anew else None
    return phases[-1].recovered if phases else None  # nobody called while it was open, so nobody was refused


def _not_closed(
    claim: str,
    service: str,
    callers: Sequence[str],
    phases: Sequence[Phase],
    tried: Collection[str],
    evidence: Mapping[str, object],
) -> Verdict:
    """What to say where ejections have ended, but no call of these callers has succeeded since."""
    last = {phase.caller: phase for phase in phases if phase.caller in callers}
    failing = [c for c in callers if c in tried or (c in last and last[c].state == "half-open")]
    if not failing:
        return _untried(claim, service, callers, evidence)
    told = ", ".join(f"{caller} met {last[caller].run} errors in a row and no success" for caller in failing)
    return Verdict(Outcome.FAILED, f"{claim}: it is half-open and no more: since the ejection ended {told}", evidence)


def _untried(claim: str, service: str, callers: Sequence[str], evidence: Mapping[str, object]) -> Verdict:
    names = ", ".join(callers)
    return Verdict.cannot_tell(
        f"{claim}: the ejection is over, and no call of {names} has reached it since",
        f"send last a request that makes {names} call {service}",
        **evidence,
    )


def _let_through(phases: Sequence[Phase], began: float) -> list[Phase]:
    """The half-open phases that count from a time on: those that began later, and of each caller that which is its last word."""
    last_opened = {phase.caller: phase.began for phase in phases if phase.state == "open"}
    return [
        phase
        for phase in phases
        if phase.state == "half-open" and (phase.began >= began or phase.began > last_opened[phase.caller])
    ]


def half_opens_within(
    service: str,
    limit: Duration,
    waited: float,
    breakers: Sequence[Breaker],
    calls: Sequence[Call] | None,
    *,
    began: float,
    were_open: Collection[str] = (),
    trials: Collection[str] = (),
    changes: Sequence[tuple[float, str]] = (),
) -> Verdict:
    """Every open circuit lets calls through again, whatever becomes of them, in time; arguments as of ``closes_within``."""
    claim = f"the circuit to {service} is half-open within {limit}"
    phases = replay(calls or ())
    using, evidence = _using(breakers, calls), {**_evidence(phases, breakers), "waited_seconds": waited}
    opened = {phase.caller for phase in phases if phase.state == "open"} | set(were_open)
    nothing = _nothing_to_see(claim, service, using, evidence) or _never_open(claim, service, opened, evidence)
    if nothing is not None:
        return nothing
    passed = [call for call in calls or () if call.reached and call.request_id in trials]
    since = {call.caller: call.started for call in reversed(passed)}
    since |= {phase.caller: phase.began for phase in reversed(_let_through(phases, began))}
    untried = sorted(opened - set(since))
    if untried and any(breaker.ejected for breaker in using):
        return _ejected(claim, waited, using, evidence)
    if untried:
        return _untried(claim, service, untried, {**evidence, "untried": untried})
    waited = max(0.0, *(since[caller] - began for caller in opened))
    outcome = Outcome.PASSED if waited <= limit.seconds else Outcome.FAILED
    early = ended_early(phases, using, opened, changes) if outcome is Outcome.PASSED else ""
    if early:
        return Verdict.cannot_tell(f"{claim}: {early}", _UNDISTURBED, **evidence)
    told = f"{claim}: it let calls through again after {told_seconds(waited)}; {_told(using)}"
    return Verdict(outcome, told, {**evidence, "waited_seconds": waited})
