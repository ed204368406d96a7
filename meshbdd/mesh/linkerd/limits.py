"""Rate limits at the ports of a service: a fault backend would take calls from them, or pass calls on as its own.

linkerd2 policy-controller/k8s/index/src/inbound/ratelimit_policy.rs
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from meshbdd.errors import NotPossible
from meshbdd.mesh.base import Plan
from meshbdd.mesh.catalog import Catalog, has_ended
from meshbdd.mesh.linkerd.authorizing import RATE_LIMIT, is_limited
from meshbdd.mesh.linkerd.backend import SELECTOR, FaultBackend, backend_of, twin_of
from meshbdd.mesh.linkerd.servers import decider, older_first, skips
from meshbdd.mesh.linkerd.turning import Turn
from meshbdd.sidecars import LINKERD

Object = Mapping[str, Any]
Limited = tuple[str, str]
"""The name of a Server that decides somewhere, and that of its rate limit."""
_WHY = (
    "calls that a fault backend answers never come to the limit, and those that go on are counted as the fault "
    "backend's own"
)
_APART = "have faults and the rate limit in different scenarios"


def limits_at(catalog: Catalog, namespace: str, pods: Iterable[Object], ports: Sequence[int]) -> frozenset[Limited]:
    """The rate limits that decide about calls to pods.

    Args:
        catalog: Reads Servers and limits.
        namespace: The pods'.
        pods: The pods; one that has ended, or has no proxy, limits nobody.
        ports: Their ports.
    """
    policies = sorted(catalog.all(RATE_LIMIT, namespace), key=older_first)
    servers = catalog.all("Server", namespace) if policies else []
    found: set[Limited] = set()
    for pod in pods if servers else ():
        if has_ended(pod) or LINKERD.label not in (pod["metadata"].get("labels") or {}):
            continue
        deciding = (decider(pod, port, servers) for port in ports if not skips(pod, port))
        for server in (server for server in deciding if server is not None):
            # Of several for a Server the oldest counts, also where it limits nothing.
            limit = next((policy for policy in policies if is_limited(server, policy)), None)
            if limit is not None and any(limit["spec"].get(word) for word in ("total", "identity", "overrides")):
                found.add((server["metadata"]["name"], limit["metadata"]["name"]))
    return frozenset(found)


def refuse_limited(catalog: Catalog, backend: FaultBackend, what: str) -> None:
    """See that no rate limit decides about calls of a service, nor at its fault backend.

    Args:
        catalog: Reads the cluster.
        backend: The fault backend.
        what: The fault.

    Raises:
        NotPossible: one does.
    """
    service, ports = backend.service, sorted(set(backend.targets.values()))
    own = {**backend.pod, "metadata": {**backend.pod["metadata"], "labels": {**backend.labels, LINKERD.label: ""}}}
    behind = catalog.pods(backend.selector, service.namespace)
    for pods, whose in ((behind, str(service)), ([own], f"the fault backend of {service}")):
        for server, limit in sorted(limits_at(catalog, service.namespace, pods, ports)):
            raise NotPossible(
                "MB0449",
                f"{what} is not possible here: {RATE_LIMIT} {limit} limits the calls of {whose} (Server {server}), and on Linkerd {_WHY}.",
                help=_APART
                if whose == str(service)
                else f"let Server {server} select only the pods that it is meant for",
            )


def refuse_limiting(turn: Turn, plans: Iterable[Plan]) -> None:
    """See that a manifest brings no rate limit for a service whose calls a fault backend gets, nor a Server that one is for.

    Args:
        turn: What the manifest makes of the cluster.
        plans: What is in force.

    Raises:
        NotPossible: it does, or leaves one once it is taken back.
    """
    catalog = turn.lasting
    for plan in plans:
        service = plan.service
        if service is None or (plan.through is None and not takes_the_place(plan)):
            continue
        for ref, whose in ((twin_of(service), str(service)), (backend_of(service), f"the fault backend of {service}")):
            pods, ports = catalog.pods(catalog.labels_of(ref), ref.namespace), catalog.target_ports(ref)
            there = limits_at(turn.before, ref.namespace, pods, ports)
            for server, limit in sorted(limits_at(turn.after, ref.namespace, pods, ports) - there):
                raise NotPossible(
                    "MB0449",
                    f"{turn.how} {RATE_LIMIT} {limit} limits the calls of {whose} (Server {server}), which is not possible "
                    f"on Linkerd while «{plan.summary}» is in force: {_WHY}.",
                    help=_APART,
                )


def takes_the_place(plan: Plan) -> bool:
    """Whether by a plan a fault backend is in the place of a service's endpoints."""
    return plan.intent is None and any(edit.target[0] == "Service" and edit.path == SELECTOR for edit in plan.edits)
