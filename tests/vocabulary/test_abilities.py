"""What the table says of a phrase is what the phrase does: skipped with that sentence, or done."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import meshbdd.steps
import pytest
from behave.model import Step
from behave.parser import parse_feature
from behave.step_registry import registry

from meshbdd.cluster import Cluster
from meshbdd.errors import BadInput, NotPossible
from meshbdd.intents import Limit, Mirror, ServiceRef
from meshbdd.mesh import STATEMENTS, Gate, Istio, Linkerd, Mesh
from meshbdd.mesh.abilities import Ability, Answer, Need, both, no
from meshbdd.phrases import TARGETS, Phrase, asked_by, found, phrases
from meshbdd.rehearsal.stage import StageCluster, StageGate
from meshbdd.scenario import Environment, StepText
from meshbdd.settings import Settings
from meshbdd.sidecars import ISTIO
from meshbdd.skipping import impossible
from meshbdd.world import World
from tests.vocabulary.page import page

assert meshbdd.steps

PHRASES = phrases()


class Planned(Exception):
    """A mesh was asked to plan something."""


class _Mesh:
    """A mesh that says what a real one says, and gets no further."""

    name = "istio"
    sidecars = ISTIO

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.checked: list[ServiceRef] = []

    def check(self, _need: Need, services: tuple[ServiceRef, ...]) -> None:
        self.checked += services
        if any(service.name == "bare" for service in services):
            raise BadInput("MB0433", "bare.shop has no waypoint.", help="install one")

    def plan(self, *_: Any) -> None:
        raise Planned

    plan_manifest = plan


def _service(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": {}}


def _environment(answer: Any, target: str = "lab") -> Environment:
    services = [
        _service(name)
        for name in ("order-service", "payment-service", "inventory-service", "notification-service", "bare")
    ]
    cluster = cast("Cluster", StageCluster(services, "shop", lambda _: None))
    mesh, gate = cast("Mesh", _Mesh(answer)), cast("Gate", StageGate())
    return Environment(Settings(namespace="shop"), cluster, mesh, gate, "r1", target, lambda _: None)


def _step(text: str) -> Step:
    return Step("x.feature", 3, "Given", "given", text, "GET http://shop" if text.endswith(":") else None)


def _run(text: str, environment: Environment) -> None:
    """Run a step on a world of its own, as behave does."""
    step = _step(text)
    match = registry.find_match(step)
    world = World(environment, Path("x.feature"), ())
    context = SimpleNamespace(world=world, table=step.table, text=step.text)
    match.func(context, **{argument.name: argument.value for argument in match.arguments})


def _id(phrase: Phrase) -> str:
    return phrase.example


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("mesh", STATEMENTS)
@pytest.mark.parametrize("phrase", PHRASES, ids=_id)
def test_a_phrase_does_what_the_table_says(phrase: Phrase, mesh: str, target: str) -> None:
    answer = phrase.answer(STATEMENTS[mesh], target)
    refused: NotPossible | None = None
    try:
        _run(phrase.example.partition(" ")[2], _environment(STATEMENTS[mesh], target))
    except NotPossible as error:
        refused = error
    except Exception:  # noqa: BLE001
        pass  # it went on to what only a real mesh can do
    assert (refused is None) is answer.possible
    if refused is not None:
        assert str(answer) == f"no: because {answer.told}"
        assert answer.told in refused.sentence


def test_the_table_has_every_phrase_and_tells_what_linkerd_cannot() -> None:
    assert {phrase.function for phrase in PHRASES} == {matcher.func for matcher in registry.steps["step"]}
    refused = [p.pattern for p in PHRASES if not p.answer(STATEMENTS["linkerd"], "lab").possible]
    assert "traffic to {service} is mirrored to {subset}" in refused
    assert "mutual TLS is disabled" in refused
    assert "mutual TLS is strict" not in refused
    assert all(p.answer(STATEMENTS["istio"], target).possible for p in PHRASES for target in TARGETS)


@pytest.mark.parametrize(("name", "planner"), [("istio", Istio), ("linkerd", Linkerd)])
@pytest.mark.parametrize("target", TARGETS)
def test_a_planner_says_what_the_table_says(name: str, planner: Callable[[Cluster, str], Mesh], target: str) -> None:
    mesh = planner(cast("Cluster", StageCluster((), "shop", lambda _: None)), "r1")
    assert mesh.name == name
    for phrase in PHRASES:
        assert phrase.answer(mesh.answer, target) == phrase.answer(STATEMENTS[name], target)


def test_nothing_is_needed_that_a_phrase_does_not_ask_for() -> None:
    """A phrase whose need got lost would be run where it cannot be."""
    needed = {asked.need for phrase in PHRASES for asked in phrase.asked if isinstance(asked.need, Ability)}
    assert needed == set(Ability), "an ability that no phrase needs"
    (mirror,) = asked_by(_step("traffic to order-service.x is mirrored to canary"), "shop")
    assert mirror.need == Mirror(ServiceRef("order-service", "x"), "canary")
    (access,) = asked_by(_step("only order-service may call payment-service"), "shop")
    assert access.services == (ServiceRef("order-service", "shop"), ServiceRef("payment-service", "shop"))


TEXTS = re.compile(r"(?:Given|When|Then|And|But) (.+?)(?=\\n|\n|\"\"\"|'$|$)", re.MULTILINE)


def _used(project: Path) -> Iterator[str]:
    for file in [*(project / "features").rglob("*.feature"), *(project / "tests").rglob("*.feature")]:
        feature = parse_feature(file.read_text("utf-8"), filename=str(file))
        for scenario in feature.walk_scenarios():
            yield from (step.name for step in scenario.all_steps)
    for file in (project / "tests").rglob("test_*.py"):
        if not {"vocabulary", "unit"} & set(file.relative_to(project).parts):
            yield from TEXTS.findall(file.read_text("utf-8"))


def test_every_phrase_is_used_by_a_feature_or_a_test(project: Path) -> None:
    texts = set(_used(project))
    unused = [
        phrase.pattern
        for phrase in PHRASES
        if not any((match := registry.find_match(_step(text))) and match.func is phrase.function for text in texts)
    ]
    assert unused == []


def test_no_scenario_names_a_mesh(project: Path) -> None:
    """A tag demands one. Only what Prometheus is asked bears a mesh's name, since its metrics are called so."""
    for file in (project / "features").rglob("*.feature"):
        feature = parse_feature(file.read_text("utf-8"), filename=str(file))
        told = [feature.name, *feature.description]
        for scenario in feature.walk_scenarios():
            told += [scenario.name, *scenario.description]
            told += [step.name for step in scenario.all_steps if not step.name.startswith("the query ")]
        assert [line for line in told if re.search("istio|linkerd", line, re.IGNORECASE)] == []


def test_several_needs_are_answered_at_once() -> None:
    assert str(both([])) == "yes"
    assert (
        str(both([Answer(True, "by a"), Answer(True), Answer(True, "with b"), Answer(True, "by a")]))
        == "yes, by a; with b"
    )
    assert str(both([Answer(True, "by a"), no("of c"), no("of d")])) == "no: because of c"


def _texts(*steps: str) -> list[StepText]:
    return [StepText(text, cast("Any", None), needs=asked_by(_step(text), "shop")) for text in steps]


def test_a_scenario_is_known_to_be_impossible_before_it_begins() -> None:
    environment = _environment(STATEMENTS["linkerd"])
    fault, limit = "payment-service fails 100%", "payment-service accepts at most 2 concurrent requests"
    told = impossible(environment, _texts(fault, limit))
    assert (
        told
        == f"«{limit}» is not possible here, because {STATEMENTS['linkerd'](Limit(ServiceRef('a', 'b'), 2), 'lab').told}."
    )
    assert impossible(environment, _texts(fault)) is None
    assert impossible(_environment(STATEMENTS["istio"]), _texts(fault, limit)) is None


def test_a_mistake_is_told_as_such_and_not_skipped_over() -> None:
    mistaken = StepText("the sky falls", cast("Any", None), problem="no step says this")
    steps = [*_texts("payment-service accepts at most 2 concurrent requests"), mistaken]
    assert impossible(_environment(STATEMENTS["linkerd"]), steps) is None
    assert asked_by(_step("payment-service fails 50"), "shop") == ()
    assert asked_by(_step("the sky falls"), "shop") == ()


def test_what_a_later_step_lacks_is_told_before_the_first_change() -> None:
    """The Given is sound, the Then could never be judged: nothing may be written for it."""
    environment = _environment(STATEMENTS["istio"])
    steps = _texts("payment-service fails 100%", "the certificate of bare is valid for at least 1h")
    assert impossible(environment, steps) is None, "not impossible: something has to be installed"
    world = World(environment, Path("x.feature"), steps)
    with pytest.raises(BadInput, match=r"bare\.shop has no waypoint"):
        world.changes.prepare()


@pytest.mark.parametrize(
    ("words", "patterns"),
    [
        ("circuit opens", ["{service} has a circuit breaker that opens after {count} consecutive errors for {duration}", "the circuit to {service} opens within {duration}"]),
        ("payment-service fails 30% with status 503", ["{service} fails {percent} with status {status}"]),
        ("Given inventory-service is slowed by 2s", ["{service} is slowed by {duration}"]),
        ("moon", []),
    ],
)  # fmt: skip
def test_phrases_are_found_by_words_and_by_whole_steps(words: str, patterns: list[str]) -> None:
    assert [phrase.pattern for phrase in found(words, PHRASES)] == patterns


def test_the_page_is_that_of_the_code(project: Path) -> None:
    assert (project / "docs" / "steps.md").read_text("utf-8") == page(), "the vocabulary has changed: run `make steps`"
