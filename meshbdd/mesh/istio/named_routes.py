"""The routes of a tester's VirtualService: named, so that proxies show that they hold them. Pure functions.

One without hosts is a delegate: its routes come to proxies by those of others that delegate to it, and under both names, as
istio/istio ``pilot/pkg/model/virtualservice.go`` merges them (``mergeHTTPRoute``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from meshbdd.mesh.base import Marker, Object, Where
from meshbdd.mesh.istio.hosts import covers, full_name, hosts_of, is_http_route, routing, same_rule
from meshbdd.mesh.istio.routes import sources
from meshbdd.mesh.markers import RouteHeld


def name_routes(wanted: Object, tag: str, objects: Sequence[Object]) -> list[Marker]:
    """Name the routes of a VirtualService.

    Args:
        wanted: The VirtualService; its routes get their names.
        tag: What the names begin with.
        objects: Every VirtualService and HTTPRoute that is there then.

    Returns:
        How proxies show that they hold them.
    """
    spec = wanted["spec"]
    for index, route in enumerate(spec.get("http") or []):
        route["name"] = f"{tag}{index}"
    if spec.get("hosts"):
        return [*_held(wanted, spec.get("http") or [], tag, objects)]
    led = [marker for root in roots_of(wanted, objects) for marker in _held(root, _merged(root, wanted), tag, objects)]
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


def _held(owner: Object, routes: Iterable[Object], tag: str, objects: Iterable[Object]) -> Iterator[Marker]:
    """How proxies show that they hold routes, by the VirtualService that has the hosts; no sidecar is sent one for gateways."""
    spec, meta = owner["spec"], owner["metadata"]
    if "mesh" not in (spec.get("gateways") or ["mesh"]):
        return
    shares: dict[tuple[tuple[Where, ...], str | None, frozenset[str]], list[str]] = {}
    for host in (full_name(name, meta["namespace"]) for name in spec["hosts"]):
        for share in _shares(owner, host, [*objects]):
            shares.setdefault(share, []).append(host)
    sourced = sources(routes)
    for (others, only, elsewhere), hosts in shares.items():
        meant = [
            where if only is None else replace(where, namespace=only)
            for where in sourced
            if not only or where.namespace in (None, only)
        ]
        for where in meant:
            for seen_by in exported(spec, meta):
                for left in narrowed(where, seen_by, others):
                    yield RouteHeld(tag, tuple(hosts), left, elsewhere=elsewhere)


def _shares(
    owner: Object, host: str, objects: Sequence[Object]
) -> Iterator[tuple[tuple[Where, ...], str | None, frozenset[str]]]:
    """Who has a VirtualService for a host: all but some, or those of one namespace; and which of a pattern's hosts others route there."""
    others = ruled_by_others(owner, host, objects)
    within = {name for obj in objects for name in hosts_of(obj) if name != host and covers(host, name)}

    def elsewhere(namespace: str) -> frozenset[str]:
        ruling = ((name, routing(name, objects, namespace)) for name in within)
        return frozenset(name for name, obj in ruling if obj is not None and not same_rule(obj, owner))

    spaces = [name for name in _named(objects) if within and Where(name) not in others]
    apart = [name for name in spaces if elsewhere(name) != elsewhere("")]
    yield (*others, *map(Where, apart)), None, elsewhere("")
    yield from (((), name, elsewhere(name)) for name in apart)


def ruled_by_others(owner: Object, host: str, objects: Iterable[Object]) -> tuple[Where, ...]:
    """The callers who have another rule for a host: no proxy of theirs is sent the routes of this one for it.

    Args:
        owner: The VirtualService or the HTTPRoute.
        host: One of its hosts, in full.
        objects: Every VirtualService and HTTPRoute that is there then. Those alone to whom one is exported by name, or who have an
            HTTPRoute of their own, may have others than the rest.
    """
    there = [*objects]
    ruling = ((name, routing(host, there, name)) for name in _named(there))
    return tuple(Where(name) for name, obj in ruling if obj is not None and not same_rule(obj, owner))


def going_by(owner: Object, host: str, objects: Iterable[Object]) -> list[Where]:
    """The callers whose calls to a host an HTTPRoute leads.

    Args:
        owner: The HTTPRoute.
        host: The full name of one of its Services.
        objects: Every VirtualService and HTTPRoute that is there then.
    """
    there = with_every_host_of(owner, objects)

    def leads(namespace: str) -> bool:
        rule = routing(host, there, namespace)
        return rule is not None and same_rule(rule, owner)

    if leads(""):
        return [Where(but=ruled_by_others(owner, host, there))]
    return [Where(name) for name in _named(there) if leads(name)]


def with_every_host_of(owner: Object, objects: Iterable[Object]) -> list[Object]:
    """Some objects with one of them for all of its hosts: of an HTTPRoute also for those that it leads at some ports alone."""
    there = [*objects]
    known = [is_http_route(obj) is is_http_route(owner) and key_of(obj) == key_of(owner) for obj in there]
    whole = [{**obj, "spec": owner["spec"]} if own else obj for obj, own in zip(there, known, strict=True)]
    return whole if any(known) else [*whole, owner]


def _named(objects: Iterable[Object]) -> list[str]:
    """The namespaces in which one of some objects may count that does not everywhere: everywhere else the same ones do."""
    seen_by = (where.namespace for obj in objects for where in exported(obj["spec"], obj["metadata"]))
    homes = (obj["metadata"]["namespace"] for obj in objects if is_http_route(obj))
    return sorted({name for name in (*seen_by, *homes) if name})


def narrowed(where: Where, seen_by: Where, others: Iterable[Where]) -> Iterator[Where]:
    """Those of some callers who are in a namespace that sees a VirtualService and have no other one; none where nobody is left.

    Args:
        where: The callers.
        seen_by: One of those who see it: see ``exported``.
        others: Those who have another: see ``ruled_by_others``.
    """
    home = seen_by.namespace or where.namespace
    hidden = tuple(other for other in others if home in (None, other.namespace))
    if where.namespace in (None, home) and (home is None or not hidden):
        yield replace(where, namespace=home, but=(*where.but, *hidden))


def key_of(obj: Mapping[str, Any]) -> tuple[str, str]:
    """Namespace and name of an object."""
    return str(obj["metadata"]["namespace"]), str(obj["metadata"]["name"])


def exported(spec: Object, meta: Mapping[str, Any]) -> list[Where]:
    """The proxies that may see a resource, by its own word."""
    told = spec.get("exportTo") or ["*"]
    home = meta["namespace"]
    return [Where()] if "*" in told else [Where(name) for name in dict.fromkeys(home if n == "." else n for n in told)]
