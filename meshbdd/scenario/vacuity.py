"""Whether a fault that was in force has done anything: one that hit nobody proves nothing. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from http import HTTPStatus

from meshbdd.errors import Inconclusive
from meshbdd.evidence import FaultAccounted
from meshbdd.grpc_statuses import GRPC_CODES, as_grpc
from meshbdd.intents import Down, Fault, Side
from meshbdd.mesh import Plan
from meshbdd.response_flags import in_words
from meshbdd.telemetry.access_log import Entry

_DOWN = {"UH", "UF", "NC", "UC"}
"""Response flags of a call that met no endpoint: Envoy's access log documentation, %RESPONSE_FLAGS%."""
_SURE = 7
"""Times one in the share: of so many calls one is hit but once in 1,100 times (e⁻⁷)."""
_ALPHA = 1e-6
"""How improbable it must be that a fault with its share would hit nobody, before "nobody was hit" is doubted."""


class Unmet(Inconclusive):
    """Nobody called a service while it was to fail."""


def is_hit(plan: Plan, entry: Entry) -> bool:
    """Whether this very fault was injected into a call."""
    intent = plan.intent
    if isinstance(intent, Down):
        return bool(entry.flags & _DOWN)
    if not entry.injected:
        return False
    if isinstance(intent, Fault) and ("DI" if intent.delay else "FI") not in entry.flags:
        return False
    if plan.through is not None:
        return plan.through.tag in entry.route.split()
    if plan.side is Side.SERVER:
        return not isinstance(intent, Fault) or intent.delay is not None or _is_answered_so(intent, entry)
    return _took(plan, entry)


def _is_answered_so(fault: Fault, entry: Entry) -> bool:
    """Whether an injected answer may be this fault's: a gRPC call gets 200 of any, and the failure in its gRPC status.

    Envoy's source/common/http/utility.cc, ``prepareLocalReply``.
    """
    if entry.grpc is not None:
        return entry.grpc == (GRPC_CODES[fault.grpc_status] if fault.grpc_status else as_grpc(fault.status or 0))
    return entry.status == (200 if fault.grpc_status else fault.status) or (
        entry.status == HTTPStatus.OK and entry.protocol == "HTTP/2"
    )


def _took(plan: Plan, entry: Entry) -> bool:
    """Whether a call left by one of the routes that the change made."""
    return any(tag in entry.route for tag in plan.tags if tag)


def chances(plan: Plan, calls: Iterable[Entry]) -> list[float]:
    """How likely each call was to be hit, of those that the fault was for; none where the logs do not tell which these are."""
    intent = plan.intent
    if isinstance(intent, Down):
        return [1.0 for entry in calls if entry.injected]  # another fault answers before anybody misses the service
    if not isinstance(intent, Fault):
        return [draw.share for entry in calls for draw in plan.draws if draw.takes(entry.route)]
    if intent.scope.narrows:
        tells = plan.side is Side.CALLER and plan.through is None
        calls = [entry for entry in calls if _took(plan, entry)] if tells else []
    return [intent.share.fraction for _ in calls]


def see_met(event: FaultAccounted, likely: Sequence[float]) -> None:
    """See that what the proxies tell is what the fault would do.

    Args:
        event: What the proxies tell.
        likely: The ``chances`` of the calls.

    Raises:
        Unmet: nobody called the service.
        Inconclusive: nobody was hit: though somebody must have been, or by chance.
    """
    if not event.calls and not event.hit:
        aside = ", ".join(f"{count} calls from {name}" for name, count in event.bypassed.items())
        if not aside and event.seen < event.sent:
            aside = f"{event.sent - event.seen} of the {event.sent} requests of this scenario, as those from outside the mesh do"
        if event.unreached:
            nowhere = " and ".join(f"{count} with {in_words([flag])}" for flag, count in event.unreached.items())
            raise Unmet(
                "MB0603",
                f"No call reached {event.service} while «{event.summary}» was in force: {nowhere} ended at their callers' proxies.",
                help="have what answers them there in another scenario: another fault, an open circuit, a limit of connections",
            )
        raise Unmet(
            "MB0603",
            f"Nobody called {event.service} while «{event.summary}» was in force, as far as the proxies tell"
            + (f"; past every proxy went {aside}." if aside else "."),
            help="send requests that make its callers call it; a fault that meets no call proves nothing",
        )
    if event.hit or not likely:
        return
    if not any(likely):
        raise Inconclusive(
            "MB0608",
            f"«{event.summary}» was in force, and its fault is for 0% of the calls: it can hit none.",
            help="give the fault a percentage; where none stands it is 0%",
        )
    if sum(math.log1p(-share) if share < 1 else -math.inf for share in likely) < math.log(_ALPHA):
        raise Inconclusive(
            "MB0604",
            f"«{event.summary}» was in force at every proxy, and yet none of {len(likely)} calls was hit.",
            help="look whether another fault or rule answers these calls before this one",
        )
    enough = math.ceil(_SURE * len(likely) / sum(likely))
    raise Inconclusive(
        "MB0607",
        f"«{event.summary}» was in force, and by chance hit none of {len(likely)} call{'s' if len(likely) > 1 else ''}: "
        "nothing failed that anybody could have noticed.",
        help=f"send more requests: of {enough:,} calls one is hit nearly always",
    )


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
            f"«{plan.summary}» answers gRPC calls; {len(plain)} of the {len(hit)} calls that it hit were plain HTTP ({told}), "
            "and were answered with 200 instead of a failure.",
            help="let them fail with an HTTP status, or send gRPC calls",
        )
