"""For which mesh objects are, where nobody says it."""

from __future__ import annotations

from collections.abc import Iterable

from meshbdd.sense.linkerd_pods import INJECTED, said_of_injection
from meshbdd.sense.pods import INJECT, injects, template_of
from meshbdd.sense.reading import Object, labels_of, mapping, text


def linkerds_alone(objects: Iterable[Object]) -> Object | None:
    """The first object that is for Linkerd, where none is for Istio; ``None`` where that cannot be said.

    A kind of the mesh's own is for it, and so is whoever asks for its sidecars.
    """
    first = None
    for obj in objects:
        group, pod = text(obj, "apiVersion").rpartition("/")[0], template_of(obj) or obj
        if (
            group.endswith("istio.io")
            or injects(obj)
            or INJECT in {**labels_of(pod), **mapping(pod, "metadata", "annotations")}
        ):
            return None
        if group.endswith("linkerd.io") or said_of_injection(pod) in INJECTED:
            first = first or obj
    return first
