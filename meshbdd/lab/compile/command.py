"""``meshbdd lab compile``: what YAML becomes for one sidecar, with no lab running."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.lab.admission import admit, crds, unknown_fields
from meshbdd.lab.admission.definitions import definition_of
from meshbdd.lab.compile import Mesh, compile_pod
from meshbdd.lab.compile.kept import Keeper
from meshbdd.lab.lifecycle import applied, read_objects, replacing, shop_objects
from meshbdd.pod_spec import named_ports

OWN = frozenset({"Namespace", "Node", "Pod", "Service", "EndpointSlice", "Deployment", "ServiceAccount"})
"""Kinds of Kubernetes' own that the compiler has a use for."""

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


def _addressed(objects: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """The objects, Services with a made-up cluster IP where an API server would give them one."""
    taken = {obj["spec"].get("clusterIP") for obj in objects if obj["kind"] == "Service"}
    made_up = (f"10.96.{number // 250}.{number % 250 + 1}" for number in itertools.count())
    free = (address for address in made_up if address not in taken)
    for obj in objects:
        if obj["kind"] == "Service" and not obj["spec"].get("clusterIP") and obj["spec"].get("type") != "ExternalName":
            yield {**obj, "spec": {**obj["spec"], "clusterIP": next(free)}}
        else:
            yield obj


def _number(port: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> int | None:
    """The number of a Service's port at its pods; one that goes by a name is that container port's."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    return next((names[target] for pod in pods if target in (names := named_ports(pod["spec"]))), None)


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
    """A world in which something runs: Deployments get pods, Services an address and endpoints, where none are given."""
    objects = list(_addressed(objects))
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


def _compiled(obj: Mapping[str, Any]) -> bool:
    """Whether a kind bears on what a sidecar is told."""
    return obj["kind"] in OWN or definition_of(obj["kind"], obj["apiVersion"]) is not None


def _admitted(obj: dict[str, Any], keeper: Keeper) -> tuple[str, ...]:
    """The warnings that a resource is accepted with.

    Raises:
        BadInput: a kind that the lab does not have, or a resource that is refused.
    """
    if not keeper.knows(obj):
        raise BadInput(
            "MB0730", f"The lab has no kind {obj['kind']} ({obj['apiVersion']}).", help=f"compile takes: {_kinds()}"
        )
    if obj["kind"] in OWN or not _compiled(obj):
        keeper.keep(obj)
        return ()
    name = f"{obj['kind']} {obj['metadata']['name']}"
    if unknown := unknown_fields(obj):
        raise BadInput("MB0731", f"{name}: unknown field {unknown[0]}.", help="correct the resource")
    decision = admit(obj)
    if decision.refused:
        raise BadInput("MB0731", f"{decision.refused}.", help="correct the resource")
    keeper.keep(obj)
    return tuple(f"{name}: {sentence}" for sentence in decision.warnings)


def see_use(
    files: Iterable[Path],
    resources: Iterable[Mapping[str, Any]],
    compiled: Callable[[Mapping[str, Any]], bool],
    kinds: str,
) -> None:
    """See that there is something to compile among the resources, if there are any.

    Args:
        files: Where the resources were read.
        resources: What was read.
        compiled: Whether a resource bears on what a sidecar is told.
        kinds: Those that do, for the sentence.

    Raises:
        BadInput: no sidecar is told anything of any of the resources.
    """
    if resources and not any(map(compiled, resources)):
        names = " and ".join(map(str, files))
        found = ", ".join(f"{obj['kind']} {obj['metadata']['name']}" for obj in resources)
        raise BadInput(
            "MB0735", f"No sidecar is told anything of what {names} holds: {found}.", help=f"compile takes: {kinds}"
        )


def _kinds() -> str:
    return ", ".join(sorted({*OWN, *(item["spec"]["names"]["kind"] for item in crds())}))


def compile_files(files: Iterable[Path], world: Path | None = None, pod: str | None = None) -> dict[str, Any]:
    """Compile resources for one sidecar.

    Args:
        files: YAML with the resources; those without a namespace belong to ``shop``. Without any, but with a world: what
            that world is with no resource at all.
        world: YAML with the services and pods; the demo shop where ``None``.
        pod: ``POD.NAMESPACE``; the first pod of the world where ``None``.

    Raises:
        BadInput: a file that is no YAML, a resource that is refused, none that any sidecar is told of, or a pod that is
            not in the world.
    """
    files = list(files)
    keeper = Keeper(crds())
    read = read_objects(files, "shop", or_none=world is not None)
    base = read_objects([world], "shop") if world else shop_objects()
    resources = applied(base, read)
    warnings = [warning for obj in resources for warning in _admitted(obj, keeper)]
    see_use(files, resources, _compiled, _kinds())
    for obj in base if world else ():
        _admitted(obj, keeper)
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
