"""Who gets Linkerd's proxy, and who gets none though nobody said that it should not: by annotation, when a pod is created.

linkerd2 pkg/inject/report.go: a pod's annotation has precedence over its namespace's, and with a value that there is not, of
either, nothing is injected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.sense import catalog
from meshbdd.sense.finding import Finding, name_of
from meshbdd.sense.inventory import Inventory
from meshbdd.sense.linkerd_pods import INJECT, INJECTED, NOT_INJECTED, is_meshed, said_of_injection, will_be_meshed
from meshbdd.sense.pods import Workload, made_by, template_of
from meshbdd.sense.reading import Object, at, labels_of, mapping, namespace_of, text, told

SYSTEM_NAMESPACES = {
    "kube-system", "kube-public", "kube-node-lease", "local-path-storage", "cert-manager", "istio-system",
    "linkerd", "linkerd-cni", "linkerd-jaeger", "linkerd-multicluster", "linkerd-viz",
}  # fmt: skip
"""Where nobody expects a proxy, or where the mesh's own charts see to it."""

_ISTIOS = ("istio-injection", "istio.io/rev")
_ANNOTATE = f"annotate the namespace {INJECT}: enabled, or disabled"


def injection(world: Inventory) -> Iterator[Finding]:
    """Namespaces and pods that get no proxy though nobody said that they should not."""
    for name in world.namespaces:
        if name not in SYSTEM_NAMESPACES:
            yield from _namespace(world, name)
    for owner in [*world.makers, *(pod for pod in world.of("Pod") if not made_by(pod, world.makers))]:
        word = said_of_injection(template_of(owner) or owner)
        if word and word not in (*INJECTED, NOT_INJECTED):
            yield catalog.NO_SIDECAR.on(
                owner, f'its annotation {INJECT} is "{word}", and with a value that it does not know Linkerd injects nothing.',
                f"write {INJECT}: enabled, or disabled",
            )  # fmt: skip
    for pod in world.of("Pod"):
        home = world.namespaces.get(namespace_of(pod))
        there = text(pod, "metadata", "uid") or text(pod, "status", "phase")
        if there and home is not None and not is_meshed(pod) and will_be_meshed(pod, home):
            yield catalog.NO_SIDECAR.on(
                pod, f"{INJECT} asks for a proxy, and it has none: injection happens only when a pod is created."
            )


def _namespace(world: Inventory, name: str) -> Iterator[Finding]:
    namespace = world.namespaces[name]
    word = said_of_injection(namespace)
    if word in (*INJECTED, NOT_INJECTED):
        return
    here = [workload for workload in world.workloads if workload.namespace == name]
    if name == "default" and not here:
        return
    bare = [workload for workload in here if not workload.meshed and not _opted_out(workload)]
    if here and not bare:
        return
    pods = f"its pods ({told([name_of(w.obj) for w in bare])}) have" if bare else "pods that start in it get"
    yield catalog.NOT_INJECTED.on(namespace, f"{_why(namespace, word)}, so {pods} no proxy.", _ANNOTATE)


def _why(namespace: Object, word: str) -> str:
    if word:
        return f'its annotation {INJECT} is "{word}", a value that Linkerd does not know'
    if INJECT in labels_of(namespace):
        return f"it has no annotation {INJECT} (it is there as a label; Linkerd reads the annotation)"
    others = [label for label in _ISTIOS if label in labels_of(namespace)]
    return f"it has no annotation {INJECT}" + (f" (its label {others[0]} is Istio's)" if others else "")


def _opted_out(workload: Workload) -> bool:
    pod: Mapping[str, Any] = template_of(workload.obj) or workload.obj
    word = mapping(pod, "metadata", "annotations").get(INJECT)
    return word == NOT_INJECTED or at(pod, "spec", "hostNetwork") is True
