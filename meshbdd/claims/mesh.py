"""Claims about the mesh itself: proxies, certificates, mutual TLS, and what it reports. Pure functions.

Nothing seen is never the same as zero: a claim whose evidence is missing is inconclusive.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from meshbdd.claims.verdict import Outcome, Verdict
from meshbdd.units import Duration, counted

_OF_ANOTHER = "claim it of a service whose pods no other one selects, or what the access log of {} has"
"""What to do where calls to a service are counted together with others'."""


NONE: Mapping[str, int] = {}


def _unknown(claim: str, why: str, action: str, **numbers: object) -> Verdict:
    return Verdict.cannot_tell(f"{claim}: {why}", action, **numbers)


def every_pod_has_a_sidecar(service: str, without: Mapping[str, str], total: int) -> Verdict:
    """Every running pod of a service has a proxy that is ready.

    Args:
        service: The service.
        without: Pods that have none → why.
        total: How many pods run.
    """
    claim = f"every pod of {service} has a sidecar"
    if not total:
        return _unknown(claim, "no pod of it runs", "bring its pods up")
    if without:
        told = "; ".join(f"{pod} has none: {why}" for pod, why in sorted(without.items()))
        return Verdict.of(False, f"{claim}: {told}", pods=total, without=dict(without))
    return Verdict.of(True, f"{claim}: {total} of {counted(total, 'pod', 'has', 'have')} one", pods=total)


@dataclass(frozen=True, slots=True)
class Security:
    """How calls from one service to another came, since the scenario began.

    Attributes:
        by_policy: ``connection_security_policy`` → number of calls, as the callee's proxies counted them.
        uncounted: Calls that the caller's proxies sent to an endpoint, and no proxy of the callee counted.
        plain: Calls that the callee's proxies logged as coming from pods of the caller without a proxy.
        bare: The callee's pods without a proxy.
        bare_callers: The caller's.
        unread: Calls that the caller's proxies logged as answered by an endpoint, where nobody of the callee's counted any.
        bare_on: Calls that a fault backend of the callee's passed on to it without mutual TLS, whoever had made them.
        to_bare: Of the callee's pods without a proxy → calls that the caller's proxies logged as answered by it.
        together: Why nobody can tell these calls from others that the callee's proxies counted; empty where that is known.
    """

    by_policy: Mapping[str, int]
    uncounted: int = 0
    plain: int = 0
    bare: Sequence[str] = ()
    bare_callers: Sequence[str] = ()
    bare_on: int = 0
    unread: int = 0
    to_bare: Mapping[str, int] = field(default_factory=dict)
    together: str = ""


def uses_mutual_tls(source: str, target: str, seen: Security) -> Verdict:
    """All calls since the scenario began came over mutual TLS: those of the caller's proxies, by the word of the callee's."""
    claim = f"calls from {source} to {target} use mutual TLS"
    total, good = sum(seen.by_policy.values()), seen.by_policy.get("mutual_tls", 0)
    told = ", ".join(f"{number} × {policy}" for policy, number in sorted(seen.by_policy.items()))
    numbers = {"calls": total, "by_policy": dict(seen.by_policy), "uncounted": seen.uncounted, "plain": seen.plain}
    if good < total:
        return Verdict.of(False, f"{claim}: of {counted(total, 'call')} {told}", **numbers)
    if seen.to_bare:
        pods = " and ".join(sorted(seen.to_bare))
        answered = counted(sum(seen.to_bare.values()), "call", "was", "were")
        return Verdict.of(
            False, f"{claim}: {answered} answered by pods of {target} without a sidecar: {pods}", **numbers
        )
    if seen.uncounted and seen.bare:
        why = f"{counted(seen.uncounted, 'call')} came to no proxy of {target}, of which pod {seen.bare[0]} has no sidecar"
        return Verdict.of(False, f"{claim}: {why}", **numbers)
    if seen.plain:
        why = f"{counted(seen.plain, 'call')} came from pods of {source} without a sidecar: {', '.join(seen.bare_callers)}"
        return Verdict.of(False, f"{claim}: {why}", **numbers)
    if seen.together:
        return _unknown(claim, seen.together, _OF_ANOTHER.format(target), **numbers)
    bare = [*seen.bare, *seen.bare_callers]
    if bare and (total or seen.uncounted or seen.unread):
        return _unknown(claim, f"pod {bare[0]} has no sidecar, so nobody counts its calls", "give it one", **numbers)
    if seen.uncounted:
        why = f"{counted(seen.uncounted, 'call', 'was', 'were')} counted by the proxies of {source} and by none of {target}"
        return _unknown(claim, why, "look at the pods that answered them", **numbers)
    if seen.bare_on:
        why = f"{counted(seen.bare_on, 'call')} went on from the fault backend to {target} without it, and nobody counts who had made them"
        return _unknown(claim, why, "claim it in a scenario without the fault", **numbers)
    if not total and seen.unread:
        why = (
            f"{counted(seen.unread, 'call')} of {source} {'was' if seen.unread == 1 else 'were'} answered there, and no proxy of "
            f"{target} counted one: it reads none at a port that is opaque, skipped or not HTTP"
        )
        return _unknown(claim, why, "let the mesh read that port as HTTP, or claim it of another service", **numbers)
    if not total:
        why = f"no proxy of {target} counted a call from {source} in this scenario"
        return _unknown(claim, why, "send a request that makes one")
    return Verdict.of(True, f"{claim}: of {counted(total, 'call')} {told}", **numbers)


def certificate_is_valid(service: str, left: Mapping[str, float], wanted: Duration) -> Verdict:
    """Every proxy's certificate is valid for so much longer.

    Args:
        service: The service.
        left: Pod → seconds until its certificate ends.
        wanted: How long it shall be valid from now.
    """
    claim = f"the certificate of {service} is valid for at least {wanted}"
    if not left:
        return _unknown(claim, "no pod of it has a proxy", "give it a sidecar")
    pod, seconds = min(left.items(), key=lambda item: item[1])
    shown = dt.timedelta(seconds=round(seconds))
    word = f"that of {pod} for {shown} more" if seconds > 0 else f"that of {pod} ended {-shown} ago"
    return Verdict.of(seconds >= wanted.seconds, f"{claim}: {word}", seconds_left=dict(left))


def certificate_rotated(
    service: str, before: Mapping[str, str], after: Mapping[str, str], seconds: float, limit: Duration
) -> Verdict:
    """Every proxy got another certificate in time.

    Args:
        service: The service.
        before: Pod → serial number at first.
        after: Pod → serial number at last.
        seconds: How long was waited.
        limit: How long it may take.
    """
    claim = f"the certificate of {service} rotates within {limit}"
    if not before:
        return _unknown(claim, "no pod of it has a proxy", "give it a sidecar")
    gone = sorted(set(before) - set(after))
    if gone:
        return _unknown(claim, f"pod {gone[0]} went away meanwhile", "keep the pods while this waits")
    same = sorted(pod for pod, serial in before.items() if after[pod] == serial)
    numbers = {"before": dict(before), "after": dict(after), "seconds": round(seconds, 3)}
    if same:
        return Verdict.of(False, f"{claim}: that of {same[0]} is the same after {seconds:.1f} s", **numbers)
    return Verdict.of(True, f"{claim}: {len(before)} of {len(before)} did, after {seconds:.1f} s", **numbers)


def reports_requests(
    source: str,
    target: str,
    wanted: int,
    seen: int,
    most: int,
    *,
    sent: bool,
    reporter: str,
    why_not: str = "",
    unread: int = 0,
    together: str = "",
) -> Verdict:
    """The mesh counted at least so many requests from one service to another since the scenario began.

    Args:
        source: The caller.
        target: The callee.
        wanted: How many at least.
        seen: How many of the scenario's were counted at least.
        most: The same at most: of a call that ended when counting began nobody can tell.
        sent: Whether the scenario sent anything at all.
        reporter: Which side's proxies counted.
        why_not: Why nobody could count; empty where somebody could.
        unread: Calls that the caller's proxies logged as answered by an endpoint, where nobody of the callee's counted any.
        together: Why nobody can tell these requests from others that the callee's proxies counted; empty where that is known.
    """
    claim = f"the mesh reports at least {wanted} requests from {source} to {target}"
    if why_not:
        return _unknown(claim, why_not, "give it a sidecar")
    if not sent:
        return _unknown(claim, "this scenario sent no request before", "send requests before the claim")
    if together:
        return _unknown(claim, together, _OF_ANOTHER.format(target))
    if seen < wanted <= most:
        why = f"the proxies of the {reporter} counted {seen} to {most}, for others' calls ended when counting began"
        return _unknown(claim, why, "run it again, when nobody else calls")
    told = f"{claim}: the proxies of the {reporter} counted {seen}"
    if not seen and unread:
        though = f"{counted(unread, 'call', 'was', 'were')} answered there"
        told += f", though {though}: none is counted at a port that is opaque, skipped or not HTTP"
    return Verdict.of(seen >= wanted, told, seen=seen, reporter=reporter)


def counted_together(target: str, others: Sequence[str], why: str) -> str:
    """Why counters do not tell calls to a service from those to others of the same pods.

    The proxy of a pod names one Service for all that came to a port of it.

    Args:
        target: The service.
        others: The full names of the others.
        why: Why the logs do not tell them apart either.
    """
    names = ", ".join(host.removesuffix(".svc.cluster.local") for host in others)
    return f"proxies count calls to {target} and to {names}, which select the same pods, by the name of one, and {why}"


def with_untold_copies(verdict: Verdict, service: str, others: Sequence[str], copies: int) -> Verdict:
    """A verdict on too little that came to a service, whose pods got mirrored copies that may have been sent to it.

    Args:
        verdict: What is known to have come to it.
        service: The service.
        others: The full names of the other Services of its pods.
        copies: How many may be its.
    """
    if not copies or verdict.outcome is Outcome.PASSED:
        return verdict
    names = " or ".join(host.removesuffix(".svc.cluster.local") for host in others)
    told = f"{copies} mirrored cop{'ies that came to its pods were' if copies > 1 else 'y that came to its pods was'}"
    return replace(
        verdict,
        outcome=Outcome.INCONCLUSIVE,
        sentence=f"{verdict.sentence}; but nobody can tell whether {told} sent to {service} or to {names}, of the same pods: "
        "a log tells it by the server name of mutual TLS alone",
        help="let the copies come by mutual TLS, or mirror to a service whose pods no other one selects",
    )


def log_has(
    service: str,
    wanted: int,
    status: int,
    statuses: Sequence[int],
    why_not: str = "",
    *,
    sent: bool = True,
    ended: Mapping[str, int] = NONE,
    unread: int = 0,
) -> Verdict:
    """The access logs of a service's proxies have at least so many requests with a status since the scenario began.

    Args:
        service: The service.
        wanted: How many at least.
        status: With which status.
        statuses: The statuses that were logged.
        why_not: Why nothing could be logged; empty where something could.
        sent: Whether the scenario sent anything at all.
        ended: What became of the calls to it that did not come to it, by the logs of their callers → how many.
        unread: Calls that came to it by the logs of their callers.
    """
    claim = f"the access log of {service} has at least {wanted} requests with status {status}"
    if why_not:
        return _unknown(claim, why_not, "give it a sidecar")
    counts = Counter(statuses)
    if not counts and not sent:
        return _unknown(claim, "this scenario sent no request before", "send requests before the claim")
    if not counts and unread:
        why = f"it has no request, though by its callers' logs {counted(unread, 'call')} came to it"
        return _unknown(claim, why, "let its proxies log accesses, at a port that is HTTP to the mesh and not skipped")
    if not counts and ended:
        told = " and ".join(f"{number} {how}" for how, number in ended.items())
        return Verdict.of(False, f"{claim}: it has no request, for no call came to it: {told}", statuses={})
    if not counts:
        why = "it has no request, and as far as the proxies tell nobody called it"
        return _unknown(claim, why, "send requests that make its callers call it")
    told = ", ".join(f"{number} × {code}" for code, number in counts.most_common())
    return Verdict.of(counts[status] >= wanted, f"{claim}: it has {told}", statuses=dict(counts))


def query_is(
    claim: str,
    value: float | None,
    relation: str,
    wanted: float,
    why_empty: str = "",
    *,
    since_scenario: bool = False,
    unscraped: Sequence[str] = (),
    only_adds: bool = False,
) -> Verdict:
    """The one number that a query gives stands in a relation to another.

    Args:
        claim: The claim as the tester wrote it.
        value: What the query gave; ``None`` where it gave nothing.
        relation: ``at least``, ``at most`` or ``exactly``.
        wanted: The number to compare with.
        why_empty: Why the query gave nothing.
        since_scenario: Whether it is made of counters, counted from the scenario's beginning.
        unscraped: The pods that Prometheus does not scrape, though the query may mean what they counted. What holds without
            them need not hold with them; what does not hold is not what Prometheus says.
        only_adds: Whether what they counted could but raise the number, so that a lower bound holds with them too.
    """
    without = f"Prometheus does not scrape {' and '.join(unscraped)}" if unscraped else ""
    if value is None:
        why_empty = without or why_empty
        action = "look at Prometheus' targets" if unscraped else "correct the query"
        return _unknown(claim, f"it finds nothing, and nothing is no number: {why_empty}", action)
    since = ", counted since the scenario began" if since_scenario else ""
    if math.isnan(value):
        why = f"it is no number{since}: the quantile, or the share, of nothing"
        return _unknown(claim, why, "send requests that the query counts")
    holds = {"at least": value >= wanted, "at most": value <= wanted, "exactly": value == wanted}[relation]
    if holds and unscraped and not (only_adds and relation == "at least"):
        return _unknown(claim, f"it is {value:g}{since}, but {without}", "look at Prometheus' targets")
    told = f"; {without}" if unscraped else ""
    return Verdict.of(holds, f"{claim}: it is {value:g}{since}{told}", value=value)


def query_cannot_tell(claim: str, why: str, action: str) -> Verdict:
    """What a query tells is not, or not only, what happened in the scenario.

    Args:
        claim: The claim as the tester wrote it.
        why: Why not.
        action: What to write instead.
    """
    return _unknown(claim, why, action)
