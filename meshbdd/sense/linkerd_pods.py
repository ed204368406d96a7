"""Whether a pod has Linkerd's proxy, or gets it when it is created (linkerd2 pkg/inject/report.go, pkg/k8s/labels.go)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshbdd.sense.reading import Object, at, containers, labels_of, mapping, text
from meshbdd.sidecars import LINKERD, LINKERD_INJECTS, linkerd_injects

INJECT = LINKERD.injection.name
INJECTED = LINKERD_INJECTS
NOT_INJECTED = LINKERD.injection.unwanted


def said_of_injection(obj: Mapping[str, Any]) -> str:
    """The annotation of a pod, a template or a namespace; empty where it has none."""
    return text(mapping(obj, "metadata", "annotations"), INJECT)


def is_meshed(pod: Object) -> bool:
    """Whether a pod has a proxy: by the label that injection leaves, or by the container, native ones included."""
    return LINKERD.label in labels_of(pod) or any(
        text(c, "name") == LINKERD.container for c in containers(at(pod, "spec"))
    )


def will_be_meshed(pod: Mapping[str, Any], home: Object | None) -> bool:
    """Whether a pod gets a proxy when it is created: its own annotation has precedence over that of its namespace.

    Args:
        pod: The pod, or the template that it is made from.
        home: Its namespace; ``None`` where nobody described it, and injection is taken for granted.
    """
    if at(pod, "spec", "hostNetwork") is True:
        return False
    return linkerd_injects(said_of_injection(pod), INJECTED[0] if home is None else said_of_injection(home))
