"""Whom calls were made to, wherever rules led them. Pure functions.

Linkerd's proxies go by the address that is called, and log the Service of that. Istio's go by the name that a call asks for, and log
the service to which a rule led it: https://istio.io/latest/docs/ops/configuration/traffic-management/traffic-routing/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshbdd.intents import ServiceRef
from meshbdd.sidecars import LINKERD, Sidecars
from meshbdd.telemetry.access_log import Entry

_DOMAINS = {(), ("svc",), ("svc", "cluster", "local")}
"""What may follow the namespace in a Service's name: pilot's ``generateVirtualHostDomains``."""


class Names:
    """The Services, by the names and addresses by which calls ask for them.

    Args:
        services: The Services.
        sidecars: The mesh's.
    """

    def __init__(self, services: Iterable[Mapping[str, Any]], sidecars: Sidecars) -> None:
        self._sidecars = sidecars
        self._headless: dict[tuple[str, str], bool] = {}
        self._by_address: dict[str, str] = {}
        for service in services:
            meta, spec = service["metadata"], service.get("spec") or {}
            name, namespace = str(meta["name"]), str(meta.get("namespace") or "")
            self._headless[name, namespace] = spec.get("clusterIP") == "None"
            for address in {spec.get("clusterIP"), *(spec.get("clusterIPs") or [])} - {None, "", "None"}:
                self._by_address[str(address)] = _host(name, namespace)

    def called(self, entry: Entry) -> str:
        """The full name of the service that a call out of a pod was made to.

        Where the call asks for no Service's name or address, it is the one to which it was led.
        """
        asked = "" if self._sidecars is LINKERD else self.named(entry.authority, entry.namespace)
        return asked if entry.service and asked else entry.service

    def services(self, hosts: Iterable[str]) -> list[ServiceRef]:
        """Those of some full names that are a Service's."""
        known = {_host(*service): ServiceRef(*service) for service in self._headless}
        return [known[host] for host in sorted(set(hosts)) if host in known]

    def named(self, authority: str, namespace: str) -> str:
        """The full name of the Service that is asked for; empty where it is none's.

        Args:
            authority: What a call says.
            namespace: That of the caller, where a short name is one of its own.
        """
        asked = authority.lower()
        if asked.startswith("["):
            return self._by_address.get(asked[1:].partition("]")[0], "")
        asked = asked.partition(":")[0].rstrip(".")
        if asked in self._by_address:
            return self._by_address[asked]
        name, *rest = asked.split(".")
        place, *domain = rest or [namespace]
        if (name, place) in self._headless and tuple(domain) in _DOMAINS:
            return _host(name, place)
        pods = tuple(rest)  # a pod of a headless Service has a name of its own below it
        if len(pods) > 1 and self._headless.get((pods[0], pods[1])) and pods[2:] in _DOMAINS:
            return _host(pods[0], pods[1])
        return ""


def _host(name: str, namespace: str) -> str:
    return ServiceRef(name, namespace).host
