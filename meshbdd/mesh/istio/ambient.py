"""Istio's ambient mode: pods without a sidecar, whose HTTP no proxy reads unless a waypoint stands before their service.

Sources: https://istio.io/latest/docs/ambient/usage/add-workloads/ and .../usage/waypoint/; istio/api label/labels.yaml and
annotation/annotations.yaml for the names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from meshbdd.cluster import Cluster
from meshbdd.errors import BadInput, Inconclusive, NotPossible
from meshbdd.intents import Access, Down, MutualTls, ServiceRef
from meshbdd.mesh.abilities import Ability, Need
from meshbdd.mesh.istio.hosts import ROOT_NAMESPACE, full_name

Object = Mapping[str, Any]

_MODE = "istio.io/dataplane-mode"
_REDIRECTION = "ambient.istio.io/redirection"
_SIDECAR = "sidecar.istio.io/status"
_USE, _USE_NAMESPACE, _FOR = "istio.io/use-waypoint", "istio.io/use-waypoint-namespace", "istio.io/waypoint-for"

_FOR_PODS = {"PeerAuthentication", "AuthorizationPolicy", "EnvoyFilter", "Sidecar"}
"""Kinds that are for pods; the others are for calls to services."""

_SUFFIX = ".svc.cluster.local"

_WITHOUT_PROXY = {Ability.CLIENTS, Ability.SIDECARS, Ability.PLAINTEXT, Ability.REFUSALS, Ability.PROMETHEUS}
"""What needs no proxy of the service: requests, the pods' own words, and what others have counted."""

_BY_ZTUNNEL = {Ability.CERTIFICATES, Ability.ROTATION, Ability.TLS_COUNTERS}
"""What the node's ztunnel does in a sidecar's place, for every protocol; a waypoint has no part in it."""


def is_ambient(pod: Object, namespace: Object | None) -> bool:
    """Whether a pod is in ambient mode. A sidecar wins over it, the pod's label over its namespace's."""
    meta = pod["metadata"]
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    if _SIDECAR in annotations or labels.get("security.istio.io/tlsMode") == "istio":
        return False
    if annotations.get(_REDIRECTION) == "enabled":
        return True
    return bool(labels.get(_MODE, _labels(namespace).get(_MODE)) == "ambient")


def _labels(obj: Object | None) -> Mapping[str, str]:
    return ((obj or {}).get("metadata") or {}).get("labels") or {}


class Ambient:
    """Refuses what no sidecar would do or tell.

    Args:
        cluster: Where the services are. One that was not in ambient mode is not looked at again in this run.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._not_ambient: set[ServiceRef] = set()

    def check(self, need: Need, services: Iterable[ServiceRef]) -> None:
        """See that the services which a step is about have sidecars, where it needs them.

        Args:
            need: What the step needs.
            services: Whom it is about. One that does not exist is left to the step.

        Raises:
            BadInput: a service has no waypoint, so that a rule for HTTP would have no effect; the help says how to get one.
            NotPossible: it has one, or needs none; meshbdd reads sidecars alone.
        """
        if isinstance(need, Down) or (isinstance(need, Ability) and need in _WITHOUT_PROXY):
            return
        if isinstance(need, MutualTls) and need.service is None:
            self._check_pods(need.namespace)
        for service in services:
            if service not in self._not_ambient:
                self._check_service(need, service)

    def check_manifest(self, documents: Iterable[Object]) -> None:
        """The same for all that a manifest's documents are for."""
        for document in documents:
            spec, namespace = document["spec"], document["metadata"]["namespace"]
            if document["kind"] in _FOR_PODS:
                where = None if namespace == ROOT_NAMESPACE else namespace
                labels = (spec.get("selector") or {}).get("matchLabels") or (spec.get("workloadSelector") or {}).get(
                    "labels"
                )
                self._check_pods(where, labels)
            else:
                self.check(Ability.MANIFESTS, _called(document["kind"], spec, namespace))

    def _check_pods(self, namespace: str | None, labels: Mapping[str, str] | None = None) -> None:
        pods = _pods(self._cluster, namespace, labels)
        homes = {name: self._cluster.find("Namespace", name) for name in {pod["metadata"]["namespace"] for pod in pods}}
        for pod in pods:
            if is_ambient(pod, homes[pod["metadata"]["namespace"]]):
                raise _not_read(f"pod {pod['metadata']['name']}")

    def _check_service(self, need: Need, ref: ServiceRef) -> None:
        service = self._cluster.find("Service", ref.name, ref.namespace)
        selector = (service["spec"].get("selector") or {}) if service else {"app": ref.name}
        pods = _pods(self._cluster, ref.namespace, selector) if selector else []
        namespace = self._cluster.find("Namespace", ref.namespace)
        to_come: list[Object] = [{"metadata": {}}] if service and selector else []
        if not any(is_ambient(pod, namespace) for pod in pods or to_come):
            self._not_ambient.update([ref] if pods else [])
            return
        if isinstance(need, MutualTls | Access) or (isinstance(need, Ability) and need in _BY_ZTUNNEL):
            raise _not_read(str(ref))
        waypoint = _waypoint(self._cluster, ref, service, namespace)
        raise NotPossible(
            "MB0434",
            f"{ref} is in Istio's ambient mode, and its HTTP passes the waypoint {waypoint}, which meshbdd cannot follow yet: "
            "it reads what sidecars hold and log.",
            help=_SIDECARS,
        )


def _called(kind: str, spec: Object, namespace: str) -> Iterator[ServiceRef]:
    """The services whose calls a route or a rule is for."""
    if "mesh" not in (spec.get("gateways") or ["mesh"]):
        return
    hosts = [*(spec.get("hosts") or []), *([spec["host"]] if spec.get("host") else [])]
    if kind == "HTTPRoute":
        hosts = [
            f"{parent['name']}.{parent.get('namespace') or namespace}.svc.cluster.local"
            for parent in spec.get("parentRefs") or []
            if parent.get("kind") == "Service"
        ]
    for host in hosts:
        name, _, rest = full_name(host, namespace).partition(".")
        if rest.endswith(_SUFFIX):
            yield ServiceRef(name, rest.removesuffix(_SUFFIX))


def _pods(cluster: Cluster, namespace: str | None, selector: Mapping[str, str] | None = None) -> list[Object]:
    labels = ",".join(f"{name}={value}" for name, value in sorted((selector or {}).items()))
    try:
        pods = cluster.list("Pod", namespace, labels or None)
    except Inconclusive:  # a rehearsal on a world that tells of no pods
        return []
    return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]


_SIDECARS = "give its pods sidecars (label istio-injection=enabled) to test it with meshbdd"


def _not_read(what: str) -> NotPossible:
    return NotPossible(
        "MB0434",
        f"{what} is in Istio's ambient mode, where ztunnel secures its connections; meshbdd cannot read ztunnel yet, only "
        "sidecars.",
        help=_SIDECARS,
    )


def _waypoint(cluster: Cluster, ref: ServiceRef, service: Object | None, namespace: Object | None) -> str:
    """The waypoint that takes the requests for a service.

    Raises:
        BadInput: none does.
    """
    labels = _labels(service) if _USE in _labels(service) else _labels(namespace)
    name = labels.get(_USE, "none")
    install = f"istioctl waypoint apply -n {ref.namespace} --enroll-namespace; or {_SIDECARS}"
    if name == "none":
        raise _ineffective(ref, "has no waypoint", install)
    home = labels.get(_USE_NAMESPACE) or ref.namespace
    gateway = cluster.find("Gateway", name, home)
    if gateway is None:
        raise _ineffective(ref, f"names the waypoint {name}.{home}, which does not exist", install)
    if _labels(gateway).get(_FOR, "service") not in {"service", "all"}:
        raise _ineffective(ref, f"has the waypoint {name}.{home}, which takes no requests for services", install)
    conditions = (gateway.get("status") or {}).get("conditions") or []
    if not any(c.get("type") == "Programmed" and c.get("status") == "True" for c in conditions):
        look = f"see kubectl describe gateway {name} -n {home}"
        raise _ineffective(ref, f"has the waypoint {name}.{home}, which is not programmed", look)
    return f"{name}.{home}"


def _ineffective(ref: ServiceRef, why: str, install: str) -> BadInput:
    return BadInput(
        "MB0433",
        f"{ref} is in Istio's ambient mode and {why}, so no proxy reads its HTTP: a rule for it would have no effect, and "
        "nothing is told of its requests.",
        help=install,
    )
