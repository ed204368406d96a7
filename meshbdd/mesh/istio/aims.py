"""Whose calls the faults of a manifest's VirtualServices are for. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Aim, Object, Where
from meshbdd.mesh.istio.hosts import full_name, is_http_route, service_host
from meshbdd.mesh.istio.named_routes import exported, joined, key_of, narrowed, roots_of, ruled_by_others
from meshbdd.mesh.istio.routes import sources
from meshbdd.route_matches import takes_every_request

_MESH = "mesh"
"""The name of all sidecars among gateways."""


def aims(documents: Iterable[tuple[Object, Collection[ServiceRef]]], objects: Sequence[Object]) -> tuple[Aim, ...]:
    """The services that VirtualServices of a manifest make fail for some callers alone.

    Args:
        documents: Those with faults, and the services that each makes fail.
        objects: Every VirtualService that is there then.
    """
    found: dict[ServiceRef, list[Where]] = {}
    for document, services in documents:
        for service in services:
            found.setdefault(service, []).extend(_callers(document, service, objects))
    return tuple(Aim(service, tuple(wheres)) for service, wheres in found.items() if Where() not in wheres)


def _callers(document: Object, service: ServiceRef, objects: Sequence[Object]) -> Iterator[Where]:
    """Those whose calls to a service may take a route with a fault of one VirtualService, by who sees it and what it asks of them."""
    for owner in [document] if document["spec"].get("hosts") else roots_of(document, objects):
        spec, meta = owner["spec"], owner["metadata"]
        hosts = {full_name(host, meta["namespace"]) for host in spec["hosts"]}
        if service_host(service) not in hosts:
            continue
        if _MESH not in (spec.get("gateways") or [_MESH]):
            yield Where()  # for pods of gateways, whose calls are told by nothing that is known here
            continue
        others = ruled_by_others(owner, service_host(service), objects)
        for where in _faulted(owner, objects, key_of(document)):
            for seen_by in exported(spec, meta):
                yield from narrowed(where, seen_by, others)


def _faulted(owner: Object, objects: Sequence[Object], whose: tuple[str, str]) -> Iterator[Where]:
    """Whose calls may come to the routes with a fault of one VirtualService, past those before that take all of a caller's."""
    taken: list[Where] = []
    for match, made_by in _matches(owner, objects):
        if made_by == whose and _MESH not in (match.get("gateways") or [_MESH]):
            yield Where()
        for where in sources([{"match": [match]}]):
            if made_by == whose:
                yield replace(where, but=tuple(taken))
            elif takes_every_request(match):
                taken.append(where)


def _matches(owner: Object, objects: Sequence[Object]) -> Iterator[tuple[Object, tuple[str, str] | None]]:
    """What the routes of a VirtualService ask of calls, in order, and which object's fault is in the route.

    A delegate's route has that of who delegates where it has none itself (``mergeHTTPRoute``, see ``named_routes``).
    """
    there = {key_of(obj): obj for obj in objects if not obj["spec"].get("hosts") and not is_http_route(obj)}
    for route in owner["spec"].get("http") or []:
        own, target = (key_of(owner) if route.get("fault") else None), route.get("delegate") or {}
        if not target:
            yield from ((match, own) for match in route.get("match") or [{}])
            continue
        key = str(target.get("namespace") or owner["metadata"]["namespace"]), str(target.get("name"))
        for led in ((there.get(key) or {}).get("spec") or {}).get("http") or []:
            yield from ((match, key if led.get("fault") else own) for match in joined(route, led))
