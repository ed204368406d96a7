"""A verdict: passed, failed or inconclusive, with the sentence and the numbers that it rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from meshbdd.errors import ClaimFailed, Inconclusive


class Outcome(StrEnum):
    """The three things that a claim can be."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a claim.

    Attributes:
        outcome: Passed, failed or inconclusive.
        sentence: The claim, what was seen, over how many requests.
        numbers: What the sentence rests on.
        notes: What a reviewer should know of the rule by which it was judged, a sentence each.
        help: One action where it is inconclusive.
    """

    outcome: Outcome
    sentence: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    help: str = "send requests before the claim"

    @classmethod
    def of(cls, holds: bool, sentence: str, **numbers: Any) -> Verdict:
        """Passed where it holds, else failed."""
        return cls(Outcome.PASSED if holds else Outcome.FAILED, sentence, numbers)

    @classmethod
    def nothing_to_judge(cls, claim: str) -> Verdict:
        """No sample is never a pass."""
        return cls(Outcome.INCONCLUSIVE, f"{claim}: no request was sent, so there is nothing to judge")

    @classmethod
    def cannot_tell(cls, sentence: str, action: str, **numbers: Any) -> Verdict:
        """Neither true nor false, and what would help."""
        return cls(Outcome.INCONCLUSIVE, sentence, numbers, help=action)


def finite(number: float) -> float | None:
    """A number for a verdict's evidence; ``None`` where there is no bound, for JSON has no infinity."""
    return number if math.isfinite(number) else None


def judge(verdict: Verdict) -> None:
    """Let a verdict have its effect on the scenario.

    Raises:
        ClaimFailed: the claim is false.
        Inconclusive: it can be called neither true nor false.
    """
    if verdict.outcome is Outcome.FAILED:
        raise ClaimFailed("MB0601", verdict.sentence)
    if verdict.outcome is Outcome.INCONCLUSIVE:
        raise Inconclusive("MB0602", verdict.sentence, help=verdict.help)
