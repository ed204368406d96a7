"""The phrases of the vocabulary: what each means, and what it needs of a mesh.

The needs are written down nowhere: a step is run before a stand-in for the world, which remembers what it is asked for.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from behave.model import Step
from behave.step_registry import registry

from meshbdd.errors import BadInput, MeshbddError
from meshbdd.intents import Intent, ServiceRef, TlsMode
from meshbdd.mesh.abilities import Answer, Answering, both
from meshbdd.scenario import Changes, Circuits, Observations, Overhead, Resilience, Traffic
from meshbdd.scenario.needs import Asked, services_in
from meshbdd.vocabulary import PLACEHOLDER, in_a_line, is_ours, step_problem
from meshbdd.world import World

TARGETS = ("lab", "cluster")
_NAMESPACE = "shop"
_MODE = "mode"
_KEYWORD = re.compile(r"(?:Given|When|Then|And|But) ")


@dataclass(frozen=True, slots=True)
class Phrase:
    """One phrase.

    Attributes:
        pattern: The phrase, its placeholders in braces.
        told: What it means; several paragraphs.
        example: A step that uses it, with its keyword.
        topic: The file of steps that it comes from, ``fault`` for instance.
        asked: What its example asks of a mesh.
        function: The step's function.
    """

    pattern: str
    told: str
    example: str
    topic: str
    asked: tuple[Asked, ...]
    function: Any

    @property
    def meaning(self) -> str:
        """What it means, in a sentence."""
        return self.told.partition("\n")[0]

    def answer(self, mesh: Answering, target: str) -> Answer:
        """What a mesh says of it."""
        return both([mesh(asked.need, target) for asked in self.asked])

    def told_by(self, mesh: Answering) -> str:
        """The same for both targets, in a line."""
        lab, cluster = (str(self.answer(mesh, target)) for target in TARGETS)
        return lab if lab == cluster else f"{lab}; on a cluster {cluster}"


class _Part:
    """A part of a world that takes every call, and remembers what is asked of the mesh by it."""

    def __init__(self, of: type, found: list[Asked]) -> None:
        self._of = of
        self._found = found

    def __getattr__(self, name: str) -> Any:
        ability = getattr(getattr(self._of, name), "ability", None)

        def called(*args: Any, **_named: Any) -> tuple[()]:
            if ability is not None:
                self._found.append(Asked(ability, services_in(*args)))
            self._found.extend(Asked(arg, services_in(arg)) for arg in args if isinstance(arg, Intent))
            return ()

        return called


class _StandIn(_Part):
    """In the place of a scenario's world."""

    def __init__(self, namespace: str) -> None:
        self.asked: list[Asked] = []
        super().__init__(World, self.asked)
        self.namespace = namespace
        self.place = None
        self.changes = _Part(Changes, self.asked)
        self.traffic = _Part(Traffic, self.asked)
        self.observed = _Part(Observations, self.asked)
        self.resilience = _Part(Resilience, self.asked)
        self.circuits = _Part(Circuits, self.asked)
        self.overhead = _Part(Overhead, self.asked)

    def service(self, text: str) -> ServiceRef:
        """A service as the tester names it."""
        return ServiceRef.parse(text, self.namespace)


class _Reader:
    """In the place of behave's context: remembers whether a step looked at what stands below it."""

    def __init__(self, world: _StandIn, table: Any, text: Any) -> None:
        self.world = world
        self._below = {"table": table, "text": text}
        self.read: set[str] = set()

    @property
    def table(self) -> Any:
        """The step's table."""
        return self._look("table")

    @property
    def text(self) -> Any:
        """The step's text."""
        return self._look("text")

    def _look(self, name: str) -> Any:
        self.read.add(name)
        return self._below[name]


def unread(match: Any, table: Any, text: Any, namespace: str = _NAMESPACE) -> BadInput | None:
    """What is wrong with a table or a text below a step that looks at none: it would seem to say something, and say nothing.

    Nothing is wrong below a step that a project wrote itself: what it looks at is known when it runs.

    Args:
        match: What behave's registry found for the step.
        table: The step's table, ``None`` for none.
        text: The step's text, ``None`` for none.
        namespace: The default namespace.
    """
    below = {"table": table, "text": text}
    if all(found is None for found in below.values()) or not is_ours(match.func):
        return None
    reader = _Reader(_StandIn(namespace), table, text)
    with contextlib.suppress(MeshbddError):  # the step itself will say it, when its turn comes
        match.func(reader, **_named(match))
    for name, found in below.items():
        if found is not None and name not in reader.read:
            return BadInput("MB0124", f"This step takes no {name}: nothing would come of it.", help="take it out")
    return None


def problem_of(step: Any, known: Any = registry) -> str | None:
    """Why a step is not understood; ``None`` where it is.

    Args:
        step: behave's model of it.
        known: behave's registry of steps.
    """
    problem = step_problem(known, step)
    if problem is None and (error := unread(known.find_match(step), step.table, step.text)) is not None:
        return in_a_line(error)
    return problem


def asked_by(step: Any, namespace: str, known: Any = registry) -> tuple[Asked, ...]:
    """What a step asks of the mesh. Nothing is known of steps that a project wrote itself, nor of one with a mistake in it.

    Args:
        step: behave's model of it.
        namespace: The default namespace.
        known: behave's registry of steps.
    """
    match = known.find_match(step)
    if match is None or getattr(match, "stored_error", None) or not is_ours(match.func):
        return ()
    world = _StandIn(namespace)
    try:
        match.func(_Reader(world, step.table, step.text), **_named(match))
    except MeshbddError:
        return ()  # the step itself will say it, when its turn comes
    return tuple(world.asked)


def _named(match: Any) -> dict[str, Any]:
    return {argument.name: argument.value for argument in match.arguments}


def phrases() -> list[Phrase]:
    """Every phrase that is registered, in the order of the topics and of their files."""
    return [phrase for matcher in registry.steps["step"] if is_ours(matcher.func) for phrase in _phrases(matcher)]


def _phrases(matcher: Any) -> Iterator[Phrase]:
    """A phrase; one for each mode of mutual TLS where it takes one, for a mesh may have some and not others."""
    lines = [line.strip() for line in (matcher.func.__doc__ or "").strip().splitlines()]
    example = next(line.removeprefix("Example: ") for line in lines if line.startswith("Example: "))
    told = "\n".join(line for line in lines if not line.startswith("Example: ")).strip()
    keyword, _, text = example.partition(" ")
    pattern = PLACEHOLDER.sub(r"{\1}", matcher.pattern)
    topic = Path(matcher.func.__code__.co_filename).stem.removesuffix("_steps")
    mode = next((argument for argument in matcher.match(text).arguments if argument.name == _MODE), None)
    for value in TlsMode if mode else ("",):
        said = f"{text[: mode.start]}{value}{text[mode.end :]}" if mode else text
        body = f"GET http://{_NAMESPACE}" if said.endswith(":") else None
        step = Step("", 0, keyword, keyword.lower(), said, body)
        shown = pattern.replace(f"{{{_MODE}}}", str(value))
        yield Phrase(shown, told, f"{keyword} {said}", topic, asked_by(step, _NAMESPACE), matcher.func)


def found(words: str, among: Sequence[Phrase]) -> Sequence[Phrase]:
    """The phrases in which all of some words stand, in phrase, meaning or example; of a whole step, its own phrase."""
    match = registry.find_match(SimpleNamespace(step_type="step", name=_KEYWORD.sub("", words)))
    if match is not None:
        return [phrase for phrase in among if phrase.function is match.func]
    wanted = words.lower().split()
    return [p for p in among if all(word in f"{p.pattern}\n{p.told}\n{p.example}".lower() for word in wanted)]
