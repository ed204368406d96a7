"""The calls that a fault is about, by the proxies' logs: those that came to it, past it, or that went away with a pod."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from meshbdd.intents import Down, Fault, ServiceRef, Side
from meshbdd.mesh.base import Plan, Through
from meshbdd.response_flags import in_words
from meshbdd.scenario.hits import Logged, Suspect, asks_so, is_hit, is_meant, told_apart, took
from meshbdd.scenario.in_force import InForce
from meshbdd.scenario.known_pods import KnownPods
from meshbdd.telemetry.access_log import AccessLogs, Entry
from meshbdd.telemetry.forwarded import key_of
from meshbdd.telemetry.shared_pods import asks_for, is_name_of, to_no_other


class FaultCalls:
    """Finds the calls to the services that changes make fail.

    Args:
        logs: What the proxies and the fault backends logged.
        pods: Whose they are.
    """

    def __init__(self, logs: AccessLogs, pods: KnownPods) -> None:
        self._logs = logs
        self._pods = pods

    def calls(self, item: InForce, entries: Sequence[Entry], service: ServiceRef) -> list[Logged]:
        """The calls to a service and who made each, as the side logged them that decides about the fault.

        A fault in the route of a service is for calls to that service alone, wherever these are led; what is about its
        endpoints is for all calls that are led to them. At the server these are the calls by the names that the fault is
        for, and others that are the service's for sure, or of the scenario's requests: see ``spared``.
        """
        plan, host = item.plan, service.host
        if plan.through is not None:
            led = self._led(entries, host)
            return self._tries(plan.through, [entry for number, entry in enumerate(entries) if number not in led])
        if isinstance(plan.intent, Down):
            missed = {host, *(other.host for other in plan.missed_with)}
            return [(e.pod, e) for e in entries if e.outbound and not missed.isdisjoint((e.service, e.backend))]
        if plan.side is not Side.SERVER:
            return [(e.pod, e) for e in entries if e.outbound and _takes_its_routes(plan, e, host)]
        names, ours = self._pods.names(), set(item.requests)
        sent = {key_of(entry) for entry in entries if entry.outbound and entry.service == host}
        came = [
            (names.get(e.came_from, e.came_from or "unknown"), e)
            for e in self._came(entries, service)
            if asks_so(plan, e) or e.request_id in ours or key_of(e) in sent
        ]
        # a copy asks for another Service of these pods, where the request did: nobody sees that it is spared
        return [(who, e) for who, e in came if not e.copied or asks_so(plan, e)] or came

    @staticmethod
    def spared(item: InForce, calls: Iterable[Logged]) -> list[Entry]:
        """Of the calls that may be a fault's, those that it leaves alone for whom they ask, and would not by all that is known.

        Where it is for some headers, which no log has, only the scenario's own may be calls with these.

        Args:
            item: The fault.
            calls: Those of the callers that it is for.
        """
        intent, ours = item.plan.intent, set(item.requests)
        anybodys = not (isinstance(intent, Fault) and intent.scope.headers)
        whoever = replace(item.plan, authority="")
        return [
            entry
            for _, entry in calls
            if not asks_so(item.plan, entry) and is_meant(whoever, entry) and (anybodys or entry.request_id in ours)
        ]

    def beside(self, service: ServiceRef) -> Collection[str]:
        """The full names of the other Services that select pods of a service."""
        return self._pods.beside(service)

    def _came(self, entries: Sequence[Entry], service: ServiceRef) -> list[Entry]:
        """What came to the service's pods, but for calls that were made to another Service of these."""
        servers = self._pods.of(service)
        own = to_no_other(service, entries, self._pods.beside(service))
        return [entry for entry in own if not entry.outbound and entry.pod in servers]

    def _led(self, entries: Sequence[Entry], host: str) -> Mapping[int, str]:
        """The calls that came to a pod and were made to other services than one alone: number of the entry → whom they were to.

        The callers' logs tell it, by the request and the pod that it was sent to. A fault backend's own calls are none.
        """
        names = self._pods.names()
        made: dict[tuple[str, str], set[str]] = defaultdict(set)
        for entry in entries:
            if entry.outbound and entry.service and entry.request_id:
                made[entry.request_id, names.get(_ip(entry.upstream), "")].add(entry.service)
        came = {n: made.get((e.request_id, e.pod), set()) for n, e in enumerate(entries) if not e.outbound}
        return {number: min(called) for number, called in came.items() if called and host not in called}

    def led(self, item: InForce, entries: Sequence[Entry], service: ServiceRef) -> Mapping[str, int]:
        """Calls that rules of other services led to a service past a fault that is for calls to it, by those services."""
        plan, host = item.plan, service.host
        if plan.through is not None:
            own = self._pods.of(plan.through.backend, plan.through.twin)
            backends, names = self._pods.of(plan.through.backend), self._pods.names()
            found = [
                other
                for number, other in self._led(entries, host).items()
                if entries[number].pod in own and names.get(entries[number].came_from) not in backends
            ]
        elif isinstance(plan.intent, Fault) and plan.side is not Side.SERVER:
            outside = (e for e in entries if e.outbound and e.service == host and _is_outside(plan, e, host))
            found = [entry.authority.partition(":")[0] for entry in outside]
        else:
            found = []
        return dict(Counter(name.removesuffix(".svc.cluster.local") for name in found))

    def away(self, item: InForce, entries: Sequence[Entry], service: ServiceRef) -> Mapping[str, int]:
        """Calls to a service that a rule led to other services, past a change at its own endpoints, by these.

        Of the caller alone whom the change is for.
        """
        plan, meant = item.plan, self.meant(item, service)
        if plan.through is not None or (plan.side is not Side.SERVER and not isinstance(plan.intent, Down)):
            return {}
        made = (e for e in entries if e.outbound and e.service and (meant is None or e.pod in meant))
        led = [e.service for e in made if service.host not in (e.service, e.backend) and asks_for(e, service.host)]
        return dict(Counter(name.removesuffix(".svc.cluster.local") for name in led))

    def _tries(self, through: Through, entries: Sequence[Entry]) -> list[Logged]:
        """The tries of calls to a service that has a fault backend, and who made each.

        They are those that came to the backend, by its own log, and those that came to the service without it, by a proxy
        that knows its routes: who has none goes past the backend always.
        """
        names, backends, servers = self._pods.names(), self._pods.of(through.backend), self._pods.of(through.twin)
        who = {e.request_id: names.get(e.came_from, "unknown") for e in entries if e.pod in backends and not e.outbound}
        diverted = [e for e in self._logs.injections if e.pod in backends and not e.probe]
        direct = [e for e in entries if e.pod in servers and not e.outbound]
        made = [(names.get(e.came_from, e.came_from or "unknown"), e) for e in direct]
        denied = [(names.get(e.came_from, "unknown"), e) for e in entries if e.pod in backends and e.denied]
        return [
            *((who.get(e.request_id, "unknown"), e) for e in diverted if e.request_id in who),
            *denied,
            *((name, e) for name, e in made if name not in backends | self._pods.bare()),
        ]

    def told(self, item: InForce, entries: Sequence[Entry]) -> bool:
        """Whether a fault backend has logged as many calls as its sidecar let in."""
        if item.plan.through is None:
            return True
        pods = self._pods.of(item.plan.through.backend)
        let_in = [e for e in entries if e.pod in pods and not e.outbound and not e.denied]
        came = Counter(e.request_id for e in let_in)  # each try of a call is one
        return came <= Counter(e.request_id for e in self._logs.injections)

    def meant(self, item: InForce, service: ServiceRef | None = None) -> set[str] | None:
        """The pods of the only callers that a fault is for; ``None``: everybody.

        Args:
            item: The fault.
            service: The service that is called, where it is a manifest's and for some callers of it.
        """
        if item.plan.callers is not None:
            return self._pods.meant(item.plan.callers)
        aim = next((aim for aim in item.plan.aims if aim.service == service), None)
        return None if aim is None else {pod for where in aim.callers for pod in self._pods.meant(where)}

    def told_apart(self, item: InForce, calls: Sequence[Logged]) -> tuple[list[Logged], list[Logged]]:
        """Of some calls those that a fault hit for sure, and those of which nobody can tell which of several did."""
        stood_in = self._pods.addresses_of(item.plan.stand_ins)
        return told_apart(
            self._suspect(item),
            [self._suspect(other) for other in item.beside if self._at_one_server(item.plan, other.plan)],
            [(who, entry) for who, entry in calls if is_hit(item.plan, entry) or _ip(entry.upstream) in stood_in],
        )

    def _at_one_server(self, *plans: Plan) -> bool:
        """Whether faults happen in one proxy, which logs each of them alike; Services may have pods in common."""
        if not all(plan.side is Side.SERVER and plan.through is None for plan in plans):
            return False
        return bool(set.intersection(*(self._pods.of(*plan.faulty) for plan in plans)))

    def _suspect(self, item: InForce) -> Suspect:
        meant = self.meant(item)
        others = () if meant is None else set(self._pods.names().values()) - meant
        return Suspect(item.plan, others, item.since)

    def gone(self, item: InForce, service: ServiceRef) -> list[str]:
        """The pods that are gone since a change arrived, with what they may have logged of calls that it is about."""
        plan, gone = item.plan, self._pods.gone()
        if plan.through is not None:
            told = self._pods.of(plan.through.backend, plan.through.twin)
        elif plan.side is Side.SERVER:
            told = self._pods.of(service)
        else:
            told = set(gone.values()) - self._pods.of(*plan.faulty)
        return sorted(name for life, name in gone.items() if life not in item.gone and name in told)

    def bypassed(self, entries: Sequence[Entry], service: ServiceRef, left: set[str]) -> Mapping[str, int]:
        """Calls that reached the service's sidecars and that no calling sidecar logged, by who made them; no mirrored copies."""
        return self._by_caller(entry for entry in self._unlogged(entries, service, left) if not entry.copied)

    def copied(self, entries: Sequence[Entry], service: ServiceRef, left: set[str]) -> Mapping[str, int]:
        """Mirrored copies that reached the service's sidecars, by whose calls they are of: no route that they took is the service's."""
        return self._by_caller(entry for entry in self._unlogged(entries, service, left) if entry.copied)

    def _unlogged(self, entries: Sequence[Entry], service: ServiceRef, left: set[str]) -> list[Entry]:
        led = self._led(entries, service.host)
        own = [entry for number, entry in enumerate(entries) if number not in led]
        return [entry for entry in self._came(own, service) if entry.request_id not in left]

    def _by_caller(self, came: Iterable[Entry]) -> Mapping[str, int]:
        names = self._pods.names()
        counted = Counter(names.get(e.came_from, e.came_from or "unknown") for e in came)
        return dict(counted)  # the report reads it by dataclasses.asdict, which makes nonsense of a counter

    def unreached(self, item: InForce, entries: Sequence[Entry], service: ServiceRef) -> Mapping[str, int]:
        """Calls that callers' sidecars answered before the fault, by response flag or status.

        They are those that no endpoint was for, where the service's side decides, and those that no rule of a route led to it;
        of the caller alone whom the fault is for.
        """
        meant, host = self.meant(item, service), service.host
        there = item.plan.side is Side.SERVER and not isinstance(item.plan.intent, Down)
        nowhere = [e for e in entries if e.outbound and not e.upstream and (meant is None or e.pod in meant)]
        led = [flag for e in nowhere if there and e.service == host for flag in sorted(e.flags)]
        answered = [e.status for e in nowhere if not e.service and asks_for(e, host)]
        told = [in_words([flag]) for flag in led] + [f"status {status}" for status in answered]
        return dict(Counter(told))


def _takes_its_routes(plan: Plan, entry: Entry, host: str) -> bool:
    """Whether a call was made to a service, so that it met the routes of it, wherever these led it.

    Istio's proxies log the service to which a route led. Linkerd's log the one that was called, and its faults are in no route.
    """
    if entry.service == host:
        return not _is_outside(plan, entry, host)
    unnamed = isinstance(plan.intent, Fault) and took(plan, entry) and not asks_for(entry, entry.service)
    return bool(entry.service) and (unnamed or asks_for(entry, host))


def _is_outside(plan: Plan, entry: Entry, host: str) -> bool:
    """Whether a call that was led to a service was made to another one, whose routes the fault is not in.

    Istio's proxies go by the authority; one that is an address may be the service's.
    """
    another = entry.authority[:1].isalpha() and not is_name_of(entry.authority, host)
    return isinstance(plan.intent, Fault) and another and not took(plan, entry)


def _ip(address: str) -> str:
    return address.rpartition(":")[0]
