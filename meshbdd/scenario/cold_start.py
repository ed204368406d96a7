"""Starts of a service's pod with and without a sidecar: copies that no Service leads to, deleted when they are ready."""

from __future__ import annotations

import copy
import secrets
import time
from collections.abc import Callable
from typing import Any, TypeVar

from meshbdd.cluster import Cluster, Edit
from meshbdd.errors import BadInput, Inconclusive
from meshbdd.intents import ServiceRef
from meshbdd.scenario.environment import Environment
from meshbdd.sidecars import Injection
from meshbdd.telemetry.proxies import has_proxy
from meshbdd.units import Duration
from meshbdd.waiting import NotYet, eventually

_COPY = "meshbdd.dev/cold-start"
_READY = Duration(120)
"""An image that has to be fetched first may take long; the first copy pays for that, and one of many is no median."""

T = TypeVar("T")
Object = dict[str, Any]


def template_of(cluster: Cluster, service: ServiceRef) -> Object:
    """The template of the pods behind a service.

    Raises:
        BadInput: no such Service, or no Deployment whose pods it leads to.
    """
    found = cluster.find("Service", service.name, service.namespace)
    selector = ((found or {}).get("spec") or {}).get("selector") or {}
    for deployment in cluster.list("Deployment", service.namespace) if selector else ():
        template: Object = deployment["spec"]["template"]
        if selector.items() <= ((template.get("metadata") or {}).get("labels") or {}).items():
            return template
    raise BadInput(
        "MB0547",
        f"There is no Deployment behind {service} whose pods could be started once more.",
        help="name a Service that leads to the pods of a Deployment",
    )


def start_once(environment: Environment, service: ServiceRef, template: Object, *, meshed: bool) -> float:
    """Start a copy of a pod, and delete it.

    Returns:
        Seconds from the moment that the copy was asked for until it was ready.

    Raises:
        Inconclusive: it was not ready, or not gone, in time, or has a sidecar where it should have none or the other way round.
    """
    name = f"meshbdd-start-{secrets.token_hex(4)}"
    deployment = _deployment(name, service.namespace, template, environment.mesh.sidecars.injection, meshed=meshed)
    spec = deployment["spec"]
    edit = Edit("Deployment", name, service.namespace, ("spec",), lambda _: spec, new=deployment)
    with environment.standing.for_a_moment(edit):
        began = time.monotonic()
        pod = _see(
            lambda: _ready(environment.cluster, service.namespace, name),
            f"a copy of a pod of {service} {'with' if meshed else 'without'} a sidecar being ready",
            help_="look at its events; give the namespace room for one more pod",
        )
        taken = time.monotonic() - began
    # What still ends would slow the next start, which is one of the other kind.
    _see(
        lambda: _gone(environment.cluster, service.namespace, name),
        f"the end of a copy of a pod of {service}",
        help_="look at its events",
    )
    if has_proxy(pod) is not meshed:
        raise Inconclusive(
            "MB0549",
            f"A copy of a pod of {service} was to have {'a' if meshed else 'no'} sidecar, and has "
            f"{'none' if meshed else 'one'}.",
            help="see that the mesh's injector takes the namespace, and lets single pods out",
        )
    return taken


def _see(probe: Callable[[], T], what: str, *, help_: str) -> T:
    return eventually(
        probe, what=what, within=_READY, code="MB0548", failure=Inconclusive, help=help_, longest_pause=0.02
    )


def _deployment(name: str, namespace: str, template: Object, injection: Injection, *, meshed: bool) -> Object:
    """A Deployment of one copy; without the template's own labels, so that no Service and no policy means it."""
    metadata: Object = {
        "labels": {_COPY: name},
        "annotations": dict((template.get("metadata") or {}).get("annotations") or {}),
    }
    metadata[injection.part][injection.name] = injection.wanted if meshed else injection.unwanted
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {_COPY: name}},
            "template": {"metadata": metadata, "spec": copy.deepcopy(template["spec"])},
        },
    }


def _gone(cluster: Cluster, namespace: str, name: str) -> None:
    if cluster.list("Pod", namespace, f"{_COPY}={name}"):
        raise NotYet("it is there still")


def _ready(cluster: Cluster, namespace: str, name: str) -> Object:
    for pod in cluster.list("Pod", namespace, f"{_COPY}={name}"):
        conditions = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or []}
        if conditions.get("Ready", {}).get("status") == "True":
            return pod
        raise NotYet(f"its condition Ready is {conditions.get('Ready', {}).get('status', 'not there')}")
    raise NotYet("there is no pod yet")
