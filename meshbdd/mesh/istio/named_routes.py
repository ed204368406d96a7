"""The routes of a tester's VirtualService: named, so that proxies show that they hold them. Pure functions.

One without hosts is a delegate: its routes come to proxies by those of others that delegate to it, and under both names, as
istio/istio ``pilot/pkg/model/virtualservice.go`` merges them (``mergeHTTPRoute``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from meshbdd.mesh.base import Marker, Object, Where
from meshbdd.mesh.istio.hosts import full_name
from meshbdd.mesh.istio.routes import sources
from meshbdd.mesh.markers import RouteHeld


def name_routes(wanted: Object, tag: str, objects: Iterable[Object]) -> list[Marker]:
    """Name the routes of a VirtualService.

    Args:
        wanted: The VirtualService; its routes get their names.
        tag: What the names begin with.
        objects: Every VirtualService that is there then.

    Returns:
        How proxies show that they hold them.
    """
    spec = wanted["spec"]
    for index, route in enumerate(spec.get("http") or []):
        route["name"] = f"{tag}{index}"
    if spec.get("hosts"):
        return [*_held(wanted, spec.get("http") or [], tag)]
    led = [marker for root in roots_of(wanted, objects) for marker in _held(root, _merged(root, wanted), tag)]
    return led or [RouteHeld(tag, (), needed=False)]


def roots_of(delegate: Object, objects: Iterable[Object]) -> list[Object]:
    """The VirtualServices that have a route which delegates to one without hosts."""
    return [obj for obj in objects if obj["spec"].get("hosts") and any(_delegating(obj, delegate))]


def _delegating(root: Object, delegate: Object) -> Iterator[Object]:
    for route in root["spec"].get("http") or []:
        target, meta = route.get("delegate") or {}, delegate["metadata"]
        home = target.get("namespace") or root["metadata"]["namespace"]
        if (target.get("name"), home) == (meta["name"], meta["namespace"]):
            yield route


def _merged(root: Object, delegate: Object) -> list[Object]:
    """What the routes of a delegate come to be by one that delegates to it, as far as their matches tell whose calls they take."""
    routes = delegate["spec"].get("http") or []
    made = [joined(whole, own) for whole in _delegating(root, delegate) for own in routes]
    return [{"match": matches} for matches in made if matches]


def joined(whole: Object, own: Object) -> list[Object]:
    """The matches of a delegate's route, by a route that delegates to it, as far as they tell whose calls they take."""
    pairs = ((first, second) for first in whole.get("match") or [{}] for second in own.get("match") or [{}])
    return [_narrowed(first, second) for first, second in pairs if _within(first, second)]


def _within(first: Object, second: Object) -> bool:
    labels, namespace = first.get("sourceLabels") or {}, first.get("sourceNamespace")
    return second.get("sourceNamespace") in (None, "", namespace or second.get("sourceNamespace")) and all(
        labels.get(name, value) == value for name, value in (second.get("sourceLabels") or {}).items()
    )


def _narrowed(first: Object, second: Object) -> Object:
    inherited = {field: first[field] for field in ("sourceNamespace", "gateways") if first.get(field)}
    return {
        **first,
        **second,
        **inherited,
        **{field: second[field] for field in ("sourceNamespace", "gateways") if second.get(field)},
        "sourceLabels": {**(first.get("sourceLabels") or {}), **(second.get("sourceLabels") or {})},
    }


def _held(owner: Object, routes: Iterable[Object], tag: str) -> Iterator[Marker]:
    """How proxies show that they hold routes, by the VirtualService that has the hosts; no sidecar is sent one for gateways."""
    spec, meta = owner["spec"], owner["metadata"]
    if "mesh" not in (spec.get("gateways") or ["mesh"]):
        return
    hosts = tuple(full_name(host, meta["namespace"]) for host in spec["hosts"])
    for where in sources(routes):
        for seen_by in exported(spec, meta):
            if None in (seen_by.namespace, where.namespace) or seen_by.namespace == where.namespace:
                yield RouteHeld(tag, hosts, Where(seen_by.namespace or where.namespace, where.labels))


def exported(spec: Object, meta: Mapping[str, Any]) -> list[Where]:
    """The proxies that may see a resource, by its own word."""
    told = spec.get("exportTo") or ["*"]
    home = meta["namespace"]
    return [Where()] if "*" in told else [Where(name) for name in dict.fromkeys(home if n == "." else n for n in told)]
