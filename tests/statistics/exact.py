"""The exact behaviour of a sequential test at a true share, by dynamic programming over its continuing states."""

from __future__ import annotations

import math
from dataclasses import dataclass

from meshbdd.claims import Outcome
from meshbdd.claims.sequential import Band


@dataclass(frozen=True)
class Behaviour:
    """Probabilities of the three verdicts, and how many requests it takes on average."""

    passed: float
    failed: float
    inconclusive: float
    size: float


def behaviour(test: Band, share: float) -> Behaviour:
    """Carry the probability of each number of hits from request to request; what meets a boundary leaves."""
    ended = {Outcome.PASSED: 0.0, Outcome.FAILED: 0.0}
    alive, fewest, size = [1.0], 0, 0.0
    for n in range(1, test.limit + 1):
        size += math.fsum(alive)
        following = [0.0] * (len(alive) + 1)
        for k, mass in enumerate(alive):
            following[k] += mass * (1 - share)
            following[k + 1] += mass * share
        lines = test.boundaries(n)
        for k, mass in enumerate(following):
            outcome = lines.outcome(fewest + k, fewest + k) if mass else None
            if outcome is not None:
                ended[outcome] += mass
                following[k] = 0.0
        first = next((k for k, mass in enumerate(following) if mass), len(following))
        last = next((k for k in range(len(following), 0, -1) if following[k - 1]), 0)
        alive, fewest = following[first:last], fewest + first
        if not alive:
            break
    return Behaviour(ended[Outcome.PASSED], ended[Outcome.FAILED], math.fsum(alive), size)
