"""Pods without a sidecar.

Of callers without one no proxy logs what they call, or ejects anything; the callee's log knows them by address. A pod of the callee
without one logs nothing, and turns nobody away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from meshbdd.claims import Outcome, Verdict
from meshbdd.claims.responses import AnswerClaim
from meshbdd.cluster import Cluster
from meshbdd.intents import ServiceRef
from meshbdd.load import Sample
from meshbdd.scenario.arrivals import arrivals
from meshbdd.scenario.vantages import PLAIN_CLIENT
from meshbdd.telemetry.access_log import Entry
from meshbdd.telemetry.proxies import Object, Proxies, address_of, has_proxy, in_ambient_mode


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


def answering(service: ServiceRef, proxies: Proxies) -> list[Object]:
    """A service's pods that take calls without a proxy."""
    bare = (pod for pod in proxies.pods(service) if not has_proxy(pod) and not in_ambient_mode(pod))
    return [pod for pod in bare if _is_ready(pod)]


def told_by_half(verdict: Verdict, service: ServiceRef, proxies: Proxies) -> Verdict:
    """A verdict on what a service's proxies logged or counted: where it is too little, a pod without a proxy may be why.

    Args:
        verdict: What the proxies tell.
        service: The service.
        proxies: The way to its pods.
    """
    if verdict.outcome is not Outcome.FAILED or not proxies.receiving(service):
        return verdict
    names = _names(answering(service, proxies))
    if not names:
        return verdict
    return replace(
        verdict, sentence=f"{verdict.sentence}; pod {names[0]} of {service} has no sidecar that tells of calls"
    )


def turned_away_by_all(claim: AnswerClaim, service: ServiceRef, proxies: Proxies) -> AnswerClaim:
    """A claim that a request did not get in: of one that came to a proxy it tells nothing of the next one, which may come to none.

    Args:
        claim: The claim.
        service: The service that was asked.
        proxies: The way to its pods.
    """

    def of(sample: Sample) -> Verdict:
        verdict = claim.of(sample)
        found = proxies.leading_to(service) is not None and proxies.meshed(
            service
        )  # where all are bare, chance has no part
        names = _names(answering(service, proxies)) if found else ()
        if not names:
            return verdict
        told = f"{verdict.sentence}; pod {names[0]} of {service} has no sidecar, and turns nobody away"
        if verdict.outcome is not Outcome.PASSED:
            return replace(verdict, sentence=told)
        return Verdict.cannot_tell(f"{told}: which pod is asked is chance", f"give {names[0]} a sidecar")

    return replace(claim, of=of)


def _names(pods: Iterable[Object]) -> list[str]:
    return sorted(str(pod["metadata"]["name"]) for pod in pods)


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return not any(c.get("type") == "Ready" and c.get("status") == "False" for c in conditions)


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
