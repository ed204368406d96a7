"""The requests of a finished load as the claims see them, made when they are looked at: a load can be long."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import overload

from meshbdd.claims import Outcome, Verdict
from meshbdd.claims.share import LESS_BUSY
from meshbdd.load import Result, Sample
from meshbdd.load.holding import Holding, holding
from meshbdd.load.summary import summarise

UNSENT = "unsent"
"""The error of a request that was due, but for which no connection came free within its timeout, or before the load was
stopped at once: its user waited in vain."""

MISSED = "missed"
"""The error of a request that was due, and that this machine was too late to send: it says nothing of the service."""

_KEPT = 100_000
"""A load up to this size is made into samples once, which takes some 80 MB at most; a longer one anew at every look."""


class LoadedSamples(Sequence[Sample]):
    """The samples of a load in the order of their starts; those that could not even be sent come last.

    Args:
        result: The load, which is over.
    """

    def __init__(self, result: Result) -> None:
        self._result = result
        self._made: list[Sample] | None = None

    @cached_property
    def holding(self) -> Holding | None:
        """How the rate was held that was asked for."""
        return holding(self._result, summarise(self._result))

    def __len__(self) -> int:
        result = self._result
        return len(result) + result.unsent + result.overdue + result.missed

    def __iter__(self) -> Iterator[Sample]:
        if self._made is None and len(self) <= _KEPT:
            self._made = list(self._make())
        return self._make() if self._made is None else iter(self._made)

    def _make(self) -> Iterator[Sample]:
        yield from self._result.samples()
        result = self._result
        ended, timeout = result.began + result.seconds, result.plan.timeout.seconds
        yield from itertools.repeat(Sample("", ended, timeout, None, MISSED, own=math.inf), result.missed)
        yield from itertools.repeat(Sample("", ended, timeout, None, UNSENT), result.unsent + result.overdue)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return (
                list(itertools.islice(self, *index.indices(len(self)))) if (index.step or 1) > 0 else list(self)[index]
            )
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(index)
        return next(itertools.islice(self, place, None))


def at_rate(verdict: Verdict, samples: Sequence[Sample]) -> Verdict:
    """A verdict with what is to be known of the rate.

    Where this machine could not hold it, the load was another one, and none is green. One that is red is so whatever had
    become of the requests for which this machine was late: claims count them neither as good nor as failed.
    """
    seen = samples.holding if isinstance(samples, LoadedSamples) else None
    if seen is None:
        return verdict
    if seen.by_this_machine and verdict.outcome is Outcome.PASSED:
        sentence = f"{verdict.sentence}; {seen.told}"
        return replace(verdict, outcome=Outcome.INCONCLUSIVE, sentence=sentence, help=LESS_BUSY)
    return replace(verdict, notes=(*verdict.notes, seen.told))
