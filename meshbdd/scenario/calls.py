"""Who called whom in a scenario, for the service graph, and why calls failed; nothing is claimed of it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meshbdd.evidence import Call, CallsLogged
from meshbdd.response_flags import in_words
from meshbdd.sidecars import FAULT_LABEL
from meshbdd.telemetry.access_log import Entry
from meshbdd.telemetry.forwarded import key_of
from meshbdd.telemetry.shared_pods import asks_for

Object = Mapping[str, Any]

_SAFE = "[bcdfghjklmnpqrstvwxz2456789]"
"""The letters of generated names: k8s.io/apimachinery pkg/util/rand, ``alphanums``."""
_POD = re.compile(rf"(.+?)-(?:{_SAFE}{{6,10}}-{_SAFE}{{5}}|\d+)")
"""A pod's name: its workload, then what a Deployment or a StatefulSet adds to it."""


def workload(pod: str) -> str:
    """The workload of a pod, by its name."""
    found = _POD.fullmatch(pod)
    return found[1] if found else pod


@dataclass(frozen=True, slots=True)
class Places:
    """Which services pods belong to.

    Attributes:
        hosts: Pod → the full names of the services that lead to it, and of the one beside which it stands in for a fault.
        namespace: The default one, left out of names.
    """

    hosts: Mapping[str, Sequence[str]]
    namespace: str

    @classmethod
    def of(cls, pods: Iterable[Object], services: Sequence[Object], namespace: str) -> Places:
        """The places in a cluster."""
        return cls({str(pod["metadata"]["name"]): tuple(_hosts(pod, services)) for pod in pods}, namespace)

    def name(self, host: str) -> str:
        """A service as testers name it."""
        name, _, rest = host.partition(".")
        namespace = rest.partition(".")[0]
        return name if namespace in {"", self.namespace} else f"{name}.{namespace}"

    def part_of(self, pod: str, called: Collection[str]) -> str:
        """The service that a pod belongs to; of several, one that was called, else the one of its workload's name."""
        ranked = self._ranked(pod, called)
        return self.name(ranked[0]) if ranked else ""

    def called(self, came: Entry, called: Collection[str]) -> str:
        """The full name of the service for which a call came to a pod; the pod's where there is none.

        Args:
            came: The call.
            called: Where its callers' logs say that it went; of several services of the pod it is one of these, or it says itself.
        """
        ranked = self._ranked(came.pod, called)
        likely = [host for host in ranked if host in called] or ranked
        return next((host for host in likely if asks_for(came, host)), likely[0] if likely else came.pod)

    def _ranked(self, pod: str, called: Collection[str]) -> list[str]:
        known = self.hosts.get(pod, ())
        return sorted(known, key=lambda host: (host not in called, host.partition(".")[0] != workload(pod), host))


def _hosts(pod: Object, services: Iterable[Object]) -> Iterator[str]:
    meta = pod["metadata"]
    labels, namespace = meta.get("labels") or {}, meta.get("namespace")
    for service in services:
        selector = (service.get("spec") or {}).get("selector") or {}
        if selector and service["metadata"].get("namespace") == namespace and selector.items() <= labels.items():
            yield f"{service['metadata']['name']}.{namespace}.svc.cluster.local"
    if FAULT_LABEL in labels:
        yield f"{labels[FAULT_LABEL]}.{namespace}.svc.cluster.local"


def calls_logged(entries: Iterable[Entry], injections: Iterable[Entry], since: float, places: Places) -> CallsLogged:
    """What callers' sidecars logged, each kind of call once.

    Args:
        entries: Of the sidecars' logs.
        injections: Of the fault backends' logs.
        since: Unix time; what started before is no part of it. The sidecars' clocks against this machine's.
        places: Which services the pods belong to.
    """
    found = [entry for entry in entries if not entry.probe and entry.started >= since]
    sent = [entry for entry in found if entry.service]
    met = _met_at_the_server(sent, [*(entry for entry in found if not entry.outbound), *injections], places)
    called = {entry.service for entry in sent}
    kinds: dict[Call, list[Entry]] = defaultdict(list)
    for number, entry in enumerate(sent):
        flags, injected = tuple(sorted(entry.flags)), entry.injected or number in met
        part_of = places.part_of(entry.pod, called)
        kind = Call(workload(entry.pod), places.name(entry.service), entry.status, flags, injected, 1, part_of)
        kinds[kind].append(entry)
    return CallsLogged(
        tuple(
            replace(
                kind,
                count=len(same),
                began=min(entry.started for entry in same),
                ended=max(entry.started + entry.seconds for entry in same),
            )
            for kind, same in kinds.items()
        )
    )


def _met_at_the_server(sent: Sequence[Entry], arrived: Iterable[Entry], places: Places) -> set[int]:
    """Which calls a fault was injected into at their service's side: the positions in ``sent``.

    Tries of one request bear one id. Of these, as many are taken as the service's side injected into, with its status.
    """
    faults: dict[str, list[Entry]] = defaultdict(list)
    for entry in arrived:
        if entry.injected and not (entry.probe or entry.copied):
            faults[entry.request_id].append(entry)
    met = set()
    for number, entry in enumerate(sent):
        open_faults = faults.get(entry.request_id, [])
        mine = (f for f in open_faults if entry.service in places.hosts.get(f.pod, ()) and f.status == entry.status)
        fault = next(mine, None) if not entry.injected and not entry.flags else None
        if fault is not None:
            open_faults.remove(fault)
            met.add(number)
    return met


def reasons(entries: Iterable[Entry], injections: Iterable[Entry], places: Places) -> dict[str, str]:
    """Request id → what the sidecars say went wrong in its calls: injected faults, and response flags of calls that failed.

    Args:
        entries: Of the sidecars' logs.
        injections: Of the fault backends' logs.
        places: Which services the pods belong to.
    """
    told: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    found = list(entries)
    made: dict[tuple[str, str], set[str]] = defaultdict(set)
    for entry in found:
        if entry.service:
            made[key_of(entry)].add(entry.service)
    for entry in found:
        if entry.copied:
            continue  # nobody waits for its answer
        if entry.injected or (entry.service and entry.flags and not 0 < entry.status < 400):
            host = entry.service or places.called(entry, made.get(key_of(entry), ()))
            told[entry.request_id][places.name(host)] |= entry.flags
    for entry in injections:
        if entry.injected:
            host = places.called(entry, ())
            told[entry.request_id][places.name(host)] |= entry.flags
    return {
        request: "; ".join(f"{service}, {in_words(flags)}" for service, flags in sorted(where.items()))
        for request, where in told.items()
    }
