"""Taking back what was written from a value that others may have changed since."""

from __future__ import annotations

import json

from meshbdd.cluster.merge import ABSENT, merge


def test_what_was_added_goes_and_nothing_else_comes_in_its_place() -> None:
    assert merge({"a": 1}, {"a": 1}, ABSENT) is ABSENT
    merged = merge({"mine": {"x": 1}, "host": "h"}, {"mine": {"x": 1}, "host": "h", "theirs": 2}, {"host": "h"})
    assert merged == {"host": "h", "theirs": 2}
    json.dumps(merged)
