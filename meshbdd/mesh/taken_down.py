"""What needs pods that a step of the same scenario has taken away: told before anything is written, the same on every mesh."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshbdd.cluster import Edit
from meshbdd.errors import BadInput, Inconclusive
from meshbdd.intents import Down, ServiceRef
from meshbdd.mesh.base import Plan
from meshbdd.mesh.catalog import Catalog, Object, has_ended, selected
from meshbdd.mesh.splits import NoSuchSubset
from meshbdd.mesh.workloads import pod_labels, replicas_of

_OF_NO_POD = {"MB0422", "MB0424", "MB0428", "MB0451"}
"""What a plan says where a service has no pod that tells an account, a subset, a sidecar or the number of a port."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """Pods that a step has taken away.

    Attributes:
        by: The step's plan.
        namespace: Theirs.
        labels: Theirs.
    """

    by: Plan
    namespace: str
    labels: Mapping[str, str]

    def had(self, pod: Mapping[str, Any]) -> bool:
        """Whether a pod is one of them; a rehearsal has them still."""
        meta = pod["metadata"]
        return bool(meta["namespace"] == self.namespace and selected(self.labels, meta.get("labels") or {}))

    def refusal(self, what: str) -> BadInput:
        """Why something cannot be had without them.

        Args:
            what: What, and what it lacks.
        """
        service = self.by.service
        return BadInput(
            "MB0481",
            f"{what}: «{self.by.summary}» has taken its pods away.",
            help=f"let {service.name if service else 'it'} recover before that step",
        )


def see_pods_there(catalog: Catalog, plan: Plan, in_force: Iterable[Plan]) -> None:
    """See that pods which are to hold a change, or to stand behind its new Services, are not all of them down.

    Args:
        catalog: Reads the cluster.
        plan: The change.
        in_force: The plans that are in force.

    Raises:
        BadInput: they are.
    """
    taken = list(_taken(catalog, in_force))
    if not taken:
        return
    how = f"«{plan.summary}»" if plan.intent else "the manifest"
    for edit in plan.edits:
        if edit.kind == "Service" and edit.new is not None:
            labels = (edit.new.get("spec") or {}).get("selector") or {}
            gone = _all_of(catalog, labels, edit.namespace, taken, plan.edits)
            if gone is not None:
                raise gone.refusal(f"With {how} Service {edit.name} would have no endpoint")
    there = [pod["metadata"] for pod in _left(catalog, {}, None, taken, meshed=True)]
    for marker in plan.markers:
        if not getattr(marker, "needed", True) or any(marker.where.takes(meta) for meta in there):
            continue
        for gone in taken:
            if marker.where.takes({"name": "", "namespace": gone.namespace, "labels": gone.labels}):
                raise gone.refusal(f"{how[:1].upper()}{how[1:]} would be held by no proxy that it is for")


@contextlib.contextmanager
def told_of_absence(
    catalog: Catalog, what: str, services: Sequence[ServiceRef], in_force: Iterable[Plan]
) -> Iterator[None]:
    """Tell of a plan that fails since a service has no pods who has taken them away.

    Args:
        catalog: Reads the cluster.
        what: What is planned.
        services: Those that it names.
        in_force: The plans that are in force.

    Raises:
        BadInput: it failed, for that reason or for another.
    """
    try:
        yield
    except BadInput as error:
        taken = list(_taken(catalog, in_force)) if error.code in _OF_NO_POD else []
        for ref in services if taken else ():
            service = catalog.find("Service", ref.name, ref.namespace) or {}
            labels = (service.get("spec") or {}).get("selector") or {}
            if isinstance(error, NoSuchSubset):  # one that their pods are not of does not come back with them
                own = [one.labels for one in taken if one.namespace == ref.namespace and selected(labels, one.labels)]
                error.offer({one["version"] for one in own if "version" in one})
                labels = {**labels, **error.labels}
            gone = _all_of(catalog, labels, ref.namespace, taken)
            if gone is not None:
                raise gone.refusal(f"«{what}» needs a pod of {ref}") from error
        raise


def _taken(catalog: Catalog, in_force: Iterable[Plan]) -> Iterator[_Taken]:
    for plan in in_force:
        for edit in plan.edits if isinstance(plan.intent, Down) else ():
            live = catalog.find("Deployment", edit.name, edit.namespace)
            if live is not None and replicas_of(live) == 0:
                yield _Taken(plan, edit.namespace, pod_labels(live))


def _all_of(
    catalog: Catalog, labels: Mapping[str, str], namespace: str, taken: Sequence[_Taken], edits: Iterable[Edit] = ()
) -> _Taken | None:
    """Pods that were taken away and were the only ones with these labels; ``None``: there were none, or others are there or due."""
    gone = next((one for one in taken if one.namespace == namespace and selected(labels, one.labels)), None)
    if not labels or gone is None or _left(catalog, labels, namespace, taken):
        return None
    coming = [edit.new for edit in edits if edit.kind == "Deployment" and edit.namespace == namespace and edit.new]
    due = [*catalog.all("Deployment", namespace), *coming]
    return None if any(replicas_of(one) > 0 and selected(labels, pod_labels(one)) for one in due) else gone


def _left(
    catalog: Catalog, labels: Mapping[str, str], namespace: str | None, taken: Sequence[_Taken], *, meshed: bool = False
) -> list[Object]:
    with contextlib.suppress(Inconclusive):  # a rehearsal may not know the pods
        pods = catalog.with_proxy(namespace) if meshed else catalog.pods(labels, namespace)
        return [pod for pod in pods if not has_ended(pod) and not any(one.had(pod) for one in taken)]
    return []
