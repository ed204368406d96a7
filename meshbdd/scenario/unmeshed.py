"""Callers without a sidecar: no proxy of theirs logs what they call, or ejects anything; the callee's log knows them by address."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from meshbdd.claims import Outcome, Verdict
from meshbdd.cluster import Cluster
from meshbdd.intents import ServiceRef
from meshbdd.scenario.arrivals import arrivals
from meshbdd.scenario.vantages import PLAIN_CLIENT
from meshbdd.telemetry.access_log import Entry
from meshbdd.telemetry.proxies import Object, Proxies, address_of, has_proxy


def callers_of(
    callee: ServiceRef, entries: Iterable[Entry], proxies: Proxies, cluster: Cluster, ours: Callable[[str], bool]
) -> list[str]:
    """The names of the pods without a sidecar that called a service for requests of ours; not the client outside the mesh.

    Whoever else calls it for purposes of its own, to scrape its metrics for instance, is no caller of the scenario's.

    Args:
        callee: The service.
        entries: The logs.
        proxies: The way to its pods.
        cluster: Where the callers are looked for.
        ours: Whether a request id is the scenario's.
    """
    came = _came_from(callee, (entry for entry in entries if ours(entry.request_id)), proxies)
    came -= {address_of(pod) for pod in proxies.every()}
    if not came:
        return []
    outside = {"app": PLAIN_CLIENT}.items()
    pods = (pod for pod in cluster.list("Pod") if not outside <= (pod["metadata"].get("labels") or {}).items())
    return _bare(came, pods)


def pods_that_called(caller: ServiceRef, callee: ServiceRef, entries: Iterable[Entry], proxies: Proxies) -> list[str]:
    """The names of a service's pods without a sidecar that called another one.

    Args:
        caller: The service.
        callee: Which it called.
        entries: The logs.
        proxies: The way to the pods.
    """
    return _bare(_came_from(callee, entries, proxies), proxies.pods(caller))


def seen_by_half(verdict: Verdict, callee: ServiceRef, bare: Sequence[str]) -> Verdict:
    """A verdict on what callers' proxies saw: what one without a proxy did may refute a claim that holds of the others.

    Args:
        verdict: What the proxies tell.
        callee: Whom the others called.
        bare: The callers that have none.
    """
    if verdict.outcome is not Outcome.PASSED or not bare:
        return verdict
    return replace(
        verdict,
        outcome=Outcome.INCONCLUSIVE,
        sentence=f"{verdict.sentence}; but {', '.join(bare)} called {callee} too, and has no sidecar that tells of it",
        help=f"give {bare[0]} a sidecar, or let it call nobody",
    )


def _came_from(callee: ServiceRef, entries: Iterable[Entry], proxies: Proxies) -> set[str]:
    """The addresses from which calls came to a service."""
    return {entry.came_from for entry in arrivals(callee, entries, proxies)} - {""}


def _bare(addresses: set[str], pods: Iterable[Object]) -> list[str]:
    """The names of the pods with one of these addresses that have no proxy; a node's own address is no pod's."""
    return sorted(
        str(pod["metadata"]["name"])
        for pod in pods
        if address_of(pod) in addresses and not has_proxy(pod) and not (pod.get("spec") or {}).get("hostNetwork")
    )
