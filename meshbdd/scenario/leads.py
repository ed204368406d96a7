"""Which of a scenario's requests makes whom call a service: the logs have the id of the request that did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet

from meshbdd.claims.breaker import Breaker, is_counted, is_error
from meshbdd.claims.calls import Call, circuit_of
from meshbdd.intents import ServiceRef
from meshbdd.scenario.call_log import calls_to
from meshbdd.telemetry.access_log import Entry


def leading_to(service: ServiceRef, entries: Iterable[Entry], name_of: Callable[[str], str]) -> Mapping[str, set[str]]:
    """Name of a request that was sent → the circuits that let a service be called for it, or refused to; the latest first.

    Of a call with another id, which its caller has not passed on, nobody knows what it was for.

    Args:
        service: The service.
        entries: The logs.
        name_of: Id of a request → its name; empty where nobody knows.
    """
    found: dict[str, set[str]] = {}
    for entry in sorted(entries, key=lambda entry: entry.started, reverse=True):
        if entry.outbound and entry.service == service.host and (name := name_of(entry.request_id)):
            found.setdefault(name, set()).add(circuit_of(entry.pod, entry.port))
    return found


def only_failing(
    service: ServiceRef, entries: Iterable[Entry], name_of: Callable[[str], str], rules: Mapping[str, Breaker]
) -> set[str]:
    """The names of the requests that were answered with nothing but errors, as far as anybody knows; arguments as above.

    Args:
        service: The service.
        entries: The logs.
        name_of: Id of a request → its name.
        rules: Circuit → its breaker, which says what an error is.
    """
    answers: dict[str, list[Call]] = defaultdict(list)
    for call in calls_to(service, entries):
        if call.circuit in rules and is_counted(call) and not call.untold:
            answers[name_of(call.request_id)].append(call)
    return {name for name, calls in answers.items() if all(is_error(call, rules[call.circuit]) for call in calls)}


def as_trials(
    last: str, leading: Mapping[str, AbstractSet[str]], failing: AbstractSet[str], untried: AbstractSet[str]
) -> list[dict[str, AbstractSet[str]]]:
    """The requests by which to try circuits, with those that each leads to: the one sent last before all others.

    Another is for what that one does not reach, and one that has met nothing but errors for what no other does: it would
    open the circuit anew.

    Args:
        last: The request that was sent last.
        leading: Request → the circuits that it leads to, the latest first.
        failing: The requests that have met nothing but errors.
        untried: The circuits to try. To one that no request is known to lead to, the last one does, for all that anybody knows.

    Returns:
        What to try with first, and what where that does not get through.
    """
    unknown = untried - set().union(*leading.values())
    to = {last: leading.get(last, frozenset()) | unknown, **{n: c for n, c in leading.items() if n != last}}
    to = {name: circuits & untried for name, circuits in to.items() if circuits & untried}
    later = {name: circuits for name, circuits in to.items() if name in failing and name != last}
    return [{name: circuits for name, circuits in to.items() if name not in later}, later]
