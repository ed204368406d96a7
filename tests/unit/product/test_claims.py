"""Claims on literal counts and about single answers: what is true, what is false, and what cannot be told."""

from __future__ import annotations

from typing import Any

import pytest
from hamcrest import assert_that

from meshbdd.claims import Outcome, judge, responses, shares
from meshbdd.claims.share import Stopped, unexplained
from meshbdd.errors import BadInput, ClaimFailed, Inconclusive
from meshbdd.load import Sample
from meshbdd.units import Duration, Percent
from tests.verdicts import is_failed, is_inconclusive, is_passed


def sample(
    status: int | None = 200, error: str | None = None, body: bytes = b"", seconds: float = 0.01, **headers: str
) -> Sample:
    return Sample("id", 0.0, seconds, status, error, {k.replace("_", "-"): v for k, v in headers.items()}, body)


def test_the_sentence_of_a_failed_share_is_the_house_form() -> None:
    samples = [sample()] * 88 + [Sample(f"f{i}", 0.0, 0.1, 503, None, {}) for i in range(12)]
    faulted = {f"f{i}": "payment-service, response flag FI" for i in range(12)}
    verdict = shares.succeed_at_least(Percent(95)).judge(samples, lambda request: faulted.get(request, ""))
    assert_that(verdict, is_failed())
    assert verdict.sentence == (
        "at least 95% of requests succeed: 88 of 100 did (88.0%, 95% interval 80.2–93.0%); "
        "12 were 503 (payment-service, response flag FI)"
    )


def test_what_fails_is_counted_where_the_claim_is_about_failures() -> None:
    verdict = shares.fail_at_most(Percent(5)).judge([sample()] * 88 + [sample(503)] * 12)
    assert verdict.sentence.startswith("at most 5% of requests fail: 12 of 100 did (12.0%, 95% interval 7.0–19.8%)")


def test_what_has_to_fail_is_counted_as_well() -> None:
    verdict = shares.fail_at_least(Percent(30)).judge([sample()] * 88 + [sample(503)] * 12)
    assert verdict.sentence.startswith("at least 30% of requests fail: 12 of 100 did (12.0%, 95% interval 7.0–19.8%)")
    claim = shares.fail_at_least(Percent(30))
    for answer, outcome in ((sample(503), Outcome.PASSED), (sample(), Outcome.FAILED)):
        verdict = claim.judge_enough([answer] * 400)
        assert verdict
        assert verdict.outcome is outcome


def test_every_kind_of_failure_is_accounted_for() -> None:
    kinds = [sample(500), sample(502), sample(503), sample(504), sample(None, "reset"), sample(grpc_status="14")]
    told = shares.breakdown([*kinds, sample(500), sample()], unexplained)
    assert told.startswith("2 were 500, ")
    assert told.endswith(", 2 were others")
    assert shares.breakdown([sample(grpc_status="14")], unexplained) == "1 was 200 with gRPC status 14"


@pytest.mark.parametrize(
    ("claim", "bound", "good", "holds"),
    [
        (shares.succeed_at_least, 95, 95, True),
        (shares.succeed_at_least, 95, 94, False),
        (shares.succeed_more_than, 95, 95, False),
        (shares.succeed_more_than, 95, 96, True),
        (shares.fail_at_most, 5, 95, True),
        (shares.fail_at_most, 5, 94, False),
        (shares.succeed_at_least, 100, 100, True),
        (shares.succeed_at_least, 100, 99, False),
        (shares.fail_at_most, 0, 100, True),
        (shares.fail_at_most, 0, 99, False),
        (shares.succeed_more_than, 0, 1, True),
        (shares.succeed_more_than, 0, 0, False),
        (shares.succeed_at_least, 29, 29, True),  # 0.29 * 100 is a little more than 29 in binary fractions
        (shares.fail_at_most, 7.1, 93, True),
        (shares.fail_at_least, 30, 70, True),
        (shares.fail_at_least, 30, 71, False),
        (shares.fail_at_least, 100, 0, True),
        (shares.fail_at_least, 100, 1, False),
    ],
)
def test_a_literal_count_is_taken_literally(claim: Any, bound: float, good: int, holds: bool) -> None:
    samples = [sample()] * good + [sample(500)] * (100 - good)
    assert (claim(Percent(bound)).judge(samples).outcome is Outcome.PASSED) == holds


@pytest.mark.parametrize(
    ("claim", "bound"),
    [
        (shares.succeed_at_least, 0),
        (shares.succeed_more_than, 100),
        (shares.fail_at_most, 100),
        (shares.fail_at_least, 0),
    ],
)
def test_a_claim_that_cannot_fail_or_cannot_hold_is_refused(claim: Any, bound: float) -> None:
    with pytest.raises(BadInput, match=r"can never be (true|false)"):
        claim(Percent(bound))


@pytest.mark.parametrize(
    "claim",
    [
        shares.succeed_at_least(Percent(50)), shares.succeed_more_than(Percent(50)), shares.fail_at_most(Percent(50)),
        shares.fail_at_least(Percent(50)), shares.every_status_is(200), responses.status_is([200]), responses.field_is("a", "b"),
        responses.arrives_within(Duration(1)), responses.takes_at_least(Duration(1)), responses.is_refused(), responses.is_denied(),
    ],
)  # fmt: skip
def test_nothing_sent_is_never_green(claim: Any) -> None:
    with pytest.raises(Inconclusive):
        judge(claim.judge([]))


def test_what_succeeds() -> None:
    assert sample(204).succeeded
    assert not sample(400).succeeded
    assert not sample(None, "reset").succeeded
    assert not sample(200, grpc_status="14").succeeded
    assert sample(200, grpc_status="0").succeeded


def test_the_report_says_how_often_the_rule_lies() -> None:
    verdict = shares.succeed_more_than(Percent(95)).judge([sample()] * 97 + [sample(500)] * 3)
    # reference: 96 or more of 100 pass 44 % of the time at a true 95 %; at a true 99 % fewer fail 0.34 % of the time
    assert verdict.numbers["wrongly_green_at"][0]["probability"] == pytest.approx(0.436, abs=0.001)
    assert verdict.numbers["wrongly_red_at"]["probability"] == pytest.approx(0.0034, abs=0.0001)
    assert "red with a chance of 0.3%" in verdict.notes[0]
    assert "green with a chance of 43.6% at 0.95" in verdict.notes[0]


def test_a_count_too_small_for_its_claim_says_so_and_what_would_do() -> None:
    claim = shares.succeed_more_than(Percent(95))
    thin = claim.judge([sample()] * 97 + [sample(500)] * 3)
    assert thin.outcome is Outcome.PASSED, "a literal count stays literal"
    assert "100 requests cannot carry this claim" in thin.notes[1]
    assert "anywhere from 89.5% to 99.7%" in thin.notes[1]
    assert "would need about 191" in thin.notes[1]
    assert len(claim.judge([sample()] * 300).notes) == 1, "300 of 300 carry it"
    assert len(claim.judge([sample()] * 50 + [sample(500)] * 50).notes) == 1, "50 of 100 carry it, too"


def test_one_counterexample_carries_a_claim_about_every_response() -> None:
    claim = shares.every_status_is(200)
    assert len(claim.judge([sample()] * 9 + [sample(500)]).notes) == 1
    assert "10 requests cannot carry this claim" in claim.judge([sample()] * 10).notes[1]
    assert len(claim.judge([sample()] * 700).notes) == 1


def test_fields_and_statuses() -> None:
    answer = [sample(503, body=b'{"error": "payment_unavailable", "items": [{"n": 1}], "no": null, "yes": true}')]
    assert_that(responses.field_is("error", "payment_unavailable").judge(answer), is_passed())
    assert_that(responses.field_is("items.0.n", "1").judge(answer), is_passed())
    assert_that(responses.field_is("no", "null").judge(answer), is_passed())
    assert_that(responses.field_is("yes", "true").judge(answer), is_passed())
    assert "has no field 'nothing'" in responses.field_is("nothing", "x").judge(answer).sentence
    assert_that(responses.status_is([503, 504]).judge(answer), is_passed())
    with pytest.raises(ClaimFailed, match="it was 503"):
        judge(responses.status_is([200]).judge(answer))
    assert shares.every_status_is(503).judge([*answer, sample()]).sentence.endswith("of 2 responses 1 × 503, 1 × 200")
    assert_that(shares.every_status_is(200).judge([sample(), sample(None, "reset")]), is_failed())


@pytest.mark.parametrize(
    ("answer", "proxies_say", "holds"),
    [
        (sample(403, body=b"RBAC: access denied"), True, True),
        (sample(403, body=b"RBAC: access denied"), None, True),
        (sample(403, body=b"RBAC: access denied"), False, False),  # an application can write these words, too
        (sample(403), True, True),  # Linkerd's denial has no body
        (sample(403, body=b"go away"), None, False),
        (sample(403, body=b"why: RBAC: access denied by me"), None, False),
        (sample(200, grpc_status="7", grpc_message="RBAC: access denied"), None, True),
        (sample(200, grpc_status="7", grpc_message="not for you"), None, False),
        (sample(200, body=b"RBAC: access denied"), True, False),
        (sample(503), True, False),
        (sample(None, "reset"), None, False),
    ],
)
def test_denied_is_said_by_a_proxy(answer: Sample, proxies_say: bool | None, holds: bool) -> None:
    verdict = responses.is_denied(lambda _request_id: proxies_say).judge([answer])
    assert (verdict.outcome is Outcome.PASSED) == holds
    if answer.status == 403 and not holds:
        assert "the application, or a route, no policy of a proxy" in verdict.sentence


@pytest.mark.parametrize(
    ("answer", "proxies_say", "holds"),
    [
        (sample(None, "reset"), None, True),
        (sample(None, "refused"), None, True),
        (sample(None, "timeout"), None, False),
        (sample(403), True, True),
        (sample(403), False, False),
        (sample(200, grpc_status="7"), True, True),
        (sample(200), True, False),
        (sample(503), None, False),
    ],
)
def test_turned_away_is_by_the_connection_or_by_a_proxy(answer: Sample, proxies_say: bool | None, holds: bool) -> None:
    verdict = responses.is_turned_away(lambda _request_id: proxies_say).judge([answer])
    assert (verdict.outcome is Outcome.PASSED) == holds
    assert verdict.sentence.startswith("the request is turned away: the outcome was ")


def test_a_403_that_a_fault_made_is_told_as_one() -> None:
    claim = responses.is_denied(lambda _request_id: False, lambda _request_id: "payment-service, response flag FI")
    verdict = claim.judge([sample(403, body=b"fault filter abort")])
    assert_that(verdict, is_failed())
    assert "a fault that was injected (payment-service, response flag FI), no policy of a proxy" in verdict.sentence
    assert "application" not in verdict.sentence


def test_unchanged_in_a_scenario_that_changes_nothing_says_so() -> None:
    verdict = responses.unchanged("orders", "count", None, sample(200, body=b'{"count": 3}'), changed=False)
    assert_that(verdict, is_inconclusive())
    assert verdict.sentence.endswith("this scenario changed nothing in the mesh, so there is no before")


def test_unchanged_needs_a_before() -> None:
    now = sample(200, body=b'{"count": 3}')
    assert_that(responses.unchanged("orders", "count", None, now), is_inconclusive())
    assert_that(responses.unchanged("orders", "count", now, now), is_passed())
    more = sample(200, body=b'{"count": 4}')
    assert responses.unchanged("orders", "count", now, more).sentence.endswith("it was 3 before and is 4 now")
    assert_that(responses.unchanged("orders", "count", now, more, measured=2), is_inconclusive())
    assert_that(responses.unchanged("orders", "count", now, now, measured=2), is_passed())
    assert_that(responses.unchanged("orders", "count", sample(200, body=b"oops"), now), is_inconclusive())


def test_the_same_failure_twice_is_not_unchanged() -> None:
    broken = sample(500, body=b'{"count": null}')
    verdict = responses.unchanged("orders", "count", broken, broken)
    assert_that(verdict, is_inconclusive())
    assert '"orders" was answered 500 before' in verdict.sentence


def test_in_time_means_a_whole_answer() -> None:
    in_time = responses.arrives_within(Duration(3))
    assert_that(in_time.judge([sample(seconds=3.2)]), is_failed())
    assert_that(in_time.judge([sample(None, "timeout", seconds=1)]), is_failed())
    waited = responses.takes_at_least(Duration(3))
    assert_that(waited.judge([sample(seconds=3.2)]), is_passed())
    assert_that(waited.judge([sample(seconds=2.9)]), is_failed())
    assert_that(waited.judge([sample(None, "reset", seconds=3.2)]), is_failed())
    assert_that(responses.is_refused().judge([sample(None, "reset")]), is_passed())
    assert_that(responses.is_refused().judge([sample(None, "timeout")]), is_failed())


@pytest.mark.parametrize(
    ("least", "took", "passed"), [(0.5, 0.496, True), (0.5, 0.494, False), (0.01, 0.0091, True), (0.01, 0.0089, False)]
)
def test_a_delay_may_end_as_much_sooner_as_a_proxys_timer_is_early(least: float, took: float, passed: bool) -> None:
    verdict = responses.takes_at_least(Duration(least)).judge([sample(seconds=took)])
    assert_that(verdict, is_passed() if passed else is_failed())


def test_on_enough_each_answer_counts() -> None:
    claim = responses.status_is([503])
    assert claim.judge_enough([sample(503)] * 4) is None
    passed = claim.judge_enough([sample(503)] * 5)
    assert passed
    assert_that(passed, is_passed())
    failed = claim.judge_enough([sample(503), sample(200), sample(503)])
    assert failed
    assert_that(failed, is_failed())
    stopped = claim.judge_enough([sample(503)], stopped=Stopped("and the mesh was changed", "claim first"))
    assert stopped
    assert_that(stopped, is_inconclusive())
