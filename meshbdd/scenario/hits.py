"""Which fault a call was hit by, as far as the proxies' logs tell. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from meshbdd.grpc_statuses import GRPC_CODES, as_grpc
from meshbdd.intents import Down, Fault, Side
from meshbdd.mesh import Plan
from meshbdd.telemetry.access_log import INJECTED, Entry

_DOWN = {"UH", "UF", "NC", "UC"}
"""Response flags of a call that met no endpoint: Envoy's access log documentation, %RESPONSE_FLAGS%."""

Logged = tuple[str, Entry]
"""A call: the pod that made it (its address where nobody knows the pod), and what was logged of it."""


def is_hit(plan: Plan, entry: Entry) -> bool:
    """Whether this fault was injected into a call; of those at one server another one with the same answer may have been."""
    intent = plan.intent
    if isinstance(intent, Down):
        return bool(entry.flags & _DOWN)
    if not _flags(plan) & entry.flags:
        return False
    if plan.through is not None:
        return plan.through.tag in entry.route.split()
    if plan.side is Side.SERVER:
        return not isinstance(intent, Fault) or intent.delay is not None or _is_answered_so(intent, entry)
    return took(plan, entry)


def _flags(plan: Plan) -> set[str]:
    """The response flags of calls that a fault hits; of a manifest's own nobody knows which of the two it brings."""
    if isinstance(plan.intent, Fault):
        return {"DI" if plan.intent.delay else "FI"}
    return INJECTED


def _is_answered_so(fault: Fault, entry: Entry) -> bool:
    """Whether an injected answer may be this fault's: a gRPC call gets 200 of any, and the failure in its gRPC status.

    Envoy's source/common/http/utility.cc, ``prepareLocalReply``.
    """
    if entry.grpc is not None:
        return entry.grpc == (GRPC_CODES[fault.grpc_status] if fault.grpc_status else as_grpc(fault.status or 0))
    return entry.status == (200 if fault.grpc_status else fault.status) or (
        entry.status == HTTPStatus.OK and entry.protocol == "HTTP/2"
    )


def took(plan: Plan, entry: Entry) -> bool:
    """Whether a call left by one of the routes that the change made."""
    return any(tag in entry.route for tag in plan.tags if tag)


def asks_so(plan: Plan, entry: Entry) -> bool:
    """Whether a request asks for whom those ask that a fault at the server is for; where the log does not tell, it does."""
    return not (plan.authority and entry.authority) or bool(re.fullmatch(plan.authority, entry.authority))


def is_meant(plan: Plan, entry: Entry) -> bool:
    """Whether a fault may be for a request, by what the log tells of it: whom it asks for, its method and its path, no headers."""
    if not asks_so(plan, entry):
        return False
    if not isinstance(plan.intent, Fault):
        return True
    scope = plan.intent.scope
    return scope.method in (None, entry.method or scope.method) and scope.path in (
        None,
        entry.path.partition("?")[0] or scope.path,
    )


@dataclass(frozen=True, slots=True)
class Suspect:
    """A fault at a server that a call may have been hit by.

    Attributes:
        plan: The fault.
        others: The pods of callers that it is not for.
        since: Pod of the server → Unix time by its proxy's clock; what began before did not meet it.
    """

    plan: Plan
    others: Collection[str] = ()
    since: Mapping[str, float] = field(default_factory=dict)

    def may_have_hit_too(self, own: Plan, call: Logged) -> bool:
        """Whether what looks in the log as if another fault had hit a call may be this one's, by kind, answer and time."""
        _, entry = call
        return (
            bool(_flags(self.plan) & _flags(own))
            and not 0 < entry.started < self.since.get(entry.pod, 0.0)
            and is_hit(self.plan, entry)
        )

    def means(self, call: Logged) -> bool:
        """Whether it may be for a call, by what is known of that."""
        who, entry = call
        return who not in self.others and is_meant(self.plan, entry)


def told_apart(own: Suspect, beside: Sequence[Suspect], hit: Sequence[Logged]) -> tuple[list[Logged], list[Logged]]:
    """Of the calls that look as if a fault had hit them, those that it hit for sure, and those of which nobody can tell.

    A proxy logs that a fault was injected, not which. A call is this fault's where no other one at the server gives such an
    answer, or where this one is for such calls and no other one is.

    Args:
        own: The fault.
        beside: Those that were in force at the server beside it.
        hit: The calls.
    """
    sure, doubtful = list[Logged](), list[Logged]()
    for call in hit:
        rivals = [other for other in beside if other.may_have_hit_too(own.plan, call)]
        meant_by_others = any(rival.means(call) for rival in rivals)
        if not rivals or (own.means(call) and not meant_by_others):
            sure.append(call)
        elif (
            own.means(call) or not meant_by_others
        ):  # a path may have been rewritten: then it is for none, as the log has it
            doubtful.append(call)
    return sure, doubtful
