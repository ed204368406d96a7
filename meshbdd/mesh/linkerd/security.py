"""Who may speak to whom, and how: Servers, and policies on them.

A pod's default policy is fixed at its creation, so nothing is changed there: a Server at the port decides instead, and for
the next request on every connection. https://linkerd.io/2/reference/authorization-policy/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meshbdd.cluster import Edit
from meshbdd.errors import NotPossible
from meshbdd.intents import Access, MutualTls, ServiceRef, TlsMode
from meshbdd.mesh.base import Marker, Plan, Stage, Where
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.adding_up import refuse_undone, undoing
from meshbdd.mesh.linkerd.backend import FaultBackend
from meshbdd.mesh.linkerd.behind import behind
from meshbdd.mesh.linkerd.objects import POLICY, creation
from meshbdd.mesh.linkerd.opening import lets_the_mesh_in
from meshbdd.mesh.linkerd.server_markers import ServerHeld
from meshbdd.mesh.linkerd.servers import (
    ACCESS,
    DENY,
    OPEN,
    OURS,
    decider,
    decides,
    pods_of,
    see_not_skipped,
    skips,
    turns,
)
from meshbdd.mesh.linkerd.shared_servers import refuse_shared
from meshbdd.mesh.linkerd.undeclared import see_declared
from meshbdd.sidecars import LINKERD

MODES = {TlsMode.STRICT: "all-authenticated", TlsMode.PERMISSIVE: "all-unauthenticated"}


def tls_stage(catalog: Catalog, intent: MutualTls, in_force: Sequence[Plan] = ()) -> Stage:
    """Set what the ports of a service, or of every service of a namespace, take.

    A Server that lets nobody pass without a policy is left alone: its policies say who may call, and how.

    Raises:
        BadInput: no such service, or calls to a port of it go past its proxies; of a namespace such ports are left alone. Or
            the Server of a service decides for other pods as well; those of a namespace are all meant. Or a policy, or a
            proxy that does not know a port from the start, lets callers without an identity pass, whom strict mutual TLS
            keeps out.
    """
    if intent.service is not None:
        see_not_skipped(catalog, intent.service, f"«{intent}»")
    mode = MODES[intent.mode]
    services = (intent.service,) if intent.service else services_of(catalog, intent.namespace)
    edits: dict[str, Edit] = {}
    markers: list[Marker] = []
    renewed: list[ServiceRef] = []
    for service in services:
        see_declared(catalog, service, intent)
    for service in sorted(services, key=lambda s: -len(_pods(catalog, s))):
        planned = [edit.new for edit in edits.values() if edit.new is not None]
        for server, edit in servers_at(catalog, service, mode, planned):
            if intent.mode is TlsMode.STRICT:
                refuse_undone(catalog, intent, server or edit.new or {}, None, in_force)
            if server is not None and server["spec"].get("accessPolicy", DENY) == DENY:
                continue
            if server is None or server["spec"].get("accessPolicy") != mode:
                if server is not None and intent.service is not None:
                    refuse_shared(catalog, server, intent.service, f"«{intent}»")
                if str(edit) in edits:
                    continue
                edits[str(edit)] = edit
                there = catalog.with_written([*planned, edit.new]) if edit.new else catalog
                where = pods_of(there, server or edit.new or {})
                markers.append(ServerHeld(edit.name, mode, frozenset(), where, unique=server is None))
                renewed += [service] if server is None and turns(catalog, edit.new or {}) else []
    return Stage.of(*edits.values(), markers=markers, renewed=renewed)


def services_of(catalog: Catalog, namespace: str) -> tuple[ServiceRef, ...]:
    """The Services of a namespace that select a pod with a proxy; those that a run made are none of the tester's."""
    found = []
    for service in catalog.all("Service", namespace):
        wanted, name = service["spec"].get("selector"), service["metadata"]["name"]
        ref = ServiceRef(name, namespace)
        if wanted and not name.startswith(OURS) and any(_meshed(pod) for pod in _pods(catalog, ref)):
            found.append(ref)
    return tuple(found)


def _pods(catalog: Catalog, service: ServiceRef) -> list[Mapping[str, Any]]:
    return [pod for some in behind(catalog, service) for pod in some.pods]


def _meshed(pod: Mapping[str, Any]) -> bool:
    return LINKERD.label in (pod["metadata"].get("labels") or {})


def servers_at(
    catalog: Catalog, service: ServiceRef, access: str, planned: Sequence[Mapping[str, Any]] = ()
) -> Iterator[tuple[Mapping[str, Any] | None, Edit]]:
    """For each port of the pods behind a service the Servers that decide there, each with the edit that sets its access policy.

    Where none does, the edit of one that will: with it comes ``None``. A port that all pods skip has none.

    Args:
        catalog: Reads the cluster.
        service: The service.
        access: The access policy.
        planned: Servers that are to be made for other services: of two for a port of a pod Linkerd heeds one alone.
    """
    there = catalog.all("Server", service.namespace)
    for some in behind(catalog, service):
        for port in some.ports:
            pods = [pod for pod in some.pods if port in some.ports_at(pod) and not skips(pod, port)]
            if some.pods and not pods:
                continue
            covered = {p["metadata"]["name"] for p in pods for server in planned if decides(server, p, port)}
            found = {p["metadata"]["name"]: server for p in pods if (server := decider(p, port, there)) is not None}
            covered |= found.keys()
            for name, server in sorted({server["metadata"]["name"]: server for server in found.values()}.items()):
                yield server, Edit("Server", name, service.namespace, ACCESS, lambda _now: access)
            if any(pod["metadata"]["name"] not in covered for pod in pods) or not pods:
                name = _name(service, port, stands_in=some.stands_in)
                new = _server(name, service.namespace, some.labels, port, access)
                yield None, Edit("Server", name, service.namespace, ACCESS, lambda _now: access, new)


def _name(service: ServiceRef, port: int, *, stands_in: bool) -> str:
    return f"{OURS}{service.name}-{port}{'-fault' if stands_in else ''}"


def _server(name: str, namespace: str, labels: Mapping[str, str], port: int, access: str) -> dict[str, Any]:
    spec = {"podSelector": {"matchLabels": dict(labels)}, "port": port, "accessPolicy": access}
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": f"{POLICY}/v1beta3", "kind": "Server", "metadata": meta, "spec": spec}


def stand_in_stages(catalog: Catalog, backend: FaultBackend) -> tuple[Stage, ...]:
    """What lets a fault backend in the place of a service's endpoints take plaintext where their Servers do, and there alone.

    One that decides at the backend already is left alone, and so is the backend where the endpoints do not agree.

    Args:
        catalog: Reads the cluster, in which the service selects its own pods as yet.
        backend: The fault backend.
    """
    home = backend.service.namespace
    servers, pods = catalog.all("Server", home), catalog.pods(backend.selector, home)
    made: list[Edit] = []
    markers: list[Marker] = []
    for port in sorted(set(backend.targets.values())):
        deciding = [decider(pod, port, servers) for pod in pods if not skips(pod, port)]
        taken = {_takes_plaintext(catalog, server) if server is not None else None for server in deciding}
        if decider(backend.pod, port, servers) is not None or len(taken) != 1 or None in taken:
            continue
        access = MODES[TlsMode.PERMISSIVE if taken == {True} else TlsMode.STRICT]
        name = _name(backend.service, port, stands_in=True)
        made.append(creation(_server(name, home, backend.labels, port, access)))
        markers.append(ServerHeld(name, access, frozenset(), Where(home, backend.labels)))
    return (Stage.of(*made, markers=markers),) if made else ()


def _takes_plaintext(catalog: Catalog, server: Mapping[str, Any]) -> bool:
    """Whether a Server, or a policy for it, lets callers without an identity pass."""
    return server["spec"].get("accessPolicy", DENY) in OPEN or any(undoing(catalog, server, None))


def access_stage(catalog: Catalog, intent: Access, token: str, in_force: Sequence[Plan] = ()) -> Stage:
    """Let the caller pass, and nobody else: Linkerd knows no policy that denies, so no other may allow.

    Raises:
        BadInput: a name that does not exist, a caller that shares its service account, another policy that allows, a Server
            that decides for other pods as well, or a port that a proxy does not know from the start.
    """
    see_not_skipped(catalog, intent.service, f"«{intent}»")
    see_declared(catalog, intent.service, intent)
    accounts = catalog.service_accounts(intent.caller)
    service, namespace = intent.service, intent.service.namespace
    refs = [{"kind": "ServiceAccount", "name": account, "namespace": intent.caller.namespace} for account in accounts]
    allowed = frozenset((account, intent.caller.namespace) for account in accounts)
    edits = [_policy("MeshTLSAuthentication", token, namespace, {"identityRefs": refs})]
    required = [{"group": POLICY, "kind": "MeshTLSAuthentication", "name": token}]
    servers: dict[str, Edit] = {}
    markers: list[Marker] = []
    for number, (server, edit) in enumerate(servers_at(catalog, service, DENY)):
        if server is not None:
            refuse_shared(catalog, server, service, f"«{intent}»")
        refuse_undone(catalog, intent, server or edit.new or {}, allowed, in_force)
        name = f"{token}-{number}"
        target = {"group": POLICY, "kind": "Server", "name": edit.name}
        spec = {"targetRef": target, "requiredAuthenticationRefs": required}
        edits.append(_policy("AuthorizationPolicy", name, namespace, spec))
        servers[str(edit)] = edit
        where = pods_of(catalog.with_written([edit.new]) if edit.new else catalog, server or edit.new or {})
        markers.append(ServerHeld(edit.name, DENY, frozenset({name}), where))
    renewed = [service] if any(turns(catalog, edit.new) for edit in servers.values() if edit.new) else []
    # The Servers come last: one without a policy would deny everybody.
    return Stage.of(*edits, *servers.values(), markers=markers, renewed=renewed)


def _policy(kind: str, name: str, namespace: str, spec: Mapping[str, Any]) -> Edit:
    meta = {"name": name, "namespace": namespace}
    return creation({"apiVersion": f"{POLICY}/v1alpha1", "kind": kind, "metadata": meta, "spec": dict(spec)})


def refuse_detour(catalog: Catalog, service: ServiceRef, what: str) -> None:
    """See that a service answers whoever is in the mesh: calls that a fault backend passes on bear its own identity.

    Args:
        catalog: Reads the cluster.
        service: The service.
        what: What sends calls on.

    Raises:
        NotPossible: a Server lets only some callers pass.
    """
    for server, _edit in servers_at(catalog, service, DENY):
        if server is None or server["spec"].get("accessPolicy", DENY) != DENY:
            continue
        if not lets_the_mesh_in(catalog, server):
            raise NotPossible(
                "MB0449",
                f"{what} is not possible here: Server {server['metadata']['name']} lets only some callers of {service} pass, "
                "and on Linkerd the calls that go on come from the fault backend.",
                help="have faults and the policy in different scenarios",
            )
