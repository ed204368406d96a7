"""The little statistics that a report line needs: an interval, and how often a literal count lies."""

from __future__ import annotations

import math
from statistics import NormalDist

_Z95 = NormalDist().inv_cdf(0.975)


def wilson(successes: int, total: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share, as fractions.

    E. B. Wilson, Journal of the American Statistical Association 22 (1927).

    Raises:
        ValueError: ``total`` is 0.
    """
    if total <= 0:
        raise ValueError("an interval needs at least one observation")
    share = successes / total
    z2 = _Z95 * _Z95
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total)) / (1 + z2 / total)
    return max(0.0, middle - half), min(1.0, middle + half)


def at_least_probability(needed: int, total: int, share: float) -> float:
    """The probability of at least ``needed`` successes among ``total`` at a true ``share`` (exact binomial)."""
    if needed <= 0:
        return 1.0
    return math.fsum(
        math.exp(
            math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
            + (k * math.log(share) if k else 0.0)
            + ((total - k) * math.log1p(-share) if total - k else 0.0)
        )
        for k in range(needed, total + 1)
    ) if 0 < share < 1 else float(share >= 1)  # fmt: skip
