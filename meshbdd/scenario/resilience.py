"""What a scenario claims about resilience: how often services call each other, for how long, and what others notice."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Sequence

from meshbdd.claims import Outcome, Verdict
from meshbdd.claims.bulkhead import allowed_growth, middle, not_slowed, still_as_quick, usual
from meshbdd.claims.calls import Call, Strangers
from meshbdd.claims.retries import called_at_least, called_at_most
from meshbdd.claims.timeouts import gives_up_within
from meshbdd.intents import ServiceRef
from meshbdd.load import Sample
from meshbdd.mesh.abilities import Ability
from meshbdd.scenario.breakers import active_calls
from meshbdd.scenario.call_log import CallLog, call_of, with_deadlines
from meshbdd.scenario.copies import Copies, copies_among
from meshbdd.scenario.enough import Enough
from meshbdd.scenario.environment import Environment
from meshbdd.scenario.needs import needs
from meshbdd.scenario.settling import in_time
from meshbdd.scenario.traffic import USERS, Traffic
from meshbdd.scenario.tries import Between, between
from meshbdd.telemetry.access_log import Entry
from meshbdd.telemetry.pod_names import known_to
from meshbdd.telemetry.proxies import address_of
from meshbdd.units import Duration, counted
from meshbdd.waiting import NotYet

_NOT_SLOWED = re.compile(r'a slow \S+ does not slow "([^"]+)"')

_USUAL = 30
"""Requests before the first change, by which later ones are measured: their p90 may be off by what may be added to it."""

_SLOWEST = Duration(10)
"""A slow call that does not end within so long is not waited for."""


class Resilience:
    """The oracles' way to their evidence.

    Args:
        environment: What the run shares.
        traffic: The scenario's requests.
        log: The calls between services.
        steps: The texts of the scenario's steps: what will be asked is measured before the first change.
    """

    def __init__(self, environment: Environment, traffic: Traffic, log: CallLog, steps: Iterable[str]) -> None:
        self._environment = environment
        self._traffic = traffic
        self._log = log
        self._usual: dict[str, Sequence[Sample]] = {}
        self._texts = list(steps)

    def before_first_change(self) -> None:
        """Measure what claims about a slow service will compare with."""
        for text in self._texts:
            for name in _NOT_SLOWED.findall(text):
                self._usual[name] = self._traffic.own.measure(name, _USUAL)

    # Calls

    @needs(Ability.ACCESS_LOG)
    def called_at_most(self, caller: ServiceRef, callee: ServiceRef, limit: int, apart: Duration | None) -> Verdict:
        """One service calls another at most so many times for one request."""
        sent, arrived, strangers, found = self._tries(caller, callee)
        verdict = self._met(called_at_most(str(caller), str(callee), limit, sent, arrived, apart, strangers), sent)
        verdict = found.counted(self._of_all_calls(verdict, caller, callee), callee, unless=Outcome.FAILED)
        return self._log.witnesses.whole(verdict, caller, callee, *found.elsewhere, unless=Outcome.FAILED)

    @needs(Ability.ACCESS_LOG)
    def called_at_least(self, caller: ServiceRef, callee: ServiceRef, least: int) -> Verdict:
        """One service calls another at least so many times for each request whose last call failed."""
        sent, arrived, strangers, found = self._tries(caller, callee)
        verdict = self._met(called_at_least(str(caller), str(callee), least, sent, arrived, strangers), sent)
        verdict = found.counted(self._of_all_calls(verdict, caller, callee), callee, unless=Outcome.PASSED)
        # who is gone had but more tries
        verdict = self._log.witnesses.whole(verdict, callee, *found.elsewhere, unless=Outcome.PASSED)
        return self._log.witnesses.whole(verdict, caller)

    def _of_all_calls(self, verdict: Verdict, caller: ServiceRef, callee: ServiceRef) -> Verdict:
        """A verdict on the calls that could be told apart: others may refute it."""
        copies = self._copies(caller, known_to(caller, self._log.entries()))
        return copies.told(self._log.of_all_callers(verdict, callee, caller))

    def _met(self, verdict: Verdict, calls: Sequence[Call]) -> Verdict:
        return self._traffic.met(verdict, [call.request_id for call in calls])

    def _tries(
        self, caller: ServiceRef, callee: ServiceRef
    ) -> tuple[list[Call], list[Call] | None, Strangers, Between]:
        """Calls as the caller's proxies saw them, tries as the callee's did (``None`` without any), calls of no request."""
        self._traffic.requests.see_ids_differ()
        self._traffic.wait_met()
        logged = self._log.settled()
        entries = known_to(caller, logged)
        copies = self._copies(caller, entries)
        pods = {address_of(pod): str(pod["metadata"]["name"]) for pod in self._log.proxies.pods(caller)}
        found = between(caller, callee, logged, self._log.proxies, self._log.names())
        arrived = [copies.apart(call_of(entry), pods[entry.came_from]) for entry in self._log.with_injected(found.came)]
        sent, strangers = self._sent(caller, entries, found)
        counts = not found.own or self._log.proxies.receiving(callee)
        return sent, arrived if counts else None, strangers, found

    @needs(Ability.ACCESS_LOG)
    def gives_up(self, caller: ServiceRef, callee: ServiceRef, limit: Duration) -> Verdict:
        """A service that gets no answer gives up in time."""
        self._traffic.requests.see_ids_differ()
        self._traffic.wait_met()
        waiting = self._still_waiting(caller, callee, limit)
        led = self._still_led(caller, callee, limit)
        logged = self._log.settled()
        found = between(caller, callee, logged, self._log.proxies, self._log.names())
        sent, strangers = self._sent(caller, known_to(caller, logged), found)
        sent = with_deadlines(sent, found.came)
        left = {s.request_id: s.started + s.seconds for s in self._traffic.samples if s.error == "timeout"}
        verdict = gives_up_within(
            str(caller), str(callee), limit, sent, left, waiting, strangers, loading=self._traffic.loading
        )
        verdict = self._of_all_calls(self._met(verdict, sent), caller, callee)
        if led is not None and verdict.outcome is Outcome.PASSED:
            told = f"{verdict.sentence}; but calls to {led} are under way still, to which a rule led calls to {callee}"
            verdict = Verdict.cannot_tell(told, "let them end before the claim", **verdict.numbers)
        return self._log.witnesses.whole(verdict, caller, unless=Outcome.FAILED)

    def _still_waiting(self, caller: ServiceRef, callee: ServiceRef, limit: Duration) -> float | None:
        """Seconds, from now, for which some call was always under way; ``None`` where all had ended within the limit."""
        pods, began = self._log.proxies.meshed(caller), time.monotonic()

        def probe() -> None:
            if number := active_calls(self._log.proxies, pods, callee.host):
                raise NotYet(f"{counted(number, 'call', 'is', 'are')} under way")

        return None if in_time(probe, limit) else time.monotonic() - began

    def _still_led(self, caller: ServiceRef, callee: ServiceRef, limit: Duration) -> ServiceRef | None:
        """Another service to which rules led calls, and to which some call was always under way within the limit."""
        known = between(caller, callee, self._log.entries(), self._log.proxies, self._log.names())
        of_routes = [other for other in known.elsewhere if any(e.service == other.host for e in known.made)]
        return next((other for other in of_routes if self._still_waiting(caller, other, limit) is not None), None)

    def _sent(self, caller: ServiceRef, entries: Sequence[Entry], found: Between) -> tuple[list[Call], Strangers]:
        """The calls of requests that the caller is through with, and the others: it may still add to those."""
        pods = {str(pod["metadata"]["name"]) for pod in self._log.proxies.pods(caller)}
        copies = self._copies(caller, entries)
        calls = [copies.apart(call_of(entry), entry.pod) for entry in found.made]
        if self._environment.cluster.find("Service", caller.name, caller.namespace) is None:
            through = {sample.request_id for sample in self._traffic.samples}  # a mere client: it serves nobody
        else:
            served = (entry for entry in entries if entry.pod in pods and not entry.outbound)
            through = {copies.name(entry.request_id, entry.pod) for entry in served} - copies.mixed
        known = [call for call in calls if call.request_id in through]
        ours = self._environment.sent.are_ours
        unknown = sum(not (call.request_id in through or ours(call.request_id)) for call in calls)
        return known, Strangers(len(calls) - len(known), unknown)

    def _copies(self, service: ServiceRef, entries: Sequence[Entry]) -> Copies:
        pods = {str(pod["metadata"]["name"]) for pod in self._log.proxies.pods(service)}
        return copies_among(entry for entry in entries if entry.pod in pods and not entry.outbound)

    # Latencies

    @needs(Ability.ACCESS_LOG)
    def not_slowed(self, service: ServiceRef, name: str, growth: Duration | None) -> Verdict:
        """Requests take no longer while a service is slow."""
        self._traffic.requests.get(name)  # there has to be one
        before = self._usual.get(name) or ()
        if not before:
            return Verdict.cannot_tell(
                f'a slow {service} does not slow "{name}": it was not measured before, for nothing was changed',
                f"slow {service} before the claim",
            )
        if math.isinf(usual(before)):
            failed = sum(not sample.succeeded for sample in before)
            return Verdict.cannot_tell(
                f'a slow {service} does not slow "{name}": {failed} of {len(before)} such requests failed before anything was changed',
                "let it succeed first",
            )
        if self._traffic.loading:
            self._calls_between(service, time.time(), float("inf"))  # the load has come to the slow service
        growth = growth or allowed_growth(middle(self._log.calls_to(service)))

        def draw(count: int, within: Duration) -> list[Sample]:
            return self._traffic.own.measure(name, count, USERS, within=within)

        stream = Enough(name, draw, self._environment.settings.enough_timeout)
        began = time.time()
        now = stream.judge(still_as_quick(before, growth), lambda _request_id: "")
        slow = self._calls_between(service, began, time.time())
        return not_slowed(str(service), name, before, now, growth, slow)

    def _calls_between(self, service: ServiceRef, began: float, ended: float) -> list[Call]:
        """Calls to a service that were under way in a span of time; waits for the end of one, for only then it is logged."""
        found: list[Call] = []

        def probe() -> None:
            found[:] = [c for c in self._log.calls_to(service) if c.started <= ended and c.ended >= began]
            if not found:
                raise NotYet("no call")

        in_time(probe, _SLOWEST)
        return found
