"""The promises of the sequential test, computed exactly: how often it lies, and how many requests it takes.

``pytest -s tests/statistics`` prints the tables. ``planned`` is the size that two plain sequential probability ratio
tests take for the same errors (A. Wald); it is what the tests were planned with.
"""

from __future__ import annotations

import itertools
import random

import pytest

from meshbdd.claims import Outcome, sequential
from meshbdd.claims.sequential import ALPHA, BETA, Band, Every, Test, decide
from tests.statistics.exact import behaviour

ABOUT_TEN = Band(0.05, 0.2, 0.1)
MORE_THAN_95 = Band(0.95, 1.0, 0.99)

WORKED = [
    pytest.param("about 10 % within 5–20 %", ABOUT_TEN, 283, id="about 10 %"),
    pytest.param("more than 95 %", MORE_THAN_95, 187, id="more than 95 %"),
]


@pytest.mark.parametrize(("name", "test", "planned"), WORKED)
def test_errors_and_size_of_the_worked_claims(name: str, test: Band, planned: int) -> None:
    at_design = behaviour(test, test.design)
    print(f"\n{name}: at {test.design:.0%} red {at_design.failed:.2g} (at most {ALPHA:g}), ", end="")
    print(f"inconclusive {at_design.inconclusive:.2g}, {at_design.size:.1f} requests (planned {planned})")
    assert at_design.failed <= ALPHA
    assert at_design.inconclusive <= ALPHA, "a green system is told"
    assert at_design.size == pytest.approx(planned, rel=0.1)
    assert test.expected == pytest.approx(at_design.size, rel=0.1), "what a report says that it would need"
    for edge in test.edges:
        at_edge = behaviour(test, edge)
        print(f"  at the edge {edge:.0%}: green {at_edge.passed:.3g} (at most {BETA:g}), red {at_edge.failed:.2g}")
        assert at_edge.passed <= BETA
        assert at_edge.failed <= ALPHA, "on the edge neither verdict is free"
        assert at_edge.passed > BETA / 4, "the miss that is allowed is used, else requests are wasted"


@pytest.mark.parametrize(("name", "test", "planned"), WORKED)
def test_no_share_inside_is_red_and_none_outside_green(name: str, test: Band, planned: int) -> None:
    print(f"\n{name}: true share: green, red, inconclusive; requests")
    for share in sorted(
        {0.0, 0.01, 0.04, 0.06, 0.08, 0.12, 0.15, 0.18, 0.22, 0.3, 0.5, 0.7, 0.9, 0.94, 0.96, 0.97, 1.0}
    ):
        at = behaviour(test, share)
        print(f"  {share:5.0%}: {at.passed:8.2g} {at.failed:8.2g} {at.inconclusive:8.2g}; {at.size:7.1f}")
        assert at.passed + at.failed + at.inconclusive == pytest.approx(1)
        if test.lower < share < test.upper or share == test.upper == 1.0:
            assert at.failed <= ALPHA
        else:
            assert at.passed <= BETA
    assert planned


@pytest.mark.parametrize(("test", "share"), [(ABOUT_TEN, 0.0), (ABOUT_TEN, 0.5), (ABOUT_TEN, 1.0), (MORE_THAN_95, 0.7)])
def test_a_defect_is_found_and_soon(test: Band, share: float) -> None:
    found = behaviour(test, share)
    assert found.failed > 1 - 1e-3
    assert found.size < 400


def test_zero_errors() -> None:
    print("\nzero errors: requests until fewer than 1 % fail with a confidence of 95 % and 99 %: ", end="")
    print(f"{Every(miss=0.05).limit} and {Every().limit} (planned 299 and 459)")
    assert (Every(miss=0.05).limit, Every().limit) == (299, 459)
    for test in (Every(), Every(miss=0.05)):
        green = (1 - test.most) ** test.limit
        print(
            f"  green at a true 1 %: {green:.4f} (at most {test.miss:g}); red at a true 0 %: 0, no error is no reason"
        )
        assert green <= test.miss < (1 - test.most) ** (test.limit - 1), "and one request fewer is too few"
        assert decide(test, [True] * test.limit).outcome is Outcome.PASSED


def test_a_wrong_threshold_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The computation itself can fail: a test that looks for less evidence breaks its promise here."""
    monkeypatch.setattr(sequential, "BETA", 0.05)
    assert behaviour(Band(0.95, 1.0, 0.99), 0.95).passed > BETA
    monkeypatch.setattr(sequential, "ALPHA", 1e-3)
    assert behaviour(Band(0.95, 1.0, 0.99), 0.95).failed > ALPHA


GREEN: list[tuple[str, Test, float]] = [
    ("about 10 % within 5–20 %", ABOUT_TEN, 0.1),
    ("between 5 % and 20 %, though it is 15 %", ABOUT_TEN, 0.15),
    ("more than 95 %", MORE_THAN_95, 0.99),
    ("more than 95 %, though it is 97 %", MORE_THAN_95, 0.97),
    ("every response", Every(), 1.0),
    ("p99 below", Band(0.99, 1.0, 0.998), 0.998),
]


def test_a_thousand_green_suites_are_never_red() -> None:
    rng = random.Random(20260825)
    suites = 1000
    counts = {name: dict.fromkeys(Outcome, 0) for name, _, _ in GREEN}
    for _, (name, test, share) in itertools.product(range(suites), GREEN):
        outcome = None
        stream: list[bool | None] = []
        while outcome is None:
            stream += [rng.random() < share for _ in range(max(200, len(stream)))]
            outcome = decide(test, stream).outcome
        counts[name][outcome] += 1
    print(f"\n{suites} green suites of {len(GREEN)} claims:")
    for name, found in counts.items():
        print(f"  {name}: " + ", ".join(f"{number} {outcome}" for outcome, number in found.items()))
        assert found[Outcome.FAILED] == 0
    at_design = [name for name, test, share in GREEN if share == test.design]
    assert all(counts[name][Outcome.PASSED] == suites for name in at_design)
