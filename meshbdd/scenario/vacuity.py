"""Whether a fault that was in force has done anything: one that hit nobody proves nothing. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from meshbdd.errors import Inconclusive
from meshbdd.evidence import FaultAccounted
from meshbdd.intents import Down, Fault, ServiceRef, Side
from meshbdd.mesh import Plan
from meshbdd.scenario.hits import is_meant, took
from meshbdd.telemetry.access_log import Entry
from meshbdd.units import counted

_SURE = 7
"""Times one in the share: of so many calls one is hit but once in 1,100 times (e⁻⁷)."""
_NAMED = 3
"""So many names are told at most."""
_ALPHA = 1e-6
"""How improbable it must be that a fault with its share would hit nobody, before "nobody was hit" is doubted."""


NOBODY: Mapping[str, int] = {}


class Unmet(Inconclusive):
    """Nobody called a service while it was to fail."""


def chances(plan: Plan, calls: Iterable[Entry]) -> list[float]:
    """How likely each call was to be hit, of those that the fault was for; none where the logs do not tell which these are."""
    intent = plan.intent
    if isinstance(intent, Down):
        return [1.0 for entry in calls if entry.injected]  # another fault answers before anybody misses the service
    if not isinstance(intent, Fault):
        return [draw.share for entry in calls for draw in plan.draws if draw.takes(entry.route)]
    if intent.scope.narrows:
        at_server = plan.side is Side.SERVER
        tells = plan.through is None and not (at_server and intent.scope.headers)
        takes = is_meant if at_server else took
        calls = [entry for entry in calls if takes(plan, entry)] if tells else []
    return [intent.share.fraction for _ in calls]


def see_met(
    event: FaultAccounted,
    likely: Sequence[float],
    *,
    doubtful: int = 0,
    gone: Sequence[str] = (),
    caller: str = "",
    others: Mapping[str, int] = NOBODY,
    absent: bool = False,
    shared: bool = False,
) -> None:
    """See that what the proxies tell is what the fault would do.

    Args:
        event: What the proxies tell.
        likely: The ``chances`` of the calls.
        doubtful: How many calls another fault may have hit as well as this one.
        gone: The pods that are gone since, with what they logged.
        caller: The only caller that the fault is for; empty: it is for everybody.
        others: Those that it is not for, by pod → how many calls they made.
        absent: Whether no pod is such a caller as a manifest says that it is for.
        shared: Whether other Services select its pods, so that a fault there spares copies of calls to these.

    Raises:
        Unmet: nobody called the service whom the fault is for.
        Inconclusive: nobody was hit: though somebody must have been, or by chance, or as far as can be told.
    """
    if not event.calls and not event.hit:
        raise _unmet(event, gone, caller, others, absent=absent, shared=shared)
    if event.hit or not likely:
        return
    if doubtful:
        raise Inconclusive(
            "MB0615",
            f"Whether «{event.summary}» hit any call cannot be told: of {counted(doubtful, 'call')} either it or another fault at "
            f"{event.service} with the same answer did, and a proxy does not log which.",
            help="give one of them another status, or have each in a scenario of its own",
        )
    if not any(likely):
        raise Inconclusive(
            "MB0608",
            f"«{event.summary}» was in force, and its fault is for 0% of the calls: it can hit none.",
            help="give the fault a percentage; where none stands it is 0%",
        )
    if sum(math.log1p(-share) if share < 1 else -math.inf for share in likely) < math.log(_ALPHA):
        raise Inconclusive(
            "MB0604",
            f"«{event.summary}» was in force at every proxy, and yet none of {counted(len(likely), 'call')} was hit.",
            help="look whether another fault or rule answers these calls before this one, or changes their path",
        )
    enough = math.ceil(_SURE * len(likely) / sum(likely))
    raise Inconclusive(
        "MB0607",
        f"«{event.summary}» was in force, and by chance hit none of {counted(len(likely), 'call')}: "
        "nothing failed that anybody could have noticed.",
        help=f"send more requests: of {enough:,} calls one is hit nearly always",
    )


def see_named(plan: Plan, service: ServiceRef, others: Collection[str], spared: Sequence[Entry]) -> None:
    """See that no call to a service came under a name by which a fault at its pods cannot tell it from calls to others of these.

    Args:
        plan: The fault.
        service: The service.
        others: The full names of the other Services of its pods.
        spared: Calls that asked for none of its own names, and may be to it nevertheless.

    Raises:
        Inconclusive: one came so, and was spared.
    """
    if not spared:
        return
    asked = ", ".join(sorted({entry.authority for entry in spared})[:_NAMED])
    count = counted(len(spared), "call")
    who = f"{', '.join(sorted(others)) or 'another Service'} select{'' if len(others) > 1 else 's'}"
    raise Inconclusive(
        "MB0486",
        f"«{plan.summary}» spared {count} that came to its pods for {asked}: {who} these pods, too, and only by its own names do "
        f"their proxies know a call for {service}.",
        help=f"call it by its own name, as {service.host}, or let the others select no pod of its",
    )


def _unmet(
    event: FaultAccounted, gone: Sequence[str], caller: str, others: Mapping[str, int], *, absent: bool, shared: bool
) -> Unmet:
    """Why no call is known that a fault was for."""
    meanwhile = f"while «{event.summary}» was in force"
    if gone:
        return Unmet(
            "MB0614",
            f"Whether {caller or 'anybody'} called {event.service} {meanwhile} cannot be told: pod {gone[0]} or its proxy went away "
            "meanwhile, with what it logged, and no other one logged a call.",
            help="keep the pods while the fault is in force, or send requests after they were replaced",
        )
    if absent:
        return Unmet(
            "MB0603",
            f"«{event.summary}» makes {event.service} fail for callers of whom there is no pod, so it can hit no call"
            + (f"; others called, for whom the fault is not: {_counted(others)}." if others else "."),
            help="correct for whom it is: exportTo, and the sourceLabels and sourceNamespace of the routes, in their order",
        )
    nobody = f"{caller} did not call" if caller else "Nobody whom it is for called" if others else "Nobody called"
    if event.led and not others:
        led = " and ".join(f"{count} to {name}" for name, count in event.led.items())
        return Unmet(
            "MB0616",
            f"{nobody} {event.service} {meanwhile}: the calls that came to its pods ({led}) were made to another service, whose rules "
            "led them there, and the fault is for calls to the service itself.",
            help=f"send requests that call {event.service} by its own name, or have the fault at the service that is called",
        )
    if event.away and not event.bypassed:
        away = " and ".join(f"{count} to {name}" for name, count in event.away.items())
        return Unmet(
            "MB0616",
            f"No call {f'of {caller} ' if caller else ''}to {event.service} came to its own pods {meanwhile}, which is about these: a "
            f"rule led the calls elsewhere ({away}).",
            help=f"have it at {next(iter(event.away))}, or take the rule away that leads the calls there",
        )
    if event.copied and not event.bypassed and not others:
        copies = sum(event.copied.values())
        came = f"{copies} mirrored cop{'ies' if copies > 1 else 'y'} came to its pods"
        made = ", ".join(f"{count} of calls of {name}" for name, count in event.copied.items())
        return Unmet(
            "MB0617",
            f"{nobody} {event.service} {meanwhile}: {came} ({made} to another service), and a fault in the route of {event.service} "
            "meets no copy.",
            help=f"send requests that make {caller or 'its callers'} call it"
            + ("" if caller or shared else ", or have the fault at the server: | inject at | server |"),
        )
    if event.unreached:
        nowhere = " and ".join(f"{count} with {how}" for how, count in event.unreached.items())
        return Unmet(
            "MB0603",
            f"No call {f'of {caller} ' if caller else ''}reached {event.service} {meanwhile}: {nowhere} ended at their callers' proxies.",
            help="have what answers them there in another scenario: a fault, an open circuit, a limit, a route without a rule for them",
        )
    said = f"{nobody} {event.service} {meanwhile}, as far as the proxies tell"
    if others:
        said += f"; others did, for whom the fault is not: {_counted(others)}"
    aside = _counted(event.bypassed)
    if not aside and event.seen < event.sent:
        aside = f"{event.sent - event.seen} of the {event.sent} requests of this scenario, as those from outside the mesh do"
    return Unmet(
        "MB0603",
        said + (f"; past every proxy went {aside}." if aside else "."),
        help=f"send requests that make {caller or 'its callers'} call it; a fault that meets no call proves nothing",
    )


def _counted(calls: Mapping[str, int]) -> str:
    return ", ".join(f"{counted(count, 'call')} from {name}" for name, count in calls.items())


def see_grpc(plan: Plan, hit: Sequence[Entry]) -> None:
    """See that a gRPC status answered none but gRPC calls: to any other the proxy says 200, and nothing of a failure.

    gRPC is spoken over HTTP/2 alone (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).

    Raises:
        Inconclusive: it met others, whose callers saw no fault.
    """
    intent = plan.intent
    if not isinstance(intent, Fault) or intent.grpc_status is None:
        return
    plain = [entry for entry in hit if entry.protocol != "HTTP/2"]
    if plain:
        told = ", ".join(sorted({entry.protocol or "a protocol that the log does not tell" for entry in plain}))
        raise Inconclusive(
            "MB0606",
            f"«{plan.summary}» answers gRPC calls; {len(plain)} of the {counted(len(hit), 'call')} that it hit "
            f"{'was' if len(plain) == 1 else 'were'} plain HTTP ({told}), and answered with 200 instead of a failure.",
            help="let them fail with an HTTP status, or send gRPC calls",
        )
