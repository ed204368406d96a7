"""Servers that decide for the pods of several services, which a step for one of these may not change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.mesh.catalog import Catalog, selected
from meshbdd.mesh.linkerd.behind import home_of
from meshbdd.mesh.linkerd.servers import OURS, container_ports, decides_at
from meshbdd.sidecars import FAULT_LABEL, LINKERD

Object = Mapping[str, Any]


def refuse_shared(catalog: Catalog, server: Object, service: ServiceRef, what: str) -> None:
    """See that a Server decides for a service alone, so that what is done to it is done to no other.

    A fault backend of the run's own answers for the service, or is met by nobody in this scenario; and nobody calls a pod at a
    port that it does not declare, and to which no Service leads.

    Args:
        catalog: Reads the cluster.
        server: The Server.
        service: The service.
        what: What is to be done to it.

    Raises:
        BadInput: it decides as well at a pod with a proxy that the service does not select.
    """
    there, own = catalog.all("Server", service.namespace), catalog.labels_of(home_of(catalog, service))
    for pod in catalog.pods({}, service.namespace):
        labels = pod["metadata"].get("labels") or {}
        if LINKERD.label not in labels or FAULT_LABEL in labels or selected(own, labels):
            continue
        port = decides_at(server, pod, there)
        if port is not None and _serves(catalog, pod, port):
            name = server["metadata"]["name"]
            raise BadInput(
                "MB0494",
                f"{what} would hold for pod {pod['metadata']['name']} as well, which {service} does not select: Server {name} "
                f"decides there too, at port {port}.",
                help=f"give the pods of {service} a Server of their own before the run"
                if name.startswith(OURS)
                else f"let the podSelector of Server {name} select no pods but those of {service}",
            )


def _serves(catalog: Catalog, pod: Object, port: int) -> bool:
    """Whether a pod declares a port, or a Service leads to it there."""
    home, labels = pod["metadata"]["namespace"], pod["metadata"].get("labels") or {}
    if port in container_ports(pod).values():
        return True
    chosen = ((s["spec"].get("selector"), s["metadata"]["name"]) for s in catalog.all("Service", home))
    return any(
        wanted and selected(wanted, labels) and port in catalog.target_ports(ServiceRef(name, home))
        for wanted, name in chosen
    )
