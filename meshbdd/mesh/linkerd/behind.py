"""The pods behind a service: its own, and those of a fault backend that is in the place of its endpoints.

While one is there the Service selects the fault backend's pods, and a twin of it the service's own. Whoever calls one of
these past the Service still meets it, so what is to hold for a service holds for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Object
from meshbdd.mesh.catalog import Catalog, ports_of
from meshbdd.mesh.linkerd.backend import twin_of
from meshbdd.mesh.linkerd.objects import http_ports
from meshbdd.sidecars import FAULT_LABEL


@dataclass(frozen=True, slots=True)
class Behind:
    """Some of the pods behind a service, all of which one selector takes.

    Attributes:
        labels: The selector.
        pods: They.
        ports: Those of theirs to which the service leads.
        leading: What leads there: a Service, or as much of one as says where.
        stands_in: Whether they are a fault backend's.
    """

    labels: Mapping[str, str]
    pods: tuple[Object, ...]
    ports: tuple[int, ...]
    leading: Object
    stands_in: bool = False

    def ports_at(self, pod: Object) -> tuple[int, ...]:
        """The ports of one of these pods to which the service leads: by a name it may lead to others at each of them."""
        return ports_of(self.leading, [pod])


def home_of(catalog: Catalog, service: ServiceRef) -> ServiceRef:
    """The Service that selects a service's own pods: its twin, where a fault backend is in the place of its endpoints."""
    twin = twin_of(service)
    stood_in = FAULT_LABEL in catalog.labels_of(service)
    return twin if stood_in and catalog.find("Service", twin.name, twin.namespace) else service


def behind(catalog: Catalog, service: ServiceRef) -> tuple[Behind, ...]:
    """The pods behind a service, its own first.

    Args:
        catalog: Reads the cluster.
        service: The service.

    Raises:
        BadInput: no such service, or it selects nothing.
    """
    found, home = catalog.service(service), home_of(catalog, service)
    labels = catalog.labels_of(home)
    pods = tuple(catalog.pods(labels, service.namespace))
    own = Behind(labels, pods, ports_of(found, pods), found)
    if home == service:
        return (own,)
    labels = catalog.labels_of(service)
    pods = tuple(catalog.pods(labels, service.namespace))
    # A fault backend listens where HTTP is spoken, and nowhere else.
    listening = {"spec": {"ports": list(http_ports(found))}}
    return own, Behind(labels, pods, ports_of(listening, pods), listening, stands_in=True)


def share_pods(catalog: Catalog, one: ServiceRef, other: ServiceRef) -> bool:
    """Whether two services have own pods in common."""
    if one == other or one.namespace != other.namespace:
        return one == other
    first, second = ({pod["metadata"]["name"] for pod in behind(catalog, service)[0].pods} for service in (one, other))
    return not first.isdisjoint(second)
