"""The calls that came to a service, as the proxies of its side logged them."""

from __future__ import annotations

from collections.abc import Iterable

from meshbdd.intents import ServiceRef
from meshbdd.telemetry.access_log import Entry
from meshbdd.telemetry.proxies import Object, Proxies, address_of
from meshbdd.telemetry.shared_pods import to_no_other, untold_copies


def arrivals(service: ServiceRef, entries: Iterable[Entry], proxies: Proxies) -> list[Entry]:
    """Those that came to the service's own pods, and those that came to its fault backend.

    What a fault backend passes on has come to it before: that is no further call. What came to the pods for another Service
    that selects them is none of the service's.

    Args:
        service: The service.
        entries: The logs of both sides.
        proxies: The way to the pods.
    """
    return came_in(service, to_no_other(service, entries, proxies.beside(service)), proxies)


def untold_arrivals(service: ServiceRef, entries: Iterable[Entry], proxies: Proxies) -> list[Entry]:
    """The mirrored copies among what came to a service's pods of which nobody can tell whether they were sent to it."""
    return came_in(service, untold_copies(entries, proxies.beside(service)), proxies)


def came_in(service: ServiceRef, entries: Iterable[Entry], proxies: Proxies) -> list[Entry]:
    """Those that ``arrivals`` has, with what came to the service's pods for another Service that selects them.

    Args:
        service: The service.
        entries: The logs of its side, or of both.
        proxies: The way to the pods.
    """
    backends = proxies.fault_backends(service)
    passing_on = {address_of(pod) for pod in backends}
    own, beside = _names(proxies.meshed(service)), _names(backends)
    came = (entry for entry in entries if not entry.outbound)
    return [e for e in came if e.pod in beside or (e.pod in own and e.came_from not in passing_on)]


def _names(pods: Iterable[Object]) -> set[str]:
    return {str(pod["metadata"]["name"]) for pod in pods}
