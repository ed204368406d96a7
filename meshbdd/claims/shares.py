"""Claims about how many requests succeed, or have a status."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from meshbdd.claims.sequential import Band, Every
from meshbdd.claims.share import Explain, Seen, ShareClaim, Tally, shown_share
from meshbdd.errors import BadInput
from meshbdd.load.sample import Sample
from meshbdd.units import Percent

_BETTER = 5
"""The design share of a bound: where a system fails so many times less than the bound allows, 99 % for 95 %."""

_ROUNDING = 1e-9
"""How far a product of binary fractions may lie beside a whole number and still mean it."""


def fewest_hits(total: int, share: float) -> int:
    """The least number of ``total`` that is at least this share."""
    return math.ceil(total * share - _ROUNDING)


def most_hits(total: int, share: float) -> int:
    """The largest number of ``total`` that is at most this share."""
    return math.floor(total * share + _ROUNDING)


def design_of(bound: float) -> float:
    """Where a system is thought to be that keeps well above a lower bound."""
    return 1 - (1 - bound) / _BETTER


def breakdown(samples: Sequence[Sample], explain: Explain) -> str:
    """What the requests that did not succeed met, most frequent first."""
    failures = [sample for sample in samples if not sample.succeeded]
    counts = Counter((sample.told, explain(sample.request_id)) for sample in failures)
    parts = [
        f"{number} {'was' if number == 1 else 'were'} {told}{f' ({why})' if why else ''}"
        for (told, why), number in counts.most_common(4)
    ]
    rest = len(failures) - sum(number for _, number in counts.most_common(4))
    return ", ".join([*parts, *([f"{rest} were others"] if rest else [])])


def _succeeded(tally: Tally, explain: Explain) -> str:
    failures = breakdown(tally.samples, explain)
    return shown_share(tally, "did") + (f"; {failures}" if failures else "")


def _failed(tally: Tally, explain: Explain) -> str:
    failures = breakdown(tally.samples, explain)
    turned = Tally(tally.samples, tally.total - tally.most, tally.total - tally.fewest)
    return shown_share(turned, "did") + (f"; {failures}" if failures else "")


def _succeeds(sample: Sample) -> bool:
    return sample.succeeded


def _fails(sample: Sample) -> bool:
    return not sample.succeeded


def _share_of(
    text: str, bound: float, *, beyond: bool = False, hit: Callable[[Sample], bool] = _succeeds, seen: Seen = _succeeded
) -> ShareClaim:
    """At least, or with ``beyond`` more than, this share are hits."""
    never = "true" if bound >= 1 and beyond else "false" if bound <= 0 and not beyond else None
    if never:
        raise BadInput("MB0611", f"«{text}» can never be {never}.", help="claim a share between 0% and 100%")

    def accepted(total: int) -> tuple[int, int]:
        return (most_hits(total, bound) + 1 if beyond else fewest_hits(total, bound)), total

    test = Every() if bound >= 1 else Band(bound, 1.0, design_of(bound)) if bound > 0 else None
    told = f"a system that fails {_BETTER} times less than allowed"
    if hit is _fails:
        told = f"a system that succeeds {_BETTER} times less than allowed"
    return ShareClaim(text, hit, accepted, test, seen, told)


def succeed_at_least(bound: Percent) -> ShareClaim:
    """At least ``bound`` of the requests succeed."""
    return _share_of(f"at least {bound} of requests succeed", bound.fraction)


def succeed_more_than(bound: Percent) -> ShareClaim:
    """More than ``bound`` of the requests succeed."""
    return _share_of(f"more than {bound} of requests succeed", bound.fraction, beyond=True)


def fail_at_most(bound: Percent) -> ShareClaim:
    """At most ``bound`` of the requests fail."""
    return _share_of(f"at most {bound} of requests fail", 1 - bound.fraction, seen=_failed)


def fail_at_least(bound: Percent) -> ShareClaim:
    """At least ``bound`` of the requests fail."""
    return _share_of(f"at least {bound} of requests fail", bound.fraction, hit=_fails, seen=_succeeded)


def every_status_is(wanted: int) -> ShareClaim:
    """Every answer has this status; a request without an answer has none."""

    def seen(tally: Tally, _explain: Explain) -> str:
        counts = Counter(sample.told for sample in tally.samples)
        told = ", ".join(f"{number} × {word}" for word, number in counts.most_common())
        return f"of {tally.total} responses {told}"

    return ShareClaim(
        f"every response has status {wanted}",
        lambda sample: sample.status == wanted,
        lambda total: (total, total),
        Every(),
        seen,
        "what every means",
    )
