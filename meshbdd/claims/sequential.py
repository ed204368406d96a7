"""The sequential test: as few requests as a claim about a share needs, and wrong less than once in a million.

A claim accepts a band of shares. Each edge of the band is watched by two one-sided sequential probability ratio tests
(A. Wald, Annals of Mathematical Statistics 16, 1945), one to refute that the true share lies outside, one to refute
that it lies inside:

- **passed**, as soon as each edge is refuted from inside at ``BETA``: P(passed) <= BETA at every share outside;
- **failed**, as soon as one edge is refuted from outside at ``ALPHA``: P(failed) <= ALPHA at every share inside;
- **inconclusive** at the limit.

The ratios are those of ``refutation.py``. What is chosen as the design share decides how many requests a claim takes,
never whether its verdict is true.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from meshbdd.claims.refutation import DESIGN_WEIGHT, Refutation, from_inside, from_outside
from meshbdd.claims.statistics import at_least_probability, at_most_probability, divergence, least
from meshbdd.claims.verdict import Outcome

ALPHA = 1e-6
"""A false alarm: failed, though the claim is true. So small that a thousand claims are red by chance once in a thousand runs."""

BETA = 1e-2
"""A miss: passed, though the claim is false, at the very edge of it; far from the edge it is far rarer."""

MOST_FAILURES = 0.01
"""What "every" means after a number of requests: with confidence 1 - BETA, fewer than this share does otherwise."""

_LIMIT_FACTOR = 3
"""The limit in units of what a fixed number of requests would have to be for the same two errors."""


@dataclass(frozen=True, slots=True)
class Boundaries:
    """Where the verdict falls after ``total`` requests; between the numbers the test goes on.

    Attributes:
        total: The number of requests.
        fail_to: Failed with so many hits or fewer; -1 where none are few enough.
        pass_from: Passed with so many hits or more ...
        pass_to: ... that are not more than these; less than ``pass_from`` where no number passes.
        fail_from: Failed with so many hits or more; ``total + 1`` where none are enough.
    """

    total: int
    fail_to: int
    pass_from: int
    pass_to: int
    fail_from: int

    def outcome(self, fewest: int, most: int) -> Outcome | None:
        """The verdict where the number of hits lies between these two; ``None``: go on."""
        if most <= self.fail_to or fewest >= self.fail_from:
            return Outcome.FAILED
        if self.pass_from <= fewest and most <= self.pass_to:
            return Outcome.PASSED
        return None


@dataclass(frozen=True)
class Band:
    """The sequential test of a claim that the true share lies between two edges.

    Args:
        lower: The lower edge; 0 where there is none.
        upper: The upper edge; 1 where there is none.
        design: Where the system is thought to be, between the edges: there the test takes the fewest requests.

    Raises:
        ValueError: the design is not between the edges, or there is no edge at all.
    """

    lower: float
    upper: float
    design: float
    _known: list[Boundaries] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.lower < self.design < self.upper <= 1 or (self.lower, self.upper) == (0, 1):
            raise ValueError(f"no test of {self.lower} < {self.design} < {self.upper}")

    @property
    def edges(self) -> list[float]:
        """The edges that a share can lie beyond."""
        return [edge for edge in (self.lower, self.upper) if 0 < edge < 1]

    @cached_property
    def limit(self) -> int:
        """The number of requests after which the verdict is inconclusive."""
        return _LIMIT_FACTOR * fixed_size(self.lower, self.upper, self.design)

    @property
    def expected(self) -> int:
        """About how many requests it takes where the true share is the design (Wald's approximation)."""
        each = [(-math.log(BETA) - math.log(DESIGN_WEIGHT)) / divergence(self.design, edge) for edge in self.edges]
        # The last of two to be refuted decides; the factor is what exact computation finds for a band of two edges.
        return math.ceil(max(each) * (1.25 if len(each) == 2 else 1.0))

    @cached_property
    def _tests(self) -> tuple[Refutation | None, Refutation | None, Refutation | None, Refutation | None]:
        alpha = ALPHA / len(self.edges)
        has_lower, has_upper = self.lower > 0, self.upper < 1
        return (
            from_outside(self.lower, above=False, error=alpha) if has_lower else None,
            from_inside(self.lower, self.upper, self.design, error=BETA) if has_lower else None,
            from_inside(self.upper, self.lower, self.design, error=BETA) if has_upper else None,
            from_outside(self.upper, above=True, error=alpha) if has_upper else None,
        )

    def boundaries(self, total: int) -> Boundaries:
        """Where the verdict falls after ``total`` requests."""
        while len(self._known) <= total:
            self._known.append(self._next())
        return self._known[total]

    def _next(self) -> Boundaries:
        """One request more moves each boundary by none or one, so each is found from the last."""
        if not self._known:
            return Boundaries(0, -1, 1, -1, 1)
        last = self._known[-1]
        n = last.total + 1
        too_few, from_lower, from_upper, too_many = self._tests
        fail_to, fail_from = last.fail_to, last.fail_from + 1
        pass_from, pass_to = last.pass_from, last.pass_to
        if too_few is not None and too_few.done(fail_to + 1, n):
            fail_to += 1
        if too_many is not None and too_many.done(fail_from - 1, n):
            fail_from -= 1
        pass_from = 0 if from_lower is None else pass_from if from_lower.done(pass_from, n) else pass_from + 1
        pass_to = n if from_upper is None else pass_to + 1 if from_upper.done(pass_to + 1, n) else pass_to
        return Boundaries(n, fail_to, pass_from, pass_to, fail_from)

    def outcome(self, total: int, fewest: int, most: int) -> Outcome | None:
        """The verdict after ``total`` requests with a number of hits between these two; ``None``: go on."""
        return self.boundaries(total).outcome(fewest, most)


@dataclass(frozen=True, slots=True)
class Every:
    """The test of a claim about every request: the first that does otherwise refutes it.

    Args:
        most: With confidence 1 - ``miss``, fewer than this share does otherwise where it passes.
        miss: The probability of passing where this share does otherwise.
    """

    most: float = MOST_FAILURES
    miss: float = BETA

    @property
    def limit(self) -> int:
        """The number of requests that pass it."""
        return math.ceil(math.log(self.miss) / math.log1p(-self.most))

    expected = limit

    @property
    def edges(self) -> list[float]:
        """The share beyond which a pass is a miss."""
        return [1 - self.most]

    @property
    def design(self) -> float:
        """Where the system is thought to be."""
        return 1.0

    def outcome(self, total: int, fewest: int, most: int) -> Outcome | None:
        """The verdict after ``total`` requests with a number of hits between these two; ``None``: go on."""
        if most < total:
            return Outcome.FAILED
        return Outcome.PASSED if fewest == total >= self.limit else None


Test = Band | Every


@lru_cache(maxsize=64)
def fixed_size(lower: float, upper: float, design: float) -> int:
    """How many requests a test of a fixed number would need for the errors ``ALPHA`` and ``BETA`` (exact binomial)."""

    def enough(n: int) -> bool:
        alpha = ALPHA / (2 if lower > 0 and upper < 1 else 1)
        fewest = least(n + 1, lambda k: at_most_probability(k, n, design) > alpha) if lower > 0 else 0
        most = n - least(n + 1, lambda k: at_least_probability(n - k, n, design) > alpha) if upper < 1 else n
        return (lower <= 0 or at_least_probability(fewest, n, lower) <= BETA) and (
            upper >= 1 or at_most_probability(most, n, upper) <= BETA
        )

    top = 1
    while not enough(top):
        top *= 2
    return least(top, enough)


def equal_evidence(lower: float, upper: float) -> float:
    """The share that both edges are equally hard to tell from."""
    low, high = lower, upper
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if divergence(middle, lower) < divergence(middle, upper) else (low, middle)
    return (low + high) / 2


@dataclass(frozen=True, slots=True)
class Decision:
    """What the sequential test makes of a stream of requests.

    Attributes:
        outcome: The verdict; ``None`` while it needs more.
        total: The number of requests at the verdict, or all so far.
        fewest: Hits among them for certain.
        most: Hits among them at most; more than ``fewest`` where some requests cannot be told.
    """

    outcome: Outcome | None
    total: int
    fewest: int
    most: int


def hangs_on_the_untold(test: Test, decision: Decision) -> bool:
    """Whether a decision is open for what cannot be told of some requests: with these hits, or without, it would be made."""
    return decision.fewest < decision.most and bool(_as_if_told(test, decision.total, decision.fewest, decision.most))


def _as_if_told(test: Test, total: int, fewest: int, most: int) -> list[Outcome]:
    """The verdicts if all that cannot be told were no hits, and if all of it were; those that there would be."""
    return [found for hits in (fewest, most) if (found := test.outcome(total, hits, hits)) is not None]


def decide(test: Test, hits: Sequence[bool | None]) -> Decision:
    """Look at a stream request by request, and stop where the test does.

    It stops too where it took as many as it is expected to, and what cannot be told of them decides: more would not tell either.

    Args:
        test: The test.
        hits: Whether each request is a hit, in the order of their starts; ``None`` where that cannot be told.
    """
    if isinstance(test, Every) and False in hits:  # also one that came after enough had passed
        total = hits.index(False) + 1
        return Decision(Outcome.FAILED, total, hits[:total].count(True), total - 1)
    expected = test.expected
    fewest = most = 0
    for total, hit in enumerate(hits, 1):
        fewest += hit is True
        most += hit is not False
        outcome = test.outcome(total, fewest, most)
        vain = (
            total >= expected and fewest < most and outcome is None and len(_as_if_told(test, total, fewest, most)) > 1
        )
        if outcome is not None or total == test.limit or vain:
            return Decision(outcome or Outcome.INCONCLUSIVE, total, fewest, most)
    return Decision(None, len(hits), fewest, most)
