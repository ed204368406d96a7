"""A service that is down: the same on every mesh."""

from __future__ import annotations

from meshbdd.cluster import Edit
from meshbdd.errors import BadInput
from meshbdd.intents import Down
from meshbdd.mesh.base import Plan, Stage
from meshbdd.mesh.catalog import Catalog, selected


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
        if selected(labels, (deployment["spec"]["template"].get("metadata") or {}).get("labels") or {})
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
    return Plan(str(down), (Stage.of(*edits),), intent=down, service=ref, reason=reason, faulty=(ref,))
