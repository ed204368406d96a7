"""Claims about a single answer: the last one, or on ``enough`` each of a few."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from meshbdd.claims.fields import field_text
from meshbdd.claims.share import LESS_BUSY, Explain, Stopped, unexplained
from meshbdd.claims.verdict import Outcome, Verdict
from meshbdd.load.sample import Sample
from meshbdd.units import Duration, counted

_RBAC = "RBAC: access denied"
"""Envoy's source, source/extensions/filters/http/rbac/rbac_filter.cc."""

_PERMISSION_DENIED = "7"

ENOUGH = 5
"""Requests that a claim about an answer asks of ``enough``: what holds of each answer needs no statistics."""


@dataclass(frozen=True, slots=True)
class AnswerClaim:
    """A claim about an answer.

    Attributes:
        text: The claim as the tester wrote it.
        of: Judges one request.
    """

    text: str
    of: Callable[[Sample], Verdict]

    def judge(self, samples: Sequence[Sample], _explain: Explain = unexplained) -> Verdict:
        """Judge the last answer."""
        if not samples:
            return Verdict.nothing_to_judge(self.text)
        return self._told(samples[-1])

    def _told(self, sample: Sample) -> Verdict:
        """The verdict about a request; where it hangs on this machine's own lateness, that cannot be told."""
        verdict = self.of(sample)
        if not sample.own:
            return verdict
        quicker = replace(sample, seconds=max(sample.seconds - sample.own, 0.0))
        if self.of(quicker).outcome is not verdict.outcome or (sample.excused and verdict.outcome is Outcome.FAILED):
            return Verdict.cannot_tell(f"{verdict.sentence}; this machine was late with it", LESS_BUSY)
        return verdict

    def judge_enough(
        self, samples: Sequence[Sample], _explain: Explain = unexplained, *, stopped: Stopped | None = None
    ) -> Verdict | None:
        """Judge each answer; the first of which it is not true decides."""
        verdicts = [self._told(sample) for sample in samples]
        wrong = next((verdict for verdict in verdicts if verdict.outcome is not Outcome.PASSED), None)
        if wrong is not None:
            return wrong
        if len(verdicts) >= ENOUGH:
            return verdicts[-1]
        if stopped is None:
            return None
        return Verdict.cannot_tell(
            f"{self.text}: {counted(len(verdicts), 'request', 'was', 'were')} sent, {stopped.why}", stopped.action
        )


def status_is(wanted: Sequence[int]) -> AnswerClaim:
    """The answer has one of these statuses."""
    text = f"the response status is {' or '.join(map(str, wanted))}"

    def of(sample: Sample) -> Verdict:
        body = f", body {sample.body[:200].decode(errors='replace')}" if sample.body else ""
        return Verdict.of(
            sample.status in wanted, f"{text}: it was {sample.told}{body}", status=sample.status, error=sample.error
        )

    return AnswerClaim(text, of)


def field_is(path: str, wanted: str) -> AnswerClaim:
    """A field of the answer's JSON has this value, compared as text."""
    text = f'the response field "{path}" is "{wanted}"'

    def of(sample: Sample) -> Verdict:
        if sample.status is None:
            return Verdict.of(False, f"{text}: there was no answer ({sample.told})")
        try:
            value = sample.field(path)
        except LookupError as error:
            return Verdict.of(False, f"{text}: {error}")
        return Verdict.of(field_text(value) == wanted, f'{text}: it is "{field_text(value)}"', value=value)

    return AnswerClaim(text, of)


def unchanged(
    name: str, path: str, before: Sample | None, now: Sample, *, changed: bool = True, measured: int = 0
) -> Verdict:
    """A field of an answer is what it was before the scenario's first change.

    Args:
        name: What the tester calls the request.
        path: The field's path.
        before: The answer before the first change; ``None`` where it was not asked.
        now: The answer now.
        changed: Whether there was a change at all.
        measured: How many requests claims have sent for themselves since the scenario began: they may have changed it.
    """
    claim = f'the response field "{path}" of "{name}" is unchanged'
    if not changed:
        return Verdict.cannot_tell(
            f"{claim}: this scenario changed nothing in the mesh, so there is no before",
            "let something fail before the claim, like: Given payment-service fails 100%",
        )
    if before is None:
        return Verdict.cannot_tell(
            f"{claim}: it was not asked before the first change", "define the request before the first change"
        )
    values = []
    for when, sample in (("before", before), ("now", now)):
        if not sample.succeeded:
            return Verdict.cannot_tell(
                f'{claim}: "{name}" was answered {sample.told} {when}', f'see why "{name}" fails; it must not'
            )
        try:
            values.append(sample.field(path))
        except LookupError as error:
            return Verdict.cannot_tell(f"{claim}: {when}, {error}", "name a field that the answer has")
    was, value = values
    if was != value and measured:
        return Verdict.cannot_tell(
            f"{claim}: it was {field_text(was)} before and is {field_text(value)} now, but claims of this scenario have sent "
            f"{measured} requests for themselves",
            "claim it before these claims, or in a scenario of its own",
        )
    return Verdict.of(
        was == value, f"{claim}: it was {field_text(was)} before and is {field_text(value)} now", before=was, now=value
    )


def arrives_within(limit: Duration) -> AnswerClaim:
    """The answer, whole, came within ``limit``."""
    text = f"the response arrives within {limit}"

    def of(sample: Sample) -> Verdict:
        if sample.status is None:
            return Verdict.of(False, f"{text}: none came; {sample.told} after {sample.seconds:.3f} s")
        return Verdict.of(
            sample.seconds <= limit.seconds,
            f"{text}: it took {sample.seconds:.3f} s",
            seconds=sample.seconds,
            limit_seconds=limit.seconds,
        )

    return AnswerClaim(text, of)


_EARLY_SECONDS, _EARLY_SHARE = 0.005, 0.1
"""So much sooner a delay may end: Envoy's timers begin with the round of its event loop, and that is before the request that
they hold up (libevent reads its clock once a round). Measured: up to 2 ms of 500 ms."""


def takes_at_least(least: Duration) -> AnswerClaim:
    """The answer, whole, came no sooner than after ``least``, but for what a proxy's timer may be early."""
    text = f"the response takes at least {least}"
    soonest = least.seconds - min(_EARLY_SECONDS, _EARLY_SHARE * least.seconds)

    def of(sample: Sample) -> Verdict:
        if sample.status is None:
            return Verdict.of(False, f"{text}: none came; {sample.told} after {sample.seconds:.3f} s")
        return Verdict.of(
            sample.seconds >= soonest,
            f"{text}: it took {sample.seconds:.3f} s",
            seconds=sample.seconds,
            least_seconds=least.seconds,
        )

    return AnswerClaim(text, of)


def is_refused() -> AnswerClaim:
    """A refusal or reset of the connection before the first byte of an answer."""
    text = "the connection is refused"
    return AnswerClaim(text, lambda sample: _refused(text, sample))


def _refused(text: str, sample: Sample) -> Verdict:
    return Verdict.of(
        sample.error in {"refused", "reset"} and sample.first_byte is None,
        f"{text}: the outcome was {sample.told}",
        error=sample.error,
    )


def is_turned_away(
    denied_by_proxy: Callable[[str], bool | None] = lambda _request_id: None,
    faulted: Callable[[str], str] = lambda _request_id: "",
) -> AnswerClaim:
    """The request did not get in: refused by the connection, or denied by a proxy's policy. Which of both is the mesh's habit.

    Args:
        denied_by_proxy: As of ``is_denied``.
        faulted: As of ``is_denied``.
    """
    text = "the request is turned away"
    denied = is_denied(denied_by_proxy, faulted, text)

    def of(sample: Sample) -> Verdict:
        return _refused(text, sample) if sample.status is None else denied.of(sample)

    return AnswerClaim(text, of)


def is_denied(
    denied_by_proxy: Callable[[str], bool | None] = lambda _request_id: None,
    faulted: Callable[[str], str] = lambda _request_id: "",
    text: str = "the request is denied",
) -> AnswerClaim:
    """403 or PERMISSION_DENIED made by a proxy's policy, not by the application and not by a fault.

    Args:
        denied_by_proxy: Request id → whether a proxy says that it denied it; ``None`` where no proxy tells. Then only
            the words of Envoy's RBAC filter in the answer show who made it.
        faulted: Request id → the fault that was injected into one of its calls; empty where none is known.
        text: The claim's words.
    """

    def of(sample: Sample) -> Verdict:
        headers = sample.headers or {}
        seen = f"{text}: the outcome was {sample.told}"
        if sample.status != HTTPStatus.FORBIDDEN and headers.get("grpc-status") != _PERMISSION_DENIED:
            return Verdict.of(False, seen, status=sample.status)
        told = denied_by_proxy(sample.request_id)
        by_proxy = told if told is not None else _says_so(sample.body, headers)
        numbers = {
            "status": sample.status,
            "told by": "the proxies' logs" if told is not None else "the answer's words",
        }
        if by_proxy:
            return Verdict.of(True, seen, **numbers)
        fault = faulted(sample.request_id)
        maker = f"a fault that was injected ({fault}), no policy" if fault else "the application, or a route, no policy"
        return Verdict.of(False, f"{seen}; what answered so is {maker} of a proxy", **numbers)

    return AnswerClaim(text, of)


def _says_so(body: bytes, headers: Mapping[str, str]) -> bool:
    """Whether an answer is the one of Envoy's RBAC filter."""
    return body == _RBAC.encode() or headers.get("grpc-message", "").startswith(_RBAC)
