"""Claims about single answers, or about every one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from meshbdd.claims.verdict import Outcome, Verdict
from meshbdd.load.sample import Sample
from meshbdd.units import Duration


def _last(samples: Sequence[Sample]) -> Sample | None:
    return samples[-1] if samples else None


def status_is(samples: Sequence[Sample], wanted: Sequence[int]) -> Verdict:
    """The last answer has one of these statuses."""
    claim = f"the response status is {' or '.join(map(str, wanted))}"
    sample = _last(samples)
    if sample is None:
        return Verdict.nothing_to_judge(claim)
    body = f", body {sample.body[:200].decode(errors='replace')}" if sample.body else ""
    return Verdict.of(
        sample.status in wanted, f"{claim}: it was {sample.told}{body}", status=sample.status, error=sample.error
    )


def every_status_is(samples: Sequence[Sample], wanted: int) -> Verdict:
    """Every answer has this status."""
    claim = f"every response has status {wanted}"
    if not samples:
        return Verdict.nothing_to_judge(claim)
    counts = Counter(sample.told for sample in samples)
    told = ", ".join(f"{number} × {word}" for word, number in counts.most_common())
    return Verdict.of(
        set(counts) == {str(wanted)}, f"{claim}: of {len(samples)} responses {told}", statuses=dict(counts)
    )


def field_is(samples: Sequence[Sample], path: str, wanted: str) -> Verdict:
    """A field of the last answer's JSON has this value, compared as text."""
    claim = f'the response field "{path}" is "{wanted}"'
    sample = _last(samples)
    if sample is None:
        return Verdict.nothing_to_judge(claim)
    if sample.status is None:
        return Verdict.of(False, f"{claim}: there was no answer ({sample.told})")
    try:
        value = sample.field(path)
    except LookupError as error:
        return Verdict.of(False, f"{claim}: {error}")
    return Verdict.of(_text(value) == wanted, f'{claim}: it is "{_text(value)}"', value=value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def unchanged(name: str, path: str, before: Sample | None, now: Sample) -> Verdict:
    """A field of an answer is what it was before the scenario's first change."""
    claim = f'the response field "{path}" of "{name}" is unchanged'
    if before is None:
        return Verdict(Outcome.INCONCLUSIVE, f"{claim}: it was not asked before the first change")
    try:
        was, value = before.field(path), now.field(path)
    except LookupError as error:
        return Verdict(Outcome.INCONCLUSIVE, f"{claim}: {error}")
    return Verdict.of(
        was == value, f"{claim}: it was {_text(was)} before and is {_text(value)} now", before=was, now=value
    )


def arrives_within(samples: Sequence[Sample], limit: Duration) -> Verdict:
    """The last answer, whole, came within ``limit``."""
    claim = f"the response arrives within {limit}"
    sample = _last(samples)
    if sample is None:
        return Verdict.nothing_to_judge(claim)
    if sample.status is None:
        return Verdict.of(False, f"{claim}: none came; {sample.told} after {sample.seconds:.3f} s")
    return Verdict.of(
        sample.seconds <= limit.seconds, f"{claim}: it took {sample.seconds:.3f} s", seconds=sample.seconds
    )


def is_refused(samples: Sequence[Sample]) -> Verdict:
    """A refusal or reset of the connection before the first byte of an answer."""
    claim = "the connection is refused"
    sample = _last(samples)
    if sample is None:
        return Verdict.nothing_to_judge(claim)
    return Verdict.of(
        sample.error in {"refused", "reset"}, f"{claim}: the outcome was {sample.told}", error=sample.error
    )


def is_denied(samples: Sequence[Sample]) -> Verdict:
    """403 or PERMISSION_DENIED made by the proxy, not by the application."""
    claim = "the request is denied"
    sample = _last(samples)
    if sample is None:
        return Verdict.nothing_to_judge(claim)
    headers = sample.headers or {}
    by_proxy = b"RBAC: access denied" in sample.body or headers.get("grpc-message", "").startswith("RBAC")
    denied = sample.status == 403 or headers.get("grpc-status") == "7"
    whose = "" if by_proxy or not denied else ", made by the application and not by a proxy"
    return Verdict.of(denied and by_proxy, f"{claim}: the outcome was {sample.told}{whose}", status=sample.status)
