"""``meshbdd lab compile``: what YAML becomes for one sidecar, with no lab running."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.lab.admission import admit, crds, unknown_fields
from meshbdd.lab.admission.definitions import definition_of
from meshbdd.lab.compile import Mesh, compile_pod
from meshbdd.lab.lifecycle import read_objects, shop_objects

_OWN = frozenset({"Namespace", "Pod", "Service", "EndpointSlice", "Deployment", "ServiceAccount"})
"""Kinds of Kubernetes' own that the compiler has a use for."""


Mark = Callable[[dict[str, Any], Mapping[str, Any]], None]
"""Injects a pod of a namespace, in place, where its mesh would."""


def _mark_istio(pod: dict[str, Any], namespace: Mapping[str, Any]) -> None:
    labels = pod["metadata"]["labels"]
    enabled = ((namespace.get("metadata") or {}).get("labels") or {}).get("istio-injection") == "enabled"
    if enabled and labels.get("sidecar.istio.io/inject") != "false":
        labels["security.istio.io/tlsMode"] = "istio"


def _pods_of(
    deployments: Iterable[dict[str, Any]], namespaces: Mapping[str, Mapping[str, Any]], mark: Mark
) -> Iterable[dict[str, Any]]:
    """A pod for each Deployment, with a made-up address."""
    for number, deployment in enumerate(deployments, 1):
        meta, template = deployment["metadata"], deployment["spec"]["template"]
        said = template.get("metadata") or {}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{meta['name']}-1",
                "namespace": meta["namespace"],
                "labels": {**said.get("labels", {})},
                "annotations": {**said.get("annotations", {})},
            },
            "spec": {**template["spec"]},
            "status": {"podIP": f"10.0.{number // 250}.{number % 250}"},
        }
        mark(pod, namespaces.get(meta["namespace"], {}))
        yield pod


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
        ports = [{"name": p.get("name", ""), "port": p.get("targetPort", p["port"])} for p in spec.get("ports") or []]
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": meta["name"], "namespace": meta["namespace"], "labels": {"kubernetes.io/service-name": meta["name"]},
            },
            "ports": [port for port in ports if isinstance(port["port"], int)],
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
    made = list(_pods_of(by_kind.get("Deployment", ()), namespaces, mark))
    pods = [*by_kind.get("Pod", ()), *made]
    given = {
        (s["metadata"].get("labels") or {}).get("kubernetes.io/service-name") for s in by_kind.get("EndpointSlice", ())
    }
    bare = [s for s in by_kind.get("Service", ()) if s["metadata"]["name"] not in given]
    return [*objects, *made, *_slices_of(bare, pods)]


def _admitted(obj: dict[str, Any]) -> tuple[str, ...]:
    """The warnings that a resource is accepted with.

    Raises:
        BadInput: a kind that the lab does not have, or a resource that is refused.
    """
    if obj["kind"] not in _OWN and definition_of(obj["kind"], obj["apiVersion"]) is None:
        known = sorted({*_OWN, *(item["spec"]["names"]["kind"] for item in crds())})
        raise BadInput(
            "MB0730",
            f"The lab has no kind {obj['kind']} ({obj['apiVersion']}).",
            help=f"it knows: {', '.join(known)}",
        )
    name = f"{obj['kind']} {obj['metadata']['name']}"
    if unknown := unknown_fields(obj):
        raise BadInput("MB0731", f"{name}: unknown field {unknown[0]}.", help="correct the resource")
    decision = admit(obj)
    if decision.refused:
        raise BadInput("MB0731", f"{decision.refused}.", help="correct the resource")
    return tuple(f"{name}: {sentence}" for sentence in decision.warnings)


def compile_files(files: Iterable[Path], world: Path | None = None, pod: str | None = None) -> dict[str, Any]:
    """Compile resources for one sidecar.

    Args:
        files: YAML with the resources; those without a namespace belong to ``shop``.
        world: YAML with the services and pods; the demo shop where ``None``.
        pod: ``POD.NAMESPACE``; the first pod of the world where ``None``.

    Raises:
        BadInput: a file that is no YAML, a resource that is refused, or a pod that is not in the world.
    """
    resources = read_objects(files, "shop")
    warnings = [warning for obj in resources for warning in _admitted(obj)]
    base = read_objects([world], "shop") if world else shop_objects()
    objects = complete([*base, *resources])
    mesh = Mesh.read(objects)
    if pod is None:
        namespace, name = next(iter(mesh.pods), ("", ""))
    else:
        name, _, namespace = pod.partition(".")
    if (namespace, name) not in mesh.pods:
        known = ", ".join(f"{n}.{ns}" for ns, n in sorted(mesh.pods)) or "none"
        raise BadInput("MB0732", f"There is no pod '{pod}' in that world; it has: {known}.", help="name one of them")
    made = compile_pod(mesh, name, namespace).to_json()
    return {**made, "warnings": [*dict.fromkeys([*warnings, *made["warnings"]])]}
