"""What became of a scenario, in the words of Allure, of the exit code and of a reviewer.

behave has the last word: the status here is always the counterpart of behave's own. What this adds is why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from allure_commons.model2 import Status
from behave.matchers import StepParseError

from meshbdd.errors import (
    BadInput,
    EnvironmentBroken,
    Inconclusive,
    MeshbddError,
    NotPossible,
    Place,
    Refused,
    RestoreIncomplete,
)
from meshbdd.report import redact

STATUS: Mapping[str, str] = {
    "passed": Status.PASSED,
    "pending_warn": Status.PASSED,
    "failed": Status.FAILED,
    "skipped": Status.SKIPPED,
    "untested": Status.UNKNOWN,
    "untested_pending": Status.UNKNOWN,
    "untested_undefined": Status.UNKNOWN,
    "error": Status.BROKEN,
    "hook_error": Status.BROKEN,
    "cleanup_error": Status.BROKEN,
    "undefined": Status.BROKEN,
    "pending": Status.BROKEN,
}
"""behave's status (``behave.model_type.Status``) → Allure's. *unknown*: nothing ran, so nothing is known."""

_UNDERSTOOD = ("undefined", "pending")


class Category(StrEnum):
    """Why a scenario is not green; the names of the report's categories, first match first."""

    RESTORE = "Restore incomplete"
    PRODUCT = "Product defect"
    INCONCLUSIVE = "Inconclusive"
    FEATURE = "Feature file"
    MESH = "Mesh configuration"
    REFUSED = "Refused by a guard rail"
    ENVIRONMENT = "Environment"
    INTERRUPTED = "Interrupted"
    UNEXPECTED = "Unexpected error"

    @property
    def prefix(self) -> str:
        """What a message of this category begins with; by it both versions of Allure sort it."""
        return "" if self is Category.PRODUCT else f"{self.value.lower()}: "

    @property
    def exit_code(self) -> int:
        """The exit code of ``meshbdd run`` where nothing graver happened."""
        return {
            Category.RESTORE: 3,
            Category.PRODUCT: 1,
            Category.FEATURE: 2,
            Category.MESH: 2,
            Category.REFUSED: 5,
        }.get(self, 4)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that went wrong in a scenario, or outside of all; without secrets.

    Attributes:
        category: Of which kind.
        sentence: What.
        trace: The call stack of an error that nobody foresaw; empty for sentences.
        step: The step that it went wrong in; empty outside of steps.
        location: Where that step stands, ``features/x.feature:12``.
    """

    category: Category
    sentence: str
    trace: str = ""
    step: str = ""
    location: str = ""

    def __post_init__(self) -> None:
        # Here, because errors of hooks, clean-ups and steps come on many ways, and all of them end here.
        for name in ("sentence", "trace", "step"):
            object.__setattr__(self, name, redact.text(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a scenario.

    Attributes:
        status: Allure's word, the counterpart of behave's.
        problems: What went wrong, in the order of time.
        note: Why it was skipped or did not run; empty otherwise.
        selected: Whether the run was to run it, by its tags, names and lines.
    """

    status: str
    problems: tuple[Problem, ...] = ()
    note: str = ""
    selected: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "note", redact.text(self.note))

    @property
    def category(self) -> Category | None:
        """The gravest kind of what went wrong, of those that fit the status: behave's last word is the status."""
        kinds = {problem.category for problem in self.problems}
        if self.status != Status.FAILED and len(kinds) > 1:
            kinds.discard(Category.PRODUCT)
        return next((category for category in Category if category in kinds), None)

    @property
    def gravest(self) -> Problem | None:
        """The first problem of the category; ``None`` where nothing went wrong."""
        category = self.category
        return next((problem for problem in self.problems if problem.category is category), None)

    @property
    def message(self) -> str:
        """What a reviewer reads first: the gravest sentence, then the others."""
        first = self.gravest
        if first is None:
            return self.note
        others = [f"also: {problem.category.prefix}{problem.sentence}" for problem in self.problems if problem != first]
        return "\n".join([first.category.prefix + first.sentence, *others])

    @property
    def trace(self) -> str:
        """Call stacks, where there are any."""
        return "\n".join(problem.trace for problem in self.problems if problem.trace)


def place_of(step: Any) -> Place:
    """Where a step of behave's model stands."""
    return Place(Path(step.filename), step.line)


def category_of(error: BaseException | None) -> Category:
    """The kind of an error."""
    match error:
        case RestoreIncomplete():
            return Category.RESTORE
        case AssertionError():
            return Category.PRODUCT
        case Inconclusive():
            return Category.INCONCLUSIVE
        case BadInput() if error.code.startswith("MB04"):
            return Category.MESH
        case BadInput() | StepParseError():
            return Category.FEATURE
        case Refused():
            return Category.REFUSED
        case EnvironmentBroken() | NotPossible():  # the latter only where a project's own after_step replaces ours
            return Category.ENVIRONMENT
        case KeyboardInterrupt():
            return Category.INTERRUPTED
    return Category.UNEXPECTED


def sentence_of(error: BaseException) -> str:
    """An error in one sentence and one action."""
    if isinstance(error, StepParseError):
        error = _said_by_converter(error)
    if isinstance(error, MeshbddError):
        place = f" ({error.place})" if culprit_of(error) else ""
        return error.sentence + place + (f"\nhelp: {error.help}" if error.help else "")
    if isinstance(error, KeyboardInterrupt):
        return "the run was ended while this step ran"
    if isinstance(error, AssertionError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _said_by_converter(error: StepParseError) -> BaseException:
    """What a converter of the vocabulary said; behave wraps it, and what wraps it adds nothing."""
    below: BaseException | None = error
    while below is not None and not isinstance(below, MeshbddError):
        below = below.__cause__
    return below or error


def outcome_of(scenario: Any) -> Outcome:
    """What became of a scenario that behave has finished with.

    Args:
        scenario: behave's model of it.
    """
    status = STATUS.get(scenario.status.name, Status.BROKEN)
    broken_above = next((above for above in _containers(scenario) if above.hook_failed), None)
    if status == Status.UNKNOWN and broken_above is not None:
        category = category_of(broken_above.exception) if broken_above.exception else Category.UNEXPECTED
        how = "was interrupted" if category is Category.INTERRUPTED else "failed"
        told = (broken_above.error_message or "").strip() or f"a hook of the {broken_above.type} {how}"
        return Outcome(Status.BROKEN, (Problem(category, told),))
    if status == Status.UNKNOWN:
        return Outcome(status, note="not run: the run ended before it")
    if status == Status.SKIPPED:
        reason = scenario.skip_reason or next((above.skip_reason for above in _containers(scenario)), None)
        told = reason or "not selected by tags, names or lines"
        return Outcome(status, note=f"skipped: {told}", selected=reason is not None)
    if status == Status.PASSED:
        return Outcome(status)
    problems = (*_step_problems(scenario), *_hook_problems(scenario))
    return Outcome(status, problems or (Problem(Category.UNEXPECTED, f"behave says {scenario.status.name}"),))


def _containers(scenario: Any) -> Iterator[Any]:
    """The rule and the feature around a scenario."""
    above = scenario.parent
    while above is not None:
        if hasattr(above, "run_items"):
            yield above
        above = getattr(above, "parent", None)


def culprit_of(error: BaseException | None) -> Place | None:
    """Where a step stands that is not understood, of an error that another step raised before anything was changed."""
    return error.place if isinstance(error, BadInput) and error.code == "MB0508" else None


def _step_problems(scenario: Any) -> Iterator[Problem]:
    culprits = {culprit_of(step.exception) for step in scenario.all_steps}
    for step in scenario.all_steps:
        name = step.status.name
        if STATUS.get(name) not in {Status.FAILED, Status.BROKEN} or place_of(step) in culprits:
            continue
        yield replace(
            _problem_of(step), step=f"{(at := _guilty(step, scenario)).keyword} {at.name}", location=str(at.location)
        )


def _problem_of(step: Any) -> Problem:
    """What went wrong in a step."""
    error = step.exception
    if step.status.name in _UNDERSTOOD:
        told = step.error_message if step.status.name == "undefined" else "this step is not implemented yet."
        return Problem(
            Category.FEATURE, f"{step.keyword} {step.name} ({step.location}): {told or 'no step says this.'}"
        )
    if error is None:
        return Problem(Category.UNEXPECTED, (step.error_message or f"the step {step.name} broke").strip())
    category = category_of(error)
    return Problem(category, sentence_of(error), (step.error_message or "") if category is Category.UNEXPECTED else "")


def _guilty(step: Any, scenario: Any) -> Any:
    """The step that an error is about: a later one where that is why this one changed nothing."""
    error = step.exception
    steps = scenario.all_steps if isinstance(error, MeshbddError) else ()
    return next((other for other in steps if error.is_of(place_of(other))), step)


def _hook_problems(scenario: Any) -> Iterator[Problem]:
    if scenario.hook_failed:
        error = scenario.exception
        if isinstance(error, MeshbddError):
            yield Problem(category_of(error), sentence_of(error))
        if isinstance(error, KeyboardInterrupt):
            ran = any(step.status.name not in {"untested", "skipped"} for step in scenario.all_steps)
            when = "after the steps of this scenario" if ran else "before the first step of this scenario"
            yield Problem(Category.INTERRUPTED, f"the run was ended {when}")
        told = (scenario.error_message or "").strip()
        if told and not (isinstance(error, MeshbddError) and told.count("HOOK-ERROR") == 1):
            category = Category.RESTORE if f"{RestoreIncomplete.__name__}: " in told else Category.UNEXPECTED
            yield Problem(category, told)
    if scenario.status.name == "cleanup_error":
        lines = (scenario.captured.output or "").splitlines()
        told = next((line for line in lines if line.startswith("CLEANUP-ERROR")), "a cleanup function failed")
        yield Problem(Category.UNEXPECTED, told)
