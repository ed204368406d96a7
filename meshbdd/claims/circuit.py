"""The oracle of circuit breakers: Envoy's own word of what is ejected, beside the states replayed over the access log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from meshbdd.claims.breaker import Breaker, Counts, is_counted
from meshbdd.claims.calls import Call, told_seconds, untold_statuses
from meshbdd.claims.circuit_phases import GRACE_SECONDS, UNDER_WAY, Phase, replay
from meshbdd.claims.ejection import doubts
from meshbdd.claims.verdict import Outcome, Verdict
from meshbdd.units import Duration, counted

_UNCALLED = "nobody called it"


def evidence_of(
    phases: Sequence[Phase], breakers: Sequence[Breaker], calls: Sequence[Call] | None
) -> dict[str, object]:
    """What a verdict on a circuit rests on."""
    return {
        "phases": [asdict(phase) for phase in phases],
        "breakers": [asdict(breaker) for breaker in breakers],
        "doubts": doubts(phases, breakers, calls or ()),
        "grace_seconds": GRACE_SECONDS,
    }


def in_use(breakers: Sequence[Breaker], calls: Sequence[Call] | None) -> list[Breaker]:
    """The breakers of those who called since they were set; where no log tells of it, of those who ever called."""
    if calls is None:
        return [breaker for breaker in breakers if breaker.requests]
    latest: dict[str, float] = {}
    for call in calls:
        latest[call.circuit] = max(call.started, latest.get(call.circuit, call.started))
    return [b for b in breakers if b.circuit in latest and latest[b.circuit] >= b.since]


def ejections(breakers: Sequence[Breaker]) -> str:
    """What breakers have ejected, as a sentence has it."""
    return ", ".join(
        f"{b.circuit} has ejected {b.ejected} of {b.endpoints}{'' if b.is_open else b.why_never()}" for b in breakers
    )


def nothing_to_see(
    claim: str,
    service: str,
    breakers: Sequence[Breaker],
    calls: Sequence[Call] | None,
    evidence: Mapping[str, object],
) -> Verdict | None:
    """What there is to say where no circuit can be looked at."""
    using = in_use(breakers, calls)
    if not using:
        since = " since its breaker was set" if calls else ""
        return Verdict.cannot_tell(
            f"{claim}: {_UNCALLED}{since}",
            f"send requests that make somebody call {service}",
            **evidence,
            uncalled=True,
        )
    without = [breaker for breaker in using if not breaker.detects]
    if without:
        names = ", ".join(breaker.circuit for breaker in without)
        what = " and ".join(dict.fromkeys(e for breaker in without for e in breaker.unguarded)) or "it"
        return Verdict(Outcome.FAILED, f"{claim}: the proxy of {names} has no circuit breaker for {what}", evidence)
    if any(breaker.endpoints == breaker.unready for breaker in using):
        return Verdict.cannot_tell(f"{claim}: it has no ready endpoint", f"bring the pods of {service} up", **evidence)
    return None


def led_elsewhere(
    verdict: Verdict, service: str, led: Mapping[str, int], answered: Mapping[int, int], copies: int
) -> Verdict:
    """A verdict on the circuit to a service to which no call came, though some asked for it, or copies of some did.

    Args:
        verdict: What is to say without these.
        service: The service.
        led: The other services to which rules led them → how many.
        answered: Status with which the callers' proxies answered others by themselves → how many.
        copies: How many mirrored copies of calls came to it.
    """
    if not verdict.numbers.get("uncalled"):
        return verdict
    if not (led or answered):
        if not copies:
            return verdict
        came = f"{copies} mirrored cop{'ies' if copies > 1 else 'y'} of calls came to it"
        return replace(verdict, sentence=f"{verdict.sentence} itself: {came}, which no caller's proxy logs")
    if led:
        told = " and ".join(f"{number} to {name}" for name, number in led.items())
        why = f"a rule led the calls to {service} elsewhere ({told})"
        action = f"claim it of {next(iter(led))}, and have the circuit breaker there, or take the rule away that leads the calls there"
    else:
        told = " and ".join(f"{number} with status {status}" for status, number in answered.items())
        why = f"the callers' proxies answered the calls to {service} themselves ({told})"
        action = "have the rule that answers them in another scenario"
    sentence = verdict.sentence.replace(_UNCALLED, "no call came to its own endpoints", 1)
    return replace(verdict, sentence=f"{sentence}, which a circuit is about: {why}", help=action)


def log_untold(claim: str, calls: Sequence[Call] | None, evidence: Mapping[str, object]) -> Verdict | None:
    """What there is to say where the log does not tell which calls failed."""
    untold = untold_statuses(calls or ())
    if untold is None:
        return None
    why, action = untold
    return Verdict.cannot_tell(f"{claim}: {why}", action, **evidence)


def is_open(service: str, breakers: Sequence[Breaker], calls: Sequence[Call] | None) -> Verdict:
    """Every endpoint of a service is ejected at every caller that sent traffic; with subsets, of each to which routes lead.

    Args:
        service: The service.
        breakers: Those of all proxies that know it.
        calls: The calls of the scenario; ``None`` where there are no logs.
    """
    claim = f"the circuit to {service} is open"
    phases = replay(calls or (), breakers)
    using, evidence = in_use(breakers, calls), evidence_of(phases, breakers, calls)
    nothing = nothing_to_see(claim, service, breakers, calls, evidence)
    if nothing is not None:
        return nothing
    told = ejections(using)
    refused = sum(phase.refused for phase in phases)
    slowest = max((phase.slowest_refusal for phase in phases), default=0.0)
    fast = (
        f"; {counted(refused, 'call', 'was', 'were')} refused, the slowest after {told_seconds(slowest)}"
        if refused
        else ""
    )
    outcome = Outcome.PASSED if all(breaker.is_open for breaker in using) else Outcome.FAILED
    return Verdict(outcome, f"{claim}: {told}{fast}{_over(phases, using)}", evidence)


def _over(phases: Sequence[Phase], breakers: Sequence[Breaker]) -> str:
    """That a circuit was open earlier, where it is no more: a claim that comes too late looks like one that is wrong.

    While calls went to one subset alone, its endpoints were all there were to eject; of the service the circuit was not open then.
    """
    closed = {breaker.circuit: set(breaker.sent) for breaker in breakers if not breaker.is_open}
    opened = (phase for phase in phases if phase.state == "open" and phase.circuit in closed)
    last = {phase.circuit: phase for phase in opened if closed[phase.circuit] <= set(phase.owing)}
    told = [f"{circuit} for {_lasted(phase)}" for circuit, phase in last.items()]
    return f"; it was open before, at {', '.join(told)}, and that was over when this was asked" if told else ""


def _lasted(opening: Phase) -> str:
    """How long a circuit was open, as far as calls tell."""
    if opening.ended is not None:
        return told_seconds(opening.ended - opening.began)
    last = opening.last_refusal
    return "a time" if last is None else f"{told_seconds(last - opening.began)} or more"


def opens_within(
    service: str,
    limit: Duration,
    breakers: Sequence[Breaker],
    calls: Sequence[Call] | None,
    sightings: Sequence[Breaker] = (),
) -> Verdict:
    """The circuit of every caller that met errors opens in time, counted from the first of these errors.

    Errors are those since the breaker was set, and since the circuit was last closed.

    Args:
        service: The service.
        limit: How long at most.
        breakers: Those of all proxies that know it.
        calls: The calls of the scenario.
        sightings: Breakers as they were seen earlier.
    """
    claim = f"the circuit to {service} opens within {limit}"
    phases = replay(calls or (), breakers, sightings)
    using, evidence = in_use(breakers, calls), evidence_of(phases, breakers, calls)
    nothing = nothing_to_see(claim, service, breakers, calls, evidence) or log_untold(claim, calls, evidence)
    if nothing is not None:
        return nothing
    lags = {}
    for breaker in using:
        own = [phase for phase in phases if phase.circuit == breaker.circuit]
        lag = _lag(own)
        if lag is None:
            return _not_opened(claim, service, breaker, own, calls or (), sightings, evidence)
        lags[breaker.circuit] = lag
    told = ", ".join(f"{circuit} after {told_seconds(lag)}" for circuit, lag in lags.items())
    outcome = Outcome.PASSED if max(lags.values()) <= limit.seconds else Outcome.FAILED
    return Verdict(outcome, f"{claim}: counted from the first error, {told}", {**evidence, "lags_seconds": lags})


def _not_opened(
    claim: str,
    service: str,
    breaker: Breaker,
    own: Sequence[Phase],
    calls: Sequence[Call],
    sightings: Sequence[Breaker],
    evidence: Mapping[str, object],
) -> Verdict:
    """What to say of a circuit that the log does not show to open: it should have, or met too little, or nobody looked in time."""
    counts = own[-1].counts if own else Counts()
    met = f"{breaker.circuit} met {counted(counts.longest, 'error')} in a row"
    if len(counts.most) > 1:
        each = sorted(run.errors for run in counts.most.values())
        met = f"{breaker.circuit} met {' and '.join(map(str, each))} errors in a row of {len(each)} endpoints"
    called = counts.most.keys() >= breaker.sent.keys() and len(counts.most) >= (
        len(breaker.sent) or breaker.endpoints - breaker.unready
    )
    if not (called and counts.ejects_all(breaker)):
        return Verdict.cannot_tell(
            f"{claim}: {met}, and the circuit opens at {breaker.told_limits()}",
            "send more requests that fail, one right after the other"
            if counts.longest  # so the breaker sees failures
            else f"let {service} fail at its own side, and send more requests",
            **evidence,
        )
    if not (breaker.why_never() or _was_seen_closed(breaker, calls, sightings)):
        return Verdict.cannot_tell(
            f"{claim}: {met}, and nobody called it or looked at it for as long as it may have been open then",
            "claim it right after the requests that are to open it",
            **evidence,
        )
    return Verdict(Outcome.FAILED, f"{claim}: {met}, and its circuit did not open{breaker.why_never()}", evidence)


def _was_seen_closed(breaker: Breaker, calls: Sequence[Call], sightings: Sequence[Breaker]) -> bool:
    """Whether a circuit that met errors enough is known not to have opened by them, and not just to be over.

    Somebody looked, or a call was let through that had been sent after them, before the shortest ejection could have ended.
    """
    counts, enough = Counts(), 0.0
    own = [c for c in calls if c.circuit == breaker.circuit and is_counted(c) and c.started >= breaker.since]
    for call in sorted(own, key=lambda call: call.ended):
        counts, enough = counts.after(call, breaker), call.ended
        if counts.most.keys() >= breaker.sent.keys() and counts.ejects_all(breaker):
            break
    over = enough + min(part.base for part in breaker.parts or (breaker,))
    looks = [seen.seen for seen in (breaker, *sightings) if seen.circuit == breaker.circuit]
    seen = any(at is None or enough <= at < over for at in looks)
    return seen or any(enough + UNDER_WAY < call.started < over for call in own)


def _lag(phases: Sequence[Phase]) -> float | None:
    """Seconds from the first error to the last opening; ``None`` where it did not open, or no error shows why.

    Errors that came after the circuit had closed again are answered by no earlier opening.
    """
    now = phases[-1] if phases else None
    if now is None or (now.state == "closed" and now.first_error is not None):
        return None
    for before, after in zip(reversed(phases[:-1]), reversed(phases[1:]), strict=True):
        if after.state == "open":
            return None if before.first_error is None else after.began - before.first_error
    return None
