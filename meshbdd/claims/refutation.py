"""Refuting that a share lies beyond an edge, by a ratio of likelihoods that may be looked at after every request.

The ratio is a mixture over some alternatives on the other side of the edge, so that it grows at whatever share is the
true one. It starts at 1 and its mean never grows while the edge holds; by Ville's inequality it then ever reaches
1/error with at most that probability (J. Ville, Étude critique de la notion de collectif, 1939). What is chosen as
alternatives therefore decides how many requests a refutation takes, never whether it is right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DESIGN_WEIGHT = 0.9
"""Weight of the share where the system is thought to be: nearly all, so that a refutation takes fewest requests there."""

_ODDS = (1.25, 1.5, 2.0, 4.0, 16.0, 256.0)
"""How far beyond an edge the alternatives lie, as ratios of odds, so that they fit an edge near 0 % and near 100 % too."""


@dataclass(frozen=True, slots=True)
class Refutation:
    """A one-sided test that refutes "the true share is ``edge``, or lies on its other side".

    Attributes:
        edge: The share to refute.
        weights: Alternative share → weight; all of them on one side of the edge.
        needed: Natural logarithm of the ratio from which on it is refuted.
    """

    edge: float
    weights: tuple[tuple[float, float], ...]
    needed: float

    def done(self, hits: int, total: int) -> bool:
        """Whether ``hits`` of ``total`` refute it."""
        terms = [
            math.log(weight)
            + (hits * math.log(share / self.edge) if hits else 0.0)
            + ((total - hits) * math.log((1 - share) / (1 - self.edge)) if total - hits else 0.0)
            for share, weight in self.weights
        ]
        largest = max(terms)
        return largest + math.log(math.fsum(math.exp(term - largest) for term in terms)) >= self.needed


def _beyond(edge: float, *, above: bool) -> list[float]:
    odds = edge / (1 - edge)
    return [o / (1 + o) for o in (odds * ratio if above else odds / ratio for ratio in _ODDS)]


def from_inside(edge: float, other: float, design: float, *, error: float) -> Refutation:
    """Refutes that the share lies beyond ``edge``; the band goes from there to ``other``."""
    low, high = sorted((edge, other))
    inner = [share for share in _beyond(edge, above=other > edge) if low < share < high]
    weights = [(design, DESIGN_WEIGHT if inner else 1.0)]
    weights += [(share, (1 - DESIGN_WEIGHT) / len(inner)) for share in inner]
    return Refutation(edge, tuple(weights), -math.log(error))


def from_outside(edge: float, *, above: bool, error: float) -> Refutation:
    """Refutes that the share lies on the band's side of ``edge``; the band lies below where ``above``."""
    shares = _beyond(edge, above=above)
    return Refutation(edge, tuple((share, 1 / len(shares)) for share in shares), -math.log(error))
