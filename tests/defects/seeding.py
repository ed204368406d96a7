"""Seeding a defect into a lab and a project, and taking it out again."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator

import yaml

from tests.defects.defect import Defect
from tests.defects.project import Project
from tests.tools import LabUnderTest, until


@contextlib.contextmanager
def seeded(lab: LabUnderTest, project: Project, defect: Defect) -> Iterator[None]:
    """The lab and the project with a defect, and the lab without it again."""
    for file, old, new in defect.edits:
        project.change(file, old, new)
    if defect.installed:
        lab.kubectl("apply", "-f", "-", stdin=defect.installed)
    changed = {name for table in (defect.shop, defect.labels, defect.annotations) for name in table}
    for name in changed:
        _patch(lab, name, defect)
    _settle(lab, changed)
    _ask_every_version(lab)
    for document in yaml.safe_load_all(defect.objects):
        lab.apply(yaml.safe_dump(document))
    try:
        yield
    finally:
        lab.clean()
        if defect.installed:
            lab.kubectl("delete", "-f", "-", stdin=defect.installed)
        for name in changed:
            lab.kubectl("rollout", "undo", f"deployment/{name}")
        _settle(lab, changed)


def _ask_every_version(lab: LabUnderTest) -> None:
    """A pod that was never asked has no counters, and Prometheus tells nothing of it, which is not the same as 0."""
    seen: set[str] = set()

    def both() -> bool:
        seen.add(lab.get("http://order-service/version").text)
        return len(seen) > 1

    until("both versions of order-service having answered", both, seconds=30)


def _patch(lab: LabUnderTest, deployment: str, defect: Defect) -> None:
    template: dict[str, object] = {}
    if deployment in defect.shop:
        env = [{"name": "SHOP_DEFECT", "value": defect.shop[deployment]}]
        template["spec"] = {"containers": [{"name": "app", "env": env}]}
    template["metadata"] = {
        "labels": dict(defect.labels.get(deployment, {})),
        "annotations": dict(defect.annotations.get(deployment, {})),
    }
    patch = yaml.safe_dump({"spec": {"template": template}})
    lab.kubectl("patch", f"deployment/{deployment}", "--type=strategic", "-p", patch)


def _settle(lab: LabUnderTest, changed: Iterable[str]) -> None:
    """Old pods are gone and new ones are ready."""
    for name in changed:
        lab.kubectl("rollout", "status", f"deployment/{name}", "--timeout=30s")
        until(f"pods of {name} made from its template", functools.partial(_rolled, lab, name), seconds=30)
    until(
        "old pods going",
        lambda: all(not pod["metadata"].get("deletionTimestamp") for pod in lab.pods()),
        seconds=30,
    )


def _rolled(lab: LabUnderTest, name: str) -> bool:
    """Whether every pod of a deployment has the environment and the marks of its template, and there is one."""
    template = lab.cluster.get("Deployment", name, "shop")["spec"]["template"]
    wanted = template["metadata"]
    pods = [pod for pod in lab.pods() if pod["metadata"]["name"].rsplit("-", 2)[0] == name]
    return bool(pods) and all(
        pod["spec"]["containers"][0].get("env") == template["spec"]["containers"][0].get("env")
        and (pod["metadata"].get("labels") or {}).items() >= (wanted.get("labels") or {}).items()
        and (pod["metadata"].get("annotations") or {}).items() >= (wanted.get("annotations") or {}).items()
        for pod in pods
    )
