"""Requests that claims draw as they need them: how many, shared by whom, and when no more."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hamcrest import assert_that

from meshbdd.claims import judge, responses, shares
from meshbdd.claims.share import Stopped, unexplained
from meshbdd.errors import Inconclusive
from meshbdd.load import Sample
from meshbdd.mesh.shares import configured_shares
from meshbdd.scenario.enough import Enough
from meshbdd.units import Duration, Percent
from tests.verdicts import is_passed

LONG = Duration(60)


def system(share: float) -> tuple[Callable[[int, Duration], list[Sample]], list[int]]:
    """A system of which this share of requests succeeds, and the batches that were asked of it."""
    rng, batches = random.Random(3), []

    def draw(count: int, within: Duration) -> list[Sample]:
        assert 0 < within.seconds <= LONG.seconds
        batches.append(count)
        return [Sample("id", 0, 0.01, 200 if rng.random() < share else 503) for _ in range(count)]

    return draw, batches


def test_nothing_is_sent_until_a_claim_asks() -> None:
    draw, batches = system(1)
    enough = Enough("checkout", draw, LONG)
    assert not enough.samples
    assert not enough.judged
    assert_that(enough.judge(shares.succeed_more_than(Percent(95)), unexplained), is_passed())
    assert enough.judged
    assert 112 <= sum(batches) <= 112 + 20, "no more than a batch too many"


def test_claims_share_what_was_drawn() -> None:
    draw, batches = system(1)
    enough = Enough("checkout", draw, LONG)
    enough.judge(shares.succeed_more_than(Percent(95)), unexplained)
    before = sum(batches)
    for claim in (responses.status_is([200]), shares.fail_at_most(Percent(20)), shares.succeed_at_least(Percent(90))):
        assert_that(enough.judge(claim, unexplained), is_passed())
    assert sum(batches) == before
    assert_that(enough.judge(shares.every_status_is(200), unexplained), is_passed())
    assert 459 <= sum(batches) <= 459 * 1.1


def test_an_answer_claim_asks_for_a_few() -> None:
    draw, batches = system(1)
    assert_that(Enough("checkout", draw, LONG).judge(responses.status_is([200]), unexplained), is_passed())
    assert sum(batches) == 20


def test_a_limit_of_requests_is_kept_to_the_number() -> None:
    draw, batches = system(0.97)
    verdict = Enough("checkout", draw, LONG, at_most=50).judge(shares.succeed_more_than(Percent(95)), unexplained)
    assert sum(batches) == 50
    with pytest.raises(Inconclusive, match="that does not tell, and no more than 50 may be sent"):
        judge(verdict)


def test_a_limit_of_time() -> None:
    draw, batches = system(1)
    verdict = Enough("checkout", draw, Duration(0)).judge(shares.every_status_is(200), unexplained)
    assert not batches
    with pytest.raises(Inconclusive, match="the 0ms are over that a claim may draw for"):
        judge(verdict)


def test_after_the_mesh_has_changed_nothing_more_is_drawn() -> None:
    draw, batches = system(1)
    enough = Enough("checkout", draw, LONG)
    enough.judge(shares.succeed_more_than(Percent(95)), unexplained)
    before = sum(batches)
    enough.end(Stopped("and the mesh was changed («x») before the claim", "claim first, then change"))
    assert_that(enough.judge(shares.succeed_at_least(Percent(90)), unexplained), is_passed())
    with pytest.raises(Inconclusive, match="the mesh was changed"):
        judge(enough.judge(shares.every_status_is(200), unexplained))
    assert sum(batches) == before


def test_shares_that_objects_configure() -> None:
    split = {"spec": {"http": [{"route": [{"weight": 90}, {"weight": 10}]}, {"route": [{"destination": {}}]}]}}
    assert configured_shares(split) == [0.9, 0.1]
    fault = {"spec": {"http": [{"fault": {"abort": {"percentage": {"value": 30}}, "delay": {}}, "route": []}]}}
    assert configured_shares(fault) == [0.3]
    assert configured_shares({"spec": {"http": [{"fault": {"abort": {"percentage": {"value": 100}}}}]}}) == []
    gateway_api = {"spec": {"rules": [{"backendRefs": [{"name": "a", "weight": 3}, {"name": "b"}]}]}}
    assert configured_shares(gateway_api) == [0.75, 0.25]
    assert configured_shares({"spec": {"rules": [{"to": []}]}}) == [], "other kinds have rules too"
    assert configured_shares({"kind": "Service"}) == []
