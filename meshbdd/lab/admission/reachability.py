"""What Istio warns of in a VirtualService: rules and matches that no request reaches, and words of old.

As istio/istio ``analyzeUnreachableHTTPRules`` finds them; one warning for each finding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.lab.admission.actions import large_bodies
from meshbdd.lab.admission.rules import Object


def warnings(spec: Object) -> Iterator[str]:
    """What Istio warns of."""
    for index, name in enumerate(spec.get("gateways") or []):
        if "." in name and "/" not in name:
            yield f'spec.gateways[{index}]: "{name}" is the old form; write namespace/name'
    rules = spec.get("http") or []
    for index, rule in enumerate(rules):
        if rule.get("mirrorPercent") is not None:
            yield f"spec.http[{index}].mirrorPercent is deprecated; use mirrorPercentage"
    for path in large_bodies(spec):
        yield f"{path} is large; every sidecar gets it"
    yield from _unreachable(rules)


def _unreachable(rules: list[Any]) -> Iterator[str]:
    seen: dict[str, int] = {}
    prefixes: list[tuple[str, str, Mapping[str, Any]]] = []
    caught: int | None = None
    for index, rule in enumerate(rules):
        where, blocks = f"spec.http[{index}]", rule.get("match") or []
        if not blocks:
            if caught is not None:
                yield f"{where} is never reached: spec.http[{caught}] takes every request before it"
            caught = index
            continue
        repeated = 0
        for number, block in enumerate(blocks):
            if caught is not None:
                yield f"{where} is never reached: spec.http[{caught}] takes every request before it"
                continue
            key = json.dumps({k: v for k, v in block.items() if k != "name"}, sort_keys=True)
            if key in seen:
                yield f"{where}.match[{number}] does nothing: spec.http[{seen[key]}] has the same match"
                repeated += 1
                continue
            seen[key] = index
            if (block.get("uri") or {}).get("prefix"):
                prefixes.append((f"{where}.match[{number}]", where, block))
        if repeated == len(blocks):
            yield f"{where} is never reached: all its matches stand before it"
    yield from _covered(prefixes)


def _covered(prefixes: list[tuple[str, str, Mapping[str, Any]]]) -> Iterator[str]:
    for index, (_, earlier, first) in enumerate(prefixes):
        for place, _, second in prefixes[index + 1 :]:
            if first["uri"]["prefix"] != second["uri"]["prefix"] and _covers(first, second):
                yield f"{place} does nothing: {earlier} takes prefix {first['uri']['prefix']} before it"


def _word(match: Object | None) -> str:
    """A text match as a word that another one may begin with."""
    match = match or {}
    if match.get("exact"):
        return f"exact {match['exact']}"
    return f"prefix {match['prefix']}" if match.get("prefix") else ""


def _covers(first: Object, second: Object) -> bool:
    if not second["uri"]["prefix"].startswith(first["uri"]["prefix"]):
        return False
    if (first.get("port") or 0) != (second.get("port") or 0):
        return False
    method, other = (_word(block.get("method")) or "exact GET" for block in (first, second))
    if not method.startswith(other) or not _word(first.get("authority")).startswith(_word(second.get("authority"))):
        return False
    for table in ("headers", "queryParams", "withoutHeaders"):
        held, given = first.get(table) or {}, second.get(table) or {}
        if len(held) != len(given):
            return False
        if any(key not in given or not _word(text).startswith(_word(given[key])) for key, text in held.items()):
            return False
    return True
