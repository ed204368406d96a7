"""What a claim of a scenario will meet, as far as its changes in force tell before any request is sent."""

from __future__ import annotations

from collections.abc import Sequence

from meshbdd.cluster.record import ROUTE_PREFIX
from meshbdd.intents import Down, MutualTls, ServiceRef, TlsMode
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.authorizing import AUTHORIZATION, SERVER_AUTHORIZATION, is_for
from meshbdd.mesh.linkerd.objects import routes_of
from meshbdd.mesh.linkerd.selecting import selects
from meshbdd.scenario.in_force import InForce

_OPAQUE_PORTS = "config.linkerd.io/opaque-ports"
_OPAQUE_BY_DEFAULT = {25, 587, 3306, 4444, 5432, 6379, 9300, 11211}
"""``proxy.opaquePorts`` of Linkerd's chart."""
_POLICIES = (AUTHORIZATION, SERVER_AUTHORIZATION)


def denies_plaintext(catalog: Catalog, in_force: Sequence[InForce], asked: ServiceRef) -> bool:
    """Whether Linkerd's proxies will answer HTTP in plaintext to a service with a 403, for certain.

    So they do by a Server that a step made for strict mutual TLS. They close the connection where its bytes are opaque, the
    service may be down, and a policy may let plaintext pass: of all that nothing is foreseen.

    Args:
        catalog: Reads the cluster.
        in_force: The scenario's changes in force, the latest last.
        asked: The service.
    """
    plans = [item.plan for item in in_force]
    modes = [p for p in plans if isinstance(p.intent, MutualTls) and _is_for(p.intent, asked)]
    if not modes or any(isinstance(p.intent, Down) and p.intent.service == asked for p in plans):
        return False
    last = modes[-1]
    made = any(
        e.new is not None and e.kind == "Server" and e.name.startswith(f"{ROUTE_PREFIX}{asked.name}-")
        for e in last.edits
    )
    strict = isinstance(last.intent, MutualTls) and last.intent.mode is TlsMode.STRICT
    return strict and made and not _may_pass(catalog, asked) and not _is_opaque(catalog, asked)


def _may_pass(catalog: Catalog, asked: ServiceRef) -> bool:
    """Whether a policy is for a Server of a service's pods, by its name, a route of it, its labels or its whole namespace."""
    pods = catalog.pods(catalog.labels_of(asked), asked.namespace)
    servers = [
        server
        for server in catalog.all("Server", asked.namespace)
        if any(selects(server["spec"].get("podSelector"), pod["metadata"].get("labels") or {}) for pod in pods)
    ]
    policies = [policy for kind in _POLICIES for policy in catalog.all(kind, asked.namespace)]
    routes = routes_of(catalog, asked.namespace)
    return any(is_for(policy, server, routes) for policy in policies for server in servers)


def _is_for(intent: MutualTls, asked: ServiceRef) -> bool:
    return asked == intent.service if intent.service else asked.namespace == intent.namespace


def _is_opaque(catalog: Catalog, asked: ServiceRef) -> bool:
    """Whether a port of a service may be opaque; the annotation of a namespace comes to its pods when they are created."""
    pods = catalog.pods(catalog.labels_of(asked), asked.namespace)
    holders = (catalog.service(asked), *pods, *catalog.all("Namespace"))
    said = any(_OPAQUE_PORTS in (holder["metadata"].get("annotations") or {}) for holder in holders)
    return said or not _OPAQUE_BY_DEFAULT.isdisjoint(catalog.target_ports(asked))
