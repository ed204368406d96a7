"""The oracle of circuits that were open: whether calls are let through again, and whether these succeed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from meshbdd.claims.breaker import Breaker, is_counted
from meshbdd.claims.calls import Call, told_seconds
from meshbdd.claims.circuit import ejections, evidence_of, in_use, log_untold, nothing_to_see
from meshbdd.claims.circuit_phases import Phase, replay
from meshbdd.claims.ejection import SLACK, ended_early
from meshbdd.claims.verdict import Outcome, Verdict
from meshbdd.units import Duration, counted

_UNDISTURBED = "change nothing between the opening and the claim but the service's recovery"


@dataclass(frozen=True, slots=True)
class _Seen:
    """Circuits of which at least one was open.

    Attributes:
        claim: What is claimed of them.
        phases: What became of each, in the order of time.
        using: The breakers of those who called.
        sightings: Breakers as they were seen earlier.
        opened: Those that were open.
        evidence: The numbers for the verdict.
        calls: The calls that all of it was told from.
    """

    claim: str
    phases: Sequence[Phase]
    using: Sequence[Breaker]
    sightings: Sequence[Breaker]
    opened: AbstractSet[str]
    evidence: Mapping[str, object]
    calls: Sequence[Call]

    def free_since(self, circuit: str, called: float) -> float:
        """Since when a circuit's endpoints were seen free, of which the call that was made then is the proof.

        Whoever has to send that call comes later than the end of the ejection, and must not count as the circuit's time.

        Args:
            circuit: Its name.
            called: Unix time of the first call that shows it.
        """
        rule = next(breaker for breaker in self.using if breaker.circuit == circuit)
        earlier = [phase for phase in self.phases if phase.circuit == circuit and phase.began < called]
        opened = max((phase.began for phase in earlier if phase.state == "open"), default=0.0)
        failed = max((p.last_error for p in earlier if p.last_error is not None and p.last_error < called), default=0.0)
        free = called
        looks = [(b.seen, b.ejected) for b in self.sightings if b.circuit == circuit and b.seen is not None]
        for seen, ejected in sorted(looks, reverse=True):
            if seen < called:
                if ejected or seen < max(opened + rule.base - SLACK, failed):
                    break
                free = seen
        return free


def _see(
    claim: str,
    service: str,
    waited: float,
    breakers: Sequence[Breaker],
    calls: Sequence[Call] | None,
    sightings: Sequence[Breaker],
) -> _Seen | Verdict:
    """What there is to judge; arguments as of ``closes_within``. A verdict where nobody can, for none was open for instance."""
    phases = replay(calls or (), breakers, sightings)
    evidence = {**evidence_of(phases, breakers, calls), "waited_seconds": waited}
    using = in_use(breakers, calls)
    opened = {phase.circuit for phase in phases if phase.state == "open"}
    return (
        nothing_to_see(claim, service, breakers, calls, evidence)
        or log_untold(claim, calls, evidence)
        or _never_open(claim, service, opened, using, _gone(breakers, calls or (), sightings), evidence)
        or _Seen(claim, phases, using, sightings, opened, evidence, calls or ())
    )


def _in_time(seen: _Seen, waited: float, limit: Duration, changes: Sequence[tuple[float, str]], what: str) -> Verdict:
    """The verdict on what came to pass after a time, unless a change brought it about."""
    outcome = Outcome.PASSED if waited <= limit.seconds else Outcome.FAILED
    early = ""
    if outcome is Outcome.PASSED:
        early = ended_early(seen.phases, seen.using, seen.opened, seen.calls, changes)
    if early:
        return Verdict.cannot_tell(f"{seen.claim}: {early}", _UNDISTURBED, **seen.evidence)
    told = f"{seen.claim}: {what}; {ejections(seen.using)}"
    return Verdict(outcome, told, {**seen.evidence, "waited_seconds": waited})


def closes_within(
    service: str,
    limit: Duration,
    waited: float,
    breakers: Sequence[Breaker],
    calls: Sequence[Call] | None,
    *,
    began: float,
    sightings: Sequence[Breaker] = (),
    trials: Collection[str] = (),
    changes: Sequence[tuple[float, str]] = (),
) -> Verdict:
    """No endpoint of a service is ejected any more, and calls to each succeed again, in time, counted from the step.

    An ejection that has merely ended leaves a circuit half-open: a service that still fails is no closed circuit, and
    neither is one of which another endpoint answers.

    Args:
        service: The service.
        limit: How long at most.
        waited: Seconds from the step's start until the breakers were as given.
        breakers: The breakers then.
        calls: The calls of the scenario.
        began: Unix time of the step's start.
        sightings: Breakers as they were seen earlier in this scenario.
        trials: Ids of requests that were sent to see whether calls go through.
        changes: Unix time at which the scenario began each change of the mesh, and the change in words.
    """
    claim = f"the circuit to {service} closes within {limit}"
    seen = _see(claim, service, waited, breakers, calls, sightings)
    if isinstance(seen, Verdict):
        return seen
    phases, using, opened, evidence = seen.phases, seen.using, seen.opened, seen.evidence
    if any(breaker.ejected for breaker in using):
        return _ejected(claim, waited, using, evidence)
    rules = {breaker.circuit: breaker for breaker in breakers}
    since = {name: _closed_since([p for p in phases if p.circuit == name], rules[name]) for name in sorted(opened)}
    half = [name for name, moment in since.items() if moment is None]
    if half:
        tried = {(c.circuit, c.endpoint) for c in calls or () if is_counted(c) and c.request_id in trials}
        last = {phase.circuit: phase for phase in phases if phase.circuit in half}
        owing = {name: _owing(phase, rules[name]) for name, phase in last.items()}
        return _not_closed(claim, service, last, owing, tried, {**evidence, "untried": half, "owing": owing})
    free = [seen.free_since(name, moment) for name, moment in since.items() if moment is not None]
    waited = max(waited, *(moment - began for moment in free))
    return _in_time(seen, waited, limit, changes, f"it was closed after {told_seconds(waited)}, and calls succeed")


def _gone(breakers: Sequence[Breaker], calls: Sequence[Call], sightings: Sequence[Breaker]) -> list[str]:
    """The circuits that were open, and whose caller is there no more."""
    there = {breaker.circuit for breaker in breakers}
    last = {seen.circuit: seen for seen in sightings if seen.circuit not in there}
    phases = replay(calls, list(last.values()), sightings)
    return sorted({phase.circuit for phase in phases if phase.state == "open"})


def _never_open(
    claim: str,
    service: str,
    opened: Collection[str],
    using: Sequence[Breaker],
    gone: Sequence[str],
    evidence: Mapping[str, object],
) -> Verdict | None:
    if opened:
        return None
    if gone:
        return Verdict.cannot_tell(
            f"{claim}: that of {', '.join(gone)} was open, and went away with its pod, and no other was",
            "claim it before pods are replaced, or keep them",
            **evidence,
        )
    never = "".join({breaker.why_never(): None for breaker in using})
    return Verdict.cannot_tell(
        f"{claim}: it was never open since the breaker was set{never}",
        f"let {service} fail at its own side first",
        **evidence,
    )


def _ejected(claim: str, waited: float, using: Sequence[Breaker], evidence: Mapping[str, object]) -> Verdict:
    ejected = [breaker for breaker in using if breaker.ejected]
    return Verdict(Outcome.FAILED, f"{claim}: after {told_seconds(waited)} {ejections(ejected)}", evidence)


def _closed_since(phases: Sequence[Phase], breaker: Breaker) -> float | None:
    """Since when the calls of one circuit succeed again, after it was open; ``None`` while not all of its endpoints answer.

    Where the last errors in a row are enough to open it, it has opened once more, and where those of one endpoint are,
    that was ejected once more.
    """
    last = phases[-1]
    anew = last.recovered is None and last.counts.ejects_all(breaker)
    return last.began if last.state == "closed" and not anew and not _owing(last, breaker) else None


def _owing(phase: Phase, breaker: Breaker) -> list[str]:
    """The endpoints that were ejected and have answered no call well since, of those that are still looked at."""
    owing = {*phase.owing, *phase.counts.ejected(breaker)}
    return sorted(endpoint for endpoint in owing if breaker.looks_at(endpoint))


def _not_closed(
    claim: str,
    service: str,
    last: Mapping[str, Phase],
    owing: Mapping[str, Sequence[str]],
    tried: Collection[tuple[str, str]],
    evidence: Mapping[str, object],
) -> Verdict:
    """What to say where ejections have ended, but calls of these circuits do not succeed since.

    Args:
        claim: What is claimed.
        service: The service.
        last: Circuit → its last phase.
        owing: Circuit → the endpoints of it that were ejected, and have answered no call well since.
        tried: The circuit and the endpoint of each trial.
        evidence: The numbers for the verdict.
    """
    failing = {name: phase for name, phase in last.items() if _has_failed(phase, owing[name], tried)}
    if not failing:
        return _untried(claim, service, list(last), evidence, owing)
    met = [_failing(phase, owing[name]) for name, phase in failing.items() if phase.run]
    since = [f"since the ejection ended {', '.join(met)}"] if met else []
    if anew := ", ".join(name for name, phase in failing.items() if not phase.run):
        since.append(
            f"what was let through at {anew} failed and opened it anew, and no call has come since that was over"
        )
    return Verdict(Outcome.FAILED, f"{claim}: it is half-open and no more: {', and '.join(since)}", evidence)


def _has_failed(phase: Phase, owing: Sequence[str], tried: Collection[tuple[str, str]]) -> bool:
    """Whether a circuit that is not closed was called since its ejection ended, at an endpoint that has to answer."""
    if phase.state == "half-open":
        return not owing or any(endpoint in phase.counts.most for endpoint in owing)
    return any(circuit == phase.circuit and (not owing or endpoint in owing) for circuit, endpoint in tried)


def _failing(phase: Phase, owing: Sequence[str]) -> str:
    """What a circuit met that is not closed, as a sentence has it; of several endpoints, which they are that fail."""
    most = phase.counts.most
    failing = [endpoint for endpoint in owing if endpoint in most]
    if len(most) < 2 or not failing:
        return f"{phase.circuit} met {counted(phase.run, 'error')} in a row and no success"
    of = " and ".join(f"{counted(most[endpoint].errors, 'error')} in a row of {endpoint}" for endpoint in failing)
    return f"{phase.circuit} met {of}, and no success there"


def _untried(
    claim: str,
    service: str,
    circuits: Sequence[str],
    evidence: Mapping[str, object],
    owing: Mapping[str, Sequence[str]] | None = None,
) -> Verdict:
    names = ", ".join(circuits)
    missed = sorted({endpoint for endpoints in (owing or {}).values() for endpoint in endpoints if endpoint})
    whom = " and ".join(missed) if missed else "it"
    return Verdict.cannot_tell(
        f"{claim}: the ejection is over, and no call of {names} has reached {whom} since",
        f"send last a request that makes {names} call {service}",
        **evidence,
    )


def _let_through(phases: Sequence[Phase], began: float) -> list[Phase]:
    """The half-open phases that count from a time on: those that began later, and of each circuit that which is its last word."""
    last_opened = {phase.circuit: phase.began for phase in phases if phase.state == "open"}
    return [
        phase
        for phase in phases
        if phase.state == "half-open" and (phase.began >= began or phase.began > last_opened[phase.circuit])
    ]


def half_opens_within(
    service: str,
    limit: Duration,
    waited: float,
    breakers: Sequence[Breaker],
    calls: Sequence[Call] | None,
    *,
    began: float,
    sightings: Sequence[Breaker] = (),
    trials: Collection[str] = (),
    changes: Sequence[tuple[float, str]] = (),
) -> Verdict:
    """Every open circuit lets calls through again, whatever becomes of them, in time; arguments as of ``closes_within``."""
    claim = f"the circuit to {service} is half-open within {limit}"
    seen = _see(claim, service, waited, breakers, calls, sightings)
    if isinstance(seen, Verdict):
        return seen
    phases, using, opened, evidence = seen.phases, seen.using, seen.opened, seen.evidence
    passed = [call for call in calls or () if is_counted(call) and call.request_id in trials]
    since = {call.circuit: call.started for call in reversed(passed)}
    since |= {phase.circuit: phase.began for phase in reversed(_let_through(phases, began))}
    untried = sorted(opened - set(since))
    closed = [breaker for breaker in using if breaker.circuit in untried]
    if any(breaker.ejected for breaker in closed):
        return _ejected(claim, waited, closed, evidence)
    if untried:
        return _untried(claim, service, untried, {**evidence, "untried": untried})
    waited = max(0.0, *(seen.free_since(name, since[name]) - began for name in opened))
    return _in_time(seen, waited, limit, changes, f"it let calls through again after {told_seconds(waited)}")
