"""Which endpoints are near: weights and priorities of localities, and what makes Envoy heed them.

By istio/istio ``pilot/pkg/networking/core/loadbalancer/loadbalancer.go``. Priorities fail over only where something finds
endpoints unhealthy: outlier detection, or Kubernetes' readiness for a Service with a traffic distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshbdd.lab.compile.ir import Endpoint, Service, Workload
from meshbdd.lab.compile.policies import TrafficPolicy
from meshbdd.lab.compile.read.topology import NETWORK, parts

Object = Mapping[str, Any]
Entry = tuple[Endpoint, dict[str, Any]]
"""An endpoint, and how Envoy is told of it."""


@dataclass(frozen=True, slots=True)
class Preference:
    """What counts of nearness for one cluster.

    Attributes:
        setting: ``localityLbSetting`` or ``zoneAwareLbSetting``, as written.
        by_zones: Whether it is the second.
        fails_over: Whether endpoints further away are used where the near ones are unhealthy.
    """

    setting: Object
    by_zones: bool
    fails_over: bool

    @property
    def on(self) -> bool:
        """Whether it was not turned off."""
        return self.setting.get("enabled") is not False


def preference(service: Service, policy: TrafficPolicy) -> Preference | None:
    """What counts: the DestinationRule's word, the Service's, the mesh's (failover by locality); ``None``: nothing."""
    block = policy.load_balancer or {}
    ejects = policy.outlier_detection is not None
    if block.get("zoneAwareLbSetting") is not None:
        return Preference(block["zoneAwareLbSetting"], by_zones=True, fails_over=True)
    if block.get("localityLbSetting") is not None:
        made = Preference(block["localityLbSetting"], by_zones=False, fails_over=ejects)
        return made if made.on else None
    if service.prefers:
        return Preference({"failoverPriority": list(service.prefers)}, by_zones=False, fails_over=True)
    return Preference({}, by_zones=False, fails_over=ejects)


def cluster_settings(wanted: Preference | None) -> dict[str, Any]:
    """The part of a cluster's ``common_lb_config`` that is about localities."""
    if wanted is None:
        return {}
    if wanted.by_zones:
        least = wanted.setting.get("minClusterSize")
        size = {"min_cluster_size": str(least)} if least is not None else {}
        return {"zone_aware_lb_config": {**({} if wanted.on else {"routing_enabled": {}}), **size}}
    fails_over = wanted.fails_over and (wanted.setting.get("failover") or wanted.setting.get("failoverPriority"))
    return {"locality_weighted_lb_config": {}} if fails_over or wanted.setting.get("distribute") else {}


def groups(entries: Iterable[Entry], wanted: Preference | None, caller: Workload) -> list[dict[str, Any]]:
    """A cluster's endpoints by locality, weighed and ordered as the caller should use them."""
    by_place: dict[str, list[Entry]] = {}
    for endpoint, entry in entries:
        by_place.setdefault(endpoint.locality, []).append((endpoint, entry))
    made = [_group(place, by_place[place]) for place in sorted(by_place)]
    if wanted is None or (wanted.by_zones and not wanted.on):
        return made
    if not wanted.by_zones and wanted.setting.get("distribute"):
        _weigh(made, wanted.setting["distribute"], caller.locality)
        return made
    if not wanted.fails_over:
        return made
    labels = wanted.setting.get("failoverPriority") or []
    if labels:
        made = [part for place in sorted(by_place) for part in _by_labels(place, by_place[place], labels, caller)]
        _close_up(made)
    regions = wanted.setting.get("failover") or []
    if wanted.by_zones:
        _rank(made, 3, lambda place: _by_region(place, caller.locality, regions))
    elif regions or not labels:
        _rank(made, 5, lambda place: _by_distance(place, caller.locality, regions))
    return made


def _group(place: str, entries: Sequence[Entry], priority: int = 0) -> dict[str, Any]:
    names = zip(("region", "zone", "sub_zone"), parts(place), strict=True)
    made: dict[str, Any] = {
        "lb_endpoints": [entry for _, entry in entries],
        "load_balancing_weight": len(entries),
        "locality": {name: value for name, value in names if value},
    }
    return {**made, "priority": priority} if priority else made


def _place(group: Object) -> tuple[str, str, str]:
    where = group["locality"]
    return where.get("region", ""), where.get("zone", ""), where.get("sub_zone", "")


def _fits(place: Sequence[str], pattern: str) -> bool:
    """Whether a locality is one that a rule names; ``*`` and what is left out fit everything."""
    wanted = parts(pattern)
    return wanted[0] in {"*", place[0]} and all(
        said in {"*", "", here} for said, here in zip(wanted[1:], place[1:], strict=True)
    )


def _weigh(made: list[dict[str, Any]], rules: Iterable[Object], caller: str) -> None:
    """Share calls out as ``distribute`` says, in place: places that it does not name get none."""
    rule = next((rule for rule in rules if _fits(parts(caller), str(rule.get("from") or ""))), None)
    if rule is None:
        return
    left = list(range(len(made)))
    for pattern, share in (rule.get("to") or {}).items():
        fitting = [index for index in left if _fits(_place(made[index]), pattern)]
        left = [index for index in left if index not in fitting]
        total = sum(made[index]["load_balancing_weight"] for index in fitting)
        for index in fitting:
            made[index]["load_balancing_weight"] = math.ceil(made[index]["load_balancing_weight"] * share / total)
    for index in left:
        del made[index]["lb_endpoints"]


def _by_labels(place: str, entries: Sequence[Entry], labels: Sequence[str], caller: Workload) -> list[dict[str, Any]]:
    """One place's endpoints by how many labels, from the first on, they share with the caller."""
    found: dict[int, list[Entry]] = {}
    for endpoint, entry in entries:
        found.setdefault(_unlike(endpoint, labels, caller), []).append((endpoint, entry))
    return [_group(place, found[priority], priority) for priority in sorted(found)]


def _unlike(endpoint: Endpoint, labels: Sequence[str], caller: Workload) -> int:
    """0 where every label is shared, else how many there are from the first one on that is not.

    Another network alone, where that is the first label, comes after all of these.
    """
    far = 0
    for index, label in enumerate(labels):
        name, said, value = label.partition("=")
        if (value if said else caller.labels.get(name, "")) == endpoint.labels.get(name, ""):
            continue
        if index == 0 and labels[0] == NETWORK:
            far = len(labels)
            continue
        return far + len(labels) - index
    return far


def _by_distance(place: Sequence[str], caller: str, failover: Iterable[Object]) -> int:
    here = parts(caller)
    for steps in range(3):
        if tuple(place[: 3 - steps]) == here[: 3 - steps]:
            return steps
    rule = next((rule for rule in failover if rule.get("from") == here[0]), None)
    return 4 if rule is not None and place[0] != rule.get("to") else 3


def _by_region(place: Sequence[str], caller: str, failover: Iterable[Object]) -> int:
    region = parts(caller)[0]
    rule = next((rule for rule in failover if rule.get("from") == region), None)
    if place[0] == region:
        return 0
    return 1 if rule is not None and place[0] == rule.get("to") else 2


def _rank(made: list[dict[str, Any]], levels: int, of: Callable[[Sequence[str]], int]) -> None:
    """Refine priorities by ``of``, which has ``levels`` values, in place."""
    for group in made:
        group["priority"] = group.get("priority", 0) * levels + of(_place(group))
    _close_up(made)


def _close_up(made: list[dict[str, Any]]) -> None:
    """Number priorities without gaps, in place: Envoy takes no others. 0 goes unsaid."""
    there = sorted({group.get("priority", 0) for group in made})
    for group in made:
        rank = there.index(group.pop("priority", 0))
        if rank:
            group["priority"] = rank
