"""Who called whom in a scenario, for the service graph; nothing is claimed of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from meshbdd.evidence import Call, CallsLogged
from meshbdd.telemetry.access_log import Entry

_POD = re.compile(r"(.+?)(?:-[0-9a-f]{6,10}-[a-z0-9]{5}|-\d+)")
"""A pod's name: its workload, then what a Deployment or a StatefulSet adds to it."""


def workload(pod: str) -> str:
    """The workload of a pod, by its name."""
    found = _POD.fullmatch(pod)
    return found[1] if found else pod


def calls_logged(entries: Iterable[Entry], since: float) -> CallsLogged:
    """What callers' sidecars logged, each kind of call once.

    Args:
        entries: Of the logs.
        since: Unix time; what started before is no part of it. The sidecars' clocks against this machine's.
    """
    kinds: Counter[Call] = Counter()
    for entry in entries:
        if entry.outbound and not entry.probe and entry.started >= since:
            service, flags = entry.service.partition(".")[0], tuple(sorted(entry.flags))
            kinds[Call(workload(entry.pod), service, entry.status, flags, entry.injected)] += 1
    return CallsLogged(tuple(replace(kind, count=count) for kind, count in kinds.items()))
