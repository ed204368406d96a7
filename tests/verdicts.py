"""Matchers for verdicts: one that is not as expected shows its sentence, and not an enum beside an enum."""

from __future__ import annotations

from typing import Any

from hamcrest.core.base_matcher import BaseMatcher
from hamcrest.core.description import Description

from meshbdd.claims import Outcome, Verdict


class IsVerdict(BaseMatcher[Verdict | None]):
    """A verdict of an outcome, whose sentence says some words.

    Args:
        outcome: The outcome.
        words: All of these stand in the sentence.
    """

    def __init__(self, outcome: Outcome, words: tuple[str, ...]) -> None:
        self._outcome = outcome
        self._words = words

    def _matches(self, item: Any) -> bool:
        return (
            isinstance(item, Verdict)
            and item.outcome is self._outcome
            and all(word in item.sentence for word in self._words)
        )

    def describe_to(self, description: Description) -> None:
        description.append_text(f"a verdict «{self._outcome}»")
        if self._words:
            description.append_list(" that says ", " and ", "", self._words)

    def describe_mismatch(self, item: Any, mismatch_description: Description) -> None:
        if isinstance(item, Verdict):
            mismatch_description.append_text(f"was «{item.outcome}»: {item.sentence} {dict(item.numbers)}")
        else:
            mismatch_description.append_text(f"was {item!r}, which is no verdict yet")


def is_passed(*words: str) -> IsVerdict:
    """The claim is true."""
    return IsVerdict(Outcome.PASSED, words)


def is_failed(*words: str) -> IsVerdict:
    """The claim is false."""
    return IsVerdict(Outcome.FAILED, words)


def is_inconclusive(*words: str) -> IsVerdict:
    """It cannot be told."""
    return IsVerdict(Outcome.INCONCLUSIVE, words)
