"""Matches of Linkerd's routes, narrowed to the calls that a fault is for. Pure functions on dicts."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import Scope

_GRPC_PATH = re.compile(r"/(?P<service>\.?[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)/(?P<method>[A-Za-z_]\w*)", re.ASCII)
"""The path of a gRPC call, as far as a GRPCRoute can name one: Gateway API, GRPCMethodMatch."""


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
