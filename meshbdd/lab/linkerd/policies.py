"""Linkerd's control plane as one pure function of the objects: every policy, status and warning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshbdd.lab.linkerd.accepted import statuses
from meshbdd.lab.linkerd.model import Forward
from meshbdd.lab.linkerd.objects import Objects
from meshbdd.lab.linkerd.read.destinations import Destinations
from meshbdd.lab.linkerd.read.inbound import InboundPolicies
from meshbdd.lab.linkerd.read.outbound import OutboundPolicies
from meshbdd.lab.linkerd.settings import ControlPlaneSettings

Object = Mapping[str, Any]
NOWHERE = "203.0.113.1"
"""An address that stands for every one of an egress network where it is only about what would be logged (RFC 5737)."""


class Policies:
    """What Linkerd makes of a set of objects.

    Args:
        objects: Everything that the API holds; kinds that Linkerd has no use for are passed over.
        settings: How the control plane was installed.
    """

    def __init__(self, objects: Iterable[Object], settings: ControlPlaneSettings | None = None) -> None:
        self.settings = settings or ControlPlaneSettings()
        self.objects = Objects(objects)
        self._log: list[str] = []
        self.outbound = OutboundPolicies(self.objects, self.settings, self._warn)
        self.inbound = InboundPolicies(self.objects, self.settings, self._warn)
        self.destinations = Destinations(self.objects, self.settings, self._warn)

    def _warn(self, line: str) -> None:
        if line not in self._log:
            self._log.append(line)

    def log(self) -> list[str]:
        """What the controllers would log of all objects, each line once, sorted."""
        everywhere = {service["metadata"]["namespace"] for service in self.objects.services.values()}
        for namespace, name in self.objects.services:
            service = self.objects.services[namespace, name]
            for port in service["spec"].get("ports") or []:
                for client in sorted(everywhere | {r["metadata"]["namespace"] for r in self.objects.routes()}):
                    self.outbound.of_service(name, namespace, port["port"], client)
        for network in self.objects.of("EgressNetwork"):
            own = network["metadata"]
            attached = self.objects.attached("EgressNetwork", own["namespace"], own["name"])
            for port in sorted({80} | {parent.port for _, parent in attached if parent.port}):
                for client in sorted(everywhere | {own["namespace"]}):
                    self.outbound.of_egress_network(network, Forward(NOWHERE, port), client)
        for pod in self.objects.pods.values():
            for port in sorted(self.inbound.ports_of(pod)):
                self.inbound.at_port(pod, port)
        self.inbound.unreadable()
        return sorted(self._log)

    def statuses(self) -> list[tuple[Object, Mapping[str, Any]]]:
        """The status of every object that Linkerd writes one for."""
        return list(statuses(self.objects, self.settings))
