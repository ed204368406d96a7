"""Reading YAML whose shape nobody has proved: what is not as expected counts as not there.

Whether an object has the right shape is for the API server to say; a check only must not stumble over it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.units import Duration

Object = Mapping[str, Any]


def at(value: Any, *path: str) -> Any:
    """What lies below these keys; ``None`` where nothing does."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def mapping(value: Any, *path: str) -> Mapping[str, Any]:
    """The mapping below these keys, else an empty one."""
    found = at(value, *path)
    return found if isinstance(found, Mapping) else {}


def mappings(value: Any, *path: str) -> list[Mapping[str, Any]]:
    """The mappings in the list below these keys."""
    found = at(value, *path)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def containers(spec: Any) -> list[Mapping[str, Any]]:
    """The containers that the spec of a pod has, and after them its init containers: a native sidecar is one of these."""
    return [*mappings(spec, "containers"), *mappings(spec, "initContainers")]


def texts(value: Any, *path: str) -> list[str]:
    """The texts in the list below these keys."""
    found = at(value, *path)
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def text(value: Any, *path: str) -> str:
    """The text below these keys, else an empty one."""
    found = at(value, *path)
    return found if isinstance(found, str) else ""


def whole(value: Any, *path: str) -> int | None:
    """The whole number below these keys."""
    found = at(value, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def duration(value: Any, *path: str) -> Duration | None:
    """The duration below these keys; ``None`` also for one in units that nobody writes (``us``, ``ns``)."""
    try:
        return Duration.parse(text(value, *path))
    except BadInput:
        return None


def namespace_of(obj: Object) -> str:
    """The namespace of an object; empty where it has none."""
    return text(obj, "metadata", "namespace")


EVERYWHERE = "*"
"""Every namespace, in an ``exportTo``."""


def visible_in(obj: Object) -> set[str]:
    """The namespaces whose sidecars see an object of Istio's; ``*``: all."""
    said = texts(obj, "spec", "exportTo") or [EVERYWHERE]
    return {namespace_of(obj) if name == "." else name for name in said if name != "~"}


def labels_of(obj: Object) -> Mapping[str, str]:
    """The labels of an object."""
    return mapping(obj, "metadata", "labels")


def selects(selector: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    """Whether labels hold everything that a selector says."""
    return all(labels.get(name) == value for name, value in selector.items())


_OF_TOPOLOGY = {
    "topology.istio.io/cluster", "topology.istio.io/network", "topology.istio.io/subzone",
    "topology.kubernetes.io/region", "topology.kubernetes.io/zone", "kubernetes.io/hostname",
}  # fmt: skip
"""Labels that Istio gives to endpoints and proxies by where they run; no object has their values (istio/istio
pilot/pkg/serviceregistry/util/label/label.go, AugmentLabels)."""


def without_topology(labels: Mapping[str, Any]) -> Mapping[str, Any]:
    """Labels but for those whose values Istio alone knows."""
    return {name: value for name, value in labels.items() if name not in _OF_TOPOLOGY}


def told(names: Sequence[str], most: int = 5) -> str:
    """A list for a sentence; long ones are cut."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
