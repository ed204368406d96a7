"""The claim that a trace context gets to a service. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from meshbdd.claims.verdict import Verdict
from meshbdd.units import counted


@dataclass(frozen=True, slots=True)
class Unlogged:
    """What nobody could log of the calls to a service.

    Attributes:
        bare: Its pods without a sidecar.
        others: Whether other pods of it have one.
        calls: How many calls the callers' proxies sent to the former.
    """

    bare: Sequence[str] = ()
    others: bool = True
    calls: int = 0

    def why(self, service: str) -> str:
        """Why a call may be missing in the logs; empty where none may."""
        if not self.bare:
            return ""
        if not self.others:
            return f"no pod of {service} has a sidecar, {self.bare[0]} for instance, so nobody logs its calls"
        if self.calls:
            return f"{counted(self.calls, 'call')} came to no proxy of {service}, of which pod {self.bare[0]} has no sidecar"
        return f"pod {self.bare[0]} of {service} has no sidecar, so nobody logs its calls"


NOTHING_UNLOGGED = Unlogged()


def trace_reached(
    service: str,
    sent: Sequence[str],
    arrived: Sequence[str | None],
    lost: int = 0,
    *,
    loading: bool = False,
    unlogged: Unlogged = NOTHING_UNLOGGED,
) -> Verdict:
    """The trace ids of the scenario's requests are those of the calls that a service got.

    Args:
        service: The service.
        sent: Trace id of each request.
        arrived: ``traceparent`` of each call that its proxies logged; ``None`` where their log does not tell.
        lost: How many of these calls were made for a request of the scenario, and do not bear its trace.
        loading: Whether a load still runs, whose requests are none of those.
        unlogged: What nobody could log.
    """
    claim = f"the trace context reaches {service}"
    if not sent and loading:
        return Verdict.cannot_tell(
            f"{claim}: the load that it is about still runs", "write before the claim: When the load stops"
        )
    if not sent:
        return Verdict.cannot_tell(
            f"{claim}: no request with a trace context was sent before", "send requests before the claim"
        )
    why, action = unlogged.why(service), f"give {unlogged.bare[0]} a sidecar" if unlogged.bare else ""
    if not arrived and why:
        return Verdict.cannot_tell(f"{claim}: {why}", action)
    if not arrived:
        return Verdict.cannot_tell(
            f"{claim}: no proxy of {service} logged a call", "send requests that make its callers call it"
        )
    if any(text is None for text in arrived):
        return Verdict.cannot_tell(
            f"{claim}: the access log has no field traceparent", "add it to meshConfig.accessLogFormat"
        )
    there = Counter(trace_id(text or "") for text in arrived)
    found = sum(trace in there for trace in set(sent))
    foreign = sum(number for trace, number in there.items() if trace not in set(sent))
    told = f"{found} of {counted(len(set(sent)), 'trace')} did, in {counted(len(arrived), 'call')}"
    if lost:
        told += f"; {counted(lost, 'call')} for requests of this scenario carried another trace or none"
    elif foreign:
        told += f"; {counted(foreign, 'call')} carried another trace or none"
    numbers = {"traces": len(set(sent)), "found": found, "foreign": foreign, "lost": lost}
    if not lost and (unlogged.calls or (unlogged.bare and found < len(set(sent)))):
        return Verdict.cannot_tell(f"{claim}: {told}; but {why}", action, **numbers)
    return Verdict.of(found == len(set(sent)) and not lost, f"{claim}: {told}", **numbers)


def trace_id(traceparent: str) -> str:
    """The trace id in a W3C ``traceparent`` (https://www.w3.org/TR/trace-context/#traceparent-header), or ``""``."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) >= 4 and len(parts[1]) == 32 else ""
