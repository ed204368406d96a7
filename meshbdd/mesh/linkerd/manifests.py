"""Applying a tester's own manifest: the same words, plus the header by which proxies show that they hold its routes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from meshbdd.cluster import Edit
from meshbdd.cluster.kinds import KINDS, kind_of
from meshbdd.errors import NotPossible
from meshbdd.intents import ServiceRef, Side
from meshbdd.mesh.base import Context, Marker, Object, Plan, Stage
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.annotations import CONSECUTIVE, MAX_FAILURES, MIN_PENALTY, refuse_unreadable, same, seconds_of
from meshbdd.mesh.linkerd.attachment import refuse_unattached
from meshbdd.mesh.linkerd.authorizing import AUTHENTICATIONS
from meshbdd.mesh.linkerd.beside import refuse_vain
from meshbdd.mesh.linkerd.callers import callers_of
from meshbdd.mesh.linkerd.joining import joined
from meshbdd.mesh.linkerd.markers import BreakerHeld, EndpointsHeld, RouteMarked, as_proxies_name
from meshbdd.mesh.linkerd.objects import (
    ROUTE_KINDS,
    creation,
    http_ports,
    parents,
    refuse_left_out,
    refuse_profile,
    routes_of,
)
from meshbdd.mesh.linkerd.own_words import RETRY, TIMEOUT
from meshbdd.mesh.linkerd.policy_arrival import policy_markers
from meshbdd.mesh.linkerd.rivals import refuse_shadowed
from meshbdd.mesh.linkerd.rules import marked
from meshbdd.mesh.linkerd.servers import turns
from meshbdd.mesh.linkerd.stand_ins import draws, replaced
from meshbdd.mesh.linkerd.target_ports import refuse_no_target
from meshbdd.mesh.markers import CLUSTERS, ROUTES, ConfigChanged
from meshbdd.mesh.staging import staged

_LINKERD = ("balancer.linkerd.io/", "timeout.linkerd.io/", "retry.linkerd.io/", "balancer.alpha.linkerd.io/")
_CONFIG = "config.linkerd.io/"
_OF_BOTH = (f"{RETRY}limit", f"{RETRY}timeout")
"""What is read of retries whatever the kind of a route."""
_LAST = ("HTTPRoute", "GRPCRoute", "Server")
"""Routes lead to Services, and a Server without its policies denies everybody."""

Services = Mapping[ServiceRef, Object]
"""The Services of a manifest."""


def plan(catalog: Catalog, documents: list[Object], context: Context, tag: Callable[[], str]) -> Plan:
    """Plan that a manifest is applied: Services before the routes that lead to them, policies before their Servers.

    Before these stands what they require, without which Linkerd leaves a policy out.

    Raises:
        NotPossible: a change of a Service beside its annotations for timeouts, retries and balancing.
        BadInput: a route for a Service that does not exist, one where it would have no effect, or an annotation that Linkerd
            cannot read; or it would take away what is in force, or is for nothing that is there.
    """
    after = catalog.with_written(documents)
    for document in documents:
        refuse_unattached(document, after.all)
    own = tag()
    in_order = sorted(documents, key=lambda d: d["kind"] not in AUTHENTICATIONS)
    groups = [[d for d in in_order if (d["kind"] in _LAST) is last] for last in (False, True)]
    services = {
        ServiceRef(d["metadata"]["name"], d["metadata"]["namespace"]): d for d in documents if d["kind"] == "Service"
    }
    stages = [s for group in groups for s in staged(_stages(catalog, after, group, own, context, services))]
    refuse_vain(catalog, documents, (edit for stage in stages for edit in stage.edits), context)
    names = ", ".join(f"{d['kind']} {d['metadata']['name']}" for d in documents)
    for_others = replaced(documents)
    stand_ins = tuple(dict.fromkeys(backend for backends in for_others.values() for backend in backends))
    return Plan(
        f"the manifest's {names}",
        tuple(s for s in stages if s.edits),
        reason="as the manifest says",
        side=Side.CALLER if for_others else None,
        faulty=tuple(for_others),
        stand_ins=stand_ins,
        draws=draws(documents, stand_ins),
    )


def _stages(
    catalog: Catalog, after: Catalog, documents: Sequence[Object], tag: str, context: Context, own: Services
) -> Iterator[Stage]:
    """For each of some documents of a manifest what is written, and how it is seen to arrive."""
    for number, document in enumerate(documents):
        wanted, kind = copy.deepcopy(document), kind_of(document)
        wanted["apiVersion"] = KINDS[kind].group_version
        renewed: list[ServiceRef] = []
        if kind == "Deployment":
            edits, markers = [_new_deployment(catalog, wanted)], list[Marker](joined(catalog, documents, wanted))
        elif kind == "Service":
            edits, markers = _service(catalog, wanted, context, documents)
        elif kind in ROUTE_KINDS:
            edits, markers = _route(catalog, wanted, kind), list(_route_markers(catalog, wanted, tag, own, documents))
            markers += policy_markers(catalog, after, wanted, kind)
            wanted["spec"]["rules"] = [marked(rule, tag) for rule in wanted["spec"].get("rules") or [{}]]
        else:
            then = catalog.with_written(documents[: number + 1]) if kind in AUTHENTICATIONS else after
            edits, markers = [_whole(wanted, kind)], list(policy_markers(catalog, then, wanted, kind))
            if kind == "Server" and turns(catalog, document):
                home = document["metadata"]["namespace"]
                renewed = [ServiceRef(s["metadata"]["name"], home) for s in catalog.all("Service", home)]
        yield Stage.of(*edits, markers=markers, renewed=renewed)


def _new_deployment(catalog: Catalog, wanted: Object) -> Edit:
    """A backend of the manifest's own; the Services of its pods show when it is ready.

    Raises:
        NotPossible: it is there already, and whoever runs it would meet another one for a while.
    """
    meta = wanted["metadata"]
    if catalog.find("Deployment", meta["name"], meta["namespace"]) is not None:
        raise NotPossible(
            "MB0457",
            f"Deployment {meta['name']} of the manifest is there already; a step brings backends up and takes them away, and "
            "changes none that others run.",
            help="give the manifest's Deployment another name",
        )
    return creation(wanted)


def _whole(wanted: Object, kind: str) -> Edit:
    meta = wanted["metadata"]
    return Edit(kind, meta["name"], meta["namespace"], ("spec",), lambda _now: copy.deepcopy(wanted["spec"]), wanted)


def _route(catalog: Catalog, wanted: Object, kind: str) -> list[Edit]:
    """A route's annotations, and then its rules, by which it is seen to have arrived.

    Raises:
        BadInput: Linkerd cannot read one of them, and would leave the whole route out.
    """
    meta, read = wanted["metadata"], (TIMEOUT, f"{RETRY}{'grpc' if kind == 'GRPCRoute' else 'http'}", *_OF_BOTH)
    live = catalog.find(kind, meta["name"], meta["namespace"]) or wanted
    asked, there = (
        {name: text for name, text in (route["metadata"].get("annotations") or {}).items() if name.startswith(read)}
        for route in (wanted, live)
    )
    refuse_unreadable(asked, there)
    return [*_annotated_with(wanted, kind, asked, there), _whole(wanted, kind)]


def _route_markers(
    catalog: Catalog, route: Object, tag: str, made: Services, documents: Sequence[Object]
) -> Iterator[Marker]:
    refuse_left_out(route)
    # Beside a GRPCRoute, whatever its age, an HTTPRoute is ignored: one of the same manifest, too.
    beside = [d for d in documents if kind_of(d) == "GRPCRoute"] if kind_of(route) != "GRPCRoute" else []
    for parent in parents(route):
        service = ServiceRef(parent["name"], parent["namespace"])
        refuse_profile(catalog, service)
        there = [*routes_of(catalog), *beside]
        found = catalog.find("Service", service.name, service.namespace) or made.get(service)
        for port in http_ports(found or catalog.service(service)):
            if parent.get("port") in {None, port["port"]}:
                refuse_shadowed(route, there, service, int(port["port"]))
                yield RouteMarked(tag, service, int(port["port"]), callers_of(route, service), as_proxies_name(route))


# Services


def _service(
    catalog: Catalog, wanted: Object, context: Context, documents: Sequence[Object]
) -> tuple[list[Edit], list[Marker]]:
    meta = wanted["metadata"]
    ref = ServiceRef(meta["name"], meta["namespace"])
    live = catalog.find("Service", ref.name, ref.namespace)
    if live is None:
        refuse_unreadable({k: v for k, v in (meta.get("annotations") or {}).items() if k.startswith(_LINKERD)}, {})
        refuse_no_target(catalog, wanted, documents)
        return [creation(wanted)], [EndpointsHeld(ref)]
    ours = {
        edit.path
        for plan in context.in_force
        for edit in plan.edits
        if edit.target == ("Service", ref.name, ref.namespace)
    }
    there, asked = live["metadata"].get("annotations") or {}, meta.get("annotations") or {}
    annotations = {k: v for k, v in asked.items() if k.startswith(_LINKERD)}
    edits = _annotated_with(wanted, "Service", annotations, there)
    if edits:
        refuse_unreadable(annotations, there)
    _refuse_other_changes(live, wanted, ours)
    _refuse_other_annotations(ref, there, asked)
    if annotations:
        refuse_profile(catalog, ref)
    return edits, [_annotated(ref, annotations)] if edits else []


def _annotated(ref: ServiceRef, annotations: Mapping[str, str]) -> Marker:
    errors, penalty = annotations.get(MAX_FAILURES), annotations.get(MIN_PENALTY)
    if annotations.keys() <= CONSECUTIVE and errors and penalty:
        return BreakerHeld(ref, int(errors), seconds_of(penalty))
    return ConfigChanged(f"Service {ref}", (ROUTES, CLUSTERS))


def _refuse_other_annotations(ref: ServiceRef, there: Mapping[str, str], asked: Mapping[str, str]) -> None:
    """See that a manifest says nothing to Linkerd that would not be written.

    Raises:
        NotPossible: it does.
    """
    left = sorted(name for name, text in asked.items() if name.startswith(_CONFIG) and there.get(name) != text)
    if left:
        raise NotPossible(
            "MB0454",
            f"The manifest's Service {ref.name} differs in the annotation {left[0]} from the one that is there; of a Service that "
            "is there only the annotations for timeouts, retries and balancing can be changed.",
            help="leave that annotation as it is, or annotate the Service before the run",
        )


def _refuse_other_changes(live: Object, wanted: Object, ours: Container[tuple[str, ...]]) -> None:
    """A Service that is there is only annotated: its ports and selector are not a mesh's business.

    Args:
        live: As it is there.
        wanted: As the manifest has it.
        ours: Paths that the run has changed meanwhile, as a fault backend in its place does.
    """
    for name, value in (wanted.get("spec") or {}).items():
        if ("spec", name) in ours:
            continue
        if name == "ports":
            there = [{k: p.get(k) for k in asked} for p, asked in zip(live["spec"]["ports"], value, strict=False)]
            same = there == value and len(live["spec"]["ports"]) == len(value)
        else:
            same = live["spec"].get(name) == value
        if not same:
            raise NotPossible(
                "MB0454",
                f"The manifest's Service {wanted['metadata']['name']} differs in spec.{name} from the one that is there; of a "
                "Service that is there only the annotations for Linkerd can be changed.",
                help="leave its spec as it is",
            )


def _annotated_with(obj: Object, kind: str, asked: Mapping[str, str], there: Mapping[str, str]) -> list[Edit]:
    """The annotations of an object that become others, each by an edit of its own."""
    meta = obj["metadata"]
    return [
        Edit(kind, meta["name"], meta["namespace"], ("metadata", "annotations", name), _constant(text))
        for name, text in asked.items()
        if not same(name, there.get(name), text)
    ]


def _constant(value: str) -> Callable[[Any], str]:
    return lambda _now: value
