"""Namespaces, pods and Services: who gets Istio's sidecar, who is selected, which port says its protocol."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from meshbdd.sense import catalog, linkerd_injection
from meshbdd.sense.finding import Finding, name_of
from meshbdd.sense.inventory import ROOT_NAMESPACE, Inventory
from meshbdd.sense.pods import DATAPLANE_MODE, INJECT, MACHINES, Workload, injects, is_meshed, target_ports, template_of
from meshbdd.sense.protocols import protocol_of
from meshbdd.sense.reading import Object, at, labels_of, mapping, mappings, namespace_of, text, told, whole
from meshbdd.sidecars import FAULT_LABEL

SYSTEM_NAMESPACES = {ROOT_NAMESPACE, "kube-system", "kube-public", "kube-node-lease", "local-path-storage"}
"""Where Istio injects nothing and nobody expects it."""


_SYSTEM = {"istio": SYSTEM_NAMESPACES, "linkerd": linkerd_injection.SYSTEM_NAMESPACES}
_WITHOUT_ENDPOINTS = {"istio": "503 (UH)", "linkerd": "504 after 3 s, and then 503 at once"}
"""What callers get of a Service that has none, by the mesh. Linkerd's proxies fail fast only once they have waited."""


def injection(world: Inventory) -> Iterator[Finding]:
    """Namespaces and pods that get no sidecar though nobody said that they should not."""
    for name, namespace in world.namespaces.items():
        labels = labels_of(namespace)
        if name in SYSTEM_NAMESPACES or labels.get(DATAPLANE_MODE) == "ambient":
            continue
        if labels.get("istio-injection") and "istio.io/rev" in labels:
            yield catalog.TWO_INJECTION_LABELS.on(
                namespace,
                "it has both istio-injection and istio.io/rev; istio-injection decides, the revision is ignored.",
            )
            continue
        if not labels.get("istio-injection") and "istio.io/rev" not in labels:
            yield from _not_injected(world, name)
    for pod in world.of("Pod"):
        home = world.namespaces.get(namespace_of(pod))
        if home is not None and injects(home) and not is_meshed(pod) and not _opted_out(pod):
            yield catalog.NO_SIDECAR.on(
                pod, "its namespace has injection, and it has no sidecar: injection happens only when a pod is created."
            )


def _not_injected(world: Inventory, name: str) -> Iterator[Finding]:
    here = [w for w in world.workloads if w.namespace == name]
    if name == "default" and not here:
        return
    bare = [w for w in here if not w.meshed and not _is_machine(w) and not _opted_out(w.obj)]
    if here and not bare:
        return
    namespace = world.namespaces[name]
    noted = mapping(namespace, "metadata", "annotations")
    why = " (it is there as an annotation; Istio reads the label)" if "istio-injection" in noted else ""
    pods = f"its pods ({told([name_of(w.obj) for w in bare])}) have" if bare else "pods that start in it get"
    yield catalog.NOT_INJECTED.on(namespace, f"it has no label istio-injection{why}, so {pods} no sidecar.")


def _is_machine(workload: Workload) -> bool:
    return text(workload.obj, "kind") in MACHINES


def _opted_out(owner: Object) -> bool:
    pod = template_of(owner) or owner
    wish = labels_of(pod).get(INJECT) or mapping(pod, "metadata", "annotations").get(INJECT)
    return str(wish).lower() == "false" or at(pod, "spec", "hostNetwork") is True


def services(world: Inventory) -> Iterator[Finding]:
    """Services that select nothing, and ports that say too little."""
    for service in world.of("Service"):
        if text(service, "spec", "type") == "ExternalName" or namespace_of(service) in _SYSTEM[world.mesh]:
            continue
        selector = mapping(service, "spec", "selector")
        behind = world.behind(service)
        if (
            selector and FAULT_LABEL not in selector and world.workloads and not behind
        ):  # a scenario's own pods stand in
            said = told([f"{k}: {v}" for k, v in selector.items()])
            yield catalog.SERVICE_SELECTS_NOTHING.on(
                service,
                f"no pod in namespace {namespace_of(service)} has the labels {said}; callers get {_WITHOUT_ENDPOINTS[world.mesh]}.",
            )
        for port in mappings(service, "spec", "ports"):
            called = text(port, "name") or "without a name"
            if world.mesh == "istio" and not protocol_of(port):  # Linkerd detects it at every port, whatever its name
                yield catalog.PORT_NAME.on(
                    service,
                    f"port {whole(port, 'port')} ({called}) does not say its protocol; Istio guesses it from the first bytes.",
                )
            wanted = at(port, "targetPort")
            named = {text(p, "name") for pod in behind for p in pod.container_ports()}
            if (
                behind
                and not any(map(_is_machine, behind))
                and isinstance(wanted, str)
                and not wanted.isdigit()
                and wanted not in named
            ):
                yield catalog.NO_TARGET_PORT.on(
                    service,
                    f'port {whole(port, "port")} leads to target port "{wanted}", which no container of its pods has.',
                )


def protocols(world: Inventory) -> Iterator[Finding]:
    """One container port that two Services declare differently: both cannot be right."""
    seen: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for service in world.of("Service"):
        for behind in world.behind(service):
            for port in mappings(service, "spec", "ports"):
                protocol = protocol_of(port)
                only = {**service, "spec": {**mapping(service, "spec"), "ports": [port]}}
                for number in target_ports(only, [behind]) if protocol else ():
                    seen[name_of(behind.obj), number].setdefault(protocol, name_of(service))
    rivals = {(number, tuple(declared.items())): pod for (pod, number), declared in seen.items() if len(declared) > 1}
    for (number, declared_by), pod in rivals.items():  # one pod stands for all of which the same is said
        said = told([f"{protocol} by {service}" for protocol, service in declared_by])
        for _, service_name in declared_by:
            yield catalog.TWO_PROTOCOLS.on(service_name, f"port {number} of {pod} is declared {said}.")
