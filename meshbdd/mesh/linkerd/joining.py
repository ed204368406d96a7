"""Pods that a manifest's Deployments add to Services that are there already, as a canary's: how they are seen to arrive."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meshbdd.cluster.record import ROUTE_PREFIX
from meshbdd.errors import BadInput, Inconclusive
from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Object
from meshbdd.mesh.catalog import Catalog, selected
from meshbdd.mesh.linkerd.markers import EndpointsAdded
from meshbdd.mesh.linkerd.objects import attached, http_ports, refuse_profile, routes_of
from meshbdd.mesh.workloads import pod_labels, replicas_of


def joined(catalog: Catalog, documents: Sequence[Object], deployment: Object) -> Iterator[EndpointsAdded]:
    """For each Service that selects the pods of a new Deployment that proxies have them as endpoints.

    Args:
        catalog: Reads the cluster.
        documents: Those of the manifest that are written at one time: several Deployments may be behind one Service.
        deployment: One of them.
    """
    home = deployment["metadata"]["namespace"]
    new = [d for d in documents if d["kind"] == "Deployment" and d["metadata"]["namespace"] == home]
    routes = routes_of(catalog)
    for service in catalog.all("Service", home):
        wanted = (service.get("spec") or {}).get("selector") or {}
        if (
            not replicas_of(deployment)
            or not _is_balanced(catalog, service, routes)
            or not selected(wanted, pod_labels(deployment))
        ):
            continue
        known = frozenset[str]()
        with contextlib.suppress(Inconclusive):  # a rehearsal may not know the pods
            pods = catalog.pods(wanted, home)
            known = frozenset(str((pod.get("status") or {}).get("podIP") or "") for pod in pods)
        count = sum(replicas_of(other) for other in new if selected(wanted, pod_labels(other)))
        yield EndpointsAdded(ServiceRef(service["metadata"]["name"], home), count, known)


def _is_balanced(catalog: Catalog, service: Object, routes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every proxy has the endpoints of a Service of the tester's.

    None has those of a headless one, nor of one without HTTP; of one with routes or a profile only those to which
    these lead.
    """
    meta, spec = service["metadata"], service.get("spec") or {}
    if meta["name"].startswith(ROUTE_PREFIX) or not spec.get("selector"):
        return False
    ref = ServiceRef(meta["name"], meta["namespace"])
    try:
        refuse_profile(catalog, ref)
        return not any(attached(routes, ref, int(port["port"])) for port in http_ports(service))
    except BadInput:
        return False
