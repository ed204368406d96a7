"""Applying a tester's own manifest: the same words, plus what lets a proxy show that it holds them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from meshbdd.cluster import Edit
from meshbdd.cluster.kinds import KINDS
from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef, Side
from meshbdd.mesh.base import Context, Draw, Marker, Object, Plan, Stage
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.istio.aims import aims
from meshbdd.mesh.istio.beside import refuse_vain, with_manifest
from meshbdd.mesh.istio.hosts import full_name
from meshbdd.mesh.istio.http_routes import http_route_changed, http_route_held
from meshbdd.mesh.istio.named_routes import name_routes, roots_of
from meshbdd.mesh.istio.rule_arrival import rule_held
from meshbdd.mesh.istio.security import services_of
from meshbdd.mesh.istio.selecting import Moved, has_targets, pods_for
from meshbdd.mesh.istio.sidecars import sidecar_markers
from meshbdd.mesh.istio.standing import Objects
from meshbdd.mesh.istio.transports import transports
from meshbdd.mesh.markers import (
    CLUSTERS,
    EXTENSIONS,
    LISTENERS,
    ROUTES,
    ConfigChanged,
    PolicyHeld,
)
from meshbdd.mesh.remains import Otherwise
from meshbdd.mesh.staging import staged

_AT_SERVERS = {"PeerAuthentication", "AuthorizationPolicy", "EnvoyFilter"}
_FAULT_FILTER = "extensions.filters.http.fault.v3.HTTPFault"
"""Type of Envoy's fault filter: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/fault_filter"""
_PAGES = {
    "HTTPRoute": (ROUTES,),
    "AuthorizationPolicy": (LISTENERS,),
    "EnvoyFilter": (LISTENERS, CLUSTERS, EXTENSIONS),
    "PeerAuthentication": (LISTENERS,),
    "Sidecar": (ROUTES, CLUSTERS),
}
"""The pages in which a kind shows its effect."""


def plan(catalog: Catalog, documents: list[Object], context: Context, tag: Callable[[], str]) -> Plan:
    """Plan that a manifest is applied: subsets before the routes that lead to them.

    Raises:
        BadInput: Istio would ignore one of its VirtualServices, no sidecar heeds one of its policies, or it would take away what
            is in force.
    """
    for document in documents:
        _refuse_targets(document)
    there = Objects.read(catalog)
    refuse_vain(documents, there, context, catalog.calling_namespaces)
    routing = with_manifest(there, documents).routing
    routed = [tuple(dict.fromkeys(_made_to_fail(catalog, document, documents))) for document in documents]
    filtered = [] if any(routed) else [tuple(dict.fromkeys(_filtered(catalog, document))) for document in documents]
    stages = [
        stage
        for first in (True, False)
        for stage in staged(
            _stages(
                catalog, [d for d in documents if (d["kind"] == "DestinationRule") is first], documents, routing, tag
            )
        )
    ]
    names = ", ".join(f"{d['kind']} {d['metadata']['name']}" for d in documents)
    routes = (route for s in stages for edit, own in zip(s.edits, s.tags, strict=True) if own for route in _http(edit))
    return Plan(
        f"the manifest's {names}",
        tuple(s for s in stages if s.edits),
        reason="; ".join(["as the manifest says", *_waiting(catalog, documents)]),
        side=Side.SERVER if any(filtered) else Side.CALLER,
        faulty=tuple(dict.fromkeys(service for services in (*routed, *filtered) for service in services)),
        as_one=tuple(frozenset(services) for services in (*routed, *filtered) if len(services) > 1),
        aims=aims([(d, services) for d, services in zip(documents, routed, strict=True) if services], routing),
        draws=tuple(Draw(route["name"], _share(route["fault"])) for route in routes if route.get("fault")),
    )


def _refuse_targets(document: Object) -> None:
    if document["kind"] in _AT_SERVERS and has_targets(document):
        raise BadInput(
            "MB0493",
            f"{document['kind']} {document['metadata']['name']} has targetRefs: waypoints and gateways heed it and no sidecar does, and "
            "meshbdd reads sidecars alone, so nobody would see whether it is in force.",
            help="choose its pods by their labels instead of targetRefs, or apply it before the scenario",
        )


def _waiting(catalog: Catalog, documents: Sequence[Object]) -> Iterator[str]:
    there = catalog.with_written(documents).all("VirtualService")
    for document in documents:
        if document["kind"] == "VirtualService" and not document["spec"].get("hosts") and not roots_of(document, there):
            yield f"it has no hosts, and no VirtualService delegates to {document['metadata']['name']} yet: no call takes its routes"


def _http(edit: Edit) -> list[Object]:
    """The routes of a VirtualService that is written."""
    found: list[Object] = ((edit.new or {}).get("spec") or {}).get("http") or []
    return found


def _share(fault: Object) -> float:
    """How likely a fault hits a call, by its delay or by its abort; without a percentage none of the two does."""
    spared = 1.0
    for kind in ("delay", "abort"):
        drawn = fault.get(kind) or {}
        spared *= 1 - float((drawn.get("percentage") or {}).get("value") or drawn.get("percent") or 0) / 100
    return 1 - spared


def _made_to_fail(catalog: Catalog, document: Object, documents: Sequence[Object]) -> Iterator[ServiceRef]:
    """The services for which a VirtualService of the manifest has a fault.

    Raises:
        BadInput: it is for a pattern of hosts, or for a service that there is not: nobody could tell whether it met a call.
    """
    if document["kind"] != "VirtualService" or not any(r.get("fault") for r in document["spec"].get("http") or []):
        return
    for host in _routed_hosts(catalog, document, documents):
        name, _, rest = host.partition(".")
        if name.startswith("*"):
            raise BadInput(
                "MB0473",
                f'VirtualService {document["metadata"]["name"]} has a fault for the hosts "{host}", and whether a fault has '
                "met a call can be told of a service by its own name alone.",
                help="write the names of the services under hosts",
            )
        if rest.endswith(".svc.cluster.local"):
            ref = ServiceRef(name, rest.removesuffix(".svc.cluster.local"))
            catalog.service(ref)
            yield ref


def _routed_hosts(catalog: Catalog, document: Object, documents: Sequence[Object]) -> Iterator[str]:
    """The full names of the hosts whose calls a VirtualService routes: its own or, of a delegate, those of who delegates to it."""
    there = catalog.with_written(documents).all("VirtualService")
    for owner in [document] if document["spec"].get("hosts") else roots_of(document, there):
        for host in owner["spec"]["hosts"]:
            yield full_name(host, owner["metadata"]["namespace"])


def _filtered(catalog: Catalog, document: Object) -> Iterator[ServiceRef]:
    """The services at whose own sidecars an EnvoyFilter of the manifest puts Envoy's fault filter.

    One for a whole namespace is left out: that some of its services are not called is no sign that it met nobody.
    """
    chosen = (document["spec"].get("workloadSelector") or {}).get("labels")
    if (
        document["kind"] == "EnvoyFilter"
        and chosen
        and any(
            (patch.get("match") or {}).get("context") in {"SIDECAR_INBOUND", "ANY", None}
            and _FAULT_FILTER in json.dumps((patch.get("patch") or {}).get("value") or {})
            for patch in document["spec"].get("configPatches") or []
        )
    ):
        yield from _selected_services(catalog, document)


def _stages(
    catalog: Catalog,
    group: Iterable[Object],
    documents: Sequence[Object],
    routing: Sequence[Object],
    tag: Callable[[], str],
) -> Iterator[Stage]:
    """For each of some documents of a manifest what is written, and how it is seen to arrive."""
    for document in group:
        kind, meta = document["kind"], document["metadata"]
        wanted = copy.deepcopy(document)
        wanted["apiVersion"] = KINDS[kind].group_version
        own = tag() if kind in {"VirtualService", "DestinationRule"} else ""
        markers = (
            name_routes(wanted, own, routing)
            if kind == "VirtualService"
            else _markers(catalog, wanted, own, documents, routing)
        )
        edit = Edit(kind, meta["name"], meta["namespace"], ("spec",), _constant(wanted["spec"]), wanted)
        live = catalog.find(kind, meta["name"], meta["namespace"]) if kind in _AT_SERVERS else None
        renewed = _selected_services(catalog, live, wanted) if kind in _AT_SERVERS else []
        yield Stage((edit,), (own if kind == "VirtualService" else "",), tuple(markers), tuple(renewed))


def _markers(
    catalog: Catalog, wanted: Object, tag: str, documents: Sequence[Object], routing: Sequence[Object]
) -> list[Marker]:
    """How proxies show that they hold an object; gives it a subset by which they do where it is a DestinationRule."""
    kind, meta, spec = wanted["kind"], wanted["metadata"], wanted["spec"]
    if kind == "DestinationRule":
        name = tag.removesuffix("-")
        spec["subsets"] = [*(spec.get("subsets") or []), {"name": name, "labels": {"meshbdd.dev/marker": name}}]
        return [*rule_held(catalog.with_written(documents), wanted, name)]
    live = catalog.find(kind, meta["name"], meta["namespace"])
    if live is not None and live["spec"] == spec:
        return []
    changed = ConfigChanged(f"{kind} {meta['name']}", _PAGES[kind], pods_for(wanted))
    if kind == "Sidecar":
        return sidecar_markers(catalog, wanted, changed, documents)
    if kind == "PeerAuthentication":
        places = [pods_for(policy) for policy in (live, wanted) if policy is not None]
        return [*transports(catalog.with_written(documents), places)]
    if kind == "HTTPRoute":
        shown = http_route_held(wanted, routing) if live is None else http_route_changed(live, wanted, changed, routing)
        return [*shown]
    moved = Moved.between(catalog, live, wanted)
    return [*(_policy_moved if kind == "AuthorizationPolicy" else _patches_moved)(moved, changed, meta)]


def _policy_moved(moved: Moved, changed: ConfigChanged, meta: Mapping[str, Any]) -> Iterator[Marker]:
    """How proxies show that an AuthorizationPolicy has come to them, has left them, or says something else."""
    if moved.come is not None:
        yield PolicyHeld(meta["namespace"], meta["name"], moved.come)
    if moved.gone is not None:
        said = f"settings without AuthorizationPolicy {meta['name']}"
        yield Otherwise(PolicyHeld(meta["namespace"], meta["name"], moved.gone), said)
    if moved.stays is not None:
        yield replace(changed, where=moved.stays)


def _patches_moved(moved: Moved, changed: ConfigChanged, _meta: Mapping[str, Any]) -> Iterator[Marker]:
    """The same of an EnvoyFilter, which leaves no name anywhere."""
    for where in (moved.come, moved.gone, moved.stays):
        if where is not None:
            yield replace(changed, where=where)


def _selected_services(catalog: Catalog, *policies: Object | None) -> list[ServiceRef]:
    """The services with pods that one of these policies is for."""
    found: list[ServiceRef] = []
    for where in (pods_for(policy) for policy in policies if policy is not None and not has_targets(policy)):
        namespaces = [where.namespace] if where.namespace else list(catalog.calling_namespaces())
        found += [ref for namespace in namespaces for ref in services_of(catalog, namespace, where.labels)]
    return list(dict.fromkeys(found))


def _constant(value: Any) -> Any:
    return lambda _now: copy.deepcopy(value)
