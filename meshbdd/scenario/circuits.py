"""What a scenario claims about circuits: which are open, and when they open, let calls through again and close."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import replace

from meshbdd.claims import Outcome, Verdict, circuit, circuit_closing
from meshbdd.claims.breaker import Breaker
from meshbdd.intents import ServiceRef
from meshbdd.mesh.abilities import Ability
from meshbdd.scenario.breakers import breakers
from meshbdd.scenario.call_log import CallLog
from meshbdd.scenario.environment import Environment
from meshbdd.scenario.leads import as_trials, leading_to, only_failing
from meshbdd.scenario.needs import needs
from meshbdd.scenario.settling import in_time, or_nothing
from meshbdd.scenario.traffic import Traffic
from meshbdd.telemetry.pod_names import known_to
from meshbdd.units import Duration, counted
from meshbdd.waiting import NotYet

_TRIALS = 12
"""How often each request is sent at most until one comes to each circuit that nobody has tried: of two callers one is missed
by all of them once in 4096 times. Each that fails may open another caller's circuit, so none is sent in vain."""


class Circuits:
    """The way to the evidence of what circuit breakers do.

    Args:
        environment: What the run shares.
        traffic: The scenario's requests.
        log: The calls between services.
    """

    def __init__(self, environment: Environment, traffic: Traffic, log: CallLog) -> None:
        self._environment = environment
        self._traffic = traffic
        self._log = log
        self._seen: dict[ServiceRef, dict[str, list[Breaker]]] = {}

    @needs(Ability.CIRCUITS)
    def is_open(self, service: ServiceRef) -> Verdict:
        """Every endpoint of a service is ejected at every caller that sent traffic."""
        found = self._breakers(service)  # before the logs: an ejection may end while these are waited for
        verdict = circuit.is_open(str(service), found, self._log.settled_tries_to(service))
        return self._told(verdict, service)

    @needs(Ability.CIRCUITS)
    def opens(self, service: ServiceRef, limit: Duration) -> Verdict:
        """The circuit of every caller that met errors opens in time."""

        def probe() -> None:
            calls = self._log.tries_to(service)
            found = self._breakers(service, {call.caller for call in calls})
            verdict = circuit.opens_within(str(service), limit, found, calls, self._sightings(service))
            if "lags_seconds" not in verdict.numbers:
                raise NotYet(verdict.sentence)

        in_time(probe, limit)  # what was seen so far need not be all of it
        before = self._breakers(service)  # an ejection may end while the logs are waited for, and one may begin
        calls = self._log.settled_tries_to(service)
        found = {breaker.circuit: breaker for breaker in self._breakers(service)}
        found |= {b.circuit: b for b in before if b.circuit not in found or b.ejected > found[b.circuit].ejected}
        verdict = circuit.opens_within(str(service), limit, list(found.values()), calls, self._sightings(service))
        return self._told(verdict, service)

    @needs(Ability.CIRCUITS)
    def closes(self, service: ServiceRef, limit: Duration) -> Verdict:
        """No endpoint of a service is ejected any more, and calls succeed again, in time."""
        return self._once_free(service, limit, circuit_closing.closes_within)

    @needs(Ability.CIRCUITS)
    def half_opens(self, service: ServiceRef, limit: Duration) -> Verdict:
        """Every open circuit lets calls through again in time."""
        return self._once_free(service, limit, circuit_closing.half_opens_within)

    def _once_free(self, service: ServiceRef, limit: Duration, claim: Callable[..., Verdict]) -> Verdict:
        """What a claim says once no endpoint is ejected; where no load runs, it gets calls to judge by."""
        began, start = time.time(), time.monotonic()
        found: list[Breaker] = []
        free: list[float] = []
        trials: list[str] = []

        def verdict() -> Verdict:
            waited = free[0] if free else time.monotonic() - start
            calls = self._log.settled_tries_to(service)
            return claim(
                str(service),
                limit,
                waited,
                [replace(breaker, since=self._stands_since(service, breaker)) for breaker in found],
                calls,
                began=began,
                sightings=self._sightings(service),
                trials=trials,
                changes=self._traffic.changes,
            )

        def probe() -> Verdict:
            found[:] = self._breakers(service)
            called = {call.circuit for call in self._log.tries_to(service)}
            ejected = sum(breaker.ejected for breaker in found if breaker.circuit in called or not called)
            free[:] = [] if ejected else free or [time.monotonic() - start]
            if ejected:
                raise NotYet(f"{counted(ejected, 'endpoint', 'is', 'are')} ejected")
            now = verdict()
            untried = now.numbers.get("untried")
            if isinstance(untried, list):
                trials.extend(self._try(service, untried, now.numbers.get("owing") or {}))
                now = verdict()  # at once: where the trial fails, the circuit soon opens anew
            if now.outcome is not Outcome.PASSED:
                raise NotYet(now.sentence)
            return now

        told = or_nothing(probe, verdict, limit)  # in the end it says what is missing
        return self._told(told, service)

    def _told(self, verdict: Verdict, service: ServiceRef) -> Verdict:
        """A verdict with what its callers' proxies do not see, or saw go elsewhere."""
        if verdict.numbers.get("uncalled"):
            copies = self._log.copies_to(service)
            verdict = circuit.led_elsewhere(verdict, str(service), *self._log.led_elsewhere(service), copies)
        return self._log.of_all_callers(verdict, service)

    def _try(self, service: ServiceRef, untried: Iterable[str], owing: Mapping[str, Collection[str]]) -> list[str]:
        """Send the request sent last once more until it came to each of these circuits, and others for what it does not reach.

        Nothing is sent where a load runs.

        Args:
            service: The service.
            untried: The circuits.
            owing: Circuit → the endpoints that it has to come to, unless they are ejected anew.

        Returns:
            The ids of what was sent.
        """
        last = self._traffic.last_name
        if self._traffic.loading or last is None:
            return []
        missing = set(untried)
        before = self._held(service, missing)
        entries, name_of = known_to(service, self._log.entries()), self._environment.sent.name_of
        leading, failing = leading_to(service, entries, name_of), only_failing(service, entries, name_of, before)
        sent: list[str] = []
        for names in as_trials(last, leading, failing, missing):
            for name in itertools.islice(itertools.cycle(names), _TRIALS * len(names)):
                if missing.isdisjoint(names[name]):
                    continue
                sent.extend(sample.request_id for sample in self._traffic.own.measure(name, 1))
                now = self._held(service, missing)
                missing = {c for c, held in now.items() if not _came(held, before.get(c), owing.get(c, ()))}
        return sent

    def _held(self, service: ServiceRef, circuits: set[str]) -> dict[str, Breaker]:
        """Circuit → its breaker now; a proxy counts what it sends at once."""
        callers = {seen[-1].caller for name, seen in self._seen.get(service, {}).items() if name in circuits}
        return {held.circuit: held for held in self._breakers(service, callers) if held.circuit in circuits}

    def _breakers(self, service: ServiceRef, callers: Container[str] | None = None) -> list[Breaker]:
        found = breakers(self._log.proxies, service.host, callers)
        for breaker in found:
            seen = self._seen.setdefault(service, {}).setdefault(breaker.circuit, [])
            if seen and seen[-1].rule != breaker.rule:
                seen.clear()  # another breaker stands there now
            seen.append(breaker)
        return found

    def _sightings(self, service: ServiceRef) -> list[Breaker]:
        """What the breakers that stand now were seen to be."""
        return [breaker for seen in self._seen.get(service, {}).values() for breaker in seen]

    def _stands_since(self, service: ServiceRef, breaker: Breaker) -> float:
        """Since when a breaker has stood with this rule; a change of something else may have set it anew meanwhile."""
        return min(seen.since for seen in self._seen[service][breaker.circuit])


def _came(now: Breaker, before: Breaker | None, owing: Collection[str]) -> bool:
    """Whether a request came to a service, and to each of these endpoints but those that are ejected."""
    if before is None:
        return True
    known = [endpoint for endpoint in owing if endpoint in now.sent]
    if not known:
        return now.requests > before.requests
    return all(e in now.out or now.sent[e] > before.sent.get(e, 0) for e in known)
