"""Claims on ``enough``, on fields, on quantiles, and on before and after: pure, with exact expectations."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import pytest
from hamcrest import assert_that

from meshbdd.claims import Outcome, comparison, fields, quantiles, shares
from meshbdd.claims.refutation import from_inside, from_outside
from meshbdd.claims.sequential import BETA, Band, Every, decide, equal_evidence, fixed_size
from meshbdd.claims.share import Stopped
from meshbdd.claims.statistics import at_least_probability, at_most_probability, clopper_pearson, divergence, wilson
from meshbdd.errors import BadInput
from meshbdd.load import Sample
from meshbdd.units import Duration, Percent
from tests.verdicts import is_failed, is_inconclusive, is_passed


def answer(status: int | None = 200, seconds: float = 0.01, **body: object) -> Sample:
    return Sample("id", 0.0, seconds, status, None if status else "reset", {}, json.dumps(body).encode())


def split(canary: int, stable: int, broken: int = 0) -> list[Sample]:
    made = [answer(version="canary")] * canary + [answer(version="stable")] * stable + [answer(503)] * broken
    return random.Random(7).sample(made, len(made))


def exact_tail(needed: int, total: int, share: str) -> float:
    p = Fraction(share)
    return float(sum(Fraction(math.comb(total, k)) * p**k * (1 - p) ** (total - k) for k in range(needed, total + 1)))


# Statistics


@pytest.mark.parametrize(
    ("needed", "total", "share"),
    [(96, 100, "0.95"), (30, 100, "0.01"), (5, 9, "0.5"), (200, 1465, "0.1"), (1, 459, "0.01"), (99, 100, "0.999")],
)
def test_binomial_tails_are_exact_also_where_they_are_tiny(needed: int, total: int, share: str) -> None:
    assert at_least_probability(needed, total, float(share)) == pytest.approx(
        exact_tail(needed, total, share), rel=1e-9
    )
    assert at_most_probability(total - needed, total, 1 - float(share)) == pytest.approx(
        exact_tail(needed, total, share), rel=1e-9
    )


def test_binomial_tails_at_their_ends() -> None:
    assert at_least_probability(0, 10, 0.5) == 1
    assert at_least_probability(11, 10, 0.5) == 0
    assert at_least_probability(10, 10, 1) == 1
    assert at_least_probability(1, 10, 0) == 0
    assert at_most_probability(10, 10, 0.5) == 1
    assert at_most_probability(-1, 10, 0.5) == 0


def test_intervals() -> None:
    assert [round(x, 3) for x in wilson(88, 100)] == [0.802, 0.930]
    # R: binom.test(88, 100)$conf.int
    assert [round(x, 4) for x in clopper_pearson(88, 100, 0.95)] == [0.7998, 0.9364]
    assert clopper_pearson(0, 10)[0] == 0
    assert clopper_pearson(10, 10)[1] == 1
    for interval in (wilson, clopper_pearson):
        with pytest.raises(ValueError, match="observation"):
            interval(0, 0)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.97])
def test_the_exact_interval_holds_at_least_as_often_as_it_says(share: float) -> None:
    n = 60
    holds = sum(
        at_least_probability(k, n, share) - at_least_probability(k + 1, n, share)
        for k in range(n + 1)
        if clopper_pearson(k, n)[0] <= share <= clopper_pearson(k, n)[1]
    )
    assert holds >= 0.99


def test_divergence() -> None:
    assert divergence(0.3, 0.3) == 0
    assert divergence(0.5, 0.0) == math.inf
    assert divergence(0.99, 0.95) == pytest.approx(0.99 * math.log(0.99 / 0.95) + 0.01 * math.log(0.01 / 0.05))


# The sequential test


def test_a_ratio_is_one_on_average_while_the_edge_holds() -> None:
    """What Ville's inequality rests on, by summing over every course of twelve requests."""
    for refutation in (from_inside(0.2, 0.05, 0.1, error=BETA), from_outside(0.2, above=True, error=1e-6)):
        mean = math.fsum(
            0.2 ** sum(course)
            * 0.8 ** (12 - sum(course))
            * sum(
                weight * (share / 0.2) ** sum(course) * ((1 - share) / 0.8) ** (12 - sum(course))
                for share, weight in refutation.weights
            )
            for course in itertools.product((0, 1), repeat=12)
        )
        assert mean == pytest.approx(1)


def test_the_boundaries_are_where_the_ratios_say() -> None:
    band = Band(0.05, 0.2, 0.1)
    sides = band._tests
    for n in (1, 30, 200, 283, 700):
        found = band.boundaries(n)
        too_few, from_lower, from_upper, too_many = (
            [k for k in range(n + 1) if side is not None and side.done(k, n)] for side in sides
        )
        assert found.fail_to == max(too_few, default=-1)
        assert found.fail_from == min(too_many, default=n + 1)
        assert found.pass_from == min(from_lower, default=n + 1)
        assert found.pass_to == max(from_upper, default=-1)


def test_a_band_of_one_edge_never_fails_on_the_other_side() -> None:
    band = Band(0.95, 1.0, 0.99)
    assert band.outcome(2000, 2000, 2000) is Outcome.PASSED
    assert band.boundaries(2000).fail_from == 2001
    assert Band(0.0, 0.05, 0.01).outcome(2000, 0, 0) is Outcome.PASSED


@pytest.mark.parametrize("wrong", [(0.0, 1.0, 0.5), (0.2, 0.1, 0.15), (0.1, 0.2, 0.2), (0.5, 0.5, 0.5)])
def test_there_is_no_test_without_an_edge_or_room(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="no test"):
        Band(*wrong)


def test_the_stream_is_looked_at_request_by_request() -> None:
    band = Band(0.95, 1.0, 0.99)
    good = decide(band, [True] * 500)
    assert (good.outcome, good.total) == (Outcome.PASSED, decide(band, [True] * good.total).total)
    assert decide(band, [True] * (good.total - 1)).outcome is None
    # A verdict stands, whatever comes later; otherwise looking longer would change the errors.
    assert decide(band, [True] * good.total + [False] * 400).outcome is Outcome.PASSED


def test_every_is_refuted_by_one_also_after_it_would_have_passed() -> None:
    assert Every().limit == 459
    assert Every(miss=0.05).limit == 299
    assert decide(Every(), [True] * 458).outcome is None
    assert decide(Every(), [True] * 459).outcome is Outcome.PASSED
    late = decide(Every(), [True] * 470 + [False])
    assert (late.outcome, late.total) == (Outcome.FAILED, 471)


def test_requests_that_cannot_be_told_count_against_every_verdict() -> None:
    assert decide(Every(), [True] * 458 + [None]).outcome is Outcome.INCONCLUSIVE
    band = Band(0.05, 0.2, 0.1)
    stream = [n % 10 == 0 for n in range(400)]
    assert decide(band, stream).outcome is Outcome.PASSED
    assert decide(band, [None if n % 3 == 0 else hit for n, hit in enumerate(stream)]).outcome is None
    assert decide(band, [None] * band.limit).outcome is Outcome.INCONCLUSIVE


def test_sizes_of_a_fixed_number_of_requests() -> None:
    # reliability: 730 for more than 95 %; 1,465 for 5–20 %, whose tails it does not divide evenly between the sides
    assert fixed_size(0.95, 1.0, 0.99) == 730
    assert fixed_size(0.05, 0.2, 0.1) == pytest.approx(1465, rel=0.02)


def test_equal_evidence_lies_between() -> None:
    point = equal_evidence(0.05, 0.2)
    assert divergence(point, 0.05) == pytest.approx(divergence(point, 0.2))
    assert equal_evidence(0.3, 0.7) == pytest.approx(0.5)


# Claims on enough


def drawn(*shares_of: tuple[int, Sample]) -> Iterator[Sample]:
    rng = random.Random(11)
    samples, weights = [s for _, s in shares_of], [w for w, _ in shares_of]
    while True:
        yield rng.choices(samples, weights)[0]


def test_enough_asks_for_more_until_it_can_tell() -> None:
    claim = shares.succeed_more_than(Percent(95))
    stream = list(itertools.islice(drawn((99, answer()), (1, answer(503))), 1000))
    sizes = [n for n in range(1, 1000) if claim.judge_enough(stream[:n]) is None]
    verdict = claim.judge_enough(stream)
    assert verdict
    assert_that(verdict, is_passed())
    assert verdict.numbers["requests"] == len(sizes) + 1
    assert verdict.numbers["drawn"] == 1000
    assert verdict.numbers["path"][-1][0] == len(sizes) + 1
    assert len(verdict.numbers["boundaries"]) == len(verdict.numbers["path"])


def test_enough_fails_and_tells_what_requests_met() -> None:
    verdict = shares.succeed_more_than(Percent(95)).judge_enough([answer(), answer(503)] * 100)
    assert verdict
    assert_that(verdict, is_failed())
    assert "were 503" in verdict.sentence
    assert "with a chance below 1e-06 where the claim is true" in verdict.notes[0]


def test_a_limit_makes_it_inconclusive_with_the_numbers() -> None:
    claim = shares.succeed_more_than(Percent(95))
    on_the_edge = ([answer()] * 19 + [answer(503)]) * 200
    verdict = claim.judge_enough(on_the_edge)
    assert verdict
    assert_that(verdict, is_inconclusive())
    assert verdict.sentence.endswith("too near to the edge to tell within 2,190 requests")
    assert verdict.numbers["requests"] == 2190
    stopped = claim.judge_enough(on_the_edge[:40], stopped=Stopped("and the time was up", "wait longer"))
    assert stopped
    assert_that(stopped, is_inconclusive())
    assert stopped.sentence.endswith("; that does not tell, and the time was up")
    assert stopped.help == "wait longer"
    nothing = claim.judge_enough([], stopped=Stopped("and the mesh was changed", "claim first"))
    assert nothing
    assert_that(nothing, is_inconclusive())


def test_where_what_cannot_be_told_decides_no_more_is_drawn_and_that_is_the_reason() -> None:
    claim = fields.between(Percent(40), Percent(60), "version", "canary")
    half = [answer(version="canary"), answer(503)] * 2000
    verdict = claim.judge_enough(half)
    assert verdict
    assert_that(verdict, is_inconclusive())
    assert verdict.sentence.endswith(f"{verdict.numbers['untold']} × 503); that leaves it open")
    assert verdict.help == "see why these answers lack it, or claim something that every answer has"
    assert claim.test
    assert verdict.numbers["requests"] == claim.test.expected < claim.test.limit
    few = [answer(503)] * 5 + split(400, 400)
    passed = claim.judge_enough(few)
    assert passed
    assert_that(passed, is_passed())
    edge = claim.judge_enough([answer(version="canary" if n % 5 < 3 else "stable") for n in range(4000)])
    assert edge
    assert "too near to the edge" in edge.sentence


def test_what_no_number_can_show_is_refused_on_enough_only() -> None:
    claim = fields.between(Percent(10), Percent(10), "version", "canary")
    assert_that(claim.judge(split(10, 90)), is_passed())
    with pytest.raises(BadInput, match="cannot be shown by any number of requests"):
        claim.judge_enough(split(10, 90))


# Fields


@pytest.mark.parametrize(
    ("canary", "outcome"), [(4, Outcome.FAILED), (5, Outcome.PASSED), (20, Outcome.PASSED), (21, Outcome.FAILED)]
)
def test_between_is_literal_on_a_count(canary: int, outcome: Outcome) -> None:
    verdict = fields.between(Percent(5), Percent(20), "version", "canary").judge(split(canary, 100 - canary))
    assert verdict.outcome is outcome
    assert f"{canary} of 100 had it ({canary}.0%" in verdict.sentence
    assert f'{100 - canary} × "stable"' in verdict.sentence


def test_answers_without_the_field_are_no_share_of_anything() -> None:
    claim = fields.between(Percent(0), Percent(20), "version", "canary")
    verdict = claim.judge(split(0, 0, 100))
    assert verdict.outcome is Outcome.INCONCLUSIVE, "none of 100 failures came from the canary, and that says nothing"
    assert "100 had no field 'version' (100 × 503)" in verdict.sentence
    assert claim.judge(split(5, 85, 10)).outcome is Outcome.PASSED, "at most 15 % were the canary's"
    assert_that(claim.judge(split(15, 75, 10)), is_inconclusive())
    assert_that(claim.judge(split(30, 60, 10)), is_failed())


def test_a_field_that_is_missing_is_no_lateness_of_this_machine() -> None:
    claim = fields.between(Percent(0), Percent(20), "version", "canary")
    late = [replace(sample, own=0.004) for sample in split(0, 0, 100)]
    verdict = claim.judge(late)
    assert_that(verdict, is_inconclusive())
    assert "late" not in verdict.sentence
    assert verdict.help == "see why these answers lack it, or claim something that every answer has"


def test_a_wrong_order_and_a_claim_that_cannot_fail_are_refused() -> None:
    with pytest.raises(BadInput, match="no share lies between"):
        fields.between(Percent(20), Percent(5), "version", "canary")
    with pytest.raises(BadInput, match="can never be false"):
        fields.between(Percent(0), Percent(100), "version", "canary")


@pytest.mark.parametrize(
    ("share", "within", "low", "high"),
    [
        (10, None, 5, 15), (20, None, 10, 30), (50, None, 25, 75), (3, None, 1.5, 8), (90, None, 85, 95),
        (80, None, 70, 90), (100, None, 95, 100), (0, None, 0, 5), (10, 3, 7, 13), (2, 3, 0, 5), (99, 3, 96, 100),
    ],
)  # fmt: skip
def test_what_about_means(share: float, within: float | None, low: float, high: float) -> None:
    band = fields.about_band(Percent(share), None if within is None else Percent(within))
    assert band == (Percent(low), Percent(high))


def test_a_split_that_does_not_split_is_not_about_anything() -> None:
    everything = [answer(version="stable")] * 200
    assert_that(fields.about(Percent(90), "version", "stable").judge(everything), is_failed())
    assert_that(fields.about(Percent(3), "version", "canary").judge(everything), is_failed())


def test_the_configured_share_is_where_the_system_is_thought_to_be() -> None:
    def design(*configured: float) -> tuple[float, str]:
        claim = fields.between(Percent(5), Percent(20), "version", "canary", configured)
        return claim.sequential.design, claim.design_from

    assert design(0.9, 0.1) == (0.1, "the share configured in this scenario")
    assert design(0.3)[0] == pytest.approx(equal_evidence(0.05, 0.2))
    assert "equally hard" in design()[1]


# Latency


def test_quantiles_are_the_nearest_rank_with_bounds_of_order_statistics() -> None:
    latencies = [n / 1000 for n in range(1, 101)]
    median = quantiles.quantile(latencies, 50)
    # The interval of a median of 100 by ranks 40 and 61: Hahn and Meeker, Statistical Intervals, table A.15
    assert (median.value, median.low, median.high) == (0.050, 0.040, 0.061)
    assert quantiles.quantile(latencies, 99).value == 0.099
    assert quantiles.quantile(latencies, 99.9).value == 0.100
    assert math.isinf(quantiles.quantile(latencies, 99).high), "100 requests give no upper bound of the p99"
    with pytest.raises(ValueError, match="at least one"):
        quantiles.quantile([], 50)


@pytest.mark.parametrize("percent", [50.0, 90.0, 99.0])
def test_the_bounds_of_a_quantile_hold_as_often_as_they_say(percent: float) -> None:
    n, share = 300, percent / 100
    ranks = quantiles.quantile([float(k) for k in range(1, n + 1)], percent)
    above = at_least_probability(int(ranks.low), n, share)  # the low rank lies below the true quantile
    below = at_most_probability(int(ranks.high) - 1, n, share) if math.isfinite(ranks.high) else 1.0
    assert 1 - above <= 0.025
    assert 1 - below <= 0.025


def test_a_latency_claim_on_a_count() -> None:
    samples = [answer(seconds=n / 1000) for n in range(1, 101)]
    claim = quantiles.latency_below(99, Duration(0.0995))
    verdict = claim.judge(samples)
    assert_that(verdict, is_passed())
    assert verdict.sentence == (
        "the p99 latency is below 99.5ms: it was 99.0 ms (95% bounds 97.0 ms to no upper bound); "
        "99 of 100 requests took less than 99.5ms"
    )
    assert "100 requests cannot carry this claim" in verdict.notes[1]
    assert quantiles.latency_below(99, Duration(0.099)).judge(samples).outcome is Outcome.FAILED, "below is not equal"


def test_no_answer_is_slower_than_any_limit() -> None:
    quick_failures = [answer(None, seconds=0.001)] * 60 + [answer(seconds=0.002)] * 40
    verdict = quantiles.latency_below(50, Duration(1)).judge(quick_failures)
    assert_that(verdict, is_failed())
    assert "60 had no answer and count as slower" in verdict.sentence
    json.dumps(verdict.numbers, allow_nan=False)
    failed = quantiles.latency_below(50, Duration(1)).judge([answer(503)] * 10)
    assert "10 were answered with a failure" in failed.sentence


def test_a_latency_claim_on_enough_is_decided_by_the_bounds() -> None:
    claim = quantiles.latency_below(99, Duration(0.1))
    assert claim.judge_enough([answer(seconds=0.05)] * 300) is None, "300 quick ones do not prove a p99"
    proven = claim.judge_enough([answer(seconds=0.05)] * 1000)
    assert proven
    assert_that(proven, is_passed())
    slow = claim.judge_enough([answer(seconds=0.05), answer(seconds=0.2)] * 50)
    assert slow
    assert_that(slow, is_failed())


def test_a_machine_that_sends_too_late_makes_no_service_slow() -> None:
    late = [Sample("id", 100.4, 0.45, 200, scheduled=100.0, own=0.4)] * 5 + [
        Sample("id", 100.0, 0.05, 200, scheduled=100.0)
    ] * 95
    claim = quantiles.latency_below(99, Duration(0.3))
    verdict = claim.judge(late)
    assert_that(verdict, is_inconclusive())
    assert "for 5 of them this machine was late" in verdict.sentence
    waited = [replace(sample, own=0.0) for sample in late]
    assert claim.judge(waited).outcome is Outcome.FAILED, "for a free connection: the service's doing"
    fine = [Sample("id", 100.005, 0.303, 200, scheduled=100.0)] * 100
    verdict = claim.judge(fine)
    assert_that(verdict, is_inconclusive())
    assert "requests started up to 5.0 ms late, and without that it would hold" in verdict.sentence
    stall = [Sample("id", 100.0, 0.45, 200, scheduled=100.0)] * 5
    assert claim.judge([*stall, *late]).outcome is Outcome.FAILED, "lateness excuses no service that is slow itself"
    assert_that(quantiles.latency_below(90, Duration(0.3)).judge(late), is_passed())


# Before and after


def latencies(middle: float, count: int, seed: int = 1) -> list[Sample]:
    rng = random.Random(seed)
    return [answer(seconds=rng.uniform(0.5, 1.5) * middle) for _ in range(count)]


def test_a_median_that_grows_by_less_or_more() -> None:
    before = latencies(0.010, 400)
    claim = "the sidecar adds less than 5ms to the median latency"
    assert_that(comparison.adds_less_than(claim, before, latencies(0.011, 400, 2), Duration(0.005)), is_passed())
    assert_that(comparison.adds_less_than(claim, before, latencies(0.030, 400, 2), Duration(0.005)), is_failed())
    thin = comparison.adds_less_than(claim, before[:5], latencies(0.011, 5, 2), Duration(0.005))
    assert_that(thin, is_inconclusive())
    assert_that(comparison.adds_less_than(claim, [], before, Duration(1)), is_inconclusive())
    none = [answer(None)] * 50
    nothing = comparison.adds_less_than(claim, none, before, Duration(1))
    assert_that(nothing, is_inconclusive())
    json.dumps(nothing.numbers, allow_nan=False)
    assert_that(comparison.adds_less_than(claim, before, none, Duration(1)), is_failed())


def test_a_share_that_falls() -> None:
    before = [answer()] * 500
    claim = "fewer than 5 points are lost"
    assert_that(comparison.loses_less_than(claim, before, [answer()] * 500, Percent(5)), is_passed())
    lost = [answer()] * 250 + [answer(503)] * 250
    assert_that(comparison.loses_less_than(claim, before, lost, Percent(5)), is_failed())
    assert_that(comparison.loses_less_than(claim, before[:20], [answer()] * 20, Percent(5)), is_inconclusive())
