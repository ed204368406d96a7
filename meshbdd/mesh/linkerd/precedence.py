"""Which of a route's rules takes a call, and that this stays so among their copies. Pure functions on dicts.

Linkerd takes the longest path, then a match with a method, then the most headers, then the most query parameters, then the
rule that stands first (Gateway API, HTTPRouteRule.matches; for gRPC the longest service and method, then headers). Copies for
a scope all ask for its path, its method and its headers, so what the rules said of these no longer tells the copies apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshbdd.errors import NotPossible
from meshbdd.intents import Scope
from meshbdd.mesh.linkerd.scopes import narrowed

_WHOLE = float("inf")
"""How long a path counts that is matched from its start to its end."""


@dataclass(frozen=True, slots=True)
class _Copy:
    """One match of a rule, and what a scope makes of it. ``rule``: its place in the route."""

    rule: int
    theirs: Mapping[str, Any]
    made: dict[str, Any]


def narrowed_rules(
    rules: Sequence[Mapping[str, Any]], scope: Scope, what: str, *, grpc: bool
) -> list[list[dict[str, Any]]]:
    """For each rule the matches that its copy for a scope needs: none where the copy would take no call.

    A copy that another rule's would have to come before, and does not, is left out where that one takes all of its calls.

    Args:
        rules: A route's rules, in their order.
        scope: What the copies are for.
        what: The fault, for the message.
        grpc: Whether the route is a GRPCRoute.

    Raises:
        NotPossible: a copy would take some calls of another rule's and has others of its own.
        BadInput: an expression of a rule and the scope cannot be joined.
    """
    copies = [
        _Copy(number, theirs, made)
        for number, rule in enumerate(rules)
        for theirs in rule.get("matches") or [{}]
        for made in narrowed([theirs], scope, grpc=grpc)
    ]
    left_out = set()
    clashes = []
    for first, second in itertools.permutations(range(len(copies)), 2):
        one, two = copies[first], copies[second]
        if _same(rules[one.rule], rules[two.rule]) or not _turned(one, two, scope, grpc=grpc):
            continue
        if _covers(one.made, two.made, grpc=grpc):
            left_out.add(second)
        else:
            clashes.append((first, second))
    for first, second in clashes:
        if left_out.isdisjoint({first, second}):
            raise _reordered(what, rules[copies[first].rule], rules[copies[second].rule])
    kept: list[list[dict[str, Any]]] = [[] for _ in rules]
    for number, found in enumerate(copies):
        if number not in left_out:
            kept[found.rule].append(found.made)
    return kept


def _same(rule: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether it makes no difference which of two rules takes a call."""
    ignored = {"matches", "name"}
    return {k: v for k, v in rule.items() if k not in ignored} == {k: v for k, v in other.items() if k not in ignored}


def _turned(one: _Copy, two: _Copy, scope: Scope, *, grpc: bool) -> bool:
    """Whether the first rule takes calls that both match, and the copy of the second would."""
    if _exclude_each_other(one.made, two.made):
        return False
    before, after = (_rank(one.theirs), -one.rule), (_rank(two.theirs), -two.rule)
    if scope.path:
        lengths = _length(one.theirs, scope.path, grpc=grpc), _length(two.theirs, scope.path, grpc=grpc)
        comes_first = (lengths[0], *before) > (lengths[1], *after)
    else:  # the copies keep their paths, and tell apart by them what the rules did
        comes_first = _may_be_as_long(one.theirs, two.theirs, grpc=grpc) and before > after
    return comes_first and (_rank(two.made), -two.rule) > (_rank(one.made), -one.rule)


def _rank(match: Mapping[str, Any]) -> tuple[int, int, int]:
    """What comes after the path. Of gRPC the method belongs to the path."""
    has_method = isinstance(match.get("method"), str)
    return int(has_method), len(match.get("headers") or ()), len(match.get("queryParams") or ())


def _length(match: Mapping[str, Any], path: str, *, grpc: bool) -> tuple[float, float]:
    """How much of a path a match has matched."""
    if grpc:
        called = match.get("method") or {}
        return len(called.get("service") or ""), len(called.get("method") or "")
    _kind, value = _path(match)
    return (_WHOLE if value == path else len(value)), 0


def _may_be_as_long(one: Mapping[str, Any], two: Mapping[str, Any], *, grpc: bool) -> bool:
    """Whether there is a path of which two matches match equally much; expressions are taken to, to be on the safe side."""
    if grpc:
        return _called(one) == _called(two)
    (kind, value), (other_kind, other) = _path(one), _path(two)
    return "RegularExpression" in {kind, other_kind} or value == other


def _path(match: Mapping[str, Any]) -> tuple[str, str]:
    path = match.get("path") or {}
    kind, value = str(path.get("type") or "PathPrefix"), str(path.get("value") or "/")
    return kind, (value.rstrip("/") or "/") if kind == "PathPrefix" else value


def _called(match: Mapping[str, Any]) -> tuple[str, str, str]:
    called = match.get("method") or {}
    return str(called.get("type") or "Exact"), str(called.get("service") or ""), str(called.get("method") or "")


def _asked(match: Mapping[str, Any]) -> dict[tuple[str, str], tuple[str, str]]:
    """What a match asks of headers, of query parameters and of the HTTP method."""
    headers = {
        ("header", h["name"].lower()): (h.get("type") or "Exact", h["value"]) for h in match.get("headers") or ()
    }
    queries = {("query", q["name"]): (q.get("type") or "Exact", q["value"]) for q in match.get("queryParams") or ()}
    method = match.get("method")
    return {**headers, **queries, **({("method", ""): ("Exact", method)} if isinstance(method, str) else {})}


def _exclude_each_other(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    theirs = _asked(two)
    return any(
        asked[0] == other[0] == "Exact" and asked != other
        for key, asked in _asked(one).items()
        if (other := theirs.get(key)) is not None
    )


def _covers(wide: Mapping[str, Any], narrow: Mapping[str, Any], *, grpc: bool) -> bool:
    """Whether one match takes whatever another takes; of both it is known that they may match equal paths."""
    if (_called(wide) != _called(narrow)) if grpc else (_path(wide) != _path(narrow)):
        return False
    return _asked(wide).items() <= _asked(narrow).items()


def _reordered(what: str, rule: Mapping[str, Any], other: Mapping[str, Any]) -> NotPossible:
    return NotPossible(
        "MB0482",
        f"On Linkerd {what} would lead calls astray that it leaves alone: those that match both the route's rule to {_leads(rule)} "
        f"and its rule to {_leads(other)} go by the first one, and of their copies for the fault by the second one.",
        help="let the two rules' matches exclude each other, or leave out the fault's options that narrow it",
    )


def _leads(rule: Mapping[str, Any]) -> str:
    refs: Iterable[Mapping[str, Any]] = rule.get("backendRefs") or ()
    return ", ".join(str(ref.get("name")) for ref in refs) or "the service itself"
