"""When the requests of an open loop start."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator

from meshbdd.load.plan import Pace


def arrivals(pace: Pace, seed: int, first: int = 0, step: int = 1) -> Iterator[int]:
    """Start times in nanoseconds since the load began, without end.

    One schedule is shared by several workers: each takes every ``step``-th arrival from ``first`` on, and together they
    send exactly what one worker would.

    Args:
        pace: What is wanted.
        seed: For Poisson arrivals.
        first: Number of the first arrival to give.
        step: Distance between the numbers.
    """
    when = seconds_until(pace)
    return (round(when(expected) * 1e9) for expected in itertools.islice(_expected(pace, seed), first, None, step))


def _expected(pace: Pace, seed: int) -> Iterator[float]:
    """How many arrivals are expected before each one: 0, 1, 2 …, or the times of a Poisson process of rate 1."""
    if not pace.poisson:
        yield from itertools.count()
    draw = random.Random(seed).expovariate  # noqa: S311 - arrival times, no secret
    total = 0.0
    while True:
        total += draw(1.0)
        yield total


def seconds_until(pace: Pace) -> Callable[[float], float]:
    """Expected arrivals -> seconds: the inverse of the integral of the rate."""
    rate = pace.rate.per_second
    ramp = pace.ramp.seconds if pace.ramp is not None else 0.0
    during = rate * ramp / 2  # arrivals while the rate rises

    def seconds(expected: float) -> float:
        if expected < during:
            return math.sqrt(2 * expected * ramp / rate)
        return ramp + (expected - during) / rate

    return seconds
