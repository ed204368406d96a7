"""Steps that are understood and yet cannot mean what their author thinks: thin counts, faults that nobody sees."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from meshbdd.claims.sequential import Band
from meshbdd.claims.share import ShareClaim
from meshbdd.claims.statistics import at_least_probability, at_most_probability, clopper_pearson
from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.load import Message
from meshbdd.rehearsal.delays import StepLine
from meshbdd.sense import Finding
from meshbdd.sense.catalog import GRPC_FAULT_OF_HTTP, THIN_COUNT
from meshbdd.units import Duration, Rate, counted

MOST_FALSE_RED = 0.01
"""A literal count that turns a perfect system red more often than this cannot carry its claim."""

CONFIDENCE = 0.90
"""Of the interval that the best possible outcome gives; one-sided 95 %."""

_SENT = re.compile(r'"[^"]+" is sent(?: ([0-9]{1,9}) times(?: by [0-9]+ users)?| from outside the mesh)?')
_SENT_AT = re.compile(r'"[^"]+" is sent at (\S+) for (\S+)')
_GRPC_FAULT = re.compile(r"(\S+) fails \S+ with gRPC status \S+")
_SENDS = re.compile(r'(?:enough )?"([^"]+)" (?:is sent|keeps being sent|requests are sent).*')


def planned_count(text: str, before: int | None) -> int | None:
    """How many requests there are to judge after a step; ``None`` where that is not fixed."""
    if found := _SENT.fullmatch(text):
        return int(found[1] or 1)
    if found := _SENT_AT.fullmatch(text):
        try:
            return int(Rate.parse(found[1]).per_second * Duration.parse(found[2]).seconds)
        except BadInput:
            return None
    return None if re.match(r'enough ".*" requests are sent|the load stops', text) else before


def thin_count(claim: object, count: int | None, place: str) -> Finding | None:
    """Whether a literal count is too small for a claim about a share.

    It is where even the best outcome leaves an edge of the claim open, and where a system that is as good as it should
    be turns red too often.
    """
    if not isinstance(claim, ShareClaim) or not isinstance(claim.test, Band) or not count:
        return None
    low, high = claim.accepted(count)
    test = claim.test
    red = at_most_probability(low - 1, count, test.design) + at_least_probability(high + 1, count, test.design)
    upper = test.upper if test.upper < 1 else None
    best = count if upper is None else round(count * test.design)
    least, most = clopper_pearson(best, count, CONFIDENCE)
    instead = f"«enough requests are sent» needs about {test.expected:,}"
    if least <= test.lower or (upper is not None and most >= upper):
        return THIN_COUNT.on(
            place,
            f"{counted(count, 'request')} cannot carry «{claim.text}»: even at {best} of {count} the true share may "
            f"lie anywhere from {least:.1%} to {most:.1%}; {instead}.",
        )
    if red > MOST_FALSE_RED:
        return THIN_COUNT.on(
            place,
            f"{counted(count, 'request')} cannot carry «{claim.text}»: a system whose true share is {test.design:.4g} would be red in "
            f"{red:.1%} of runs; {instead}.",
        )
    return None


def grpc_faults_of_http(
    steps: Iterable[StepLine], requests: Mapping[str, Message], namespace: str
) -> Iterator[Finding]:
    """Requests of plain HTTP to a service that fails by a gRPC status: a proxy answers them 200, and nobody sees a failure.

    Args:
        steps: Those of one scenario.
        requests: What it defines, by name.
        namespace: Where services without one lie.
    """
    failing: set[ServiceRef] = set()
    for step in steps:
        if fault := _GRPC_FAULT.fullmatch(step.text):
            failing.add(ServiceRef.parse(fault[1], namespace))
        elif (sent := _SENDS.fullmatch(step.text)) and sent[1] in requests:
            message = requests[sent[1]]
            called = ServiceRef.parse(message.host.removesuffix(".svc.cluster.local").removesuffix(".svc"), namespace)
            if called in failing and not _is_grpc(message):
                yield GRPC_FAULT_OF_HTTP.on(
                    step.place,
                    f'"{message.name}" is no gRPC call, and {called.name} fails by a gRPC status: its proxy answers 200.',
                )


def _is_grpc(message: Message) -> bool:
    kinds = [value for name, value in message.headers.items() if name.lower() == "content-type"]
    return any(kind.startswith("application/grpc") for kind in kinds)
