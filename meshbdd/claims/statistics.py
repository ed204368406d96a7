"""Exact statistics of shares: binomial tails, intervals, and how far apart two shares are.

Everything here is pure and of the standard library; the tails are exact to about 1e-13, also where they are tiny.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

_Z95 = NormalDist().inv_cdf(0.975)
_TINY = 1e-300
_STEPS = 100_000
"""More than the continued fraction ever takes: it needs about the square root of the number of observations."""


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


def clopper_pearson(successes: int, total: int, confidence: float = 0.99) -> tuple[float, float]:
    """The exact interval of a share: at every true share it holds at least with this confidence.

    C. J. Clopper and E. S. Pearson, Biometrika 26 (1934).

    Raises:
        ValueError: ``total`` is 0.
    """
    if total <= 0:
        raise ValueError("an interval needs at least one observation")
    tail = (1 - confidence) / 2
    low = _bisect(lambda share: at_least_probability(successes, total, share) >= tail) if successes else 0.0
    high = _bisect(lambda share: at_most_probability(successes, total, share) < tail) if successes < total else 1.0
    return low, high


def _bisect(holds_from: Callable[[float], bool]) -> float:
    """The share from which on something holds."""
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (low, middle) if holds_from(middle) else (middle, high)
    return (low + high) / 2


def at_least_probability(needed: int, total: int, share: float) -> float:
    """The probability of at least ``needed`` successes among ``total`` at a true ``share`` (exact binomial)."""
    if needed <= 0:
        return 1.0
    if needed > total:
        return 0.0
    return _beta(needed, total - needed + 1, share)


def at_most_probability(allowed: int, total: int, share: float) -> float:
    """The probability of at most ``allowed`` successes among ``total`` at a true ``share`` (exact binomial)."""
    return at_least_probability(total - allowed, total, 1 - share)


def divergence(share: float, other: float) -> float:
    """How much one request tells on average for ``share`` and against ``other``, where ``share`` is true, in nats.

    The Kullback-Leibler divergence of two Bernoulli distributions; infinite where one request can refute ``other``.
    """
    told = 0.0
    for true, claimed in ((share, other), (1 - share, 1 - other)):
        if true > 0:
            if claimed <= 0:
                return math.inf
            told += true * math.log(true / claimed)
    return max(0.0, told)


def least(end: int, holds_from: Callable[[int], bool]) -> int:
    """The least number below ``end`` from which on something holds; ``end`` where nothing is known to."""
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds_from(middle) else (middle + 1, high)
    return low


def _beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function; the tail of the binomial distribution is one.

    The continued fraction of the NIST Digital Library of Mathematical Functions, 8.17.22, by Lentz's method.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # on this side the fraction converges slowly
        return 1 - _beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x) - math.log(a)
    )
    c = 1.0
    value = d = 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    for m in range(1, _STEPS):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away_from_zero(1 + factor * d)
            c = _away_from_zero(1 + factor / c)
            step = c * d
            value *= step
        if abs(step - 1) < 1e-15:
            break
    return min(1.0, front * value)


def _away_from_zero(number: float) -> float:
    return number if abs(number) > _TINY else _TINY
