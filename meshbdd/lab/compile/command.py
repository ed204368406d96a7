"""``meshbdd lab compile``: what YAML becomes for one sidecar, with no lab running."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.lab.admission import admit, crds, unknown_fields
from meshbdd.lab.admission.definitions import definition_of
from meshbdd.lab.api.calls import Caller
from meshbdd.lab.api.core import Api
from meshbdd.lab.api.errors import ApiError
from meshbdd.lab.api.store import clone
from meshbdd.lab.compile import Mesh, compile_pod
from meshbdd.lab.lifecycle import read_objects, replacing, shop_objects

_OWN = frozenset({"Namespace", "Node", "Pod", "Service", "EndpointSlice", "Deployment", "ServiceAccount"})
"""Kinds of Kubernetes' own that the compiler has a use for."""

_SAID = frozenset({"name", "namespace", "labels", "annotations"})
"""What of an object's metadata is whoever wrote it's; the rest is the API's own."""

Mark = Callable[[dict[str, Any], Mapping[str, Any]], None]
"""Injects a pod of a namespace, in place, where its mesh would."""


def _mark_istio(pod: dict[str, Any], namespace: Mapping[str, Any]) -> None:
    labels = pod["metadata"]["labels"]
    enabled = ((namespace.get("metadata") or {}).get("labels") or {}).get("istio-injection") == "enabled"
    if enabled and labels.get("sidecar.istio.io/inject") != "false":
        labels["security.istio.io/tlsMode"] = "istio"


def _pods_of(
    deployments: Iterable[dict[str, Any]],
    namespaces: Mapping[str, Mapping[str, Any]],
    mark: Mark,
    taken: Container[str],
) -> Iterable[dict[str, Any]]:
    """The pods of each Deployment, with made-up addresses that no other pod has."""
    made_up = (f"10.0.{number // 250}.{number % 250}" for number in itertools.count(1))
    free = (address for address in made_up if address not in taken)
    for deployment in deployments:
        meta, spec = deployment["metadata"], deployment["spec"]
        template = spec["template"]
        said = template.get("metadata") or {}
        for number in range(1, spec.get("replicas", 1) + 1):
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{meta['name']}-{number}",
                    "namespace": meta["namespace"],
                    "labels": {**said.get("labels", {})},
                    "annotations": {**said.get("annotations", {})},
                },
                "spec": {**template["spec"]},
                "status": {"podIP": next(free)},
            }
            mark(pod, namespaces.get(meta["namespace"], {}))
            yield pod


def _number(port: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> int | None:
    """The number of a Service's port at its pods; one that goes by a name is that container port's."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    containers = (container for pod in pods for container in pod["spec"].get("containers") or ())
    return next((p["containerPort"] for c in containers for p in c.get("ports") or () if p.get("name") == target), None)


def _slices_of(services: Iterable[dict[str, Any]], pods: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for service in services:
        meta, spec = service["metadata"], service["spec"]
        selector = spec.get("selector") or {}
        behind = [
            pod
            for pod in pods
            if selector
            and pod["metadata"]["namespace"] == meta["namespace"]
            and all((pod["metadata"].get("labels") or {}).get(k) == v for k, v in selector.items())
        ]
        ports = [{"name": p.get("name", ""), "port": _number(p, behind)} for p in spec.get("ports") or []]
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": meta["name"], "namespace": meta["namespace"], "labels": {"kubernetes.io/service-name": meta["name"]},
            },
            "ports": [port for port in ports if port["port"] is not None],
            "endpoints": [
                {
                    "addresses": [pod["status"]["podIP"]], "conditions": {"ready": True},
                    "targetRef": {"name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]},
                }
                for pod in behind
            ],
        }  # fmt: skip


def complete(objects: list[dict[str, Any]], mark: Mark = _mark_istio) -> list[dict[str, Any]]:
    """A world in which something runs: Deployments get a pod, Services their endpoints, where none are given."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for obj in objects:
        by_kind.setdefault(obj["kind"], []).append(obj)
    namespaces = {namespace["metadata"]["name"]: namespace for namespace in by_kind.get("Namespace", ())}
    taken = {str((pod.get("status") or {}).get("podIP")) for pod in by_kind.get("Pod", ())}
    made = list(_pods_of(by_kind.get("Deployment", ()), namespaces, mark, taken))
    pods = [*by_kind.get("Pod", ()), *made]
    given = {
        (found["metadata"]["namespace"], (found["metadata"].get("labels") or {}).get("kubernetes.io/service-name"))
        for found in by_kind.get("EndpointSlice", ())
    }
    bare = [s for s in by_kind.get("Service", ()) if (s["metadata"]["namespace"], s["metadata"]["name"]) not in given]
    return [*objects, *made, *_slices_of(bare, pods)]


def _see_kept(obj: dict[str, Any]) -> None:
    """See that the lab's Kubernetes API would keep an object of Kubernetes' own.

    Raises:
        BadInput: it would not, in its own words.
    """
    api = Api()
    told = api.registry.of_kind(obj["apiVersion"], obj["kind"])
    if told is None:
        raise BadInput(
            "MB0730", f"The lab has no kind {obj['kind']} ({obj['apiVersion']}).", help=f"compile takes: {_kinds()}"
        )
    metadata = {key: value for key, value in obj["metadata"].items() if key in _SAID}  # it may come from a cluster
    new = {**clone({key: value for key, value in obj.items() if key != "status"}), "metadata": clone(metadata)}
    namespace = metadata.get("namespace") if obj["kind"] != "Namespace" else None
    try:
        if namespace and api.find("namespaces", namespace) is None:
            api.create("namespaces", {"metadata": {"name": namespace}})
        if obj["kind"] != "Namespace" or api.find("namespaces", metadata["name"]) is None:
            api.create(told.key, new, namespace, by=Caller(validation="Strict"))
    except ApiError as refusal:
        raise BadInput("MB0731", f"{refusal.message.rstrip('.')}.", help="correct the resource") from None


def _compiled(obj: Mapping[str, Any]) -> bool:
    """Whether a kind bears on what a sidecar is told."""
    return obj["kind"] in _OWN or definition_of(obj["kind"], obj["apiVersion"]) is not None


def _admitted(obj: dict[str, Any]) -> tuple[str, ...]:
    """The warnings that a resource is accepted with.

    Raises:
        BadInput: a kind that the lab does not have, or a resource that is refused.
    """
    if obj["kind"] in _OWN or not _compiled(obj):
        _see_kept(obj)
        return ()
    name = f"{obj['kind']} {obj['metadata']['name']}"
    if unknown := unknown_fields(obj):
        raise BadInput("MB0731", f"{name}: unknown field {unknown[0]}.", help="correct the resource")
    decision = admit(obj)
    if decision.refused:
        raise BadInput("MB0731", f"{decision.refused}.", help="correct the resource")
    return tuple(f"{name}: {sentence}" for sentence in decision.warnings)


def _see_use(files: Iterable[Path], resources: Iterable[Mapping[str, Any]]) -> None:
    """See that there is something to compile.

    Raises:
        BadInput: no sidecar is told anything of any of the resources.
    """
    if not any(map(_compiled, resources)):
        names = " and ".join(map(str, files))
        found = ", ".join(f"{obj['kind']} {obj['metadata']['name']}" for obj in resources)
        raise BadInput(
            "MB0735", f"No sidecar is told anything of what {names} holds: {found}.", help=f"compile takes: {_kinds()}"
        )


def _kinds() -> str:
    return ", ".join(sorted({*_OWN, *(item["spec"]["names"]["kind"] for item in crds())}))


def compile_files(files: Iterable[Path], world: Path | None = None, pod: str | None = None) -> dict[str, Any]:
    """Compile resources for one sidecar.

    Args:
        files: YAML with the resources; those without a namespace belong to ``shop``.
        world: YAML with the services and pods; the demo shop where ``None``.
        pod: ``POD.NAMESPACE``; the first pod of the world where ``None``.

    Raises:
        BadInput: a file that is no YAML, a resource that is refused, none that any sidecar is told of, or a pod that is
            not in the world.
    """
    files = list(files)
    resources = read_objects(files, "shop")
    warnings = [warning for obj in resources for warning in _admitted(obj)]
    _see_use(files, resources)
    base = read_objects([world], "shop") if world else shop_objects()
    for obj in base if world else ():
        _admitted(obj)
    objects = complete(replacing(base, resources))
    mesh = Mesh.read(objects)
    if pod is None:
        namespace, name = next(iter(mesh.pods), ("", ""))
    else:
        name, _, namespace = pod.partition(".")
    if not mesh.pods:
        raise BadInput("MB0736", f"The world {world} has no pod to compile for.", help="give it a Pod or a Deployment")
    if (namespace, name) not in mesh.pods:
        known = ", ".join(f"{n}.{ns}" for ns, n in sorted(mesh.pods)) or "none"
        raise BadInput("MB0732", f"There is no pod '{pod}' in that world; it has: {known}.", help="name one of them")
    made = compile_pod(mesh, name, namespace).to_json()
    return {**made, "warnings": [*dict.fromkeys([*warnings, *made["warnings"]])]}
