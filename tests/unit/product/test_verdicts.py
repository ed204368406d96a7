"""The matchers by which the tests of claims read: what they take, and what they say of what they do not take."""

from __future__ import annotations

from typing import Any

import pytest
from hamcrest import assert_that

from meshbdd.claims import Verdict
from tests.verdicts import IsVerdict, is_failed, is_inconclusive, is_passed

GREEN = Verdict.of(True, "all of 3 did", requests=3)
RED = Verdict.of(False, "none of 3 did", requests=3)
OPEN = Verdict.cannot_tell("nobody knows", "ask again")


@pytest.mark.parametrize(
    ("verdict", "matcher"), [(GREEN, is_passed()), (RED, is_failed("none", "of 3")), (OPEN, is_inconclusive("nobody"))]
)
def test_a_verdict_is_taken_for_what_it_is(verdict: Verdict, matcher: IsVerdict) -> None:
    assert_that(verdict, matcher)


@pytest.mark.parametrize(
    ("verdict", "matcher", "told"),
    [
        (RED, is_passed(), "Expected: a verdict «passed»\n     but: was «failed»: none of 3 did {'requests': 3}\n"),
        (GREEN, is_failed(), "Expected: a verdict «failed»\n     but: was «passed»: all of 3 did {'requests': 3}\n"),
        (GREEN, is_inconclusive(), "Expected: a verdict «inconclusive»\n     but: was «passed»: all of 3 did"),
        (GREEN, is_passed("some"), "that says 'some'\n     but: was «passed»: all of 3 did {'requests': 3}\n"),
        (None, is_passed(), "but: was None, which is no verdict yet"),
        (True, is_passed(), "but: was True, which is no verdict yet"),
    ],
)
def test_one_that_is_not_is_shown_with_its_sentence(verdict: Any, matcher: IsVerdict, told: str) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_that(verdict, matcher)
    assert told in str(caught.value)
