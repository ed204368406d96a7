"""The names of pods to a service: StatefulSets of two namespaces may have pods of one name. Pure functions.

The pods of a service are those of its namespace, so these have their bare names, and all others bear their namespace.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from meshbdd.intents import ServiceRef
from meshbdd.telemetry.access_log import Entry


def name_to(namespace: str, name: str, its: str) -> str:
    """How a pod is called by those of a namespace.

    Args:
        namespace: Where it is told.
        name: The pod's name.
        its: The pod's namespace; empty where nobody knows.
    """
    return name if its in ("", namespace) else f"{name}.{its}"


def known_to(service: ServiceRef, entries: Iterable[Entry]) -> list[Entry]:
    """What proxies logged, by the names that their pods have to a service, so that none is taken for one of its own."""
    home = service.namespace
    return [e if e.namespace in ("", home) else replace(e, pod=name_to(home, e.pod, e.namespace)) for e in entries]
