"""A service that is down: the same on every mesh."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from meshbdd.cluster import Edit
from meshbdd.cluster.record import ROUTE_PREFIX
from meshbdd.errors import BadInput, Inconclusive
from meshbdd.intents import Down, ServiceRef
from meshbdd.mesh.base import Plan, Stage
from meshbdd.mesh.catalog import Catalog, selected
from meshbdd.mesh.workloads import pod_labels


def plan_down(catalog: Catalog, down: Down) -> Plan:
    """Plan that a service has no endpoint: its Deployments are scaled to none.

    Raises:
        BadInput: no such service, or no Deployment is behind it.
    """
    ref = down.service
    labels = catalog.labels_of(ref)
    behind = [
        deployment
        for deployment in catalog.all("Deployment", ref.namespace)
        if selected(labels, pod_labels(deployment))
    ]
    if not behind:
        raise BadInput(
            "MB0408",
            f'No Deployment is behind Service "{ref}", so it cannot be taken down.',
            help="name another service",
        )
    edits = tuple(
        Edit("Deployment", d["metadata"]["name"], ref.namespace, ("spec", "replicas"), lambda _now: 0) for d in behind
    )
    names = ", ".join(d["metadata"]["name"] for d in behind)
    reason = f"no pod of {names} takes connections"
    with_it = list[ServiceRef]()
    with contextlib.suppress(Inconclusive):  # a rehearsal may not know the pods
        with_it += _missed_with(catalog, ref, behind)
    return Plan(
        str(down),
        (Stage.of(*edits),),
        intent=down,
        service=ref,
        reason=reason,
        faulty=(ref,),
        missed_with=tuple(with_it),
    )


def see_none_down(changed: Collection[tuple[str, str, str]], staying: Iterable[Plan]) -> None:
    """See that no service that is down and stays so has its Deployments from a manifest that goes.

    Args:
        changed: Kind, name and namespace of the objects that go with the manifest.
        staying: What else is in force.

    Raises:
        BadInput: one has; how many pods it had is written in its Deployment.
    """
    for plan in staying:
        gone = next((edit for edit in plan.edits if isinstance(plan.intent, Down) and edit.target in changed), None)
        if gone is not None and plan.service is not None:
            raise BadInput(
                "MB0316",
                f"The manifest cannot be removed: «{plan.summary}» has changed its {gone.kind} {gone.name}.",
                help=f"let {plan.service.name} recover first",
            )


def _missed_with(catalog: Catalog, ref: ServiceRef, behind: Sequence[Mapping[str, Any]]) -> Iterator[ServiceRef]:
    """The other Services of a service's pods that have none left without its Deployments."""
    for service in catalog.all("Service", ref.namespace):
        name, wanted = service["metadata"]["name"], (service.get("spec") or {}).get("selector")
        if name == ref.name or name.startswith(ROUTE_PREFIX) or not wanted:
            continue
        pods = [pod["metadata"].get("labels") or {} for pod in catalog.pods(wanted, ref.namespace)]
        if pods and all(any(selected(pod_labels(deployment), own) for deployment in behind) for own in pods):
            yield ServiceRef(name, ref.namespace)
