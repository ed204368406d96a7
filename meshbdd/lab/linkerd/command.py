"""``meshbdd lab compile --mesh linkerd``: what YAML becomes, with no lab running."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.lab.compile.command import complete
from meshbdd.lab.lifecycle import read_objects, replacing, shop_objects
from meshbdd.lab.linkerd.admission.definitions import spec_schema
from meshbdd.lab.linkerd.compile import show
from meshbdd.lab.linkerd.injection import inject, wants_proxy
from meshbdd.lab.linkerd.objects import group_of
from meshbdd.lab.linkerd.policies import Policies
from meshbdd.lab.linkerd.settings import ControlPlaneSettings

_KUBERNETES = {"Namespace", "Pod", "Service", "EndpointSlice", "Deployment", "ServiceAccount"}


def _mark(pod: dict[str, Any], namespace: Mapping[str, Any]) -> None:
    if wants_proxy(pod, namespace):
        inject(pod, namespace)


def compile_files(
    files: Iterable[Path],
    world: Path | None = None,
    pod: str | None = None,
    settings: ControlPlaneSettings | None = None,
) -> dict[str, Any]:
    """Compile resources as Linkerd's control plane does; what it denies is told beside what it would make of it.

    Args:
        files: YAML with the resources, which replace those of the world of the same kind and name.
        world: YAML with the services and pods; the demo shop where ``None``.
        pod: ``POD.NAMESPACE`` to answer for; every pod and every namespace where ``None``.
        settings: How the control plane was installed.

    Raises:
        BadInput: a file that is no YAML, a kind that Linkerd does not read, or a pod that is not in the world.
    """
    resources = read_objects(files, "shop")
    for obj in resources:
        if obj["kind"] not in _KUBERNETES and spec_schema(group_of(obj), obj["kind"]) is None:
            raise BadInput(
                "MB0733",
                f"Linkerd does not read {obj['kind']} ({obj['apiVersion']}).",
                help="give it Linkerd's kinds or the Gateway API's; without --mesh linkerd the lab compiles Istio's",
            )
    base = read_objects([world], "shop") if world else shop_objects()
    objects = complete(replacing(base, resources), _mark)
    policies = Policies(objects, settings)
    wanted = None
    if pod is not None:
        name, _, namespace = pod.partition(".")
        wanted = (namespace, name)
        if wanted not in policies.objects.pods:
            known = ", ".join(f"{n}.{ns}" for ns, n in sorted(policies.objects.pods)) or "none"
            raise BadInput(
                "MB0732", f"There is no pod '{pod}' in that world; it has: {known}.", help="name one of them"
            )
    return show(policies, resources, wanted)
