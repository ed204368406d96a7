"""Fault accounting: what the proxies say a fault met. A fault that met no call proves nothing.

A request counts when the proxy that decides about the fault logged it as begun after that proxy held the change, both by
the proxy's own clock; so neither a delayed request nor a retry of an earlier scenario counts in this one. For a fault at
the callers these are the calls that left their sidecars, for one at the server the calls that reached its sidecars. A
service that is down is judged in the same way: nobody called it, so nothing was learned about its absence.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from meshbdd.errors import Inconclusive
from meshbdd.evidence import FaultAccounted
from meshbdd.intents import Down, Fault, ServiceRef, Side
from meshbdd.mesh.base import Through
from meshbdd.scenario.calls import Places, calls_logged, reasons
from meshbdd.scenario.changes import InForce
from meshbdd.scenario.environment import Environment
from meshbdd.scenario.settling import LOOK_SECONDS
from meshbdd.telemetry.access_log import AccessLogs, Entry
from meshbdd.units import Duration
from meshbdd.waiting import NotYet, eventually

_LOG_SECONDS = Duration(2)
GROWING_SECONDS = 0.5
"""A log that still grows after so long belongs to a load that goes on; what ended before holds it by now."""
FLUSH_SECONDS = {"lab": 0.07, "cluster": 1.2}
"""A log that did not grow for so long is complete: the lab's sidecars flush every 50 ms, Istio's every second."""
_DOWN = {"UH", "UF", "NC", "UC"}
"""Response flags of a call that met no endpoint: Envoy's access log documentation, %RESPONSE_FLAGS%."""
_SURE = 7
"""Times one in the share: of so many calls one is hit but once in 1,100 times (e⁻⁷)."""
_ALPHA = 1e-6
"""How improbable it must be that a fault with its share would hit nobody, before "nobody was hit" is doubted."""


class Accounting:
    """Holds the traffic of one scenario against what the sidecars logged of it.

    Args:
        environment: What the run shares.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._logs = AccessLogs(environment.cluster, environment.mesh.sidecars)
        self._began = time.time()

    def begin(self) -> None:
        """What was logged until now belongs to no change of this scenario."""
        self._logs.mark()

    def arrived(self, item: InForce) -> None:
        """What was logged until now did not meet this change."""
        item.logged = len(self._logs.since_mark())

    def account(self, items: Iterable[InForce], *, final: bool = False) -> None:
        """See that each fault met a call while traffic ran.

        Args:
            items: What is in force.
            final: Whether no more traffic can come; until then a fault for one caller may still wait for that caller,
                while claims are about the others.

        Raises:
            Inconclusive: one met none, so no claim about it means anything.
        """
        for item in items:
            if not item.accounted and item.requests:
                item.accounted = True
                for service in item.plan.faulty:
                    self._account(item, service, final=final)

    def _account(self, item: InForce, service: ServiceRef, *, final: bool) -> None:
        entries = self._entries(item, lambda found: bool(self._calls(item, found, service)) and self._told(item, found))
        everybodys = self._calls(item, entries, service)
        meant = self._meant(item)
        calls = [(who, entry) for who, entry in everybodys if meant is None or who in meant]
        if everybodys and not calls and not final:
            item.accounted = False
            return
        host = _host(service)
        stood_in = self._addresses_of(item.plan.stand_ins)
        hit = [(who, entry) for who, entry in calls if _hit(item, entry) or _ip(entry.upstream) in stood_in]
        left = {entry.request_id for entry in entries if entry.outbound and entry.service == host}
        bypassed = self._bypassed(entries, service, left)
        met, all_calls = Counter(who for who, _ in hit), Counter(who for who, _ in calls)
        sent = set(item.requests)
        event = FaultAccounted(
            item.plan.summary,
            str(service),
            len(calls),
            len(hit),
            tuple(sorted({flag for _, entry in hit for flag in entry.flags})),
            {who: (count, met[who]) for who, count in sorted(all_calls.items())},
            len(sent),
            len(sent & {entry.request_id for entry in entries if entry.outbound}),
            bypassed,
            self._unreached(item, entries, host),
        )
        _check(item, event)
        _check_grpc(item, [entry for _, entry in hit])
        self._environment.tell(event)

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
                raise NotYet(f"{len(found)} entries so far")
            counted = [e for e in found if not e.probe and not 0 < e.started < since.get(e.pod, 0.0)]
            missing = set(item.requests) - item.unseen - {entry.request_id for entry in found}
            if now < deadline and (missing or not met(counted)):
                raise NotYet(f"{len(missing)} requests are not logged")
            return counted

        return eventually(
            probe,
            what="The end of the access logs",
            within=Duration(_LOG_SECONDS.seconds + 1),
            code="MB0605",
            first_pause=LOOK_SECONDS,
        )

    def _calls(self, item: InForce, entries: Sequence[Entry], service: ServiceRef) -> list[tuple[str, Entry]]:
        """The calls to a service and who made each, as the side logged them that decides about the fault."""
        if item.plan.through is not None:
            return self._tries(item.plan.through, entries)
        if item.plan.side is not Side.SERVER:
            return [(e.pod, e) for e in entries if e.outbound and e.service == _host(service)]
        servers, names = self._pods_of(service), self._addresses()
        inbound = [e for e in entries if not e.outbound and e.pod in servers]
        return [(names.get(_ip(e.downstream), _ip(e.downstream) or "unknown"), e) for e in inbound]

    def _tries(self, through: Through, entries: Sequence[Entry]) -> list[tuple[str, Entry]]:
        """The tries of calls to a service that has a fault backend, and who made each.

        They are those that came to the backend, by its own log, and those that came to the service without it.
        """
        names, backends, servers = self._addresses(), self._pods_of(through.backend), self._pods_of(through.twin)
        who = {
            e.request_id: names.get(_ip(e.downstream), "unknown")
            for e in entries
            if e.pod in backends and not e.outbound
        }
        diverted = [e for e in self._logs.injections if e.pod in backends and not e.probe]
        direct = [e for e in entries if e.pod in servers and not e.outbound]
        made = [(names.get(_ip(e.downstream), _ip(e.downstream) or "unknown"), e) for e in direct]
        return [(who.get(e.request_id, "unknown"), e) for e in diverted if e.request_id in who] + [
            (name, e) for name, e in made if name not in backends
        ]

    def _told(self, item: InForce, entries: Sequence[Entry]) -> bool:
        """Whether a fault backend has logged as many calls as its sidecar let in."""
        if item.plan.through is None:
            return True
        pods = self._pods_of(item.plan.through.backend)
        came = {e.request_id for e in entries if e.pod in pods and not e.outbound}
        return came <= {e.request_id for e in self._logs.injections}

    def _meant(self, item: InForce) -> set[str] | None:
        """The pods of the only caller that a fault is for; ``None``: everybody."""
        labels = item.plan.callers
        if labels is None:
            return None
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        return {pod["metadata"]["name"] for pod in self._environment.cluster.list("Pod", labels=selector)}

    def _pods_of(self, service: ServiceRef) -> set[str]:
        cluster = self._environment.cluster
        selector = cluster.get("Service", service.name, service.namespace)["spec"].get("selector") or {}
        labels = ",".join(f"{name}={value}" for name, value in selector.items())
        return {pod["metadata"]["name"] for pod in cluster.list("Pod", service.namespace, labels)} if labels else set()

    def _addresses(self) -> dict[str, str]:
        pods = self._environment.cluster.list("Pod")
        return {str((pod.get("status") or {}).get("podIP") or ""): pod["metadata"]["name"] for pod in pods}

    def _addresses_of(self, services: Iterable[ServiceRef]) -> set[str]:
        pods = {pod for service in services for pod in self._pods_of(service)}
        return {address for address, pod in self._addresses().items() if pod in pods} if pods else set()

    def _bypassed(self, entries: Sequence[Entry], service: ServiceRef, left: set[str]) -> Mapping[str, int]:
        """Calls that reached the service's sidecars and that no calling sidecar logged, by who made them."""
        servers = self._pods_of(service)
        inbound = [e for e in entries if not e.outbound and e.pod in servers and e.request_id not in left]
        names = self._addresses() if inbound else {}
        counted = Counter(names.get(_ip(e.downstream), _ip(e.downstream) or "unknown") for e in inbound)
        return dict(counted)  # the report reads it by dataclasses.asdict, which makes nonsense of a counter

    def _unreached(self, item: InForce, entries: Sequence[Entry], host: str) -> Mapping[str, int]:
        """Calls that callers' sidecars sent nowhere, by their response flag, where the service's side decides."""
        if item.plan.side is not Side.SERVER or isinstance(item.plan.intent, Down):
            return {}
        nowhere = (e for e in entries if e.outbound and e.service == host and not e.upstream and not e.injected)
        return dict(Counter(flag for entry in nowhere for flag in sorted(entry.flags)))

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


def _host(service: ServiceRef) -> str:
    return f"{service.name}.{service.namespace}.svc.cluster.local"


def _ip(address: str) -> str:
    return address.rpartition(":")[0]


def _hit(item: InForce, entry: Entry) -> bool:
    """Whether this very fault was injected into a call."""
    intent = item.plan.intent
    if isinstance(intent, Down):
        return bool(entry.flags & _DOWN)
    if not entry.injected:
        return False
    if item.plan.through is not None:
        return item.plan.through.tag in entry.route.split() and (
            "DI" in entry.flags if isinstance(intent, Fault) and intent.delay else "FI" in entry.flags
        )
    if item.plan.side is Side.SERVER and isinstance(intent, Fault):
        status = 200 if intent.grpc_status else intent.status
        return "DI" in entry.flags if intent.delay else "FI" in entry.flags and entry.status == status
    return any(tag in entry.route for tag in item.plan.tags if tag)


def _check(item: InForce, event: FaultAccounted) -> None:
    """See that what the proxies tell is what the fault would do.

    Raises:
        Inconclusive: nobody called the service, or nobody was hit: though somebody must have been, or by chance.
    """
    if not event.calls and not event.hit:
        aside = ", ".join(f"{count} calls from {name}" for name, count in event.bypassed.items())
        if not aside and event.seen < event.sent:
            aside = f"{event.sent - event.seen} of the {event.sent} requests of this scenario, as those from outside the mesh do"
        raise Inconclusive(
            "MB0603",
            f"Nobody called {event.service} while «{event.summary}» was in force, as far as the proxies tell"
            + (f"; past every proxy went {aside}." if aside else "."),
            help="send requests that make its callers call it; a fault that meets no call proves nothing",
        )
    intent = item.plan.intent
    if event.hit or not isinstance(intent, Fault) or intent.scope.narrows:
        return
    if intent.share.value >= 100 or event.calls * math.log1p(-intent.share.fraction) < math.log(_ALPHA):
        raise Inconclusive(
            "MB0604",
            f"«{event.summary}» was in force at every proxy, and yet none of {event.calls} calls was hit.",
            help="look whether another fault or rule answers these calls before this one",
        )
    raise Inconclusive(
        "MB0607",
        f"«{event.summary}» was in force, and by chance hit none of {event.calls} call{'s' if event.calls > 1 else ''}: nothing "
        "failed that anybody could have noticed.",
        help=f"send more requests: of {math.ceil(_SURE / intent.share.fraction):,} calls one is hit nearly always",
    )


def _check_grpc(item: InForce, hit: Sequence[Entry]) -> None:
    """See that a gRPC status answered none but gRPC calls: to any other the proxy says 200, and nothing of a failure.

    gRPC is spoken over HTTP/2 alone (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).

    Raises:
        Inconclusive: it met others, whose callers saw no fault.
    """
    intent = item.plan.intent
    if not isinstance(intent, Fault) or intent.grpc_status is None:
        return
    plain = [entry for entry in hit if entry.protocol != "HTTP/2"]
    if plain:
        told = ", ".join(sorted({entry.protocol or "a protocol that the log does not tell" for entry in plain}))
        raise Inconclusive(
            "MB0606",
            f"«{item.plan.summary}» answers gRPC calls; {len(plain)} of the {len(hit)} calls that it hit were plain HTTP ({told}), "
            "and were answered with 200 instead of a failure.",
            help="let them fail with an HTTP status, or send gRPC calls",
        )
