"""What the proxies logged since a scenario began: the calls between services, and whose pods saw them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus

from meshbdd.claims import Verdict
from meshbdd.claims.calls import LEFT, NO_HEALTHY_UPSTREAM, TIMED_OUT, Call
from meshbdd.grpc_statuses import DEADLINE_EXCEEDED
from meshbdd.intents import ServiceRef
from meshbdd.scenario import unmeshed
from meshbdd.scenario.arrivals import arrivals
from meshbdd.scenario.asides import ASKED
from meshbdd.scenario.environment import Environment
from meshbdd.scenario.settling import settled
from meshbdd.scenario.traffic import Traffic
from meshbdd.scenario.witnesses import Witnesses
from meshbdd.telemetry.access_log import AccessLogs, Entry
from meshbdd.telemetry.asked import Names
from meshbdd.telemetry.pod_names import known_to, name_to
from meshbdd.telemetry.proxies import Proxies, address_of
from meshbdd.telemetry.shared_pods import to_no_other

_LOGGED = re.compile(
    r"\S+ (?:gives up on|calls) \S+ |the circuit to \S+ |a slow \S+ does not slow "
    r"|the (?:access log of|trace context reaches) \S+|\S+ rejects plaintext"
)
COUNTED = re.compile(r"(?:the mesh reports at least \S+ requests|calls) from (\S+) to (\S+)")
"""A claim about what the proxies of a caller and a callee counted."""


class CallLog:
    """The logs of every proxy, from a scenario's beginning on; whatever a scenario asks of them, they are read once.

    Args:
        environment: What the run shares.
        traffic: The scenario's requests.
        steps: The texts of the scenario's steps: where one will ask for what is logged or counted, that begins here.

    Attributes:
        proxies: The proxies that write them.
        witnesses: The pods that they belong to.
    """

    def __init__(self, environment: Environment, traffic: Traffic, steps: Iterable[str]) -> None:
        self._environment = environment
        self._traffic = traffic
        self.proxies = Proxies(environment.cluster, environment.mesh.sidecars)
        self._logs = AccessLogs(environment.cluster, environment.mesh.sidecars)
        asked = any(_LOGGED.match(text) or ASKED.match(text) or COUNTED.search(text) for text in steps)
        if asked:
            environment.wait_still()
            self._logs.mark()  # before counters are read: what is counted from then on is logged behind the mark
        self.witnesses = Witnesses(traffic, self.proxies, asked=asked)

    def close(self) -> None:
        """Close the ways to the proxies."""
        self.proxies.close()

    def everything(self) -> list[Entry]:
        """All that was logged so far, probes and late calls of earlier scenarios as well."""
        return self._logs.since_mark()

    def entries(self) -> list[Entry]:
        """What was logged so far, but for probes and for what earlier scenarios sent."""
        earlier = self._environment.sent.are_earlier
        return [entry for entry in self.everything() if not (entry.probe or earlier(entry.request_id))]

    def settled(self) -> list[Entry]:
        """The same once nothing comes any more; with a load on, once it must be there."""
        return settled(self._environment, self.entries, loading=self._traffic.loading)

    def names(self) -> Names:
        """The Services, by which calls ask for them."""
        return Names(self._environment.cluster.list("Service"), self._environment.mesh.sidecars)

    def with_injected(self, entries: Iterable[Entry]) -> list[Entry]:
        """What came to some pods, with the response flags of the faults into which fault backends ran behind their own proxies."""
        injected = {(entry.pod, entry.request_id): entry.flags for entry in self._logs.injections}
        return [replace(e, flags=e.flags | injected.get((e.pod, e.request_id), frozenset())) for e in entries]

    def calls_to(self, service: ServiceRef) -> list[Call]:
        """The calls that were made to a service, or led to it, that were logged so far."""
        names, host = self.names(), service.host
        entries = known_to(service, self.entries())
        return [call_of(e) for e in entries if e.outbound and host in (e.service, names.called(e))]

    def led_elsewhere(self, service: ServiceRef) -> tuple[dict[str, int], dict[int, int]]:
        """The calls that asked for a service and came to none of its endpoints.

        Returns:
            The services to which rules led some → how many; status with which the callers' proxies answered others → how many.
        """
        names, host = self.names(), service.host
        made = [e for e in self.entries() if e.outbound and e.service != host]
        led = Counter(
            e.service.removesuffix(".svc.cluster.local") for e in made if e.service and names.called(e) == host
        )
        answered = (e.status for e in made if not e.service and names.named(e.authority, e.namespace) == host)
        return dict(led), dict(Counter(answered))

    def copies_to(self, service: ServiceRef) -> int:
        """How many mirrored copies of calls came to a service; its callers' proxies log none."""
        came = arrivals(service, known_to(service, self.entries()), self.proxies)
        return sum(entry.copied for entry in came)

    def tries_to(self, service: ServiceRef) -> list[Call]:
        """The calls that were led to a service, with each try of a call that its proxy repeated."""
        return self._tries_to(service, self.entries())

    def settled_tries_to(self, service: ServiceRef) -> list[Call] | None:
        """All of them; ``None`` where the proxies log nothing at all."""
        entries = self.settled()
        return self._tries_to(service, entries) if entries else None

    def _tries_to(self, service: ServiceRef, entries: Sequence[Entry]) -> list[Call]:
        entries = known_to(service, to_no_other(service, entries, self.proxies.beside(service)))
        return tries_to(service, entries, self._addresses(service))

    def of_all_callers(self, verdict: Verdict, callee: ServiceRef, caller: ServiceRef | None = None) -> Verdict:
        """A verdict on what callers' proxies saw: it cannot be told where a pod without one called the service too.

        Args:
            verdict: What the proxies tell.
            callee: Whom they called.
            caller: Whose calls it is about; where it is ``None``, everybody's for the scenario's requests.
        """
        entries = known_to(callee, self.entries())
        if caller is not None:
            bare = unmeshed.pods_that_called(caller, callee, entries, self.proxies)
        else:
            ours = self._environment.sent.are_ours
            bare = unmeshed.callers_of(callee, entries, self.proxies, self._environment.cluster, ours)
        return unmeshed.seen_by_half(verdict, callee, bare)

    def _addresses(self, service: ServiceRef) -> dict[str, str]:
        """Pod, as a claim about a service knows it → its IP address."""
        metas = [(pod["metadata"], address_of(pod)) for pod in self.proxies.every()]
        home = service.namespace
        return {name_to(home, meta["name"], meta.get("namespace") or ""): address for meta, address in metas}


def calls_to(service: ServiceRef, entries: Iterable[Entry]) -> list[Call]:
    """The calls that were led to a service, as its callers' proxies saw them: those that circuits to it count."""
    return [call_of(entry) for entry in entries if entry.outbound and entry.service == service.host]


def tries_to(service: ServiceRef, entries: Sequence[Entry], addresses: Mapping[str, str]) -> list[Call]:
    """The calls to a service, with each try of those that the caller's proxy repeated.

    The caller's log has a line for a call, however often its proxy tried; the callee's has one for each try that came.

    Args:
        service: The service.
        entries: The logs of both, without calls to other Services of its pods.
        addresses: Pod → its IP address.
    """
    made: dict[tuple[str, str, str], list[Call]] = defaultdict(list)
    single = []
    for call in calls_to(service, entries):
        if call.request_id and call.caller in addresses:
            made[addresses[call.caller], call.request_id, call.port].append(call)
        else:
            single.append(call)
    ports = _ports(service, entries)
    came: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        behind = {} if entry.outbound or entry.copied else ports.get(addresses.get(entry.pod, ""), {})
        called = {behind[entry.port]} if entry.port in behind else set(behind.values())
        for port in called if len(called) == 1 else ():
            came[_address(entry.downstream), entry.request_id, port].append(entry)
    found = [call for key, calls in made.items() for call in _tried(calls, came.get(key, []), addresses)]
    return sorted([*single, *found], key=lambda call: call.started)


def _ports(service: ServiceRef, entries: Iterable[Entry]) -> dict[str, dict[str, str]]:
    """Address of an endpoint → port of its application → port of the service by which it was called there."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for entry in entries:
        if entry.outbound and entry.service == service.host and entry.upstream:
            address, _, port = entry.upstream.rpartition(":")
            found[address][port] = entry.port
    return found


def _tried(calls: Sequence[Call], came: Sequence[Entry], addresses: Mapping[str, str]) -> list[Call]:
    """One caller's calls for one request; where more tries of them came than were made, these in their place."""
    reached = [call for call in calls if call.reached]
    if len(came) <= len(reached):
        return list(calls)
    tries = [_try_of(calls[0], entry, addresses) for entry in came]
    # The last try may have found no endpoint any more: the call has the address of one that was tried before, all the same.
    ended = [
        replace(call, started=call.ended, seconds=0.0, reached=False, endpoint="")
        for call in reached
        if NO_HEALTHY_UPSTREAM in call.flags
    ]
    return [*tries, *ended, *(call for call in calls if not call.reached)]


def _try_of(made: Call, entry: Entry, addresses: Mapping[str, str]) -> Call:
    """A try as the callee's proxy saw it; one that was left was given up by the caller's proxy, which counts an error."""
    call = call_of(entry)
    timed_out = call.status == 0 and LEFT in call.flags
    return replace(
        call,
        caller=made.caller,
        port=made.port,
        endpoint=addresses[entry.pod],
        reached=True,
        status=HTTPStatus.GATEWAY_TIMEOUT if timed_out else call.status,
        flags=call.flags - {LEFT} if timed_out else call.flags,
    )


def with_deadlines(calls: Iterable[Call], came: Iterable[Entry]) -> list[Call]:
    """Calls, those marked as timed out that the callee's proxy ended in the name of their caller.

    A gRPC call tells how long its caller waits, and the callee's proxy may be the first to see that over. It answers with
    DEADLINE_EXCEEDED, as a service may for reasons of its own: only the log of that proxy tells the two apart.

    Args:
        calls: The calls as the caller's proxies saw them.
        came: What the callee's proxies logged.
    """
    ended = {entry.request_id for entry in came if entry.out_of_time and entry.request_id}
    return [
        replace(call, flags=call.flags | {TIMED_OUT})
        if call.grpc == DEADLINE_EXCEEDED and call.request_id in ended
        else call
        for call in calls
    ]


def _address(endpoint: str) -> str:
    return endpoint.rpartition(":")[0]


def call_of(entry: Entry) -> Call:
    """A line of a log as a call."""
    return Call(
        caller=entry.pod,
        request_id=entry.request_id,
        started=entry.started,
        seconds=entry.seconds,
        status=entry.status,
        flags=entry.flags,
        reached=bool(entry.upstream),
        endpoint=_address(entry.upstream),
        grpc=entry.grpc,
        untold=entry.untold,
        port=entry.port,
    )
