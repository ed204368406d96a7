"""Calls to one service among those that a VirtualService routes: told by whom they ask for.

A VirtualService with several hosts, or a pattern of them, has the same routes for all. What a step puts before these is for calls
to its service alone, so it gets a condition on the authority.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.mesh.istio.hosts import Object, covers, full_name, service_host

Route = dict[str, Any]
Narrow = Callable[[Iterable[Route]], list[Route]]
"""The routes that are there → those of them that take calls to one service, for these calls alone."""


@dataclass(frozen=True, slots=True)
class _Names:
    """Names by which a service is called.

    Attributes:
        names: The names.
        ports: The service's ports.
        namespace: Only callers in this namespace mean the service by them; empty: everybody does.
        headless: Whether pods have names of their own below the dotted ones.
    """

    names: tuple[str, ...]
    ports: tuple[int, ...]
    namespace: str = ""
    headless: bool = False

    def within(self, authority: Mapping[str, str]) -> dict[str, str] | None:
        """A condition for what these names and another condition both take; ``None`` where nothing is.

        Raises:
            ValueError: no condition says it.
        """
        kind, value = next(iter(authority.items()), ("", ""))
        if kind == "exact":
            return dict(authority) if re.fullmatch(self.regex, value) else None
        taken = {name: {_meets(kind, value, said) for said in self._said(name)} for name in self.names}
        kept = tuple(name for name in self.names if taken[name] == {True})
        some_of_one = any(len(found) > 1 for found in taken.values())
        if some_of_one or (self.headless and kept and kept != self.names):  # who knows of the pods below
            raise ValueError(f"{kind} {value}")
        return {"regex": replace(self, names=kept).regex} if kept else None

    @property
    def regex(self) -> str:
        """What authorities have the names, in the words that RE2 and Python share."""
        told = "|".join(
            ("([^.:]+[.])?" if self.headless and "." in name else "") + re.escape(name) for name in self.names
        )
        return rf"(?i)({told})\.?(:[0-9]+)?"

    def _said(self, name: str) -> list[str]:
        """Authorities with a name: without and with each port."""
        return [name, *(f"{name}:{port}" for port in self.ports)]


def _meets(kind: str, value: str, authority: str) -> bool:
    if kind == "prefix":
        return authority.startswith(value)
    return _takes(value, authority) if kind == "regex" else True


def _takes(regex: str, authority: str) -> bool:
    try:
        return re.fullmatch(regex, authority) is not None
    except re.error as error:  # RE2 has words that Python has not
        raise ValueError(f"regex {regex}") from error


def own_calls(service: ServiceRef, ruling: Object | None, services: Callable[[], Sequence[Object]]) -> Narrow:
    """How the routes of the VirtualService that rules a service are narrowed to calls to this one.

    Args:
        service: The service.
        ruling: The VirtualService; ``None``: there is none, so that nobody else's calls take the routes.
        services: Gives all Services; asked only where it has other hosts.
    """
    if ruling is None:
        return list
    host, meta = service_host(service), ruling["metadata"]
    hosts = [full_name(name, meta["namespace"]) for name in ruling["spec"].get("hosts") or []]
    if all(name == host for name in hosts):
        return list
    ways = _ways(service, hosts, services())

    def narrow(routes: Iterable[Route]) -> list[Route]:
        found: list[Route] = []
        for route in routes:
            pairs = ((block, names) for block in route.get("match") or [{}] for names in ways)
            matches = [made for block, names in pairs if (made := _both(block, names)) is not None]
            found += [{**route, "match": matches}] if matches else []
        return found

    def understood(routes: Iterable[Route]) -> list[Route]:
        try:
            return narrow(routes)
        except ValueError as error:
            raise BadInput(
                "MB0490",
                f"VirtualService {meta['name']} is for other hosts than {service}, too, and has a route whose match of the authority "
                f"({error}) cannot be joined with the names of this one.",
                help=f"split it: write a VirtualService for {service} alone",
            ) from error

    return understood


def routes_of(
    service: ServiceRef, ruling: Object, services: Callable[[], Sequence[Object]]
) -> Sequence[Mapping[str, Any]]:
    """The routes of a VirtualService that may take calls to a service."""
    routes = ruling["spec"].get("http") or []
    try:
        return own_calls(service, ruling, services)(routes)
    except BadInput:  # nobody can tell which
        return list(routes)


def _both(match: Mapping[str, Any], names: _Names) -> dict[str, Any] | None:
    whose = match.get("sourceNamespace") or names.namespace
    authority = names.within(match.get("authority") or {})
    if authority is None or (names.namespace and whose != names.namespace):
        return None
    return {**match, "authority": authority, **({"sourceNamespace": whose} if whose else {})}


def _ways(service: ServiceRef, hosts: Iterable[str], services: Sequence[Object]) -> list[_Names]:
    """The names of a service, by who calls it so.

    They are those of ``generateVirtualHostDomains`` in istio/istio ``pilot/pkg/networking/core/httproute.go``. A short one is
    another service's elsewhere, which matters where the same routes are for that.
    """
    spec = next((obj.get("spec") or {} for obj in services if _ref(obj) == service), {})
    refs = [service, *(_ref(obj) for obj in services if _stands_for(obj, service))]
    headless, ports = spec.get("clusterIP") == "None", tuple(int(port["port"]) for port in spec.get("ports") or [])
    addresses = [f"[{ip}]" if ":" in ip else ip for ip in _addresses(spec)]
    long = [f"{ref.name}.{ref.namespace}{rest}" for ref in refs for rest in ("", ".svc", ".svc.cluster.local")]
    others = [ref for ref in map(_ref, services) if ref not in refs]
    if not any(o.name == r.name and covers(h, service_host(o)) for o in others for r in refs for h in hosts):
        every = dict.fromkeys([*(ref.name for ref in refs), *long, *addresses])
        return [_Names(tuple(every), ports, headless=headless)]
    homes = {ref.namespace: [r.name for r in refs if r.namespace == ref.namespace] for ref in refs}
    short = [_Names(tuple(dict.fromkeys(names)), ports, home) for home, names in homes.items()]
    return [_Names(tuple(dict.fromkeys([*long, *addresses])), ports, headless=headless), *short]


def _ref(obj: Object) -> ServiceRef:
    return ServiceRef(obj["metadata"]["name"], obj["metadata"]["namespace"])


def _stands_for(obj: Object, service: ServiceRef) -> bool:
    """Whether a Service is another name of one."""
    spec = obj.get("spec") or {}
    return spec.get("type") == "ExternalName" and str(spec.get("externalName") or "").rstrip(".") == service_host(
        service
    )


def _addresses(spec: Mapping[str, Any]) -> list[str]:
    known = dict.fromkeys([spec.get("clusterIP"), *(spec.get("clusterIPs") or [])])
    return [str(address) for address in known if address and address != "None"]
