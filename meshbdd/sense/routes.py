"""The rules of a VirtualService: whether requests reach them, and whether fault, retries and timeouts go together."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from meshbdd.sense import catalog
from meshbdd.sense.destination_rules import host_of, targets
from meshbdd.sense.finding import Finding, name_of
from meshbdd.sense.inventory import Inventory, full_name
from meshbdd.sense.matching import covers, matches_of
from meshbdd.sense.own_changes import OURS
from meshbdd.sense.reading import (
    EVERYWHERE,
    Object,
    at,
    duration,
    mapping,
    mappings,
    namespace_of,
    text,
    texts,
    told,
    visible_in,
    whole,
)
from meshbdd.units import Duration

Rule = Mapping[str, Any]


def reachability(world: Inventory) -> Iterator[Finding]:
    """Rules behind others that take all their requests, and single matches of such a kind."""
    for obj in world.of("VirtualService"):
        for protocol in ("http", "tcp", "tls"):
            rules = mappings(obj, "spec", protocol)
            for number, rule in enumerate(rules, 1):
                yield from _reached(obj, rules, number, rule, _covers if protocol == "http" else _same)


def injects_fault(obj: Object) -> bool:
    """Whether an object is a VirtualService with a fault, which nobody leaves in force."""
    return text(obj, "kind") == "VirtualService" and any(mapping(r, "fault") for r in mappings(obj, "spec", "http"))


@dataclass(frozen=True, slots=True)
class Patience:
    """How long, and how often, one rule of a VirtualService has callers try.

    Attributes:
        host: ``name.namespace`` of the service that is called.
        object: The VirtualService.
        timeout: Of all tries together; ``None``: no limit.
        per_try: Of one try; ``None``: no limit but that of all.
        tries: How many there are at most of a call that fails.
    """

    host: str
    object: str
    timeout: Duration | None
    per_try: Duration | None
    tries: int


def patience(objects: Iterable[Object]) -> Iterator[Patience]:
    """What the rules of VirtualServices say of timeouts and retries."""
    for obj in objects:
        rules = mappings(obj, "spec", "http") if text(obj, "kind") == "VirtualService" else []
        for host, rule in itertools.product(texts(obj, "spec", "hosts"), rules):
            attempts = max(whole(rule, "retries", "attempts") or 0, 0)
            timeout, each = duration(rule, "timeout"), duration(rule, "retries", "perTryTimeout")
            yield Patience(
                full_name(host, namespace_of(obj)).removesuffix(".svc.cluster.local"),
                name_of(obj),
                timeout if timeout and timeout.seconds else None,
                each if each and each.seconds and attempts else None,  # without attempts there is no policy of retries
                attempts + 1,
            )


def _covers(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return covers(first, second)


def _same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return all(second.get(key) == value for key, value in first.items())


def _reached(obj: Object, rules: list[Rule], number: int, rule: Rule, takes: Any) -> Iterator[Finding]:
    taken: dict[int, int] = {}
    own = matches_of(rule)
    for index, match in enumerate(own):
        for earlier, other in enumerate(rules[: number - 1], 1):
            if any(takes(wide, match) for wide in matches_of(other)):
                taken[index] = earlier
                break
        else:
            if any(takes(wide, match) for wide in own[:index]):
                taken[index] = number
    if len(taken) == len(own) and all(earlier < number for earlier in taken.values()):
        ruling = told([_called(rules, n) for n in sorted(set(taken.values()))])
        yield catalog.UNREACHABLE.on(
            obj, f"no request reaches {_called(rules, number)}: {ruling} takes all of its requests."
        )
        return
    for index, earlier in taken.items():
        yield catalog.INEFFECTIVE_MATCH.on(
            obj,
            f"match {index + 1} of {_called(rules, number)} has no effect: {_called(rules, earlier)} takes its requests already.",
        )


def _called(rules: list[Rule], number: int) -> str:
    name = text(rules[number - 1], "name")
    return f"rule {number}" + (f' ("{name}")' if name and not name.startswith(OURS) else "")


def resilience(world: Inventory) -> Iterator[Finding]:
    """Faults that do nothing, faults that switch off what stands beside them, and tries that do not fit."""
    for obj in world.of("VirtualService"):
        rules = mappings(obj, "spec", "http")
        for number, rule in enumerate(rules, 1):
            where = _called(rules, number)
            yield from _fault(obj, where, rule)
            yield from _tries(obj, where, rule)
            if mapping(rule, "fault", "abort"):
                yield from _breaker(world, obj, where, rule)


def _fault(obj: Object, where: str, rule: Rule) -> Iterator[Finding]:
    abort, delay = mapping(rule, "fault", "abort"), mapping(rule, "fault", "delay")
    for word, block in (("abort", abort), ("delay", delay)):
        if block and at(block, "percentage", "value") is None and whole(block, "percent") is None:
            yield catalog.NO_SHARE.on(
                obj, f"the {word} on {where} has no percentage, and Istio takes that for 0%: it hits no request."
            )
    status = whole(abort, "httpStatus")
    if abort and status is None and not text(abort, "grpcStatus"):
        yield catalog.NO_FAULT.on(
            obj, f"the abort on {where} says no httpStatus and no grpcStatus: nothing is aborted."
        )
    if status is not None and not 200 <= status <= 599:
        yield catalog.NO_FAULT.on(
            obj,
            f"the abort on {where} answers {status}; Envoy takes 200 to 599 only, refuses the whole route table, and keeps the old one.",
        )
    if delay and not text(delay, "fixedDelay"):
        yield catalog.NO_FAULT.on(obj, f"the delay on {where} says no fixedDelay: nothing is delayed.")
    retries = mapping(rule, "retries")
    if (abort or delay) and retries and whole(retries, "attempts") != 0:
        yield catalog.FAULT_AND_RETRIES.on(
            obj, f"the fault on {where} is injected before the retries beside it: no faulted request is ever retried."
        )
    limit, held = duration(rule, "timeout"), duration(delay, "fixedDelay")
    if limit is not None and limit.seconds > 0 and held is not None:
        yield catalog.DELAY_AND_TIMEOUT.on(
            obj,
            f"the delay of {held} on {where} is injected before the timeout of {limit} beside it begins: "
            f"nothing is cut off, callers wait {held} and more.",
        )


def _tries(obj: Object, where: str, rule: Rule) -> Iterator[Finding]:
    attempts = whole(rule, "retries", "attempts")
    limit, each = duration(rule, "timeout"), duration(rule, "retries", "perTryTimeout")
    if not attempts or limit is None or each is None or not limit.seconds or not each.seconds:
        return
    tries = attempts + 1
    if each.seconds * tries > limit.seconds + 1e-9:
        fit = int(limit.seconds / each.seconds + 1e-9)
        yield catalog.TRIES_BEYOND_TIMEOUT.on(
            obj,
            f"{where} allows {tries} tries (1 + attempts: {attempts}) of {each} each, which takes {Duration(each.seconds * tries)}; "
            f"its timeout of {limit} includes all of them, so {_fitting(fit, tries)}.",
        )


def _fitting(fit: int, tries: int) -> str:
    if fit == 0:
        return "not even one may take its time"
    return f"only {fit} of {tries} can take its time" if fit == 1 else f"only {fit} of {tries} can take their time"


def _breaker(world: Inventory, obj: Object, where: str, rule: Rule) -> Iterator[Finding]:
    status = whole(rule, "fault", "abort", "httpStatus")
    if status is not None and status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return  # no breaker counts it, from wherever it comes
    hosts = [text(r, "destination", "host") for r in mappings(rule, "route")] or texts(obj, "spec", "hosts")
    for host in dict.fromkeys(full_name(h, namespace_of(obj)) for h in hosts):
        breaker = next(
            (r for r in world.rules.over(host) if _breaks(r) and _meet(obj, r) and _is_taken(world, r, host)), None
        )
        if breaker is not None:
            yield catalog.FAULT_BESIDE_BREAKER.on(
                obj,
                f"the abort on {where} never reaches {host}, so the circuit breaker of {name_of(breaker)} counts none of "
                "these errors and does not open.",
            )


def _breaks(rule: Object) -> bool:
    parts = (mapping(rule, "spec"), *mappings(rule, "spec", "subsets"))
    return any(
        at(part, "trafficPolicy", "outlierDetection") is not None for part in parts
    )  # an empty one has Envoy's defaults


def _meet(obj: Object, rule: Object) -> bool:
    """Whether some callers may see a VirtualService and a DestinationRule both."""
    seen = visible_in(obj), visible_in(rule)
    return any(EVERYWHERE in each for each in seen) or not seen[0].isdisjoint(seen[1])


def _is_taken(world: Inventory, rule: Object, host: str) -> bool:
    """Whether a rule counts for some caller of a host: one for a pattern of hosts only where none is more specific."""
    return host_of(rule) == host or host in targets(world, rule)
