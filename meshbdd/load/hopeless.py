"""Loads that cannot work as they are written: not one request was answered, all for a reason that the tester can mend."""

from __future__ import annotations

from meshbdd.errors import BadInput
from meshbdd.load.result import Result
from meshbdd.load.summary import Summary
from meshbdd.load.transfer import LARGEST_BODY

_TOLD = {
    "refused": ("refuses every connection", "start the service, or correct the host and the port"),
    "unreachable": ("cannot be reached", "correct the host, or bring the network up"),
    "unresolved": ("is not known here", "correct the host"),
    "tls": ("fails at TLS", "correct the certificate or the scheme, or pass --insecure"),
    "redirects": ("redirects without end", "ask for the page itself, or pass --no-follow"),
    "too large": (
        f"sends bodies of more than {LARGEST_BODY // 1024 // 1024} MiB",
        "ask for something that has an end",
    ),
    "malformed": ("answers with something that is not HTTP", "correct the port or the scheme"),
}


def hopeless(result: Result, summary: Summary) -> BadInput | None:
    """The sentence for such a load; ``None`` where any request was answered or any reason is none of the input's.

    Args:
        result: The load, ended or not.
        summary: Its numbers.
    """
    errors = {outcome.error for outcome in summary.outcomes}
    if summary.answered or not summary.requests or len(errors) != 1:
        return None
    (error,) = errors
    message, reason = result.plan.message, result.record.reasons.get(str(error))
    if error == "timeout" and summary.size:
        return BadInput(
            "MB0533",
            f"{message.url} sends bodies without end: {summary.size // summary.requests} bytes came within "
            f"{result.plan.timeout}, and the end did not.",
            help="ask for something that has an end, or give it more time with --timeout",
        )
    if error not in _TOLD:
        return None
    told, action = _TOLD[error]
    because = f": {reason.rstrip('.')}" if reason else ""
    return BadInput("MB0532", f"{message.url} {told}{because}.", help=action)
