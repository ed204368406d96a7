"""Sidecar → which of the mesh's Services and virtual services a workload imports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from meshbdd.lab.compile.ir import Service, VirtualService
from meshbdd.lab.compile.names import overlaps, within

Object = Mapping[str, Any]
_EVERYWHERE, _HERE, _NOT = "*", ".", "~"


@dataclass(slots=True)
class _Hosts:
    wanted: list[str] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)

    def wants(self, host: str) -> bool:
        return any(within(host, pattern) for pattern in self.wanted)

    def excludes(self, host: str) -> bool:
        return any(within(host, pattern) for pattern in self.excluded)


class Imports:
    """The hosts of an egress listener: ``namespace/host``, with ``.``, ``*`` and, for exclusions, ``~namespace``.

    Args:
        hosts: As written.
        namespace: The workload's.
    """

    def __init__(self, hosts: Iterable[str], namespace: str) -> None:
        self._by_namespace: dict[str, _Hosts] = {}
        for entry in hosts:
            home, slash, host = entry.partition("/")
            if not slash or "/" in host:
                continue
            excluded, home = home.startswith(_NOT), home.removeprefix(_NOT) or _EVERYWHERE
            held = self._by_namespace.setdefault(namespace if home == _HERE else home, _Hosts())
            (held.excluded if excluded else held.wanted).append(host)

    def _of(self, namespace: str) -> list[_Hosts]:
        return [held for home in (namespace, _EVERYWHERE) if (held := self._by_namespace.get(home)) is not None]

    def service(self, service: Service) -> Service | None:
        """The Service as it is imported: with those of its other names that the same list holds; ``None``: it is not."""
        lists = self._of(service.namespace)
        if any(held.excludes(service.host) for held in lists):
            return None
        found = next((held for held in lists if held.wants(service.host)), None)
        return replace(service, aliases=tuple(filter(found.wants, service.aliases))) if found else None

    def virtual_service(self, item: VirtualService) -> bool:
        """Whether one of a virtual service's hosts is imported; a pattern counts in both directions, as Istio has it."""
        fits = within if item.gateway_api else overlaps
        lists = self._of(item.namespace)
        return any(
            any(fits(host, pattern) for held in lists for pattern in held.wanted)
            and not any(held.excludes(host) for held in lists)
            for host in item.hosts
        )


def sidecar_for(sidecars: Iterable[Object], namespace: str, labels: Mapping[str, str], root: str) -> Object | None:
    """The Sidecar that governs a workload: one that selects it, else its namespace's, else the root namespace's.

    Args:
        sidecars: The objects, oldest first.
        namespace: The workload's.
        labels: The workload's.
        root: The mesh's root namespace.
    """
    whole: dict[str, Object] = {}
    for item in sidecars:
        home, selector = item["metadata"]["namespace"], (item.get("spec") or {}).get("workloadSelector")
        if selector is None:
            whole.setdefault(home, item)
        elif home == namespace and all(labels.get(k) == v for k, v in (selector.get("labels") or {}).items()):
            return item
    return whole.get(namespace) or whole.get(root)
