"""The fault backend: what Linkerd has no words for, done by a stock Envoy beside the service.

A route sends it the calls that are to fail or to be slow, and says in request headers what it shall do with them
(``fault_envoy``). So everything that is switched stands in the route, with the route's undo; the backend itself is the
same for every fault and does nothing that no header asks for. Calls that go on, it sends to a twin of the service, a
Service of the same pods that has no route, or they would come back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from meshbdd.errors import NotPossible
from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Object, Stage
from meshbdd.mesh.catalog import Catalog, has_ended
from meshbdd.mesh.linkerd.fault_envoy import READY_PORT, bootstrap
from meshbdd.mesh.linkerd.markers import EndpointsHeld
from meshbdd.mesh.linkerd.objects import OPAQUE_PORTS, creation, fitting
from meshbdd.sidecars import FAULT_CONTAINER, FAULT_LABEL, LINKERD
from meshbdd.units import counted

IMAGE = "envoyproxy/envoy:v1.36-latest"
"""The stock image; its filters are all in the default build."""
DEFAULT_POLICY = "config.linkerd.io/default-inbound-policy"
SELECTOR = ("spec", "selector")
"""Where a Service says whose calls it gets: a fault backend in the place of its endpoints is written there."""
_MESHED = "all-authenticated"


@dataclass(frozen=True, slots=True)
class FaultBackend:
    """What stands beside a service while it has faults.

    Attributes:
        service: The service.
        ports: Its ports that carry HTTP, in the Service's own words.
        targets: Port → the port of its pods. The backend listens at the same ones, so that it can take their place.
        selector: What it selects.
        default: The ``default-inbound-policy`` of its pods; ``None`` where they name none.
        opaque: What it says of opaque ports; ``None`` where it says nothing, and the mesh's default counts.
        replicas: How many pods it has, as many as the service has endpoints: each has a circuit of its own.
    """

    service: ServiceRef
    ports: tuple[Mapping[str, Any], ...]
    targets: Mapping[int, int]
    selector: Mapping[str, str]
    default: str | None = None
    opaque: str | None = None
    replicas: int = 1

    @property
    def own(self) -> ServiceRef:
        """The Service by which routes reach it."""
        return backend_of(self.service)

    @property
    def twin(self) -> ServiceRef:
        """The Service of the service's own pods to which it sends what goes on."""
        return twin_of(self.service)

    @property
    def labels(self) -> Mapping[str, str]:
        """Those of its pods."""
        return {FAULT_LABEL: self.service.name}

    @property
    def pod(self) -> Object:
        """One of them, as far as Servers go by it."""
        meta = {"name": self.own.name, "namespace": self.service.namespace, "labels": dict(self.labels)}
        return {"metadata": meta, "spec": {"containers": [self._container()]}}

    def stage(self) -> Stage:
        """Everything that it is made of."""
        ready = EndpointsHeld(self.own, least=self.replicas), EndpointsHeld(self.twin)
        return Stage.of(*(creation(obj) for obj in self._objects()), markers=ready)

    def _objects(self) -> Iterable[Object]:
        name = self.own.name
        yield self._object("v1", "ServiceAccount", name, {"automountServiceAccountToken": False})
        for own, selector in ((self.twin.name, self.selector), (name, self.labels)):
            ports = [_port(port) for port in self.ports]
            made = self._object("v1", "Service", own, {"spec": {"selector": dict(selector), "ports": ports}})
            if self.opaque is not None:
                made["metadata"]["annotations"] = {OPAQUE_PORTS: self.opaque}
            yield made
        template = {
            "metadata": {
                "labels": dict(self.labels),
                "annotations": self._annotations,
            },
            "spec": {
                "serviceAccountName": name,
                "terminationGracePeriodSeconds": 1,
                "containers": [self._container()],
            },
        }
        spec = {"replicas": self.replicas, "selector": {"matchLabels": dict(self.labels)}, "template": template}
        yield self._object("apps/v1", "Deployment", name, {"spec": spec})

    @property
    def _annotations(self) -> Mapping[str, str]:
        """Who may call it where no Server decides: whoever may call the service, or the mesh where nobody may.

        A namespace that denies by default would deny the calls that are routed here as well, and the fault would meet none.
        All of its ports carry HTTP, also those that are opaque where nobody says anything else.
        """
        own = {LINKERD.injection.name: LINKERD.injection.wanted}
        if self.opaque is not None:
            own[OPAQUE_PORTS] = ""
        default = _MESHED if self.default == "deny" else self.default
        return {**own, DEFAULT_POLICY: default} if default else own

    def _object(self, version: str, kind: str, name: str, rest: Mapping[str, Any]) -> Object:
        meta = {"name": name, "namespace": self.service.namespace, "labels": dict(self.labels)}
        return {"apiVersion": version, "kind": kind, "metadata": meta, **rest}

    def _container(self) -> Object:
        named = {
            self.targets[int(p["port"])]: p["targetPort"] for p in self.ports if isinstance(p.get("targetPort"), str)
        }
        ports = [{"containerPort": number} for number in (READY_PORT, *sorted(set(self.targets.values())))]
        return {
            "name": FAULT_CONTAINER,
            "image": IMAGE,
            "args": [
                "--config-yaml", json.dumps(self._bootstrap(), sort_keys=True),
                "--file-flush-interval-msec", "20", "--log-level", "error",
            ],
            "ports": [{**port, **({"name": named[n]} if (n := port["containerPort"]) in named else {})} for port in ports],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": READY_PORT}, "periodSeconds": 1},
        }  # fmt: skip

    def _bootstrap(self) -> Object:
        targets = {target: port for port, target in self.targets.items()}
        return bootstrap(READY_PORT, {target: (self.twin.host, port) for target, port in targets.items()})


def default_of(pods: Iterable[Object]) -> str | None:
    """The ``default-inbound-policy`` that pods name; where they do not agree the first that lets somebody in."""
    said = [a[DEFAULT_POLICY] for p in pods if DEFAULT_POLICY in (a := p["metadata"].get("annotations") or {})]
    return next((policy for policy in said if policy != "deny"), said[0] if said else None)


def endpoints_among(pods: Iterable[Object]) -> int:
    """How many pods of a Service are endpoints of it: those that run, and do not say that they are not ready."""
    return sum(not has_ended(pod) and not _waits(pod) for pod in pods)


def see_as_many(catalog: Catalog, backend: FaultBackend, what: str) -> None:
    """See that a fault backend that stands already has as many pods as the service has endpoints by now.

    Raises:
        NotPossible: it does not.
    """
    made = catalog.find("Deployment", backend.own.name, backend.own.namespace)
    now = endpoints_among(catalog.pods(backend.selector, backend.service.namespace))
    there = int(made["spec"].get("replicas", 1)) if made else now
    if now and there != now:  # that of a service without one is nobody's to open
        raise NotPossible(
            "MB0461",
            f"{what} is not possible on Linkerd here: the fault backend came when {backend.service} had "
            f"{counted(there, 'endpoint')}, it has {now} now, and each endpoint has a circuit of its own.",
            help=f"have all pods of {backend.service} there, and ready, before the run",
        )


def _waits(pod: Object) -> bool:
    said = (pod.get("status") or {}).get("conditions") or []
    return any((condition["type"], condition["status"]) == ("Ready", "False") for condition in said)


def backend_of(service: ServiceRef) -> ServiceRef:
    """The Service of a service's fault backend."""
    return ServiceRef(fitting(f"meshbdd-fault-{service.name}"), service.namespace)


def twin_of(service: ServiceRef) -> ServiceRef:
    """The Service by which a fault backend reaches the service."""
    return ServiceRef(fitting(f"meshbdd-twin-{service.name}"), service.namespace)


def _port(port: Mapping[str, Any]) -> Object:
    return {key: port[key] for key in ("name", "port", "targetPort", "appProtocol", "protocol") if key in port}
