from __future__ import annotations

from typing import Any

import pytest

from meshbdd.claims import Outcome, judge, responses, shares
from meshbdd.claims.statistics import at_least_probability, wilson
from meshbdd.errors import ClaimFailed, Inconclusive
from meshbdd.load import Sample
from meshbdd.units import Duration, Percent


def sample(
    status: int | None = 200, error: str | None = None, body: bytes = b"", seconds: float = 0.01, **headers: str
) -> Sample:
    return Sample("id", 0.0, seconds, status, error, {k.replace("_", "-"): v for k, v in headers.items()}, body)


def test_the_sentence_of_a_failed_share_is_the_house_form() -> None:
    samples = [sample()] * 88 + [Sample(f"f{i}", 0.0, 0.1, 503, None, {}) for i in range(12)]
    faulted = {f"f{i}": "payment-service, response flag FI" for i in range(12)}
    verdict = shares.succeed_at_least(samples, Percent(95), faulted)
    assert verdict.outcome is Outcome.FAILED
    assert verdict.sentence == (
        "at least 95% of requests succeed: 88 of 100 did (88.0%, 95% interval 80.2–93.0%); "
        "12 were 503 (payment-service, response flag FI)"
    )


@pytest.mark.parametrize(
    ("claim", "bound", "good", "holds"),
    [
        (shares.succeed_at_least, 95, 95, True),
        (shares.succeed_at_least, 95, 94, False),
        (shares.succeed_more_than, 95, 95, False),
        (shares.succeed_more_than, 95, 96, True),
        (shares.fail_at_most, 5, 95, True),
        (shares.fail_at_most, 5, 94, False),
        (shares.succeed_at_least, 0, 0, True),
        (shares.succeed_more_than, 100, 100, False),
    ],
)
def test_a_literal_count_is_taken_literally(claim: Any, bound: float, good: int, holds: bool) -> None:
    samples = [sample()] * good + [sample(500)] * (100 - good)
    assert (claim(samples, Percent(bound)).outcome is Outcome.PASSED) == holds


@pytest.mark.parametrize("claim", [shares.succeed_at_least, shares.succeed_more_than, shares.fail_at_most])
def test_nothing_sent_is_never_green(claim: Any) -> None:
    with pytest.raises(Inconclusive):
        judge(claim([], Percent(50)))


def test_what_succeeds() -> None:
    assert sample(204).succeeded
    assert not sample(400).succeeded
    assert not sample(None, "reset").succeeded
    assert not sample(200, grpc_status="14").succeeded
    assert sample(200, grpc_status="0").succeeded


def test_the_report_says_how_often_the_rule_lies() -> None:
    numbers = shares.succeed_more_than([sample()] * 100, Percent(95)).numbers
    # 96 or more of 100 at a true 95 %: it would pass 44 % of the time (exact binomial).
    assert numbers["wrongly_green_at"]["probability"] == pytest.approx(0.436, abs=0.001)


def test_exact_binomial_and_interval() -> None:
    assert at_least_probability(0, 10, 0.5) == 1
    assert at_least_probability(10, 10, 0.5) == pytest.approx(1 / 1024)
    assert at_least_probability(5, 9, 0.5) == pytest.approx(0.5)
    low, high = wilson(88, 100)
    assert (round(low, 3), round(high, 3)) == (0.802, 0.930)
    with pytest.raises(ValueError, match="observation"):
        wilson(0, 0)


def test_fields_and_statuses() -> None:
    answer = [sample(503, body=b'{"error": "payment_unavailable", "items": [{"n": 1}]}')]
    assert responses.field_is(answer, "error", "payment_unavailable").outcome is Outcome.PASSED
    assert responses.field_is(answer, "items.0.n", "1").outcome is Outcome.PASSED
    assert "has no field 'nothing'" in responses.field_is(answer, "nothing", "x").sentence
    assert responses.status_is(answer, [503, 504]).outcome is Outcome.PASSED
    with pytest.raises(ClaimFailed, match="it was 503"):
        judge(responses.status_is(answer, [200]))
    assert responses.every_status_is([*answer, sample()], 503).sentence.endswith("of 2 responses 1 × 503, 1 × 200")


def test_denied_is_said_by_a_proxy() -> None:
    assert responses.is_denied([sample(403, body=b"RBAC: access denied")]).outcome is Outcome.PASSED
    told = responses.is_denied([sample(403, body=b"go away")])
    assert told.outcome is Outcome.FAILED
    assert "made by the application" in told.sentence


def test_unchanged_needs_a_before() -> None:
    now = sample(200, body=b'{"count": 3}')
    assert responses.unchanged("orders", "count", None, now).outcome is Outcome.INCONCLUSIVE
    assert responses.unchanged("orders", "count", now, now).outcome is Outcome.PASSED
    more = sample(200, body=b'{"count": 4}')
    assert responses.unchanged("orders", "count", now, more).sentence.endswith("it was 3 before and is 4 now")
    assert responses.unchanged("orders", "count", sample(200, body=b"oops"), now).outcome is Outcome.INCONCLUSIVE


def test_in_time_means_a_whole_answer() -> None:
    assert responses.arrives_within([sample(seconds=3.2)], Duration(3)).outcome is Outcome.FAILED
    assert responses.arrives_within([sample(None, "timeout", seconds=1)], Duration(3)).outcome is Outcome.FAILED
    assert responses.is_refused([sample(None, "reset")]).outcome is Outcome.PASSED
