"""How long the endpoints of a circuit that was open were ejected, by the calls that reached each of them.

A circuit is open only while all endpoints are ejected at once. Each is ejected when it has failed itself, so a circuit of
several may be open for an instant; it is the ejections that no breaker ends before their time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from meshbdd.claims.breaker import Breaker, Counts, is_counted
from meshbdd.claims.calls import Call, told_seconds
from meshbdd.claims.circuit_phases import UNDER_WAY, Phase

SLACK = 0.1
"""Seconds by which an ejection may seem shorter than it was: it began when the last error was counted, not logged."""


@dataclass(frozen=True, slots=True)
class _Ejection:
    """A stretch of time in which no call went to one endpoint, since it was ejected.

    Attributes:
        endpoint: Its address; empty where the log does not tell.
        began: Unix time of the end of the error that ejected it; of an endpoint that was not, of the circuit's opening.
        ended: Unix time of the start of the first call that reached it again.
    """

    endpoint: str
    began: float
    ended: float

    @property
    def told(self) -> str:
        """What came to which endpoint after which time, as a sentence has it."""
        return f"calls through to {self.endpoint or 'its endpoint'} after {told_seconds(self.ended - self.began)}"


def doubts(phases: Sequence[Phase], breakers: Sequence[Breaker], calls: Sequence[Call]) -> list[str]:
    """Where a replay does not agree with base × count and a tick of the interval, a sentence each."""
    rules = {breaker.circuit: breaker for breaker in breakers if breaker.detects}
    count: dict[str, int] = defaultdict(int)
    found = []
    for phase in phases:
        rule = rules.get(phase.circuit)
        if phase.state != "open" or rule is None:
            continue
        count[phase.circuit] += 1
        short = _too_short(phase, rule, calls)
        if short is not None:
            found.append(
                f"{phase.circuit}: opening {count[phase.circuit]} let {short.told}, less than the base ejection time of "
                f"{told_seconds(rule.of(short.endpoint).base)}; its proxy was given a new cluster meanwhile, or a new endpoint came"
            )
    return found


def ended_early(
    phases: Sequence[Phase],
    breakers: Sequence[Breaker],
    opened: Collection[str],
    calls: Sequence[Call],
    changes: Sequence[tuple[float, str]],
) -> str:
    """Why an ejection did not end by itself when a circuit was open last: it was too short; empty where none was.

    Args:
        phases: The states of the circuits.
        breakers: The rules that they stand under.
        opened: The circuits that were open.
        calls: The calls that the states were told from.
        changes: Unix time at which each change of the mesh was begun, and the change in words.
    """
    for rule in breakers:
        over = [p for p in phases if p.circuit == rule.circuit and p.state == "open" and p.ended is not None]
        if rule.circuit not in opened or not rule.detects or not over:
            continue
        short = _too_short(over[-1], rule, calls)
        if short is None:
            continue
        meanwhile = ", ".join(f"«{told}»" for at, told in changes if short.began <= at <= short.ended)
        why = (
            f"the ejections ended with the change {meanwhile}"
            if meanwhile
            else "a breaker ends no ejection by itself so soon"
        )
        return (
            f"the circuit of {rule.circuit} let {short.told}, less than the base ejection time of "
            f"{told_seconds(rule.of(short.endpoint).base)}: {why}"
        )
    return ""


def _too_short(opening: Phase, breaker: Breaker, calls: Sequence[Call]) -> _Ejection | None:
    """The ejection in an opening that was over before its time; ``None`` where each lasted, or lasts."""
    if opening.ended is None or opening.ended - opening.began >= breaker.base - SLACK:
        return None  # no call came to any endpoint so long
    found = (e for e in _ejections(opening, breaker, calls) if e.ended - e.began < breaker.of(e.endpoint).base - SLACK)
    return next(found, None)


def _ejections(opening: Phase, breaker: Breaker, calls: Sequence[Call]) -> Iterator[_Ejection]:
    """The ejections in an opening of those endpoints that calls have reached again.

    An endpoint that was not ejected, as one that is new, counts where a call to it is what ended the opening.
    """
    latest = opening.began + UNDER_WAY
    of_each: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        if call.circuit == opening.circuit and is_counted(call) and call.started >= breaker.since:
            of_each[call.endpoint].append(call)
    for endpoint, own in sorted(of_each.items()):
        again = min((call.started for call in own if call.started > latest), default=None)
        began = _ejected_at([call for call in own if call.started <= latest], breaker)
        if again is not None and (began is not None or again == opening.ended):
            yield _Ejection(endpoint, opening.began if began is None else began, again)


def _ejected_at(calls: Sequence[Call], breaker: Breaker) -> float | None:
    """When an endpoint was ejected that got these calls and no more; ``None`` where their errors are too few.

    From then on no call is sent to it, so it is the first of the errors that came once the last call had been sent; those
    that end later were under way, and Envoy may have paid no heed to earlier ones.
    """
    last = max((call.started for call in calls), default=0.0)
    counts = Counts()
    for call in sorted(calls, key=lambda call: call.ended):
        counts = counts.after(call, breaker)
        if call.ended >= last - UNDER_WAY and counts.now[call.endpoint].ejects(breaker.of(call.endpoint)):
            return call.ended
    return None
