"""Linkerd's recorded behaviour, experiment by experiment, on one lab; and that each comparison can fail."""

from __future__ import annotations

import collections
import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from meshbdd.errors import MeshbddError
from meshbdd.lab.linkerd.deviations import DEVIATIONS
from tests.fidelity.linkerd.__main__ import play
from tests.fidelity.linkerd.counted import BALANCER, RULES, Sample, by_side, determined, differences
from tests.fidelity.linkerd.expected import DECLARED
from tests.fidelity.linkerd.judge import status_of
from tests.fidelity.linkerd.outcome import Outcome, judged
from tests.fidelity.linkerd.world import World, experiments, is_inbound
from tests.tools import until

NAMES = [experiment["id"] for experiment in experiments()]


@dataclass(frozen=True, slots=True)
class Played:
    """What was answered, and what the proxies had counted in the end: of the calling side, of the called one."""

    outcomes: dict[str, Outcome]
    outbound: list[Sample]
    inbound: list[Sample]

    def counted(self, experiment: dict[str, Any]) -> list[Sample]:
        return self.inbound if is_inbound(experiment) else self.outbound


@pytest.fixture(scope="module")
def played(_own_state: None, tmp_path_factory: pytest.TempPathFactory) -> Played:
    world = World.up("fidelity-linkerd", tmp_path_factory.mktemp("experiments"))
    try:
        outcomes = {outcome.name: outcome for outcome in play(world)}
        return Played(outcomes, *_counted(world))
    finally:
        world.down()


def _counted(world: World) -> tuple[list[Sample], list[Sample]]:
    """The samples when everything is counted, or as they are when time is up: a request is counted when it is over."""
    found: list[tuple[list[Sample], list[Sample]]] = []

    def agree() -> bool:
        outbound, inbound = by_side(world.metrics())
        found.append((outbound, inbound))
        return not any(list(differences(e, inbound if is_inbound(e) else outbound)) for e in experiments())

    with contextlib.suppress(MeshbddError):
        until("everything being counted as recorded", agree, seconds=5)
    return found[-1]


@pytest.fixture(scope="module")
def outcomes(played: Played) -> dict[str, Outcome]:
    return played.outcomes


@pytest.mark.timeout(300)  # the first one waits for all: they are played side by side
@pytest.mark.parametrize("name", NAMES)
def test_the_lab_behaves_as_recorded_or_as_declared(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    assert outcome.good, f"{outcome.verdict}: " + "; ".join(outcome.differences)


def test_agreement_is_counted(outcomes: dict[str, Outcome], capsys: pytest.CaptureFixture[str]) -> None:
    counts = collections.Counter(outcome.verdict for outcome in outcomes.values())
    with capsys.disabled():
        print(f"\nLinkerd: {dict(counts)}")
    assert counts["differs as declared"] <= 0.2 * len(outcomes)


def test_nothing_is_declared_of_routing_and_of_denial() -> None:
    """By what the experiments are called: ``r-`` routes and precedence, ``e-`` egress, ``in-`` policies of a server."""
    assert not [name for name in DECLARED if name.startswith(("r-", "e-", "in-"))]


def _retries(experiment: dict[str, Any]) -> bool:
    annotated = any(
        key.startswith("retry.linkerd.io/")
        for resource in experiment.get("resources") or []
        for key in resource["metadata"].get("annotations") or {}
    )
    by_profile = any(route.get("isRetryable") for route in (experiment.get("profile") or {}).get("routes") or [])
    return annotated or by_profile or any("l5d-retry" in item["request"] for item in experiment["observed"])


def test_nothing_is_declared_of_which_requests_are_retried(outcomes: dict[str, Outcome]) -> None:
    """Where something is retried at all, each answer comes after as many attempts as the recorded one."""
    retried = [e for e in experiments() if _retries(e)]
    assert len(retried) >= 20
    for experiment in retried:
        for number, (item, seen) in enumerate(
            zip(experiment["observed"], outcomes[experiment["id"]].seen, strict=True)
        ):
            if number in (DECLARED[experiment["id"]].items if experiment["id"] in DECLARED else ()):
                theirs = {(status_of(answer), answer["attempts"]) for answer in item["answers"]}
                assert {(one.status, one.attempts) for one in seen} == theirs, experiment["id"]


def test_every_declared_difference_is_one_that_status_shows() -> None:
    assert {declared.key for declared in DECLARED.values()} <= {deviation.key for deviation in DEVIATIONS}
    assert set(DECLARED) <= set(NAMES)


ANY_NUMBER = {("r-split-all-down", 0, 502), ("half-cb", 0, 200)}
"""Of these answers any number is right, so that a changed number is none: experiment, request, status."""


def _mutations(experiment: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The recording with one thing changed, for each thing that a client sees."""

    def changed(words: str, number: int, change: Any) -> tuple[str, dict[str, Any]]:
        made = copy.deepcopy(experiment)
        change(made["observed"][number])
        return f"{words} of request {number}", made

    for number, item in enumerate(experiment["observed"]):
        for name in ("body", "body_error", "reached", "application_sees_headers"):
            if name in item:
                yield from _of_item(changed, number, item, name)
        for index, answer in enumerate(item["answers"]):
            yield changed("status", number, lambda i, index=index: i["answers"][index].update(status="299"))
            yield changed("attempts", number, lambda i, index=index: i["answers"][index].update(attempts=77))
            yield changed("time", number, lambda i, index=index: i["answers"][index].update(ms=[60_000, 60_000]))
            if (experiment["id"], number, status_of(answer)) not in ANY_NUMBER:
                more = answer["count"] * 100
                yield changed("share", number, lambda i, index=index, more=more: i["answers"][index].update(count=more))
            for header in answer.get("headers") or {}:
                yield changed(
                    header,
                    number,
                    lambda i, index=index, header=header: i["answers"][index]["headers"].update({header: "x"}),
                )
            if answer.get("headers"):
                yield changed("no headers", number, lambda i, index=index: i["answers"][index].pop("headers"))
            for name in ("body", "trailers"):
                if name in answer:
                    other = "x" if name == "body" else {"grpc-status": "99"}
                    yield changed(
                        name,
                        number,
                        lambda i, index=index, name=name, other=other: i["answers"][index].update({name: other}),
                    )
            if "body_error" in answer:
                yield changed("body_error", number, lambda i, index=index: i["answers"][index].pop("body_error"))


def _of_item(changed: Any, number: int, item: dict[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if name == "reached":
        yield changed(name, number, lambda i: i.update(reached={"10.0.0.1": 1, "10.0.0.77": sum(item[name].values())}))
    elif name == "application_sees_headers":
        for header in item[name]:
            yield changed(f"sight of {header}", number, lambda i, header=header: i[name].update({header: "x"}))


UNSEEN = {"host", "l5d-orig-proto", "grpc-message"}
"""Headers that are not compared: the lab's hosts have other names, and gRPC's messages are prose."""


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_that_says_something_else_does_not_agree(outcomes: dict[str, Outcome], name: str) -> None:
    """Each recorded status, number of attempts, share, time, header, body: changed, it is a difference."""
    experiment = next(e for e in experiments() if e["id"] == name)
    missed = [
        words
        for words, mutated in _mutations(experiment)
        if judged(mutated, outcomes[name].seen).good and not any(f"{header} of" in words for header in UNSEEN)
    ]
    assert not missed


@pytest.mark.parametrize("name", NAMES)
def test_proxies_count_as_recorded_or_as_declared(played: Played, name: str) -> None:
    experiment = next(e for e in experiments() if e["id"] == name)
    assert list(differences(experiment, played.counted(experiment))) == []


@pytest.mark.parametrize("rule", RULES)
def test_each_declared_way_of_counting_is_needed(played: Played, rule: str) -> None:
    others = [name for name in RULES if name != rule]
    assert any(list(differences(e, played.counted(e), others)) for e in experiments())


@pytest.mark.parametrize("name", NAMES)
def test_another_number_than_the_recorded_one_is_noticed(played: Played, name: str) -> None:
    """Each recorded series of an experiment whose numbers are determined: gone, or with another number."""
    experiment = next(e for e in experiments() if e["id"] == name)
    counted = experiment.get("metrics_after") or {}
    for series in counted if determined(experiment) else ():
        changed = {**experiment, "metrics_after": {**counted, series: 1000}}
        declared = not list(differences({**experiment, "metrics_after": {series: 1}}, [])) or series.startswith(
            BALANCER
        )
        assert declared or list(differences(changed, played.counted(experiment))), series
