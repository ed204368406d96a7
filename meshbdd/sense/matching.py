"""Which requests a match takes, and whether one match takes everything that another does.

A pure answer to "is this rule ever reached?": where it is not certain that one match covers another, it does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from meshbdd.route_matches import EVERY_PATH, NO_CONDITION
from meshbdd.sense.reading import mapping, mappings, texts

Match = Mapping[str, Any]

_ON_TEXT = ("uri", "scheme", "method", "authority")
_BY_NAME = ("headers", "queryParams")
_EQUAL = ("sourceLabels", "withoutHeaders")
_LITERAL_THEN_ANYTHING = re.compile(r"([\w/:@=,~-]*)\.\*")
"""The one form of regular expression that is looked into: running a tester's own one could take for ever."""


def covers(first: Match, second: Match) -> bool:
    """Whether every request that ``second`` takes is taken by ``first``."""
    known = {*_ON_TEXT, *_BY_NAME, "withoutHeaders", "port", "sourceLabels", "sourceNamespace", "gateways"}
    if any(key not in known for key in first if key not in NO_CONDITION):
        return False  # a condition that nobody here has heard of: nothing is certain
    ignoring = first.get("ignoreUriCase") is True
    return (
        all(_text_covers(first, second, key, ignoring and key == "uri") for key in _ON_TEXT)
        and all(_names_cover(mapping(first, key), mapping(second, key)) for key in _BY_NAME)
        and all(key not in first or first[key] == second.get(key) for key in ("port", "sourceNamespace"))
        and all(mapping(second, key).get(k) == v for key in _EQUAL for k, v in mapping(first, key).items())
        and (not texts(first, "gateways") or set(texts(second, "gateways") or ["?"]) <= set(texts(first, "gateways")))
    )


def _text_covers(first: Match, second: Match, key: str, ignore_case: bool) -> bool:
    wide = mapping(first, key)
    if not wide or (key == "uri" and wide in EVERY_PATH):
        return True
    narrow = mapping(second, key)
    if not ignore_case and key == "uri" and second.get("ignoreUriCase") is True:
        return False
    return bool(narrow) and _value_covers(wide, narrow, ignore_case)


def _names_cover(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    folded = {str(name).lower(): value for name, value in second.items()}
    for name, wide in first.items():
        if str(name).lower() not in folded:
            return False
        narrow = folded[str(name).lower()] or {}
        if not wide or wide == {"regex": "*"}:
            continue  # the header only has to be there
        if not isinstance(wide, Mapping) or not isinstance(narrow, Mapping) or not _value_covers(wide, narrow, False):
            return False
    return True


def _value_covers(wide: Mapping[str, Any], narrow: Mapping[str, Any], ignore_case: bool) -> bool:
    def fold(value: Any) -> str:
        return str(value).lower() if ignore_case else str(value)

    if "exact" in wide:
        return "exact" in narrow and fold(narrow["exact"]) == fold(wide["exact"])
    if "prefix" in wide:
        start = narrow.get("exact", narrow.get("prefix"))
        return start is not None and fold(start).startswith(fold(wide["prefix"]))
    if "regex" in wide:
        literal = _LITERAL_THEN_ANYTHING.fullmatch(str(wide["regex"]))
        start = narrow.get("exact", narrow.get("prefix"))
        if literal and start is not None:
            return str(start).startswith(literal[1])
        return bool(narrow.get("regex") == wide["regex"])
    return False


def matches_of(rule: Mapping[str, Any]) -> list[Match]:
    """The matches of a rule; a rule without one takes everything."""
    return mappings(rule, "match") or [{}]
