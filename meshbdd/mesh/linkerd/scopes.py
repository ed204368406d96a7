"""Rules of Linkerd's routes, narrowed to the calls that a fault is for. Pure functions on dicts.

Copies for a scope all ask for its path, its method and its headers. What their rules said of these no longer tells them
apart, so a copy might take calls that another rule took.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from meshbdd.errors import BadInput, NotPossible
from meshbdd.intents import Scope
from meshbdd.mesh.linkerd.precedence import Narrowed, hidden, match_of, turned

_GRPC_PATH = re.compile(r"/(?P<service>\.?[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)/(?P<method>[A-Za-z_]\w*)", re.ASCII)
"""The path of a gRPC call, as far as a GRPCRoute can name one: Gateway API, GRPCMethodMatch."""


_ALONE: Mapping[str, Any] = {"metadata": {"namespace": ""}, "spec": {}}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a route's rules stand.

    Attributes:
        port: The Service's port that they are for.
        grpc: Whether the route is a GRPCRoute.
        route: The route, unless it is alone at the port and for every host name.
        older: Those beside it whose rules come first, of rules that match a call equally well.
        younger: The others beside it.
        everywhere: The namespace of the Service: a route there is for all callers, one elsewhere for those in its own.
    """

    port: int
    grpc: bool
    route: Mapping[str, Any] = field(default_factory=lambda: _ALONE)
    older: Sequence[Mapping[str, Any]] = ()
    younger: Sequence[Mapping[str, Any]] = ()
    everywhere: str = ""


@dataclass(frozen=True, slots=True)
class _Copy:
    """One match of a rule, and what a scope makes of it.

    Attributes:
        rule: The rule.
        at: Its place among those of all routes at the port.
        own: Its place in the route that gets the copies; ``None`` where it is in another one.
        home: The namespace of its route.
        made: The narrowed match.
        matches: Both, for each host name of the route.
    """

    rule: Mapping[str, Any]
    at: int
    own: int | None
    home: str
    made: dict[str, Any]
    matches: tuple[Narrowed, ...]

    def is_turned(self, two: _Copy) -> bool:
        """Whether this one's rule takes calls that the other's copy would take from its copy."""
        older = self.at < two.at
        return any(turned(one, other, older=older) for one in self.matches for other in two.matches)

    def hides(self, two: _Copy) -> bool:
        """Whether this one's rule takes every call that the other's copy is for."""
        older = self.at < two.at
        return all(any(hidden(other, one, older=older) for one in self.matches) for other in two.matches)

    def does_as(self, two: _Copy) -> bool:
        """Whether it makes no difference which of two rules takes a call."""
        return _rest_of(self.rule) == _rest_of(two.rule)


def narrowed_rules(
    rules: Sequence[Mapping[str, Any]], scope: Scope, what: str, place: Place
) -> list[list[dict[str, Any]]]:
    """For each rule the matches that its copy for a scope needs: none where the copy would take no call.

    A copy that another rule's would have to come before, and does not, is left out where that one takes all of its calls,
    whoever makes them.

    Args:
        rules: A route's rules, in their order.
        scope: What the copies are for.
        what: The fault, for the message.
        place: Where they stand; routes beside theirs get copies too.

    Raises:
        NotPossible: a copy would take some calls of another rule's and has others of its own.
        BadInput: an expression of a rule and the scope cannot be joined.
    """
    copies = list(_copies(rules, scope, place))
    left_out = set()
    clashes = []
    for first, second in itertools.permutations(range(len(copies)), 2):
        one, two = copies[first], copies[second]
        if one.own is two.own is None or one.does_as(two) or not one.is_turned(two):
            continue
        if one.hides(two) and one.home in {two.home, place.everywhere}:
            left_out.add(second)
        else:
            clashes.append((first, second))
    for first, second in clashes:
        if left_out.isdisjoint({first, second}):
            raise _reordered(what, copies[first].rule, copies[second].rule)
    kept: list[list[dict[str, Any]]] = [[] for _ in rules]
    for number, found in enumerate(copies):
        if found.own is not None and number not in left_out:
            kept[found.own].append(found.made)
    return kept


def _copies(rules: Sequence[Mapping[str, Any]], scope: Scope, place: Place) -> Iterator[_Copy]:
    """The copies of a route's rules, and of those beside them, the oldest first."""
    ruled = [
        *((route, None, rule) for route in place.older for rule in _rules(route)),
        *((place.route, number, rule) for number, rule in enumerate(rules)),
        *((route, None, rule) for route in place.younger for rule in _rules(route)),
    ]
    for at, (route, own, rule) in enumerate(ruled):
        home, hosts = route["metadata"]["namespace"], route["spec"].get("hostnames") or [None]
        for theirs in rule.get("matches") or [{}]:
            for made in narrowed([theirs], scope, grpc=place.grpc):
                whole, part = ([match_of(said, host, grpc=place.grpc) for host in hosts] for said in (theirs, made))
                yield _Copy(rule, at, own, home, made, tuple(map(Narrowed, whole, part)))


def _rules(route: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return route["spec"].get("rules") or [{}]


def _rest_of(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in rule.items() if key not in {"matches", "name"}}


def _reordered(what: str, rule: Mapping[str, Any], other: Mapping[str, Any]) -> NotPossible:
    return NotPossible(
        "MB0482",
        f"On Linkerd {what} would lead calls astray that it leaves alone: those that match both the rule to {_leads(rule)} and "
        f"the rule to {_leads(other)} go by the first one, and of their copies for the fault by the second one.",
        help="let the two rules' matches exclude each other, or leave out the fault's options that narrow it",
    )


def _leads(rule: Mapping[str, Any]) -> str:
    refs: Iterable[Mapping[str, Any]] = rule.get("backendRefs") or ()
    return ", ".join(str(ref.get("name")) for ref in refs) or "the service itself"


def narrowed(matches: Iterable[Mapping[str, Any]], scope: Scope, *, grpc: bool) -> list[dict[str, Any]]:
    """Matches for what both a rule and a scope take; none where nothing can be taken by both."""
    join = _both_grpc if grpc else _both
    return [joined for match in matches if (joined := join(match, scope)) is not None]


def _both(theirs: Mapping[str, Any], scope: Scope) -> dict[str, Any] | None:
    made: dict[str, Any] = copy.deepcopy(dict(theirs))
    if scope.method and made.setdefault("method", scope.method) != scope.method:
        return None
    if scope.path:
        kept = made.get("path")
        if kept and not _takes(kept, scope.path):
            return None
        made["path"] = {"type": "Exact", "value": scope.path}
    return _with_headers(made, scope)


def _both_grpc(theirs: Mapping[str, Any], scope: Scope) -> dict[str, Any] | None:
    """The same for a GRPCRoute, which names a method of a service where HTTP has a path; all of them are POST.

    No gRPC call has another path, and a service without a method would mean all of its methods.
    """
    made: dict[str, Any] = copy.deepcopy(dict(theirs))
    if scope.method not in {None, "POST"}:
        return None
    if scope.path:
        called = _GRPC_PATH.fullmatch(scope.path)
        if called is None:
            return None
        wanted, kept = called.groupdict(), made.get("method") or {}
        if kept.get("type") == "RegularExpression":
            raise _unjoinable(str(kept.get("service") or kept.get("method")), scope.path)
        if any(kept.get(name, value) != value for name, value in wanted.items()):
            return None
        made["method"] = {"type": "Exact", **wanted}
    return _with_headers(made, scope)


def _with_headers(made: dict[str, Any], scope: Scope) -> dict[str, Any] | None:
    for name, value in scope.headers.items():
        known = next((h for h in made.get("headers") or [] if h["name"].lower() == name.lower()), None)
        if known is None:
            made.setdefault("headers", []).append({"type": "Exact", "name": name.lower(), "value": value})
        elif known.get("type", "Exact") != "Exact":
            raise _unjoinable(known["value"], value)
        elif known["value"] != value:
            return None
    return made


def _takes(match: Mapping[str, Any], path: str) -> bool:
    kind, value = match.get("type", "PathPrefix"), str(match.get("value", "/"))
    if kind == "RegularExpression":
        raise _unjoinable(value, path)
    prefix = value.rstrip("/")
    return path == value if kind == "Exact" else path == prefix or path.startswith(f"{prefix}/")


def _unjoinable(expression: str, value: str) -> BadInput:
    return BadInput(
        "MB0445",
        f"The route matches by the regular expression {expression!r}, which cannot be joined with '{value}'.",
        help="leave that option out of the fault's table",
    )
