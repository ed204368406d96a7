"""Which match takes a call that several match: the longest path, a method, headers, query parameters, and then age."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.mesh.linkerd.precedence import buried, matches_of, takes

Object = dict[str, Any]


def _exact(value: str) -> Object:
    return {"path": {"type": "Exact", "value": value}}


def _prefix(value: str) -> Object:
    return {"path": {"type": "PathPrefix", "value": value}}


def _like(value: str) -> Object:
    return {"path": {"type": "RegularExpression", "value": value}}


def _with(**headers: str) -> Object:
    return {"headers": [{"name": name, "value": value} for name, value in headers.items()]}


def _query(name: str) -> Object:
    return {"queryParams": [{"name": name, "value": "1"}]}


def _rpc(service: str = "", method: str = "", kind: str = "Exact") -> Object:
    said = {"service": service, "method": method}
    return {"method": {"type": kind, **{k: v for k, v in said.items() if v}}}


POST = {"method": "POST"}
ALWAYS, IF_OLDER, NEVER = "always", "if its route is older", "never"


@pytest.mark.parametrize(
    ("kind", "one", "other", "when"),
    [
        ("HTTPRoute", {}, {}, IF_OLDER),
        ("HTTPRoute", _prefix("/charge"), {}, ALWAYS),
        ("HTTPRoute", {}, _prefix("/charge"), NEVER),
        ("HTTPRoute", _prefix("/charge/"), _prefix("/charge"), IF_OLDER),
        ("HTTPRoute", _prefix("/charges"), _prefix("/charge"), NEVER),
        ("HTTPRoute", _exact("/charge/1"), _prefix("/charge"), ALWAYS),
        ("HTTPRoute", _exact("/charge"), _prefix("/charge"), IF_OLDER),
        ("HTTPRoute", _exact("/charges"), _prefix("/charge"), NEVER),
        ("HTTPRoute", _exact("/"), {}, IF_OLDER),
        ("HTTPRoute", _exact("/charge"), _exact("/refund"), NEVER),
        ("HTTPRoute", _prefix("/charge"), _exact("/charge") | POST, NEVER),
        ("HTTPRoute", _prefix("/charge") | POST, _exact("/charge"), ALWAYS),
        ("HTTPRoute", _prefix("/charge"), POST | _with(a="1"), ALWAYS),
        ("HTTPRoute", POST, {"method": "GET"}, NEVER),
        ("HTTPRoute", POST, _with(a="1", b="1"), ALWAYS),
        ("HTTPRoute", _with(a="1"), _query("a") | _query("b"), ALWAYS),
        ("HTTPRoute", _with(a="1"), _with(b="1"), IF_OLDER),
        ("HTTPRoute", _with(a="1"), _with(A="2", b="1"), NEVER),
        ("HTTPRoute", _with(a="1", b="1"), _with(b="1"), ALWAYS),
        ("HTTPRoute", _query("a"), {}, ALWAYS),
        ("HTTPRoute", _like("/ch.*"), _exact("/charge"), IF_OLDER),
        ("HTTPRoute", _like("/ch.*"), _exact("/charge") | POST, NEVER),
        ("HTTPRoute", _like("/ch.*"), _prefix("/charge") | POST, ALWAYS),
        ("HTTPRoute", _prefix("/charge") | POST, _like("/ch.*"), ALWAYS),
        ("HTTPRoute", _prefix("/charge"), _like("/ch.*"), IF_OLDER),
        ("GRPCRoute", _rpc("shop.Payment", "Charge"), _rpc("shop.Payment"), ALWAYS),
        ("GRPCRoute", _rpc("shop.Payment"), _with(a="1"), ALWAYS),
        ("GRPCRoute", _rpc("shop.Payment"), _rpc("shop.Stock"), NEVER),
        ("GRPCRoute", _rpc("shop.Payment"), _rpc(method="Charge"), ALWAYS),
        ("GRPCRoute", _rpc("shop.*", kind="RegularExpression"), _rpc("shop.Payment"), ALWAYS),
        ("GRPCRoute", _with(a="1"), {}, ALWAYS),
    ],
)
def test_a_match_takes_calls_from_another(kind: str, one: Object, other: Object, when: str) -> None:
    mine, theirs = ({"kind": kind, "spec": {"rules": [{"matches": [match]}]}} for match in (one, other))
    [first], [second] = (list(matches_of(route, route["spec"]["rules"][0])) for route in (mine, theirs))
    assert takes(first, second, older=False) == (when == ALWAYS)
    assert takes(first, second, older=True) == (when != NEVER)


@pytest.mark.parametrize(
    ("one", "other", "takes_it"),
    [
        (["pay"], [], True),
        ([], ["pay"], False),
        (["pay.shop"], ["*.shop"], True),
        (["*.shop"], ["pay.shop"], False),
        (["pay"], ["order"], False),
        (["pay", "order"], ["ORDER"], False),
    ],
)
def test_a_host_name_comes_before_paths(one: list[str], other: list[str], takes_it: bool) -> None:
    mine, theirs = ({"kind": "HTTPRoute", "spec": {"hostnames": hosts}} for hosts in (one, other))
    narrow = {"matches": [_exact("/charge")]}
    assert takes_it == any(
        takes(first, second, older=False) for first in matches_of(mine, {}) for second in matches_of(theirs, narrow)
    )


@pytest.mark.parametrize(
    ("one", "older", "gone"),
    [
        ({}, {}, True),
        (_prefix("/charge"), {}, False),
        ({}, POST, False),
        (_exact("/charge"), _prefix("/charge"), True),
        (_exact("/charge/1"), _prefix("/charge"), False),
        (_exact("/charge") | POST, _prefix("/charge"), False),
        (_with(a="1"), _with(A="1"), True),
        (_with(a="1"), _with(b="1"), False),
        (_like("/a"), _like("/a"), True),
        (_like("/a"), _exact("/a"), False),
        (_like("/a"), {}, False),
    ],
)
def test_an_older_match_leaves_one_nothing_that_asks_for_the_same(one: Object, older: Object, gone: bool) -> None:
    route = {"kind": "HTTPRoute", "spec": {}}
    [first], [second] = (list(matches_of(route, {"matches": [match]})) for match in (one, older))
    assert buried(first, second) == gone
