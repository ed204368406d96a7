"""What a scenario claims about resilience: the calls between services since it began, and their circuit breakers."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Container, Iterable, Sequence

from meshbdd.claims import Outcome, Verdict
from meshbdd.claims.bulkhead import allowed_growth, middle, not_slowed, still_as_quick, usual
from meshbdd.claims.calls import Call, Strangers
from meshbdd.claims.circuit import closes_within, half_opens_within, is_open, opens_within
from meshbdd.claims.circuit_phases import Breaker
from meshbdd.claims.retries import called_at_least, called_at_most
from meshbdd.claims.timeouts import gives_up_within
from meshbdd.errors import Inconclusive
from meshbdd.intents import ServiceRef
from meshbdd.load import Sample
from meshbdd.mesh.abilities import Ability
from meshbdd.scenario.circuits import active_calls, breakers
from meshbdd.scenario.enough import Enough
from meshbdd.scenario.environment import Environment
from meshbdd.scenario.needs import needs
from meshbdd.scenario.settling import settled
from meshbdd.scenario.traffic import USERS, Traffic
from meshbdd.sidecars import FAULT_LABEL
from meshbdd.telemetry.access_log import AccessLogs, Entry
from meshbdd.telemetry.proxies import Proxies
from meshbdd.units import Duration
from meshbdd.waiting import NotYet, eventually

_LOGGED = re.compile(r"\S+ (?:gives up on|calls) \S+ |the circuit to \S+ |a slow \S+ does not slow ")
_NOT_SLOWED = re.compile(r'a slow \S+ does not slow "([^"]+)"')

_USUAL = 30
"""Requests before the first change, by which later ones are measured: their p90 may be off by what may be added to it."""

_TRIALS = 6
"""Requests in a row that are to come to each circuit that nobody has tried, where there are several callers: of two one is
missed by all of them once in 64 times, and then they are sent again. A single caller gets one: several that fail would open
its circuit anew."""

_SLOWEST = Duration(10)
"""A slow call that does not end within so long is not waited for."""


class Resilience:
    """The oracles' way to their evidence.

    Args:
        environment: What the run shares.
        traffic: The scenario's requests.
        steps: The texts of the scenario's steps: what will be asked is logged from here on.
    """

    def __init__(self, environment: Environment, traffic: Traffic, steps: Iterable[str]) -> None:
        self._environment = environment
        self._traffic = traffic
        self._proxies = Proxies(environment.cluster, environment.mesh.sidecars)
        self._logs = AccessLogs(environment.cluster, environment.mesh.sidecars)
        self._usual: dict[str, Sequence[Sample]] = {}
        self._were_open: dict[ServiceRef, set[str]] = {}
        self._texts = list(steps)
        if any(_LOGGED.match(text) for text in self._texts):
            environment.wait_still()
            self._logs.mark()

    def before_first_change(self) -> None:
        """Measure what claims about a slow service will compare with."""
        for text in self._texts:
            for name in _NOT_SLOWED.findall(text):
                self._usual[name] = self._traffic.measure(name, _USUAL)

    def close(self) -> None:
        """Close the ways to the proxies."""
        self._proxies.close()

    # Calls

    @needs(Ability.ACCESS_LOG)
    def called_at_most(self, caller: ServiceRef, callee: ServiceRef, limit: int, apart: Duration | None) -> Verdict:
        """One service calls another at most so many times for one request."""
        sent, arrived, strangers = self._tries(caller, callee)
        return called_at_most(str(caller), str(callee), limit, sent, arrived, apart, strangers)

    @needs(Ability.ACCESS_LOG)
    def called_at_least(self, caller: ServiceRef, callee: ServiceRef, least: int) -> Verdict:
        """One service calls another at least so many times for each request whose last call failed."""
        sent, arrived, strangers = self._tries(caller, callee)
        return called_at_least(str(caller), str(callee), least, sent, arrived, strangers)

    def _tries(self, caller: ServiceRef, callee: ServiceRef) -> tuple[list[Call], list[Call] | None, Strangers]:
        """Calls as the caller's proxies saw them, tries as the callee's did (``None`` without any), calls of no request."""
        self._traffic.requests.see_ids_differ()
        entries = self._settled()
        addresses = {str((pod.get("status") or {}).get("podIP")) for pod in self._proxies.pods(caller)}
        backends = self._environment.cluster.list("Pod", callee.namespace, f"{FAULT_LABEL}={callee.name}")
        behind = {str(pod["metadata"]["name"]) for pod in (*self._proxies.meshed(callee), *backends)}
        arrived = [
            _call(entry)
            for entry in entries
            if entry.pod in behind and not entry.outbound and entry.downstream.rpartition(":")[0] in addresses
        ]
        sent, strangers = self._sent(caller, callee, entries)
        return sent, arrived if behind else None, strangers

    @needs(Ability.ACCESS_LOG)
    def gives_up(self, caller: ServiceRef, callee: ServiceRef, limit: Duration) -> Verdict:
        """A service that gets no answer gives up in time."""
        self._traffic.requests.see_ids_differ()
        waiting = None if self._traffic.loading else self._still_waiting(caller, callee, limit)
        sent, strangers = self._sent(caller, callee, self._settled())
        left = {s.request_id: s.started + s.seconds for s in self._traffic.samples if s.error == "timeout"}
        return gives_up_within(str(caller), str(callee), limit, sent, left, waiting, strangers)

    def _still_waiting(self, caller: ServiceRef, callee: ServiceRef, limit: Duration) -> float | None:
        """Seconds, from now, for which a call has not ended; ``None`` where all end within the limit."""
        pods, began = self._proxies.meshed(caller), time.monotonic()

        def probe() -> None:
            if number := active_calls(self._proxies, pods, _host(callee)):
                raise NotYet(f"{number} calls are under way")

        return None if _until(probe, limit) else time.monotonic() - began

    def _sent(self, caller: ServiceRef, callee: ServiceRef, entries: Sequence[Entry]) -> tuple[list[Call], Strangers]:
        """The calls of requests that the caller is through with, and the others: it may still add to those."""
        pods = {str(pod["metadata"]["name"]) for pod in self._proxies.pods(caller)}
        calls = [call for call in _to(callee, entries) if call.caller in pods]
        if self._environment.cluster.find("Service", caller.name, caller.namespace) is None:
            through = {sample.request_id for sample in self._traffic.samples}  # a mere client: it serves nobody
        else:
            through = {entry.request_id for entry in entries if entry.pod in pods and not entry.outbound}
        known = [call for call in calls if call.request_id in through]
        ours = self._environment.sent.are_ours
        unknown = sum(not (call.request_id in through or ours(call.request_id)) for call in calls)
        return known, Strangers(len(calls) - len(known), unknown)

    def _settled(self) -> list[Entry]:
        """What was logged since the scenario began, once nothing comes any more; with a load on, once it must be there."""
        return settled(self._environment, self._entries, loading=self._traffic.loading)

    def _entries(self) -> list[Entry]:
        earlier = self._environment.sent.are_earlier
        return [entry for entry in self._logs.since_mark() if not (entry.probe or earlier(entry.request_id))]

    # Circuits

    @needs(Ability.CIRCUITS)
    def circuit_open(self, service: ServiceRef) -> Verdict:
        """Every endpoint of a service is ejected at every caller that sent traffic."""
        found = self._breakers(service)  # before the logs: an ejection may end while these are waited for
        return is_open(str(service), found, self._logged(service))

    @needs(Ability.CIRCUITS)
    def circuit_opens(self, service: ServiceRef, limit: Duration) -> Verdict:
        """The circuit of every caller that met errors opens in time."""

        def probe() -> None:
            calls = list(_to(service, self._entries()))
            verdict = opens_within(str(service), limit, self._breakers(service, {call.caller for call in calls}), calls)
            if "lags_seconds" not in verdict.numbers:
                raise NotYet(verdict.sentence)

        _until(probe, limit)  # what was seen so far need not be all of it
        before = self._breakers(service)  # an ejection may end while the logs are waited for, and one may begin
        calls = self._logged(service)
        found = {breaker.caller: breaker for breaker in self._breakers(service)}
        found |= {b.caller: b for b in before if b.caller not in found or b.ejected > found[b.caller].ejected}
        return opens_within(str(service), limit, list(found.values()), calls)

    @needs(Ability.CIRCUITS)
    def circuit_closes(self, service: ServiceRef, limit: Duration) -> Verdict:
        """No endpoint of a service is ejected any more, and calls succeed again, in time."""
        return self._once_free(service, limit, closes_within)

    @needs(Ability.CIRCUITS)
    def circuit_half_opens(self, service: ServiceRef, limit: Duration) -> Verdict:
        """Every open circuit lets calls through again in time."""
        return self._once_free(service, limit, half_opens_within)

    def _once_free(self, service: ServiceRef, limit: Duration, claim: Callable[..., Verdict]) -> Verdict:
        """What a claim says once no endpoint is ejected; where no load runs, it gets calls to judge by."""
        began, start = time.time(), time.monotonic()
        found: list[Breaker] = []
        free: list[float] = []
        trials: list[str] = []

        def verdict() -> Verdict:
            waited = free[0] if free else time.monotonic() - start
            calls, were_open = self._logged(service), self._were_open[service]
            return claim(
                str(service),
                limit,
                waited,
                found,
                calls,
                began=began,
                were_open=were_open,
                trials=trials,
                changes=self._traffic.changes,
            )

        def probe() -> Verdict:
            found[:] = self._breakers(service)
            ejected = sum(breaker.ejected for breaker in found)
            free[:] = [] if ejected else free or [time.monotonic() - start]
            if ejected:
                raise NotYet(f"{ejected} endpoints are ejected")
            now = verdict()
            if "untried" in now.numbers:
                trials.extend(self._try(service))
                now = verdict()  # at once: where the trial fails, the circuit soon opens anew
            if now.outcome is not Outcome.PASSED:
                raise NotYet(now.sentence)
            return now

        try:
            return eventually(probe, what="it", within=limit, failure=Inconclusive)
        except Inconclusive:
            return verdict()  # it says what is missing

    def _try(self, service: ServiceRef) -> list[str]:
        """Send the request that was sent last once more, or as often as several callers need, where no load runs; their ids."""
        name = self._traffic.last_name
        if self._traffic.loading or name is None:
            return []
        callers = {call.caller for call in _to(service, self._entries())}
        return [sample.request_id for sample in self._traffic.measure(name, _TRIALS if len(callers) > 1 else 1)]

    def _breakers(self, service: ServiceRef, callers: Container[str] | None = None) -> list[Breaker]:
        found = breakers(self._proxies, _host(service), callers)
        self._were_open.setdefault(service, set()).update(breaker.caller for breaker in found if breaker.is_open)
        return found

    def _logged(self, service: ServiceRef) -> list[Call] | None:
        """The calls to a service; ``None`` where the proxies log nothing at all."""
        entries = self._settled()
        return list(_to(service, entries)) if entries else None

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
        growth = growth or allowed_growth(middle(list(_to(service, self._entries()))))

        def draw(count: int, within: Duration) -> list[Sample]:
            return self._traffic.measure(name, count, USERS, within=within)

        stream = Enough(name, draw, self._environment.settings.enough_timeout)
        began = time.time()
        now = stream.judge(still_as_quick(before, growth), lambda _request_id: "")
        slow = self._calls_between(service, began, time.time())
        return not_slowed(str(service), name, before, now, growth, slow)

    def _calls_between(self, service: ServiceRef, began: float, ended: float) -> list[Call]:
        """Calls to a service that were under way in a span of time; waits for the end of one, for only then it is logged."""
        found: list[Call] = []

        def probe() -> None:
            found[:] = [c for c in _to(service, self._entries()) if c.started <= ended and c.ended >= began]
            if not found:
                raise NotYet("no call")

        _until(probe, _SLOWEST)
        return found


def _until(probe: Callable[[], None], limit: Duration) -> bool:
    """Ask until it gives an answer, or the time is up; the verdict says what there was to see."""
    try:
        eventually(probe, what="it", within=limit, failure=Inconclusive)
    except Inconclusive:
        return False
    return True


def _host(service: ServiceRef) -> str:
    return f"{service.name}.{service.namespace}.svc.cluster.local"


def _to(service: ServiceRef, entries: Iterable[Entry]) -> Iterable[Call]:
    """The calls to a service, as its callers' proxies saw them."""
    return (_call(entry) for entry in entries if entry.outbound and entry.service == _host(service))


def _call(entry: Entry) -> Call:
    return Call(
        entry.pod, entry.request_id, entry.started, entry.seconds, entry.status, entry.flags, bool(entry.upstream)
    )
