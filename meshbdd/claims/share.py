"""A claim about the share of requests of which something is true, judged on a literal count or on as many as it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meshbdd.claims.sequential import ALPHA, BETA, Band, Decision, Every, Test, decide, hangs_on_the_untold
from meshbdd.claims.statistics import at_least_probability, at_most_probability, clopper_pearson, wilson
from meshbdd.claims.verdict import Outcome, Verdict
from meshbdd.errors import BadInput
from meshbdd.load.sample import Sample
from meshbdd.units import counted

Explain = Callable[[str], str]
"""Request id → what the proxies say went wrong in its calls; empty where they say nothing. Asked of failures only."""


def unexplained(_request_id: str) -> str:
    """Where no fault is in force."""
    return ""


LESS_BUSY = "send at a lower rate, or from a machine that is less busy"
"""What helps where a machine could not send as it was asked to."""

_POINTS = 200
"""How many points of a path the numbers keep: as many as a plot can show."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """Why a claim gets no more requests.

    Attributes:
        why: The end of a sentence.
        action: What would help.
    """

    why: str
    action: str


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of some requests are hits.

    Attributes:
        samples: The requests.
        fewest: Hits for certain.
        most: Hits at most; more than ``fewest`` where some cannot be told.
    """

    samples: Sequence[Sample]
    fewest: int
    most: int

    @property
    def total(self) -> int:
        """How many requests."""
        return len(self.samples)


Seen = Callable[[Tally, Explain], str]
"""Says what was seen, in words."""


@dataclass(frozen=True, slots=True)
class ShareClaim:
    """A claim about a share.

    Attributes:
        text: The claim as the tester wrote it.
        hit: Whether the claim's word is true of a request; ``None`` where that cannot be told.
        accepted: Number of requests → fewest and most hits that a literal count accepts.
        test: Its sequential test; ``None`` where no number of requests could show it.
        seen: What was seen, in words.
        design_from: Where the test's design share comes from.
        figures: More numbers for the evidence.
    """

    text: str
    hit: Callable[[Sample], bool | None]
    accepted: Callable[[int], tuple[int, int]]
    test: Test | None
    seen: Seen
    design_from: str
    figures: Callable[[Tally], Mapping[str, Any]] = lambda _tally: {}

    def tally(self, samples: Sequence[Sample]) -> Tally:
        """Count the hits."""
        hits = [self._told(sample) for sample in samples]
        return Tally(samples, hits.count(True), hits.count(True) + hits.count(None))

    def _told(self, sample: Sample) -> bool | None:
        """Whether a request is a hit; where that hangs on this machine's own lateness, it cannot be told."""
        hit = self.hit(sample)
        if hit is None or not sample.own:
            return hit
        quicker = replace(sample, seconds=max(sample.seconds - sample.own, 0.0))
        unseen = sample.excused and (not hit or sample.status is None)  # an answer that is claimed has come
        return None if unseen or self.hit(quicker) is not hit else hit

    def judge(self, samples: Sequence[Sample], explain: Explain = unexplained) -> Verdict:
        """Judge an explicit count, literally."""
        if not samples:
            return Verdict.nothing_to_judge(self.text)
        tally = self.tally(samples)
        low, high = self.accepted(tally.total)
        sentence = f"{self.text}: {self.seen(tally, explain)}"
        numbers = {**_counted(tally), **self.figures(tally), "accepted": [low, high], **self._rule(tally.total)}
        notes = self._notes(tally)
        if low <= tally.fewest and tally.most <= high:
            return Verdict(Outcome.PASSED, sentence, numbers, notes)
        if tally.most < low or tally.fewest > high:
            return Verdict(Outcome.FAILED, sentence, numbers, notes)
        why, action = self._open(samples)
        return Verdict(Outcome.INCONCLUSIVE, f"{sentence}{why}", numbers, notes, action)

    def _open(self, samples: Sequence[Sample]) -> tuple[str, str]:
        """The end of the sentence, and the action, where it hangs on requests of which it cannot be told."""
        untold = [sample for sample in samples if self._told(sample) is None]
        late = sum(self.hit(sample) is not None for sample in untold)  # of the others it could not be told anyway
        why = f"; for {late} of them this machine was late" if late else ""
        if 2 * late > len(untold):
            return f"{why}; that leaves it open", LESS_BUSY
        return f"{why}; that leaves it open", "see why these answers lack it, or claim something that every answer has"

    def judge_enough(
        self, samples: Sequence[Sample], explain: Explain = unexplained, *, stopped: Stopped | None = None
    ) -> Verdict | None:
        """Judge by the sequential test.

        Args:
            samples: The stream so far, in the order of the requests' starts.
            explain: For the breakdown.
            stopped: Why there will be no more; ``None`` where there can be.

        Returns:
            ``None`` where it needs more.

        Raises:
            BadInput: no number of requests could show the claim.
        """
        test = self.sequential
        hits = [self._told(sample) for sample in samples]
        decision = decide(test, hits)
        if decision.outcome is None and stopped is None:
            return None
        if stopped is not None and decision.total == 0:
            return Verdict.cannot_tell(f"{self.text}: no request was sent, {stopped.why}", stopped.action)
        tally = Tally(samples[: decision.total], decision.fewest, decision.most)
        sentence = f"{self.text}: {self.seen(tally, explain)}"
        numbers = {**_counted(tally), **self.figures(tally), **self._course(hits, decision)}
        if decision.outcome in {Outcome.PASSED, Outcome.FAILED}:
            return Verdict(decision.outcome, sentence, numbers, self._promise(decision))
        if decision.outcome is not None and hangs_on_the_untold(test, decision):
            why, action = self._open(tally.samples)
            return Verdict.cannot_tell(f"{sentence}{why}", action, **numbers)
        if stopped is None or decision.outcome is not None:
            why = f"too near to the edge to tell within {test.limit:,} requests"
            stopped = Stopped(why, "claim a bound that the system keeps clear of")
        return Verdict.cannot_tell(f"{sentence}; that does not tell, {stopped.why}", stopped.action, **numbers)

    @property
    def sequential(self) -> Test:
        """Its sequential test.

        Raises:
            BadInput: it has none.
        """
        if self.test is None:
            raise BadInput(
                "MB0610",
                f"«{self.text}» cannot be shown by any number of requests.",
                help="claim a share between two bounds, or send a number of requests",
            )
        return self.test

    def _rule(self, total: int) -> dict[str, Any]:
        """How often a literal count of ``total`` lies, for a system at the design share and at each edge."""
        if self.test is None:
            return {}
        low, high = self.accepted(total)

        def green(share: float) -> float:
            return max(0.0, at_least_probability(low, total, share) - at_least_probability(high + 1, total, share))

        design = self.test.design
        red = at_most_probability(low - 1, total, design) + at_least_probability(high + 1, total, design)
        return {
            "design": {"share": round(design, 6), "from": self.design_from},
            "edges": self.test.edges,
            "wrongly_red_at": {"true share": round(design, 6), "probability": red},
            "wrongly_green_at": [{"true share": edge, "probability": green(edge)} for edge in self.test.edges],
        }

    def _notes(self, tally: Tally) -> tuple[str, ...]:
        """How often the literal rule lies, and whether so few requests can carry the claim."""
        if self.test is None:
            return ()
        rule = self._rule(tally.total)
        green = " and ".join(f"{_chance(g['probability'])} at {g['true share']:.4g}" for g in rule["wrongly_green_at"])
        red = rule["wrongly_red_at"]
        rule_lies = (
            f"a rule of {counted(tally.total, 'request')} is red with a chance of {_chance(red['probability'])} where the true "
            f"share is {red['true share']:.4g}, and green with a chance of {green}"
        )
        notes = [rule_lies]
        low, high = clopper_pearson(tally.fewest, tally.total)[0], clopper_pearson(tally.most, tally.total)[1]
        refuted = isinstance(self.test, Every) and tally.most < tally.total  # one counterexample carries that
        if not refuted and any(low <= edge <= high for edge in self.test.edges):
            notes.append(
                f"{counted(tally.total, 'request')} cannot carry this claim: the true share may lie anywhere from {low:.1%} to "
                f"{high:.1%} (99% confidence); «enough requests are sent» would need about {self.test.expected:,} on a "
                f"system at {self.test.design:.4g}, at most {self.test.limit:,}"
            )
        return tuple(notes)

    def _promise(self, decision: Decision) -> tuple[str, ...]:
        test = self.sequential
        if decision.outcome is Outcome.FAILED:
            chance = "never" if isinstance(test, Every) else f"with a chance below {ALPHA:g}"
            return (f"red after {counted(decision.total, 'request')}; {chance} where the claim is true",)
        edges = " or ".join(f"{edge:.4g}" for edge in test.edges)
        return (
            f"green after {counted(decision.total, 'request')}; with a chance below {BETA:g} at a true share of {edges}",
        )

    def _course(self, hits: Sequence[bool | None], decision: Decision) -> dict[str, Any]:
        """What a plot of the decision needs."""
        test = self.sequential
        shown = sorted({*range(0, decision.total, max(1, decision.total // _POINTS)), decision.total})
        path, fewest, most = [[0, 0, 0]], 0, 0
        for n, hit in enumerate(hits[: decision.total], 1):
            fewest, most = fewest + (hit is True), most + (hit is not False)
            path.append([n, fewest, most])
        course: dict[str, Any] = {
            "design": {"share": test.design, "from": self.design_from},
            "edges": test.edges,
            "alpha": ALPHA,
            "beta": BETA,
            "expected": test.expected,
            "limit": test.limit,
            "drawn": len(hits),
            "path": [path[n] for n in shown],
        }
        if isinstance(test, Band):
            lines = (test.boundaries(n) for n in shown)
            course["boundaries"] = [[b.total, b.fail_to, b.pass_from, b.pass_to, b.fail_from] for b in lines]
        return course


def _counted(tally: Tally) -> dict[str, Any]:
    return {
        "requests": tally.total,
        "hits": tally.fewest,
        "untold": tally.most - tally.fewest,
        "interval_95": [round(x, 6) for x in wilson(tally.fewest, tally.total)],
        "exact_interval_99": [
            round(clopper_pearson(tally.fewest, tally.total)[0], 6),
            round(clopper_pearson(tally.most, tally.total)[1], 6),
        ],
    }


def _chance(probability: float) -> str:
    """A probability as a tester reads it."""
    return f"{probability:.1%}" if probability >= 0.001 else f"{probability:.1g}"


def shown_share(tally: Tally, verb: str) -> str:
    """``88 of 100 did (88.0%, 95% interval 80.2–93.0%)``."""
    low, high = wilson(tally.fewest, tally.total)
    share = f"{tally.fewest / tally.total:.1%}, 95% interval {low * 100:.1f}–{high * 100:.1f}%"
    return f"{tally.fewest} of {tally.total} {verb} ({share})"
