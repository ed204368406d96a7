"""The planner of Istio: one method for each intent, all of them reading only."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from meshbdd.cluster import Cluster
from meshbdd.cluster.record import ROUTE_PREFIX
from meshbdd.errors import BadInput
from meshbdd.intents import (
    Access,
    CircuitBreaker,
    Down,
    Fault,
    Intent,
    Limit,
    Mirror,
    MutualTls,
    Retry,
    ServiceRef,
    Side,
    Split,
    Timeout,
    Topic,
)
from meshbdd.mesh.abilities import Answer, Need
from meshbdd.mesh.bare_pods import see_calls_leave_by_sidecars, see_mode_held, see_sidecars
from meshbdd.mesh.base import Context, Left, Marker, Object, Plan, Stage, Where
from meshbdd.mesh.catalog import Catalog, check_http
from meshbdd.mesh.down import plan_down
from meshbdd.mesh.istio import abilities, arming, manifests, policies, security
from meshbdd.mesh.istio.ambient import Ambient
from meshbdd.mesh.istio.beside import see_copies_stand
from meshbdd.mesh.istio.hosts import authority_of
from meshbdd.mesh.istio.injection import BESIDE_ANOTHER, Choice, choose, refuse_hidden
from meshbdd.mesh.istio.leading import at_server, refuse_led_away
from meshbdd.mesh.istio.routes import faulted_routes
from meshbdd.mesh.istio.standing import Objects
from meshbdd.mesh.istio.virtual_services import has_room, routes_stage
from meshbdd.mesh.seen import check_seen
from meshbdd.sidecars import ISTIO

_BREAKER = (
    "outlierDetection of every caller's sidecar: interval 1s and maxEjectionPercent 100 are set as well, because Istio's "
    "10 % ejects nobody below ten endpoints and its 10 s interval keeps a short opening open longer"
)
_LIMIT = "Envoy's max_requests: so many at a time from each caller's sidecar, and so many into each pod of the service"


class Istio:
    """Plans for one run.

    Args:
        cluster: Read from, never written to.
        run: The run's id.
    """

    name = "istio"
    sidecars = ISTIO

    def __init__(self, cluster: Cluster, run: str) -> None:
        self._ambient = Ambient(cluster)
        self._catalog = Catalog(cluster, ISTIO)
        self._run = run
        self._numbers = itertools.count(1)

    def _tag(self) -> str:
        return f"{ROUTE_PREFIX}{self._run}-{next(self._numbers)}-"

    def _name(self) -> str:
        """A name for objects and subsets: as a tag, which a name may not end like."""
        return self._tag().removesuffix("-")

    def answer(self, need: Need, target: str) -> Answer:
        """See ``Mesh.answer``."""
        return abilities.answer(need, target)

    def check(self, need: Need, services: Sequence[ServiceRef]) -> None:
        """See ``Mesh.check``: Istio's ambient mode."""
        self._ambient.check(need, services)

    def plan(self, intent: Intent, context: Context) -> Plan:
        """See ``Mesh.plan``."""
        planners: Mapping[type, Callable[[Any, Context], Plan]] = {
            Fault: self._fault,
            Down: self._down,
            Timeout: self._policy(policies.timeout_stages, self._tag),
            Retry: self._policy(policies.retry_stages, self._tag),
            CircuitBreaker: self._policy(policies.breaker_stages, self._name, reason=_BREAKER),
            Limit: self._policy(policies.limit_stages, self._name, reason=_LIMIT),
            Split: self._policy(policies.split_stages, self._tag, self._name),
            Mirror: self._policy(policies.mirror_stages, self._tag, self._name),
            MutualTls: self._mutual_tls,
            Access: self._access,
        }
        return planners[type(intent)](intent, context)

    def _policy(
        self, stages: Callable[..., tuple[Stage, ...]], *names: Callable[[], str], reason: str = ""
    ) -> Callable[[Any, Context], Plan]:
        def plan(intent: Timeout | Retry | CircuitBreaker | Limit | Split | Mirror, context: Context) -> Plan:
            check_http(intent.service, self._catalog.service(intent.service))
            if not isinstance(intent, Split):
                check_seen(intent, context)
            made = stages(self._catalog, intent, *(name() for name in names))
            return Plan(str(intent), made, intent=intent, service=intent.service, reason=reason)

        return plan

    def _fault(self, fault: Fault, context: Context) -> Plan:
        """Plan a fault, at the side that the scenario needs."""
        check_http(fault.service, self._catalog.service(fault.service))
        choice = choose(fault, context, Objects.read(self._catalog))
        if choice.side is Side.CALLER and fault.at is None:
            own = f"{ROUTE_PREFIX}{self._run}-"
            if not has_room(self._catalog, fault, self._caller(fault), own):
                choice = Choice(Side.SERVER, BESIDE_ANOTHER)
        refuse_hidden(fault, context, choice.side)
        plan = self._fault_at_server if choice.side is Side.SERVER else self._fault_at_callers
        return plan(fault, context, choice)

    def _fault_at_callers(self, fault: Fault, _context: Context, choice: Choice) -> Plan:
        if fault.scope.called_by:
            see_calls_leave_by_sidecars(self._catalog, fault.scope.called_by, f"«{fault}»")
        caller, tag = self._caller(fault), self._tag()
        tagged = partial(faulted_routes, fault=fault, caller=caller, tag=tag)
        shared = security.at_listeners_of(self._catalog, fault.service)[1:]
        instead = partial(at_server, fault, shared=shared)
        stage = routes_stage(self._catalog, fault.service, tag, tagged, str(fault), caller, instead)
        only = caller if fault.scope.called_by else None
        return Plan(str(fault), (stage,), (), fault, fault.service, choice.reason, only, Side.CALLER, (fault.service,))

    def _caller(self, fault: Fault) -> Where:
        by = fault.scope.called_by
        return Where(by.namespace, self._catalog.caller_labels(by)) if by else Where()

    def _fault_at_server(self, fault: Fault, context: Context, choice: Choice) -> Plan:
        service, reason = fault.service, choice.reason
        labels = self._meshed_labels(fault, choice)
        ports = self._catalog.service(service)["spec"].get("ports") or []
        shared, authority = security.at_listeners_of(self._catalog, service)[1:], ""
        if fault.at is None:
            there = Objects.read(self._catalog), self._catalog.calling_namespaces()
            refuse_led_away(fault, reason, shared, *there, ports=len(ports))
        slot = self._free_slot(service, context)
        by = fault.scope.called_by
        callers = [f"ns/{by.namespace}/sa/{account}" for account in self._catalog.service_accounts(by)] if by else []
        if shared:
            address = self._catalog.service(service)["spec"].get("clusterIP")
            authority = authority_of(service, headless=address == "None")
            others = f"{', '.join(map(str, shared))} select{'' if shared[1:] else 's'}"
            reason += f"; for calls by its own names alone, since {others} its pods, too"
        switch = arming.switch(service, slot, labels, fault, tuple(callers), self._name(), authority)
        arm = arming.arm(service, slot, self._catalog)
        only = self._caller(fault) if by else None
        return Plan(
            str(fault), (switch,), (arm,), fault, service, reason, only, Side.SERVER, (service,), authority=authority
        )

    @staticmethod
    def _free_slot(service: ServiceRef, context: Context) -> int:
        """One armed filter holds one fault; a second fault at a time needs another filter."""
        taken = {edit.name for plan in context.faults(service) for edit in plan.edits}
        return next(n for n in itertools.count(1) if arming.object_name(service, n) not in taken)

    def _meshed_labels(self, fault: Fault, choice: Choice) -> Mapping[str, str]:
        labels = self._catalog.labels_of(fault.service)
        because = "" if fault.at else f"; the fault's place is {choice.reason}"
        what = f"{fault} cannot be injected at the server"
        see_sidecars(self._catalog, fault.service, what, because, choice.instead)
        if not self._catalog.pods(labels, fault.service.namespace):
            raise BadInput(
                "MB0428",
                f"{what}: it has no pod{because}.",
                help=f"start its pods, or {choice.instead or 'take what needs a fault at the server out of the scenario'}",
            )
        return labels

    def _down(self, down: Down, _context: Context) -> Plan:
        return plan_down(self._catalog, down)

    def _mutual_tls(self, intent: MutualTls, _context: Context) -> Plan:
        see_mode_held(self._catalog, intent)
        return Plan(str(intent), (security.tls_stage(self._catalog, intent),), intent=intent, service=intent.service)

    def _access(self, intent: Access, _context: Context) -> Plan:
        see_sidecars(self._catalog, intent.service, f"«{intent}» would not hold for every call")
        stage = security.access_stage(self._catalog, intent, self._name())
        return Plan(str(intent), (stage,), intent=intent, service=intent.service)

    def plan_manifest(self, documents: list[Object], context: Context) -> Plan:
        """See ``Mesh.plan_manifest``."""
        self._ambient.check_manifest(documents)
        return manifests.plan(self._catalog, documents, context, self._tag)

    def see_removable(
        self,
        going: Sequence[Plan],
        staying: Sequence[Plan],
        left: Callable[[], Left],  # noqa: ARG002 - the protocol's
    ) -> None:
        """See ``Mesh.see_removable``: a rule of a service's own may be a copy of a manifest's."""
        see_copies_stand(going, staying)

    def see_recoverable(self, service: ServiceRef, staying: Sequence[Plan], left: Callable[[], Left]) -> None:
        """See ``Mesh.see_recoverable``: policies select pods by their labels, whenever these come and at all their ports."""

    def leaving(self, stage: Stage) -> tuple[Marker, ...]:  # noqa: ARG002 - the protocol's
        """See ``Mesh.leaving``: nothing of Istio's needs an object that was made after it."""
        return ()

    def renewal(self, epochs: Mapping[ServiceRef, int]) -> Stage:
        """See ``Mesh.renewal``."""
        return arming.renew(epochs, self._catalog.calling_namespaces(), self._run)

    def scenery(self, context: Context) -> tuple[Plan, ...]:  # noqa: ARG002 - the protocol's
        """See ``Mesh.scenery``: nothing is needed beside what stands for the whole run."""
        return ()

    def early(self, context: Context) -> tuple[Stage, ...]:
        """See ``Mesh.early``: the armed filters of all faults that will go to a server."""
        objects = Objects.read(self._catalog)
        slots: Counter[ServiceRef] = Counter()
        stages: list[Stage] = []
        for mention in context.said:
            service = mention.service
            if mention.topic is not Topic.FAULT or mention.at is Side.CALLER:
                continue
            if self._catalog.find("Service", service.name, service.namespace) is None:
                continue  # the step itself will say so, with its place
            if choose(Fault(service, at=mention.at), context, objects).side is Side.SERVER:
                slots[service] += 1
                stages.append(arming.arm(service, slots[service], self._catalog))
        return tuple(stages)
