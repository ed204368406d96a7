"""Claims about the share of responses that have a field equal to a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from meshbdd.claims.sequential import Band, Every, Test, equal_evidence
from meshbdd.claims.share import Explain, Seen, ShareClaim, Tally, shown_share
from meshbdd.claims.shares import design_of, fewest_hits, most_hits
from meshbdd.errors import BadInput
from meshbdd.load.sample import Sample
from meshbdd.units import Percent

LEAST_TOLERANCE = 5.0
"""Points that "about" allows at least; half of a share near 0 % would ask for many requests and tell little."""


def field_text(value: Any) -> str:
    """A value of JSON as a tester writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def field_of(sample: Sample, path: str) -> str | None:
    """The field of an answer as text; ``None`` where there is no answer, or no such field in it."""
    if sample.status is None:
        return None
    try:
        return field_text(sample.field(path))
    except LookupError:
        return None


def between(low: Percent, high: Percent, path: str, value: str, configured: Sequence[float] = ()) -> ShareClaim:
    """From ``low`` to ``high`` of the responses have the field equal to ``value``.

    Args:
        low: The smallest share that is accepted.
        high: The largest.
        path: Dotted path in the response's JSON.
        value: The value as text.
        configured: Shares that this scenario configured; one between the bounds is where the system is thought to be.

    Raises:
        BadInput: no share lies between the bounds, or every one does.
    """
    text = f'between {low} and {high} of responses have "{path}" equal to "{value}"'
    return _between(text, low.fraction, high.fraction, path, value, configured)


def about(
    share: Percent, path: str, value: str, configured: Sequence[float] = (), within: Percent | None = None
) -> ShareClaim:
    """About ``share`` of the responses have the field equal to ``value``.

    Args:
        share: The middle.
        path: Dotted path in the response's JSON.
        value: The value as text.
        configured: As for ``between``.
        within: How many points to each side are accepted; by default five, or half of the share if that is more.
    """
    low, high = about_band(share, within)
    text = f'about {share} of responses have "{path}" equal to "{value}" (accepted: {low} to {high})'
    return _between(text, low.fraction, high.fraction, path, value, configured)


def about_band(share: Percent, within: Percent | None = None) -> tuple[Percent, Percent]:
    """The shares that "about" accepts.

    Above 50 % it is the mirror image, so that "about 90 % are stable" asks the same as "about 10 % are not". By
    default it never reaches a share of none or of all, which would accept a split that does not split.
    """
    if within is not None:
        return Percent(_round(max(0.0, share.value - within.value))), Percent(
            _round(min(100, share.value + within.value))
        )
    if share.value > 50:
        low, high = about_band(Percent(_round(100 - share.value)))
        return Percent(_round(100 - high.value)), Percent(_round(100 - low.value))
    return Percent(_round(share.value / 2)), Percent(_round(share.value + max(LEAST_TOLERANCE, share.value / 2)))


def _round(number: float) -> float:
    return round(number, 9)


def _between(text: str, low: float, high: float, path: str, value: str, configured: Sequence[float]) -> ShareClaim:
    if low > high:
        raise BadInput("MB0612", f"«{text}»: no share lies between.", help="write the smaller share first")
    if (low, high) == (0, 1):
        raise BadInput("MB0611", f"«{text}» can never be false.", help="claim a share between 0% and 100%")

    def hit(sample: Sample) -> bool | None:
        found = field_of(sample, path)
        return None if found is None else found == value

    def accepted(total: int) -> tuple[int, int]:
        return fewest_hits(total, low), most_hits(total, high)

    test, told = _test(low, high, configured)
    return ShareClaim(text, hit, accepted, test, _seen(path), told, _figures(path))


def _test(low: float, high: float, configured: Sequence[float]) -> tuple[Test | None, str]:
    """The sequential test, and where its design share comes from."""
    if low >= high:
        return (Every() if low >= 1 else None), "what every means"
    inside = [share for share in configured if low < share < high]
    if inside:
        return Band(low, high, inside[0]), "the share configured in this scenario"
    if low <= 0:
        return Band(low, high, 1 - design_of(1 - high)), "a fifth of the share allowed"
    if high >= 1:
        return Band(low, high, design_of(low)), "a fifth of the rest allowed"
    return Band(low, high, equal_evidence(low, high)), "the share that both edges are equally hard to tell from"


def _seen(path: str) -> Seen:
    def seen(tally: Tally, _explain: Explain) -> str:
        values = Counter(field_of(sample, path) for sample in tally.samples)
        without = values.pop(None, 0)
        told = ", ".join(f'{number} × "{value}"' for value, number in values.most_common(4))
        text = shown_share(tally, "had it")
        if told:
            text += f"; {told}"
        if without:
            outcomes = Counter(s.told for s in tally.samples if field_of(s, path) is None)
            why = ", ".join(f"{number} × {outcome}" for outcome, number in outcomes.most_common(4))
            text += f"; {without} had no field '{path}' ({why})"
        return text

    return seen


def _figures(path: str) -> Callable[[Tally], Mapping[str, Any]]:
    def figures(tally: Tally) -> dict[str, Any]:
        values = Counter(field_of(sample, path) for sample in tally.samples)
        return {"kind": "field", "values": {str(value): number for value, number in values.most_common(20)}}

    return figures
