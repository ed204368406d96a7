"""How proxies show that they hold an HTTPRoute: Istio names its rules by it, and by nothing that they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meshbdd.mesh.base import Dump, Marker, Object, Where
from meshbdd.mesh.istio.hosts import parents, service_host
from meshbdd.mesh.istio.named_routes import going_by
from meshbdd.mesh.markers import ROUTES, ConfigChanged, RouteHeld, virtual_hosts
from meshbdd.mesh.remains import Otherwise


@dataclass(frozen=True, slots=True)
class RulesHeld:
    """Rules of an HTTPRoute among the routes of one host; a proxy that does not know the host calls it not.

    Attributes:
        tag: What their names begin with.
        host: Whose calls they take.
        where: The proxies meant.
    """

    tag: str
    host: str
    where: Where = Where()
    pages = (ROUTES,)
    unique = True

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        own = [h for h in virtual_hosts(dumps[0]) if str(h.get("name", "")).rpartition(":")[0] == self.host]
        names = [str(route.get("name", "")) for host in own for route in host.get("routes") or []]
        return any(name.startswith(self.tag) for name in names) if own else None

    def __str__(self) -> str:
        return f"route {self.tag}* of {self.host}"


def http_route_held(route: Object, objects: Sequence[Object]) -> Iterator[Marker]:
    """How proxies show that they hold one which is new.

    Args:
        route: The HTTPRoute.
        objects: Every VirtualService and HTTPRoute that is there then.
    """
    by_callers: dict[Where, list[str]] = {}
    for host in _hosts(route):
        for where in going_by(route, host, objects):
            by_callers.setdefault(where, []).append(host)
    for where, hosts in by_callers.items() or [(Where(), _hosts(route))]:  # where nobody goes by it, nobody shows it
        yield RouteHeld(_tag(route), tuple(hosts), where)


def http_route_changed(
    live: Object, wanted: Object, changed: ConfigChanged, objects: Sequence[Object]
) -> Iterator[Marker]:
    """How they show that one has come to some services' calls, has left those of others, or says something else.

    Args:
        live: What stands there.
        wanted: What is written.
        changed: That something did.
        objects: Every VirtualService and HTTPRoute that is there then.
    """
    before, after = _hosts(live), _hosts(wanted)
    for host in after:
        if host not in before:
            yield from (RulesHeld(_tag(wanted), host, where) for where in going_by(wanted, host, objects))
    for host in before:
        if host not in after:
            for where in going_by(live, host, objects):
                yield Otherwise(RulesHeld(_tag(wanted), host, where), f"routes of {host} without {_tag(wanted)}*")
    both = [host for host in before if host in after]
    if (both or not before + after) and _said(live, both) != _said(wanted, both):
        led = [where for host in both for where in going_by(wanted, host, objects)] if both else [changed.where]
        yield from (replace(changed, where=where) for where in dict.fromkeys(led))


def _tag(route: Object) -> str:
    return f"{route['metadata']['namespace']}.{route['metadata']['name']}."


def _hosts(route: Object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(service_host(ref) for ref in parents(route)))


def _said(route: Object, hosts: Sequence[str]) -> Mapping[str, Any]:
    """What a route says of the calls to these hosts."""
    one_each = [{**route, "spec": {"parentRefs": [ref]}} for ref in route["spec"].get("parentRefs") or []]
    return {
        **route["spec"],
        "parentRefs": [one["spec"] for one in one_each if not hosts or set(_hosts(one)) & set(hosts)],
    }
