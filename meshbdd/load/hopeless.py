"""Loads that cannot work as they are written: not one request was answered."""

from __future__ import annotations

from collections.abc import Mapping

from meshbdd.errors import BadInput, EnvironmentBroken, MeshbddError
from meshbdd.load.answer import NO_PORT, Outcome
from meshbdd.load.holding import holding
from meshbdd.load.result import Result
from meshbdd.load.summary import SLOT_MS, Summary
from meshbdd.load.transfer import LARGEST_BODY

_START = "start the service, or correct the host and the port"
_TOLD = {
    "refused": ("refuses every connection", _START),
    "unreachable": ("cannot be reached", "correct the host, or bring the network up"),
    "unresolved": ("is not known here", "correct the host"),
    "tls": ("fails at TLS", "correct the certificate or the scheme, or pass --insecure"),
    "redirects": ("redirects without end", "ask for the page itself, or pass --no-follow"),
    "too large": (
        f"sends bodies of more than {LARGEST_BODY // 1024 // 1024} MiB",
        "ask for something that has an end",
    ),
    "malformed": ("answers with something that is not HTTP", "correct the port or the scheme"),
    "timeout": ("gives no answer in time", "see what the service waits for, or give it more time with --timeout"),
    "reset": ("ends every connection before an answer", "see why the service does so, or correct port and protocol"),
    "cut": ("ends every answer before its end", "see why the service does so"),
}
_SEVERAL, _LASTING_MS = 5, 1000
_FOR_EVER = frozenset({"unresolved", "tls", "redirects", "too large", "malformed"})
"""What is no better a minute later; a service that refuses, hangs or resets may still be on its way up."""


def hopeless(result: Result, summary: Summary) -> BadInput | None:
    """The sentence for such a load; ``None`` where any request was answered, or none has an outcome.

    Args:
        result: The load, ended or not.
        summary: Its numbers.
    """
    if summary.answered or not summary.requests:
        return None
    message, errors = result.plan.message, {str(outcome.error) for outcome in summary.outcomes}
    if _endless(summary):
        return BadInput(
            "MB0533",
            f"{message.url} sends bodies without end: {summary.size // summary.requests} bytes came within "
            f"{result.plan.timeout}, and the end did not.",
            help="ask for something that has an end, or give it more time with --timeout",
        )
    if len(errors) > 1 or not errors <= set(_TOLD):
        counts = sorted(summary.outcomes.items(), key=lambda item: -item[1])
        told = ", ".join(f"{count} × {outcome.told}" for outcome, count in counts)
        return BadInput("MB0534", f"{message.url} answered none of {summary.requests} requests: {told}.", help=_START)
    (error,) = errors
    told, action = _TOLD[error]
    reason = result.record.reasons.get(error)
    because = f": {reason.rstrip('.')}" if reason else ""
    return BadInput("MB0532", f"{message.url} {told}{because}.", help=action)


def for_ever(summary: Summary) -> bool:
    """Whether it has failed so far, and for a reason for which going on would change nothing."""
    errors = {outcome.error for outcome in summary.outcomes}
    return not summary.answered and summary.requests > 0 and (errors <= _FOR_EVER or _endless(summary))


def _endless(summary: Summary) -> bool:
    """Whether bodies begin and do not end: several of them, over a second and more, for any service has a slow moment."""
    if not summary.size or {outcome.error for outcome in summary.outcomes} != {"timeout"}:
        return False
    first = next(place for place, slot in enumerate(summary.series) if slot.requests)
    lasting = (len(summary.series) - first - 1) * SLOT_MS
    return summary.requests >= _SEVERAL and lasting >= _LASTING_MS


def machine_too_slow(result: Result, summary: Summary) -> MeshbddError | None:
    """The sentence for a rate that this machine could not hold: what was seen is of another load."""
    seen = holding(result, summary)
    if seen is None or not seen.by_this_machine:
        return None
    return EnvironmentBroken(
        "MB0536",
        f"{seen.told[0].upper()}{seen.told[1:]}.",
        help="send at a lower rate, from more processes (--workers), or from a machine that is less busy",
    )


def without_ports(result: Result, outcomes: Mapping[Outcome, int]) -> MeshbddError | None:
    """The sentence for a load whose requests in part never left this machine; they say nothing of the service.

    Args:
        result: The load.
        outcomes: Its outcomes, counted.
    """
    failed = sum(count for outcome, count in outcomes.items() if outcome.error == NO_PORT)
    if not failed:
        return None
    return EnvironmentBroken(
        "MB0535",
        f"{failed} of {len(result)} requests found no free port on this machine for a connection to "
        f"{result.plan.message.url}.",
        help="keep connections, or send at a lower rate",
    )
