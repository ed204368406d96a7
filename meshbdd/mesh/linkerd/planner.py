"""The planner of Linkerd: one method for each intent, all of them reading only."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from meshbdd.cluster import Cluster, Edit
from meshbdd.cluster.record import ROUTE_PREFIX
from meshbdd.errors import BadInput
from meshbdd.intents import (
    Access,
    CircuitBreaker,
    Down,
    Fault,
    Intent,
    MutualTls,
    Retry,
    ServiceRef,
    Side,
    Split,
    Timeout,
    Topic,
)
from meshbdd.mesh.abilities import Answer, Need, refuse_impossible
from meshbdd.mesh.bare_pods import see_mode_held, see_sidecars
from meshbdd.mesh.base import Context, Left, Marker, Object, Plan, Stage, Through, Where
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.down import plan_down
from meshbdd.mesh.linkerd import abilities, manifests, policies, security
from meshbdd.mesh.linkerd.backend import SELECTOR, FaultBackend, default_of, endpoints_among, see_as_many
from meshbdd.mesh.linkerd.behind import home_of
from meshbdd.mesh.linkerd.beside import refuse_vain_return
from meshbdd.mesh.linkerd.guards import guard_stages, refuse_gone
from meshbdd.mesh.linkerd.injection import choose
from meshbdd.mesh.linkerd.keeping_out import refuse_other_mode
from meshbdd.mesh.linkerd.limits import refuse_limited
from meshbdd.mesh.linkerd.markers import EndpointsHeld, OpenOnesEnded
from meshbdd.mesh.linkerd.newcomers import refuse_unheld
from meshbdd.mesh.linkerd.objects import OPAQUE_PORTS, http_ports
from meshbdd.mesh.linkerd.only_beside_faults import refuse_beside_backends
from meshbdd.mesh.linkerd.policy_arrival import leaving_markers
from meshbdd.mesh.linkerd.routes import routes_stage
from meshbdd.mesh.linkerd.rules import Rules, faulted_rules
from meshbdd.mesh.linkerd.scopes import Place
from meshbdd.mesh.linkerd.turning import Turn
from meshbdd.mesh.seen import check_seen
from meshbdd.sidecars import FAULT_LABEL, LINKERD

_BREAKER = (
    "failure accrual of the Service, without jitter and with the penalties as asked; Linkerd doubles a penalty each time, and "
    "the first request that finds the circuit open waits up to 3 s"
)
_SPLIT = "a Service of its own for each subset, and a route with their weights; each try is drawn anew"


class Linkerd:
    """Plans for one run.

    Args:
        cluster: Read from, never written to.
        run: The run's id.
    """

    name = "linkerd"
    sidecars = LINKERD

    def __init__(self, cluster: Cluster, run: str) -> None:
        self._catalog = Catalog(cluster, LINKERD)
        self._run = run
        self._numbers = itertools.count(1)

    def _tag(self) -> str:
        """Names a change: in the header of its routes, and of objects of the run's own."""
        return f"{ROUTE_PREFIX}{self._run}-{next(self._numbers)}"

    def plan(self, intent: Intent, context: Context) -> Plan:
        """See ``Mesh.plan``."""
        planners: Mapping[type, Callable[[Any, Context], Plan]] = {
            Fault: self._fault,
            Down: self._down,
            Timeout: self._policy(policies.timeout_stages),
            Retry: self._policy(policies.retry_stages),
            CircuitBreaker: self._policy(policies.breaker_stages, _BREAKER),
            Split: self._policy(policies.split_stages, _SPLIT),
            MutualTls: self._mutual_tls,
            Access: self._access,
        }
        refuse_impossible(abilities.answer(intent, "lab"), str(intent))  # the same on a cluster
        return planners[type(intent)](intent, context)

    def answer(self, need: Need, target: str) -> Answer:
        """See ``Mesh.answer``."""
        return abilities.answer(need, target)

    def check(self, need: Need, services: Sequence[ServiceRef]) -> None:
        """See ``Mesh.check``: what a service lacks is said when a step about it is planned."""

    def _policy(
        self, stages: Callable[[Catalog, Any, str], tuple[Stage, ...]], reason: str = ""
    ) -> Callable[[Any, Context], Plan]:
        def plan(intent: Timeout | Retry | CircuitBreaker | Split, context: Context) -> Plan:
            if isinstance(intent, CircuitBreaker):  # the rest sees the answers of a fault backend as any others
                check_seen(intent, context)
            made = stages(self._catalog, intent, self._tag())
            return Plan(str(intent), made, intent=intent, service=intent.service, reason=reason)

        return plan

    # Faults

    def _fault(self, fault: Fault, context: Context) -> Plan:
        """Plan a fault: a route that tells the fault backend what to do with which calls."""
        choice = choose(fault, context, self._catalog.service(fault.service))
        stands_in = choice.side is Side.SERVER
        by, backend, tag = fault.scope.called_by, self._backend(fault.service), self._tag()
        accounts = [f"{account}.{by.namespace}" for account in self._catalog.service_accounts(by)] if by else []
        if fault.delay is not None or by is not None or stands_in:
            self._refuse_detour(backend, f"«{fault}»")
        refuse_limited(self._catalog, backend, f"«{fault}»")
        if stands_in:
            see_as_many(self._catalog, backend, f"«{fault}»")
        guards = () if stands_in else guard_stages(self._catalog, backend, tag, str(fault))

        def made(rules: Rules, place: Place) -> Rules:
            return faulted_rules(rules, fault, place, accounts, tag, stands_in=stands_in)

        stage = routes_stage(self._catalog, fault.service, tag, made, str(fault), by.namespace if by else None)
        return Plan(
            str(fault),
            (*guards, stage),
            (backend.stage(),),
            fault,
            fault.service,
            choice.reason,
            Where(by.namespace, self._catalog.caller_labels(by)) if by else None,
            choice.side,
            (fault.service,),
            Through(tag, backend.own, backend.twin),
        )

    def _backend(self, service: ServiceRef) -> FaultBackend:
        found = self._catalog.service(service)
        targets = {int(p["port"]): self._catalog.target_port(found, p) for p in http_ports(found)}
        labels = self._catalog.labels_of(home_of(self._catalog, service))
        pods = self._catalog.pods(labels, service.namespace)
        opaque = (found["metadata"].get("annotations") or {}).get(OPAQUE_PORTS)
        return FaultBackend(
            service, http_ports(found), targets, labels, default_of(pods), opaque, max(1, endpoints_among(pods))
        )

    def _refuse_detour(self, backend: FaultBackend, what: str) -> None:
        security.refuse_detour(self._catalog, backend.service, what)

    def _faulted(self, context: Context) -> Iterator[tuple[ServiceRef, Side]]:
        """The services that steps of the scenario let fail, and how; those that no plan can be made for are left out."""
        for mention in context.said:
            if mention.topic is not Topic.FAULT:
                continue
            try:
                service = self._catalog.service(mention.service)
                http_ports(service)
                yield mention.service, choose(Fault(mention.service, at=mention.at), context, service).side
            except BadInput:
                continue  # the step itself will say so, with its place

    def early(self, context: Context) -> tuple[Stage, ...]:
        """See ``Mesh.early``: the fault backends."""
        services = dict.fromkeys(service for service, _side in self._faulted(context))
        return tuple(self._backend(service).stage() for service in services)

    def scenery(self, context: Context) -> tuple[Plan, ...]:
        """See ``Mesh.scenery``: fault backends in the place of services whose circuits are to be seen."""
        services = dict.fromkeys(service for service, side in self._faulted(context) if side is Side.SERVER)
        return tuple(self._stand_in(s) for s in services if FAULT_LABEL not in self._catalog.labels_of(s))

    def _stand_in(self, service: ServiceRef) -> Plan:
        backend = self._backend(service)
        labels = dict(backend.labels)
        pods = self._catalog.pods(labels, service.namespace)
        addresses = frozenset(str((pod.get("status") or {}).get("podIP") or "") for pod in pods)
        self._refuse_detour(backend, f"A fault backend in the place of {service}")
        refuse_limited(self._catalog, backend, f"A fault backend in the place of {service}")
        see_as_many(self._catalog, backend, f"A fault backend in the place of {service}")
        switch = Edit("Service", service.name, service.namespace, SELECTOR, lambda _now: labels)
        stage = Stage.of(switch, markers=(EndpointsHeld(service, addresses),))
        return Plan(
            f"a fault backend takes the place of {service}",
            (*security.stand_in_stages(self._catalog, backend), stage),
            service=service,
            reason="failure accrual is about endpoints, so the endpoint that fails has to be the service's own",
        )

    # The rest

    def _down(self, down: Down, _context: Context) -> Plan:
        return plan_down(self._catalog, down)

    def _mutual_tls(self, intent: MutualTls, context: Context) -> Plan:
        see_mode_held(self._catalog, intent, home_of(self._catalog, intent.service) if intent.service else None)
        refuse_other_mode(self._catalog, intent, context.in_force)
        stage = security.tls_stage(self._catalog, intent, context.in_force)
        return Plan(str(intent), (stage,), intent=intent, service=intent.service)

    def _access(self, intent: Access, context: Context) -> Plan:
        refuse_beside_backends(self._catalog, intent, context.in_force)
        see_sidecars(self._catalog, intent.service, f"«{intent}» would not hold for every call")
        stage = security.access_stage(self._catalog, intent, self._tag(), context.in_force)
        return Plan(str(intent), (stage,), intent=intent, service=intent.service)

    def plan_manifest(self, documents: list[Object], context: Context) -> Plan:
        """See ``Mesh.plan_manifest``."""
        return manifests.plan(self._catalog, documents, context, self._tag)

    def see_removable(
        self,
        going: Sequence[Plan],  # noqa: ARG002 - the protocol's
        staying: Sequence[Plan],
        left: Callable[[], Left],
    ) -> None:
        """See ``Mesh.see_removable``: what comes back is held against the same rules as what a manifest brings."""
        then = left()
        refuse_gone(then, staying)
        refuse_vain_return(self._catalog, then, staying)

    def see_recoverable(self, service: ServiceRef, staying: Sequence[Plan], left: Callable[[], Left]) -> None:
        """See ``Mesh.see_recoverable``: Servers were made for the ports of the pods that were there."""
        refuse_unheld(Turn.recovered(self._catalog, left(), service), staying)

    def leaving(self, stage: Stage) -> tuple[Marker, ...]:
        """See ``Mesh.leaving``: authorizations, for Servers and in policies that came later."""
        return tuple(leaving_markers(self._catalog, stage))

    def renewal(self, epochs: Mapping[ServiceRef, int]) -> Stage:  # noqa: ARG002 - the protocol's
        """See ``Mesh.renewal``: proxies end by themselves what is open under rules of before."""
        return Stage.of(markers=(OpenOnesEnded(),))
