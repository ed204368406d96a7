"""No object, however wrong its shape, ends a check: every value of every case is replaced by values of other kinds."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

from meshbdd import sense
from tests.unit.sense.test_rules import _CASES, WORLD, documents

_VALUES = (None, 3, 1.5, True, "x", "*", [], [3], {}, {"a": None})
_EVERY = 47
"""Of 24,000 replacements; a prime, so that all kinds of values and places come up."""


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _paths(inner, (*path, key))


def _broken() -> Iterator[list[dict[str, Any]]]:
    for case in _CASES:
        objects = documents(case["resources"])
        for index, obj in enumerate(objects):
            for path, value in itertools.product(_paths(obj), _VALUES):
                made = copy.copy(objects)
                made[index] = copy.deepcopy(obj)
                node: Any = made[index]
                for key in path[:-1]:
                    node = node[key]
                node[path[-1]] = value
                yield made


def test_no_shape_ends_a_check() -> None:
    number = 0
    for number, objects in enumerate(itertools.islice(_broken(), 0, None, _EVERY), 1):  # noqa: B007 - counted below
        sense.check([*objects, *WORLD])
    assert number > 400
