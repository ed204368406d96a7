"""What tells the pods and the proxies of one mesh from those of another, and whom a proxy's clusters lead to.

On a cluster with Linkerd the proxy is linkerd-proxy, which has no pages like Envoy's; the lab plays it with an Envoy whose
clusters, routes and metrics bear Linkerd's names.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Injection:
    """What in a pod's own metadata a mesh's injector goes by.

    Attributes:
        part: ``labels`` or ``annotations``.
        name: Its name there.
        wanted: The value that brings a sidecar.
        unwanted: The value that keeps it away.
    """

    part: str
    name: str
    wanted: str
    unwanted: str


@dataclass(frozen=True, slots=True)
class Sidecars:
    """The sidecars of one mesh.

    Attributes:
        label: Selects the pods that have one; the mesh's injector sets it.
        container: Name of the proxy's container.
        metrics: Port and path of its metrics, under the mesh's own names.
        scraped: Ports at which Prometheus may ask for them.
        injection: How a pod asks for one, or for none.
    """

    label: str
    container: str
    metrics: tuple[int, str]
    scraped: tuple[int, ...]
    injection: Injection


ISTIO = Sidecars(
    "security.istio.io/tlsMode=istio",
    "istio-proxy",
    (15020, "/stats/prometheus"),
    (15020, 15090),
    Injection("labels", "sidecar.istio.io/inject", wanted="true", unwanted="false"),
)
"""https://istio.io/latest/docs/ops/deployment/application-requirements/ lists the ports."""

LINKERD = Sidecars(
    "linkerd.io/control-plane-ns",
    "linkerd-proxy",
    (4191, "/metrics"),
    (4191,),
    Injection("annotations", "linkerd.io/inject", wanted="enabled", unwanted="disabled"),
)
"""https://linkerd.io/2/reference/proxy-metrics/ and https://linkerd.io/2/features/proxy-injection/;
the label is linkerd2's pkg/k8s/labels.go, ``ControllerNSLabel``."""

LINKERD_INJECTS = (LINKERD.injection.wanted, "ingress")
"""The values of Linkerd's annotation with which a pod gets a proxy."""


def linkerd_injects(own: str, around: str) -> bool:
    """Whether Linkerd's injector gives a pod a proxy: its own word has precedence, and an unknown one of either keeps it away.

    linkerd2 pkg/inject/report.go, ``disableByAnnotation``.

    Args:
        own: The annotation of the pod; empty where it has none.
        around: That of its namespace.
    """
    if not {own, around} <= {"", *LINKERD_INJECTS, LINKERD.injection.unwanted}:
        return False
    return (own or around) in LINKERD_INJECTS


INBOUND = "inbound|"
"""What the name of a cluster begins with that leads to the pod's own application."""


def callee(cluster: str) -> str:
    """Full name of the service that calls go to by a proxy's cluster; empty where they go to none.

    Istio: ``outbound|80|v1|payment-service.shop.svc.cluster.local``. Linkerd, in the lab:
    ``Service.shop.payment-service:80/…``, where the first part is the Service that was called, whoever answers for it.
    """
    if cluster.startswith("outbound|"):
        return cluster.rpartition("|")[2]
    kind, _, rest = cluster.partition("/")[0].partition(".")
    namespace, _, place = rest.partition(".")
    name = place.rpartition(":")[0]
    return f"{name}.{namespace}.svc.cluster.local" if kind == "Service" and name else ""


def led_to(cluster: str) -> str:
    """Full name of the service whose own endpoints a proxy's cluster has; empty where it has several's, or nobody's.

    Istio calls the cluster by it. Linkerd, in the lab: the second part, ``…/Service.shop.payment-v2:80``.
    """
    return callee(cluster) if cluster.startswith("outbound|") else callee(cluster.partition("/")[2])


def sent_for(server_name: str) -> str:
    """Full name of the service for whose endpoints a proxy opened a connection, by the server name that it asked for in mutual TLS.

    Istio: ``outbound_.80_.v1_.payment-service.shop.svc.cluster.local``, of the cluster (pilot's ``BuildDNSSrvSubsetKey``). Linkerd's
    is the callee's identity, and a DestinationRule may have any: empty.
    """
    return server_name.rpartition("_.")[2] if server_name.startswith("outbound_.") else ""


def port_of(cluster: str) -> str:
    """The port by which a proxy's cluster was called: of a service, or of the pod's own application; empty where nobody knows."""
    if cluster.startswith(("outbound|", INBOUND)):
        return cluster.split("|")[1]
    return cluster.partition("/")[0].rpartition(":")[2] if callee(cluster) else ""


def subset_of(cluster: str) -> str:
    """The subset of its service that a proxy's cluster has; empty where it has none."""
    return cluster.split("|")[2] if cluster.startswith("outbound|") else ""


def whole(cluster: str) -> bool:
    """Whether a cluster has the endpoints of its service, all of them and no others: no subset, no split, no fault backend."""
    if cluster.startswith("outbound|"):
        return not subset_of(cluster)
    called, _, backend = cluster.partition("/")
    return called == backend.partition("/")[0]


FAULT_LABEL = "meshbdd.dev/fault-backend"
"""Label of a fault backend's pods; its value is the name of the service beside which they stand."""

FAULT_CONTAINER = "fault"
"""The container in them that injects, and logs what it did."""

CHANGE_HEADER = "x-meshbdd-change"
"""Request header that routes of a run's own set on Linkerd, to the tags of the changes that they are made of."""

PROBE_AGENT = "meshbdd-probe"
"""``User-Agent`` of requests that look at something: sidecars log it, and no claim counts them."""
