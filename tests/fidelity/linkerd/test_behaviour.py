"""Linkerd's recorded behaviour, experiment by experiment, on one lab."""

from __future__ import annotations

import collections
import copy
from collections.abc import Iterator

import pytest

from meshbdd.lab.linkerd.deviations import DEVIATIONS
from tests.fidelity.linkerd.__main__ import play
from tests.fidelity.linkerd.judge import DECLARED, Outcome, run
from tests.fidelity.linkerd.world import World, experiments


@pytest.fixture(scope="module")
def linkerd(_own_state: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World.up("fidelity-linkerd", tmp_path_factory.mktemp("experiments"))
    yield world
    world.down()


@pytest.fixture(scope="module")
def outcomes(linkerd: World) -> dict[str, Outcome]:
    return {outcome.name: outcome for outcome in play(linkerd)}


@pytest.mark.timeout(300)  # the first one waits for all: they are played side by side
@pytest.mark.parametrize("name", [experiment["id"] for experiment in experiments()])
def test_the_lab_behaves_as_recorded_or_as_declared(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    assert outcome.good, f"{outcome.verdict}: " + "; ".join(outcome.differences)


def test_agreement_is_counted(outcomes: dict[str, Outcome], capsys: pytest.CaptureFixture[str]) -> None:
    counts = collections.Counter(outcome.verdict for outcome in outcomes.values())
    with capsys.disabled():
        print(f"\nLinkerd: {dict(counts)}")
    assert counts["differs as declared"] <= 0.2 * len(outcomes)


def test_every_declared_difference_is_one_that_status_shows() -> None:
    assert set(DECLARED.values()) <= {deviation.key for deviation in DEVIATIONS}
    assert set(DECLARED) <= {experiment["id"] for experiment in experiments()}


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("r-two", "status", "404"),
        ("rt-body", "attempts", 2),
        ("t-rule", "ms", [5000, 9000]),
        ("r-nomatch", "headers", {"l5d-proxy-error": "logical service 10.1.1.1:80: service unavailable"}),
    ],
)
def test_the_comparison_sees_a_wrong_recording(linkerd: World, name: str, field: str, value: object) -> None:
    """It can fail: one changed value of the recording is found."""
    experiment = copy.deepcopy(next(e for e in experiments() if e["id"] == name))
    experiment["observed"][-1]["answers"][0][field] = value
    assert run(linkerd, experiment).differences
