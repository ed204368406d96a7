"""What is new in a manifest: Services, and the pods of its Deployments, as they will be once they have started."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from meshbdd.mesh.base import Object
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.workloads import replicas_of
from meshbdd.sidecars import LINKERD, linkerd_injects

Key = tuple[str, str, str]
_COPIED = ("config.linkerd.io/", "config.alpha.linkerd.io/")
"""What the annotations of a namespace begin with that its pods get, too: linkerd2 ``pkg/inject/inject.go``."""


def arrived(catalog: Catalog, documents: Iterable[Object]) -> Catalog:
    """The cluster once what is new in a manifest has arrived: its Services lead to pods, and its Deployments have some.

    Args:
        catalog: Reads the cluster as it is.
        documents: The manifest's.
    """
    return catalog.with_instead(dict(_new(catalog, documents)))


def _new(catalog: Catalog, documents: Iterable[Object]) -> Iterator[tuple[Key, Object]]:
    for document in documents:
        name, home = document["metadata"]["name"], document["metadata"]["namespace"]
        spec = document.get("spec") or {}
        if document["kind"] == "Service" and spec.get("selector") and catalog.find("Service", name, home) is None:
            yield ("Service", name, home), document
        elif document["kind"] == "Deployment" and replicas_of(document) > 0:
            pod = _pod_of(catalog, document)
            yield ("Pod", pod["metadata"]["name"], home), pod


def _pod_of(catalog: Catalog, deployment: Object) -> Object:
    """A pod that a Deployment will have, with the label of its proxy where one is injected.

    Its name is not known yet; it stands in sentences only, after the word "pod".
    """
    name, home = deployment["metadata"]["name"], deployment["metadata"]["namespace"]
    template = deployment["spec"]["template"]
    own = template.get("metadata") or {}
    place = next((n["metadata"] for n in catalog.readable("Namespace") if n["metadata"]["name"] == home), None)
    labels, said = dict(own.get("labels") or {}), own.get("annotations") or {}
    word = LINKERD.injection.name
    around = (place.get("annotations") or {}) if place is not None else _as_its_neighbours(catalog, home)
    if linkerd_injects(said.get(word) or "", around.get(word) or ""):
        labels[LINKERD.label] = "linkerd"
        said = {**{k: v for k, v in around.items() if k.startswith(_COPIED)}, **said}
    meta = {"name": f"of Deployment {name}", "namespace": home, "labels": labels, "annotations": dict(said)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template.get("spec") or {}}


def _as_its_neighbours(catalog: Catalog, home: str) -> Mapping[str, Any]:
    """What a namespace that cannot be read says of proxies, told by its pods."""
    return {LINKERD.injection.name: LINKERD.injection.wanted} if catalog.with_proxy(home) else {}
