"""Which Server decides at a port of a pod: of several for one port the oldest, of one age the first by name.

linkerd2 policy-controller/k8s/index/src/inbound/index.rs, ``Pod::update_servers``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from meshbdd.errors import BadInput, Inconclusive
from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Labels, Where
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.behind import behind
from meshbdd.mesh.linkerd.objects import is_opaque, port_list
from meshbdd.mesh.linkerd.selecting import asked_by, selects
from meshbdd.port_protocols import is_tcp
from meshbdd.sidecars import LINKERD

Object = Mapping[str, Any]
ACCESS = ("spec", "accessPolicy")
DENY = "deny"
OPEN = frozenset({"all-unauthenticated", "cluster-unauthenticated", "audit"})
"""The access policies of Servers, and the defaults of pods, that let callers without an identity pass."""
OURS = "meshbdd-"
"""What begins the names of Servers that a run makes."""
_SKIPPED = "config.linkerd.io/skip-inbound-ports"
"""Names ports of a pod whose calls its proxy does not see."""
_NOT_YET = "9999"
"""Sorts behind every time at which a Server was made."""


def decides(server: Object, pod: Object, port: int) -> bool:
    """Whether a Server is for a port of a pod of its namespace."""
    spec, said = server["spec"], server["spec"].get("port")
    selector = spec.get("podSelector")
    if selector is None or (said if isinstance(said, int) else container_ports(pod).get(str(said))) != port:
        return False
    return selects(selector, pod["metadata"].get("labels") or {})


def turns(catalog: Catalog, server: Object) -> bool:
    """Whether a Server may make an opaque port carry HTTP, or one that does opaque: open connections keep the old rules then."""
    spec = server["spec"]
    if spec.get("proxyProtocol") in {"opaque", "TLS"}:
        return True
    found = False
    with contextlib.suppress(Inconclusive):  # a rehearsal may not know the pods
        pods = catalog.pods({}, server["metadata"]["namespace"])
        found = any(
            decides(server, pod, port) and is_opaque(pod, port) for pod in pods for port in _ports_for(server, pod)
        )
    return found


def refuse_overruled(catalog: Catalog, server: Object, there: Iterable[Object], what: str) -> None:
    """See that a Server decides wherever it is for.

    Args:
        catalog: Reads pods.
        server: The Server, as a manifest has it or as it is there.
        there: All Servers that will be there.
        what: What would do nothing without it.

    Raises:
        BadInput: an older one decides at some of its ports.
    """
    meta = server["metadata"]
    there = [other for other in there if other["metadata"]["namespace"] == meta["namespace"]]
    own = next((other for other in there if other["metadata"]["name"] == meta["name"]), server)
    older = [other for other in there if older_first(other) < older_first(own)]
    for pod in catalog.pods({}, meta["namespace"]) if older else ():
        for port in container_ports(pod).values():
            decider = next((other for other in older if decides(other, pod, port)), None)
            if decider is not None and decides(server, pod, port):
                name = str(decider["metadata"]["name"])
                raise BadInput(
                    "MB0468",
                    f"{what} would do nothing at port {port} of pod {pod['metadata']['name']}, where Server {name} decides: of "
                    "Servers for one port Linkerd takes the oldest.",
                    help="apply the manifest before the step that made that Server"
                    if name.startswith(OURS)
                    else "change that Server, or take it away",
                )


def decider(pod: Object, port: int, there: Iterable[Object]) -> Object | None:
    """The Server that decides at a port of a pod: of several for it the oldest.

    Args:
        pod: The pod.
        port: Its port.
        there: All Servers of its namespace.
    """
    return min((server for server in there if decides(server, pod, port)), key=older_first, default=None)


def decides_at(server: Object, pod: Object, there: Sequence[Object]) -> int | None:
    """The port of a pod at which a Server decides, and no older one does; ``None``: it decides at none.

    It names one port, so it is for one of a pod at most.

    Args:
        server: The Server.
        pod: A pod of its namespace.
        there: All Servers of its namespace.
    """
    for port in _ports_for(server, pod):
        found = None if skips(pod, port) else decider(pod, port, there)
        if found is not None and found["metadata"]["name"] == server["metadata"]["name"]:
            return port
    return None


def pods_of(catalog: Catalog, server: Object) -> Where:
    """The pods at which a Server decides: those that it selects, but for the ones that are there and where it does not.

    Those that are yet to start are told by their labels alone: as those with the same ones, where all of these agree.

    Args:
        catalog: Reads pods, and all Servers.
        server: The Server.
    """
    home, selector = server["metadata"]["namespace"], server["spec"].get("podSelector") or {}
    deciding, past = set[Labels](), dict[str, Labels]()
    with contextlib.suppress(Inconclusive):  # a rehearsal may not know the pods
        there = catalog.all("Server", home)
        own = next((other for other in there if other["metadata"]["name"] == server["metadata"]["name"]), server)
        for pod in catalog.pods({}, home):
            labels = frozenset((pod["metadata"].get("labels") or {}).items())
            if decides_at(own, pod, there) is not None:
                deciding.add(labels)
            elif selects(selector, dict(labels)):
                past[str(pod["metadata"]["name"])] = labels
    but = (Where(home, pods=frozenset(past)), Where(home, alike=frozenset(past.values()) - deciding)) if past else ()
    return Where(home, selector.get("matchLabels") or None, but, asked=asked_by(selector))


def decides_somewhere(catalog: Catalog, server: Object, there: Sequence[Object]) -> bool:
    """Whether a Server decides at a port of some pod, and no older one does.

    Args:
        catalog: Reads pods.
        server: The Server.
        there: All Servers of its namespace.
    """
    return any(decides_at(server, pod, there) is not None for pod in catalog.pods({}, server["metadata"]["namespace"]))


def unseen(catalog: Catalog, server: Object) -> bool:
    """Whether no pod at which a Server decides has a proxy, which could show what is done to it; it is not where it decides nowhere."""
    home, found = server["metadata"]["namespace"], list[Object]()
    with contextlib.suppress(Inconclusive):  # a rehearsal may not know the pods
        there = catalog.all("Server", home)
        found = [pod for pod in catalog.pods({}, home) if decides_at(server, pod, there) is not None]
    return bool(found) and not any(LINKERD.label in (pod["metadata"].get("labels") or {}) for pod in found)


def skips(pod: Object, port: int) -> bool:
    """Whether calls to a port of a pod go past its proxy, which holds no Server for it."""
    past = port_list((pod["metadata"].get("annotations") or {}).get(_SKIPPED, ""))
    return any(port in numbers for numbers in past)


def see_not_skipped(catalog: Catalog, service: ServiceRef, what: str) -> None:
    """See that a service's proxies meet all calls to it.

    Args:
        catalog: Reads the cluster.
        service: The service.
        what: What its proxies are to see to.

    Raises:
        BadInput: some go past one, or all as they come by UDP.
    """
    ports = catalog.service(service)["spec"].get("ports") or []
    if ports and not any(is_tcp(port) for port in ports):
        told = ", ".join(f"{port['port']}/{port['protocol']}" for port in ports)
        raise BadInput(
            "MB0488",
            f"{what} would not hold at any port of Service {service} ({told}): the proxies see TCP alone.",
            help="take the step out of the scenario",
        )
    for some in behind(catalog, service):
        for port, pod in product(some.ports, some.pods):
            if skips(pod, port):
                raise skipped(what, pod, port)


def skipped(what: str, pod: Object, port: int) -> BadInput:
    """Why something would not hold at a port of a pod that its proxy skips."""
    return BadInput(
        "MB0488",
        f"{what} would not hold at port {port} of pod {pod['metadata']['name']}, whose proxy lets all calls there pass "
        f"unseen ({_SKIPPED}).",
        help="take the port out of that annotation, or the step out of the scenario",
    )


def _ports_for(server: Object, pod: Object) -> set[int]:
    """The ports of a pod that a Server may be for: one that it names by its number need not be declared."""
    said = server["spec"].get("port")
    return {*container_ports(pod).values(), *([said] if isinstance(said, int) else [])}


def older_first(policy: Object) -> tuple[str, str]:
    """Sorts Servers, or policies, as Linkerd does: by their age, and of one age by name."""
    meta = policy["metadata"]
    return str(meta.get("creationTimestamp") or _NOT_YET), str(meta["name"])


def container_ports(pod: Object) -> Mapping[str, int]:
    """The TCP ports that a pod, or a template of one, declares by their names; those without one by their number.

    Of others Linkerd knows no names: linkerd2 policy-controller/k8s/index/src/inbound/workload.rs, ``pod_tcp_ports_by_name``.
    """
    return {
        str(entry.get("name") or entry["containerPort"]): int(entry["containerPort"])
        for container in pod["spec"].get("containers") or []
        for entry in container.get("ports") or []
        if is_tcp(entry)
    }
