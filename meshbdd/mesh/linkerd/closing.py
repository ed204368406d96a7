"""What closes a port of a service to some of the mesh: a Server, or the default of its pods. A fault backend has to do so as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshbdd.errors import NotPossible
from meshbdd.mesh.catalog import Catalog, has_ended
from meshbdd.mesh.linkerd.authorizing import AUTHORIZATION, SERVER_AUTHORIZATION, is_at, is_for
from meshbdd.mesh.linkerd.backend import DEFAULT_POLICY, FaultBackend
from meshbdd.mesh.linkerd.objects import routes_of
from meshbdd.mesh.linkerd.opening import lets_the_mesh_in
from meshbdd.mesh.linkerd.servers import ACCESS, DENY, decider, skips
from meshbdd.sidecars import LINKERD

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Closing:
    """What closes a port at all pods of a service.

    Attributes:
        server: The Server that decides there; ``None`` where the default of the pods does.
        policies: Those for it, which let some callers pass.
        by: Whatever closes it to everybody, in words; empty where the policies let somebody pass.
        servers: The names of the Servers that do.
    """

    server: Object | None
    policies: tuple[Object, ...]
    by: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()


def closing_at(
    catalog: Catalog, backend: FaultBackend, servers: Sequence[Object], port: int, what: str
) -> Closing | None:
    """What closes a port at all pods of a service; ``None`` where they all let the mesh in.

    Args:
        catalog: Reads the cluster.
        backend: The service's fault backend.
        servers: All Servers of its namespace.
        port: The port of the pods.
        what: The fault.

    Raises:
        NotPossible: the pods do not agree, or routes of the Server have policies of their own.
    """
    found: dict[str, Object | None] = {}
    openly, by_default = False, ""
    for pod in (p for p in catalog.pods(backend.selector, backend.service.namespace) if not has_ended(p)):
        server = decider(pod, port, servers)
        if skips(pod, port) or not (_denies(catalog, server) if server is not None else _denies_by_default(pod)):
            openly = True
            continue
        by_default = by_default or ("" if server is not None else pod["metadata"]["name"])
        found[server["metadata"]["name"] if server is not None else ""] = server
    if not found:
        return None
    there = {name: server for name, server in found.items() if server is not None}
    policies = {name: tuple(policies_for(catalog, server)) for name, server in there.items()}
    for name, server in there.items():
        if any(is_at(route, server) for route in routes_of(catalog)):
            raise not_held(backend, what, f"Server {name} has routes, and policies for these")
    if not openly and not any(policies.values()):
        by = [f"Server {name} denies" for name in there] + (["its pods deny by default"] if by_default else [])
        return Closing(next(iter(found.values())), (), tuple(by), tuple(there))
    if there and (openly or len(found) > 1):
        raise not_held(backend, what, f"Server {next(iter(there))} decides at some of its pods only")
    if openly:
        raise not_held(
            backend,
            what,
            f"its pod {by_default} denies by default ({DEFAULT_POLICY}) and others do not",
            "have its pods deny by default all of them, or none",
        )
    [(name, server)] = there.items()
    return Closing(server, policies[name])


def policies_for(catalog: Catalog, server: Object) -> list[Object]:
    """The policies that let callers of a Server pass, whatever they require."""
    return [
        policy
        for kind in (AUTHORIZATION, SERVER_AUTHORIZATION)
        for policy in catalog.all(kind, server["metadata"]["namespace"])
        if is_for(policy, server, ())
    ]


def refuse_closed_backend(catalog: Catalog, backend: FaultBackend, server: Object, port: int, what: str) -> None:
    """See that the Server that decides at a fault backend lets the mesh in, as the service does.

    No Server of a run's own could: of several Linkerd takes the oldest.

    Raises:
        NotPossible: it lets only some callers pass.
    """
    if _denies(catalog, server):
        name = server["metadata"]["name"]
        raise NotPossible(
            "MB0449",
            f"«{what}» is not possible on Linkerd here: the fault backend answers for {backend.service}, and Server {name} lets only "
            f"some callers pass at port {port} of the backend, where it does not decide for the pods of {backend.service}.",
            help=f"let Server {name} select only the pods that it is meant for",
        )


def not_held(
    backend: FaultBackend, what: str, why: str, action: str = "have faults and the policy in different scenarios"
) -> NotPossible:
    """Why a fault backend cannot deny whom its service denies."""
    return NotPossible(
        "MB0449",
        f"«{what}» is not possible on Linkerd here: the fault backend answers for {backend.service}, and cannot deny whom the "
        f"service denies, since {why}.",
        help=action,
    )


def _denies(catalog: Catalog, server: Object) -> bool:
    return server["spec"].get(ACCESS[-1], DENY) == DENY and not lets_the_mesh_in(catalog, server)


def _denies_by_default(pod: Object) -> bool:
    """Whether a pod's own word closes it; one without is taken to have a mesh's usual default, and one without a proxy denies nobody."""
    meta = pod["metadata"]
    closed = (meta.get("annotations") or {}).get(DEFAULT_POLICY) == DENY
    return closed and LINKERD.label in (meta.get("labels") or {})
