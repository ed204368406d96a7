"""Fault accounting: what the proxies say a fault met. A fault that met no call proves nothing.

A request counts when the proxy that decides about the fault logged it as begun after that proxy held the change, both by
the proxy's own clock; so neither a delayed request nor a retry of an earlier scenario counts in this one. For a fault at
the callers these are the calls that left their sidecars, for one at the server the calls that reached its sidecars. A
service that is down is judged in the same way: nobody called it, so nothing was learned about its absence.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from meshbdd.errors import EnvironmentBroken, Inconclusive
from meshbdd.evidence import FaultAccounted
from meshbdd.intents import Down, Fault, ServiceRef
from meshbdd.scenario.calls import Places, calls_logged, reasons
from meshbdd.scenario.environment import Environment
from meshbdd.scenario.fault_calls import FaultCalls
from meshbdd.scenario.in_force import InForce
from meshbdd.scenario.known_pods import KnownPods
from meshbdd.scenario.vacuity import Unmet, chances, see_grpc, see_met, see_named
from meshbdd.scenario.vantages import PLAIN_CLIENT
from meshbdd.telemetry.access_log import AccessLogs, Entry
from meshbdd.units import Duration, counted
from meshbdd.waiting import NotYet, eventually, one_moment

_LOG_SECONDS = Duration(2)
GROWING_SECONDS = 0.5
"""A log that still grows after so long belongs to a load that goes on; what ended before holds it by now."""
FLUSH_SECONDS = {"lab": 0.05, "cluster": 1.2}
"""A log that did not grow for so long is complete: the lab's sidecars flush every 20 ms, Istio's every second."""


class Accounting:
    """Holds the traffic of one scenario against what the sidecars logged of it.

    Args:
        environment: What the run shares.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._logs = AccessLogs(environment.cluster, environment.mesh.sidecars)
        self._pods = KnownPods(environment.cluster, environment.mesh.sidecars)
        self._found = FaultCalls(self._logs, self._pods)
        self._began = time.time()
        self._marked = False
        self._met = False
        """Whether the scenario's requests have met any fault of it."""

    def begin(self) -> None:
        """What was logged until now belongs to no change of this scenario."""
        self._logs.mark()
        self._marked = True

    def before_traffic(self) -> None:
        """What was logged before the scenario's first request, or its first change, is none of its calls."""
        if not self._marked:
            with contextlib.suppress(EnvironmentBroken):  # whoever needs the logs is told later; nobody may
                self.begin()

    def arrived(self, item: InForce, in_force: Iterable[InForce]) -> None:
        """What was logged until now did not meet this change.

        Args:
            item: The change.
            in_force: Those that are in force now.
        """
        item.logged = len(self._logs.since_mark())
        self._pods.look()
        item.gone = frozenset(self._pods.gone())
        for other in in_force:
            if other is not item:
                item.beside.append(other)
                other.beside.append(item)

    def account(
        self, items: Sequence[InForce], *, final: bool = False, more: bool = False, holds: bool = False
    ) -> None:
        """See that each fault met a call while traffic ran.

        Args:
            items: What is in force.
            final: Whether no more traffic can come; until then a fault for one caller may still wait for that caller,
                while claims are about the others.
            more: Whether steps follow that send requests: a fault that nobody met yet may wait for those, where the claim
                holds or what was sent has met another one of the scenario. If it waits in vain, a later claim, the fault's
                withdrawal or the scenario's end says so.
            holds: Whether the claim holds: one that does not ends the scenario, so nothing is sent after it.

        Raises:
            Inconclusive: one met none, so no claim about it means anything.
        """
        unmet: list[tuple[InForce, Unmet]] = []
        for item in items:
            if not item.accounted and item.requests:
                item.accounted = True
                missed: dict[ServiceRef, Unmet] = {}
                for service in item.plan.faulty:
                    if item.told.get(service) == len(item.requests):
                        continue
                    try:
                        self._account(item, service, final=final)
                    except Unmet as error:
                        missed[service] = error
                for together in item.plan.as_one:
                    if together - missed.keys():
                        missed = {service: error for service, error in missed.items() if service not in together}
                unmet += [(item, error) for error in missed.values()]
        self._met |= sum(len(item.plan.faulty) for item in items if item.accounted) > len(unmet)
        if unmet and not (more and (holds or self._met)):
            raise unmet[0][1]
        for item, _ in unmet:
            item.accounted = False

    def _account(self, item: InForce, service: ServiceRef, *, final: bool) -> None:
        self._pods.look()
        refused = _refused_outside(item, service)
        entries = self._entries(
            item,
            lambda found: bool(refused or self._found.calls(item, found, service)) and self._found.told(item, found),
        )
        with one_moment():
            self._reckon(item, service, entries, refused, final=final)

    def _reckon(
        self, item: InForce, service: ServiceRef, entries: Sequence[Entry], refused: int, *, final: bool
    ) -> None:
        came = self._found.calls(item, entries, service)
        everybodys = [(who, entry) for who, entry in came if not entry.denied]
        if came and not everybodys:  # the policies stand before a fault at the server
            raise Unmet(
                "MB0609",
                f"No call came to «{item.plan.summary}»: the proxies of {service} denied all of {counted(len(came), 'call')} before.",
                help="send a request of a caller that may call it, or have the policy in a scenario of its own",
            )
        meant = self._found.meant(item, service)
        calls = [(who, entry) for who, entry in everybodys if meant is None or who in meant]
        if everybodys and not calls and not final:
            item.accounted = False
            return
        spared = self._found.spared(item, calls)
        see_named(item.plan, service, self._found.beside(service) if spared else (), spared)
        hit, doubtful = self._found.told_apart(item, calls)
        left = {entry.request_id for entry in entries if entry.outbound and entry.service == service.host}
        met, all_calls = Counter(who for who, _ in hit), Counter(who for who, _ in calls)
        sent = set(item.requests)
        event = FaultAccounted(
            item.plan.summary,
            str(service),
            len(calls) + refused,
            len(hit) + refused,
            tuple(sorted({flag for _, entry in hit for flag in entry.flags})),
            {who: (count, met[who]) for who, count in sorted(all_calls.items())}
            | ({PLAIN_CLIENT: (refused, refused)} if refused else {}),
            len(sent),
            len(sent & {entry.request_id for entry in entries if entry.outbound}),
            self._found.bypassed(entries, service, left),
            self._found.unreached(item, entries, service),
            sum(entry.request_id not in sent for _, entry in calls),
            self._found.led(item, entries, service),
            self._found.copied(entries, service, left),
            self._found.away(item, entries, service),
        )
        likely = chances(item.plan, [entry for _, entry in calls])
        see_met(
            event,
            likely,
            doubtful=len(doubtful),
            gone=self._found.gone(item, service),
            caller=_only_caller(item),
            others=Counter(who for who, _ in everybodys if meant is not None and who not in meant),
            absent=meant is not None and not meant and bool(item.plan.aims),
            shared=bool(event.copied and self._found.beside(service)),
        )
        see_grpc(item.plan, [entry for _, entry in hit])
        self._environment.tell(event)
        item.told[service] = len(item.requests)

    def _entries(self, item: InForce, met: Callable[[Sequence[Entry]], bool]) -> Sequence[Entry]:
        """What was logged of requests that began while the change was in force, once the logs have stopped growing.

        A call may come after the answer to the request that caused it: where none is there yet, ``met`` is asked again.
        """
        seen: list[tuple[float, int]] = []
        since = item.since
        deadline = time.monotonic() + _LOG_SECONDS.seconds
        flush = FLUSH_SECONDS[self._environment.target]

        def probe() -> Sequence[Entry]:
            found = self._logs.since_mark()[item.logged :]
            now = time.monotonic()
            if not seen or seen[-1][1] != len(found):
                seen.append((now, len(found)))
            if now - seen[-1][0] < flush and now - seen[0][0] < max(flush, GROWING_SECONDS):
                raise NotYet(f"{len(found)} {'entry' if len(found) == 1 else 'entries'} so far")
            met_it = (e for e in found if not e.probe and not 0 < e.started < since.get(e.pod, 0.0))
            counted = [self._pods.named(e) for e in met_it if not self._environment.sent.are_earlier(e.request_id)]
            missing = set(item.requests) - item.unseen.keys() - {entry.request_id for entry in found}
            if now < deadline and (missing or not met(counted)):
                raise NotYet(f"{len(missing)} {'request is' if len(missing) == 1 else 'requests are'} not logged")
            return counted

        return eventually(
            probe,
            what="The end of the access logs",
            within=Duration(_LOG_SECONDS.seconds + 1),
            code="MB0605",
            help="run it again with less other work on the machine: the logs were read too seldom to tell",
            first_pause=flush,  # a look asks for the log of every pod, and one before that tells nothing
        )

    def tell_calls(self) -> None:
        """Tell who called whom, as far as the logs hold it now."""
        told = calls_logged(self._logs.since_mark(), self._logs.injections, self._began, self._places())
        if told.calls:
            self._environment.tell(told)

    def reasons(self) -> dict[str, str]:
        """Request id → what went wrong in which of its calls, as the sidecars logged it."""
        return reasons(self._logs.since_mark(), self._logs.injections, self._places())

    def _places(self) -> Places:
        cluster = self._environment.cluster
        return Places.of(cluster.list("Pod"), cluster.list("Service"), self._environment.namespace)

    def denied(self, request_id: str) -> bool | None:
        """Whether a sidecar says that an authorization policy denied a request; ``None`` where none logged it."""
        entries: list[Entry] = []

        def probe() -> None:
            entries[:] = [entry for entry in self._logs.since_mark() if entry.request_id == request_id]
            if not any(entry.denied for entry in entries):
                raise NotYet(f"{len(entries)} sidecars logged {request_id}, and none says so")

        try:
            eventually(probe, what=f"The denial of {request_id}", within=_LOG_SECONDS, failure=Inconclusive)
        except Inconclusive:
            return False if entries else None
        return True


def _only_caller(item: InForce) -> str:
    """Whom alone a change is for, as its step names it; empty where it is for everybody, or a manifest's."""
    intent = item.plan.intent
    by = intent.scope.called_by if isinstance(intent, Fault) else None
    return str(by or "")


def _refused_outside(item: InForce, service: ServiceRef) -> int:
    """How often a client outside the mesh found a service down: it found no connection, and no proxy tells of that."""
    missed = {service, *item.plan.missed_with} if isinstance(item.plan.intent, Down) else ()
    return sum(asked in missed for asked in item.unseen.values())
