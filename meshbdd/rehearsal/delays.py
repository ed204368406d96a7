"""Delays that nobody's timeout notices: a claim about who gives up holds also of a caller that never does. Pure functions."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.sense import Finding, Patience, patience
from meshbdd.sense.catalog import UNNOTICED_DELAY
from meshbdd.units import Duration

Object = Mapping[str, Any]
_Limit = tuple[Duration, str]

_SLOWED = re.compile(r"(\S+) is slowed by (\S+?)(?: for \S+ of requests)?")
_FAILS = re.compile(r"(\S+) fails \S+(?: with .+)?")
_RETRIED = re.compile(r"calls to (\S+) are retried up to ([0-9]{1,9}) times")
_TIMES_OUT = re.compile(r"calls to (\S+) time out after (\S+)")
_GIVES_UP = re.compile(r"\S+ gives up on (\S+) within (\S+)")
_RECOVERS = re.compile(r"(\S+) recovers")
_SHOWN_WITHIN = re.compile(
    r"(?:every response has status|the response status is) [1-4]\d\d(?: or \d\d\d)?|(?:more than|at least) \S+ of requests succeed"
    r"|at most \S+ of requests fail|the response (?:arrives within|takes at least) \S+|the \S+ latency is below \S+"
    r'|a slow \S+ does not slow ".*"|the response field .+|(?:about|between) .+ of responses have .+|the access log of .+'
    r'|\S+ calls \S+ at (?:most|least) .+|the mesh reports .+|calls from .+ use mutual TLS|the query ".+" is .+'
)
"""Claims that a delay within a timeout is to show: that it is borne, how long answers take with it, and what becomes of calls then."""


@dataclass(frozen=True, slots=True)
class StepLine:
    """A step's text, and where it stands."""

    text: str
    place: str


@dataclass(slots=True)
class _Told:
    """What a scenario says of one service.

    Attributes:
        delays: Those that it gets: the number of the step, and the step.
        ends: The numbers of the steps by which it recovers.
        claims: Within which somebody is to give up on it, by the number of the step.
        timeouts: Those that steps set.
        tries: How often steps have a call tried that fails.
        fails: Whether it is made to fail.
        rules: Those of VirtualServices.
    """

    delays: list[tuple[Duration, int, StepLine]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    claims: list[tuple[int, _Limit]] = field(default_factory=list)
    timeouts: list[_Limit] = field(default_factory=list)
    tries: int = 1
    fails: bool = False
    rules: list[Patience] = field(default_factory=list)

    @property
    def limits(self) -> list[_Limit]:
        """The timeouts for it, of steps and of rules."""
        return self.timeouts + [(r.timeout, f"{r.object} (timeout: {r.timeout})") for r in self.rules if r.timeout]

    def until(self, number: int) -> int:
        """The number of the step that ends what a step began; past the last one where none does."""
        return min((end for end in self.ends if end > number), default=sys.maxsize)

    def unnoticed(self, delay: Duration, number: int, *, meant: bool) -> _Limit | None:
        """The limit which is to notice a delay, and does not.

        A claim is what the delay is for, whatever else sets a limit; where there is none, one limit that notices it will do.

        Args:
            delay: How long.
            number: Of the step.
            meant: Whether something else is to be shown with it.
        """
        longest = max(self._seconds(delay, rule) for rule in (None, *self.rules))
        claims = [claim for at, claim in self.claims if number < at < self.until(number)]
        if claims:
            return max((claim for claim in claims if longest <= claim[0].seconds), default=None)
        if meant:
            return None
        limits = self.limits
        cut = any(rule.per_try and rule.per_try < delay for rule in self.rules)
        if cut or any(longest > limit.seconds for limit, _ in limits):
            return None
        return min(limits, key=lambda limit: limit[0], default=None)

    def _seconds(self, delay: Duration, rule: Patience | None) -> float:
        """How long a call takes at most where nothing but a timeout of a single try ends it."""
        tries, each = max(self.tries, rule.tries if rule else 1), rule.per_try if rule else None
        if each and each < delay:
            return each.seconds * tries
        return delay.seconds * (tries if self.fails else 1)


def unnoticed_delays(steps: Sequence[StepLine], objects: Iterable[Object], namespace: str) -> Iterator[Finding]:
    """Delays no longer than the limit which is to notice them: the claim holds also of a caller that never gives up.

    Where success is claimed, or how long answers take, that a delay stays within a timeout is what the scenario is to show.

    Args:
        steps: Those of one scenario.
        objects: What is in the world with all that the scenario wrote; its VirtualServices may have timeouts and retries.
        namespace: Where services without one lie.
    """
    told: dict[ServiceRef, _Told] = {}
    for number, step in enumerate(steps):
        with contextlib.suppress(BadInput):  # said already, where the step is not understood
            _read(number, step, told, namespace)
    for rule in patience(objects):
        with contextlib.suppress(BadInput):  # a host outside the mesh, or a pattern
            told.setdefault(ServiceRef.parse(rule.host, namespace), _Told()).rules.append(rule)
    shown = [number for number, step in enumerate(steps) if _SHOWN_WITHIN.fullmatch(step.text)]
    for service, of in told.items():
        for delay, number, step in of.delays:
            meant = any(number < at < of.until(number) for at in shown) or _is_noticed_before(service, delay, told)
            if limit := of.unnoticed(delay, number, meant=meant):
                why = "nobody has to give up, so nothing is shown"
                if any(limit == claim for _, claim in of.claims):  # a timeout may end the call nevertheless
                    why = "that holds as well where nobody gives up, so it does not show that somebody does"
                yield UNNOTICED_DELAY.on(
                    step.place,
                    f"a delay of {delay} is no longer than {limit[1]} allows: {why}.",
                    f"slow {service.name} by more than {limit[0]}",
                )


def _is_noticed_before(service: ServiceRef, delay: Duration, told: Mapping[ServiceRef, _Told]) -> bool:
    """Whether a limit for another service may notice a delay, which its callers wait for as well, with those of others perhaps."""
    others = [other for ref, other in told.items() if ref != service]
    seconds = delay.seconds + sum(also.seconds for other in others for also, _, _ in other.delays)
    limits = [limit for other in others for limit in (*other.limits, *(claim for _, claim in other.claims))]
    return any(limit.seconds < seconds for limit, _ in limits)


def _read(number: int, step: StepLine, told: dict[ServiceRef, _Told], namespace: str) -> None:
    """Take in what a step says.

    Raises:
        BadInput: it is not understood.
    """

    def of(name: str) -> _Told:
        return told.setdefault(ServiceRef.parse(name, namespace), _Told())

    if found := _SLOWED.fullmatch(step.text):
        of(found[1]).delays.append((Duration.parse(found[2]), number, step))
    elif found := _RECOVERS.fullmatch(step.text):
        of(found[1]).ends.append(number)
    elif found := _TIMES_OUT.fullmatch(step.text):
        of(found[1]).timeouts.append((Duration.parse(found[2]), f"«{step.text}»"))
    elif found := _GIVES_UP.fullmatch(step.text):
        of(found[1]).claims.append((number, (Duration.parse(found[2]), f"«{step.text}»")))
    elif found := _RETRIED.fullmatch(step.text):
        of(found[1]).tries = int(found[2]) + 1
    elif found := _FAILS.fullmatch(step.text):
        of(found[1]).fails = True
