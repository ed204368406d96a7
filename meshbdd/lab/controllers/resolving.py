"""Looking a Service up for a pod without a sidecar: what cluster DNS and kube-proxy do together."""

from __future__ import annotations

import ipaddress

from meshbdd.lab.api.core import Api
from meshbdd.lab.controllers.endpoints import SLICES
from meshbdd.lab.sidecar.plain_path import Resolve


def service_name(host: str, namespace: str) -> tuple[str, str] | None:
    """Namespace and name that a host means for a pod of ``namespace``; ``None`` where it names no Service."""
    parts = host.rstrip(".").split(".")
    if len(parts) == 1:
        return namespace, parts[0]
    if parts[2:] in ([], ["svc"], ["svc", "cluster", "local"]):
        return parts[1], parts[0]
    return None


def resolver(api: Api, namespace: str) -> Resolve:
    """The lookup for pods of ``namespace``: ready endpoints of a Service, or a loopback address as it stands."""

    def resolve(host: str, port: int) -> list[tuple[str, int]]:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            address = None
        if address is not None:
            for service in api.list("services"):
                if service["spec"].get("clusterIP") == host:
                    return _endpoints(api, service["metadata"]["namespace"], service["metadata"]["name"], port)
            # The lab's traffic stays on this machine.
            return [(host, port)] if address.is_loopback else []
        name = service_name(host, namespace)
        return _endpoints(api, *name, port) if name else []

    return resolve


def _endpoints(api: Api, namespace: str, name: str, port: int) -> list[tuple[str, int]]:
    service = api.find("services", name, namespace)
    found = api.find(SLICES, name, namespace)
    if service is None or found is None:
        return []
    wanted = next((p.get("name", "") for p in service["spec"].get("ports") or [] if p["port"] == port), None)
    if wanted is None:
        return []
    target = next((p["port"] for p in found.get("ports") or [] if p.get("name", "") == wanted), None)
    ready = [e["addresses"][0] for e in found.get("endpoints") or [] if e["conditions"].get("ready")]
    return [(address, target) for address in ready] if target else []
