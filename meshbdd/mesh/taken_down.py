"""What needs pods that a step of the same scenario has taken away: told before anything is written, the same on every mesh."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshbdd.cluster import Edit
from meshbdd.errors import BadInput, Inconclusive
from meshbdd.intents import Down, ServiceRef
from meshbdd.mesh.base import Plan, Where
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
        others: Those of the pods of each Deployment of their namespace that is to have some.
    """

    by: Plan
    namespace: str
    labels: Mapping[str, str]
    others: Sequence[Mapping[str, str]]

    def had(self, pod: Mapping[str, Any]) -> bool:
        """Whether a pod is one of them that has not gone yet, and no other Deployment's with labels beside theirs."""
        meta = pod["metadata"]
        own = meta.get("labels") or {}
        return (
            meta["namespace"] == self.namespace
            and selected(self.labels, own)
            and not any(selected(labels, own) for labels in self.others)
        )

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
    with contextlib.suppress(Inconclusive):  # a rehearsal may not know the pods
        _see_held(catalog, plan, taken, f"{how[:1].upper()}{how[1:]}")


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
                there = catalog.all("Deployment", edit.namespace)
                others = [pod_labels(one) for one in there if replicas_of(one) > 0]
                yield _Taken(plan, edit.namespace, pod_labels(live), others)


def _awaited(plan: Plan) -> Iterator[tuple[Where, list[Object]]]:
    """Which proxies some have to hold a change, each with the pods that come before they are looked at.

    These are those of the Deployments of an earlier stage: pods of the same one are not there yet as its proxies are chosen.
    """
    coming = list[Object]()
    for stage in plan.stages:
        for marker in stage.markers:
            if getattr(marker, "needed", True):
                yield marker.where, list(coming)
        new = [edit for edit in stage.edits if edit.kind == "Deployment" and edit.new and replicas_of(edit.new) > 0]
        coming += [_pod(edit.namespace, pod_labels(edit.new or {})) for edit in new]


def _pod(namespace: str, labels: Mapping[str, str]) -> Object:
    """The metadata of a pod of which its Deployment tells."""
    return {"name": "", "namespace": namespace, "labels": dict(labels)}


def _see_held(catalog: Catalog, plan: Plan, taken: Sequence[_Taken], how: str) -> None:
    """See that some proxy is there, or will be, for whatever of a change is to be held."""
    meshed = [pod["metadata"] for pod in catalog.with_proxy(None) if not any(one.had(pod) for one in taken)]
    for where, coming in _awaited(plan):
        gone = next((one for one in taken if where.takes(_pod(one.namespace, one.labels))), None)
        if gone is None or any(where.takes(pod) for pod in (*coming, *meshed)):
            continue
        if not _may_hold(catalog, where, taken):
            raise gone.refusal(f"{how} would be held by no proxy that it is for")


def _may_hold(catalog: Catalog, where: Where, taken: Sequence[_Taken]) -> bool:
    """Whether one of the pods that are meant may have a sidecar, since the world does not tell who has."""
    by_home = dict[str, list[Object]]()
    for pod in _living(catalog, {}, None, taken):
        if where.takes(pod["metadata"]):
            by_home.setdefault(pod["metadata"]["namespace"], []).append(pod)
    return any(len(catalog.without_sidecar(own, home)) < len(own) for home, own in by_home.items())


def _all_of(
    catalog: Catalog, labels: Mapping[str, str], namespace: str, taken: Sequence[_Taken], edits: Iterable[Edit] = ()
) -> _Taken | None:
    """Pods that were taken away and were the only ones with these labels; ``None``: there were none, or others are there or due."""
    gone = next((one for one in taken if one.namespace == namespace and selected(labels, one.labels)), None)
    if not labels or gone is None:
        return None
    with contextlib.suppress(Inconclusive):  # a rehearsal may not know the pods
        if _living(catalog, labels, namespace, taken):
            return None
    coming = [edit.new for edit in edits if edit.kind == "Deployment" and edit.namespace == namespace and edit.new]
    due = [*catalog.all("Deployment", namespace), *coming]
    return None if any(replicas_of(one) > 0 and selected(labels, pod_labels(one)) for one in due) else gone


def _living(
    catalog: Catalog, labels: Mapping[str, str], namespace: str | None, taken: Sequence[_Taken]
) -> list[Object]:
    """The pods with these labels that run and were not taken away.

    Raises:
        Inconclusive: a rehearsal does not know the pods.
    """
    pods = catalog.pods(labels, namespace)
    return [pod for pod in pods if not has_ended(pod) and not any(one.had(pod) for one in taken)]
