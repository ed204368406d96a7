"""``meshbdd lab compile --mesh linkerd``: what YAML becomes, with no lab running."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.lab.compile.command import OWN, complete, see_use
from meshbdd.lab.compile.kept import Keeper
from meshbdd.lab.lifecycle import applied, read_objects, replacing, shop_objects
from meshbdd.lab.linkerd.admission.definitions import crds, spec_schema
from meshbdd.lab.linkerd.admission.webhook import decide
from meshbdd.lab.linkerd.compile import show
from meshbdd.lab.linkerd.injection import inject, wants_proxy
from meshbdd.lab.linkerd.installed import CONFIG, settings_of
from meshbdd.lab.linkerd.objects import group_of
from meshbdd.lab.linkerd.policies import Policies

_READABLE = frozenset({
    "FieldValueNotSupported", "FieldValueInvalid", "FieldValueTooLong", "FieldValueTooMany", "FieldValueDuplicate",
})  # fmt: skip
"""Violations of a definition with which an object can still be read: one that an older definition let in, for instance.

What Linkerd would make of such an object is shown, and the violation beside it under ``schema``."""


def _mark(pod: dict[str, Any], namespace: Mapping[str, Any]) -> None:
    if wants_proxy(pod, namespace):
        inject(pod, namespace)


def _compiled(obj: Mapping[str, Any]) -> bool:
    """Whether a kind bears on what a proxy is told."""
    named = (obj["kind"], obj["metadata"]["name"])
    return obj["kind"] in OWN or spec_schema(group_of(obj), obj["kind"]) is not None or named == CONFIG


def _kinds() -> str:
    return ", ".join(sorted({*OWN, *(item["spec"]["names"]["kind"] for item in crds())}))


def _see_ports(obj: Mapping[str, Any]) -> None:
    """See that a Pod's ports have numbers.

    Raises:
        BadInput: one has none.
    """
    for container in ((obj.get("spec") or {}).get("containers") or []) if obj["kind"] == "Pod" else ():
        if any(not isinstance(port.get("containerPort"), int) for port in container.get("ports") or []):
            name = f"Pod {obj['metadata']['name']}"
            raise BadInput("MB0731", f"{name}: a port has no containerPort.", help="correct the resource")


def _kept(obj: dict[str, Any], keeper: Keeper) -> dict[str, Any]:
    """The object as the API keeps it.

    Raises:
        BadInput: a kind that is not known, or an object that nothing could read.
    """
    if not keeper.knows(obj):
        raise BadInput(
            "MB0733",
            f"Linkerd does not read {obj['kind']} ({obj['apiVersion']}).",
            help="give it Linkerd's kinds or the Gateway API's; without --mesh linkerd the lab compiles Istio's",
        )
    if spec_schema(group_of(obj), obj["kind"]) is None:
        keeper.keep(obj)
        _see_ports(obj)
        return obj
    kept = keeper.keep(obj, validation="Ignore", tolerated=_READABLE)
    decision = decide(kept)
    if decision.unreadable:
        name = f"{obj['kind']} {obj['metadata']['name']}"
        why = decision.denied or "; ".join(f"{path}: {why}" for path, why in decision.schema)
        raise BadInput("MB0731", f"{name}: {why}.", help="correct the resource")
    return kept


def compile_files(files: Iterable[Path], world: Path | None = None, pod: str | None = None) -> dict[str, Any]:
    """Compile resources as Linkerd's control plane does; what it denies is told beside what it would make of it.

    Args:
        files: YAML with the resources, which replace those of the world of the same kind and name.
        world: YAML with the services and pods, and the control plane's ``linkerd-config`` if that is not the default;
            the demo shop where ``None``.
        pod: ``POD.NAMESPACE`` to answer for; every pod and every namespace where ``None``.

    Raises:
        BadInput: a file that is no YAML, a kind that Linkerd does not read, an object that the API would refuse and
            nothing could read, none that any proxy is told of, or a pod that is not in the world.
    """
    files, keeper = list(files), Keeper(crds())
    resources = read_objects(files, "shop", or_none=world is not None)
    base = read_objects([world], "shop") if world else shop_objects()
    objects = [_kept(obj, keeper) for obj in replacing(base, applied(base, resources))]
    see_use(files, resources, _compiled, _kinds())
    policies = Policies(complete(objects, _mark), settings_of(objects))
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


def refusals(made: Mapping[str, Any]) -> Iterator[str]:
    """What of the compiled resources a cluster would not have taken, in one sentence each."""
    for title, verdict in made["admission"].items():
        yield f"{title}: Linkerd's webhook would deny it: {verdict['message']}"
    for title, lines in made["schema"].items():
        yield f"{title}: the API server would refuse it: {'; '.join(line.removeprefix('.') for line in lines)}"
