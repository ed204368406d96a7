"""Claims about how many requests succeed. An explicit count is taken literally."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from meshbdd.claims.statistics import at_least_probability, wilson
from meshbdd.claims.verdict import Verdict
from meshbdd.load.sample import Sample
from meshbdd.units import Percent

Faulted = Mapping[str, str]
"""Request id → what the proxies say was injected into its calls, for the breakdown."""


def breakdown(samples: Sequence[Sample], faulted: Faulted | None = None) -> str:
    """What the requests that did not succeed met, most frequent first."""
    failures = [sample for sample in samples if not sample.succeeded]
    counts = Counter((sample.told, (faulted or {}).get(sample.request_id, "")) for sample in failures)
    parts = [
        f"{number} {'was' if number == 1 else 'were'} {told}{f' ({why})' if why else ''}"
        for (told, why), number in counts.most_common(4)
    ]
    return ", ".join(parts)


def _seen(samples: Sequence[Sample], faulted: Faulted | None) -> tuple[int, str]:
    good, total = sum(sample.succeeded for sample in samples), len(samples)
    low, high = wilson(good, total)
    failures = breakdown(samples, faulted)
    text = f"{good} of {total} did ({good / total:.1%}, 95% interval {low * 100:.1f}–{high * 100:.1f}%)"
    return good, text + (f"; {failures}" if failures else "")


def succeed_at_least(samples: Sequence[Sample], bound: Percent, faulted: Faulted | None = None) -> Verdict:
    """At least ``bound`` of the requests succeed."""
    return _succeed(
        samples,
        f"at least {bound} of requests succeed",
        math.ceil(len(samples) * bound.value / 100 - 1e-9),
        bound,
        faulted,
    )


def succeed_more_than(samples: Sequence[Sample], bound: Percent, faulted: Faulted | None = None) -> Verdict:
    """More than ``bound`` of the requests succeed."""
    return _succeed(
        samples,
        f"more than {bound} of requests succeed",
        math.floor(len(samples) * bound.value / 100 + 1e-9) + 1,
        bound,
        faulted,
    )


def fail_at_most(samples: Sequence[Sample], bound: Percent, faulted: Faulted | None = None) -> Verdict:
    """At most ``bound`` of the requests fail."""
    allowed = math.floor(len(samples) * bound.value / 100 + 1e-9)
    return _succeed(
        samples, f"at most {bound} of requests fail", len(samples) - allowed, Percent(100 - bound.value), faulted
    )


def _succeed(samples: Sequence[Sample], claim: str, needed: int, bound: Percent, faulted: Faulted | None) -> Verdict:
    if not samples:
        return Verdict.nothing_to_judge(claim)
    good, seen = _seen(samples, faulted)
    total = len(samples)
    # How often the rule lies: red on a system five times better than asked, green on one that just misses.
    design = 1 - (1 - bound.fraction) / 5
    return Verdict.of(
        good >= needed,
        f"{claim}: {seen}",
        requests=total,
        succeeded=good,
        needed=needed,
        interval_95=[round(x, 6) for x in wilson(good, total)],
        wrongly_red_at={"true share": round(design, 6), "probability": 1 - at_least_probability(needed, total, design)},
        wrongly_green_at={
            "true share": bound.fraction,
            "probability": at_least_probability(needed, total, bound.fraction),
        },
    )
