"""Whatever a fault is for, each call goes by the same rule's copy as it went by the rule: random routes, every kind of call.

Which rule takes a call is picked here by Linkerd's order alone, call by call; the code compares matches, and sees no call.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

from meshbdd.errors import NotPossible
from meshbdd.intents import Scope
from meshbdd.mesh.linkerd.scopes import Place, narrowed_rules

Json = dict[str, Any]
CALLS = tuple(
    itertools.product(
        ("/", "/v", "/v/", "/v/a", "/w"), ("GET", "POST"), (None, "1", "2"), (None, "1", "2"), (None, "1")
    )
)
"""Path, method, the headers a and b, and the query parameter q."""
WHOLE = 99


def _match(dice: random.Random) -> Json:
    made: Json = {}
    if dice.random() < 0.7:
        kind = dice.choice(("PathPrefix", "Exact"))
        made["path"] = {"type": kind, "value": dice.choice(("/", "/v", "/v/", "/v/a"))}
    if dice.random() < 0.3:
        made["method"] = dice.choice(("GET", "POST"))
    if headers := [{"name": name, "value": dice.choice("12")} for name in "ab" if dice.random() < 0.35]:
        made["headers"] = headers
    if dice.random() < 0.2:
        made["queryParams"] = [{"name": "q", "value": "1"}]
    return made


def _length(match: Json, path: str) -> int | None:
    said = match.get("path") or {"type": "PathPrefix", "value": "/"}
    if said["type"] == "Exact":
        return WHOLE if said["value"] == path else None
    trunk = said["value"].rstrip("/")
    if path == (trunk or "/"):
        return WHOLE
    return len(trunk) if path.startswith(f"{trunk}/") else None


def _picked(rules: Sequence[Sequence[Json]], call: tuple[Any, ...]) -> int | None:
    path, method, *fields = call
    has = dict(zip("abq", fields, strict=True))
    found = []
    for number, matches in enumerate(rules):
        for match in matches:
            length, headers, query = _length(match, path), match.get("headers", ()), match.get("queryParams", ())
            asked = all(has[field["name"]] == field["value"] for field in (*headers, *query))
            if length is not None and match.get("method") in {None, method} and asked:
                found.append((length, "method" in match, len(headers), len(query), -number))
    return -max(found)[-1] if found else None


def _is_for(scope: Scope, call: tuple[Any, ...]) -> bool:
    path, method, a, *_ = call
    return scope.path in {None, path} and scope.method in {None, method} and scope.headers.get("a", a) == a


def test_each_call_goes_by_the_copy_of_the_rule_that_took_it() -> None:
    dice = random.Random(8)
    refused = 0
    for _ in range(600):
        older, younger = (
            [
                {"matches": [_match(dice)], "backendRefs": [{"name": f"{name}{number}"}]}
                for number in range(dice.choice((1, 2)))
            ]
            for name in ("older", "younger")
        )
        one, two = ({"metadata": {"namespace": "shop"}, "spec": {"rules": rules}} for rules in (older, younger))
        header = dice.choice(({}, {"a": "1"}))
        scope = Scope(method=dice.choice((None, "POST")), path=dice.choice((None, "/v", "/v/a")), headers=header)
        try:
            copies = [
                *narrowed_rules(older, scope, "the fault", Place(80, grpc=False, route=one, younger=[two])),
                *narrowed_rules(younger, scope, "the fault", Place(80, grpc=False, route=two, older=[one])),
            ]
        except NotPossible:
            refused += 1
            continue
        rules = [rule["matches"] for rule in (*older, *younger)]
        for call in filter(lambda call: _is_for(scope, call), CALLS):
            assert _picked(copies, call) == _picked(rules, call), (scope, rules, copies, call)
    assert 0 < refused < 60, "what cannot be had is refused, and little else"
