"""Four places where behave 1.3 stands in a tester's way, and there is no hook to step in."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import behave.model
import behave.runner
from behave.matchers import Match, StepParseError
from behave.runner_util import load_step_modules

from meshbdd.errors import MeshbddError, Place
from meshbdd.phrases import problem_of, unread


def allow_a_project_without_steps() -> None:
    """Let a project have an ``environment.py`` and no folder ``steps``: meshbdd brings the steps along.

    behave lists that folder without looking whether it is there. It loads ``environment.py`` first, which imports us.
    """

    def load_those_that_exist(paths: Sequence[str]) -> None:
        load_step_modules([path for path in paths if Path(path).is_dir()])

    behave.runner.load_step_modules = load_those_that_exist


def refuse_what_is_not_read() -> None:
    """Let no step of the vocabulary run with a table or a text below it that it does not look at.

    behave gives these to every step, and a step's function alone knows whether it takes them.
    """
    run = Match.run

    def run_if_read(self: Match, context: Any) -> None:
        problem = unread(self, context.table, context.text)
        if problem is not None:
            raise problem
        run(self, context)

    Match.run = run_if_read


class _UndefinedSteps(list[Any]):
    """A runner's list of undefined steps, to which behave adds a step before it shows it."""

    def __init__(self, known: Any) -> None:
        super().__init__()
        self._known = known

    def append(self, step: Any) -> None:
        step.error_message = problem_of(step, self._known)
        super().append(step)


def explain_undefined_steps(runner: Any) -> None:
    """Say below a step that nobody knows what may have been meant, in place of Python for a tester to fill in.

    Args:
        runner: behave's.
    """
    runner._undefined_steps = _UndefinedSteps(runner.step_registry)
    runner.config.show_snippets = False


class _Sentences:
    """In place of the module ``traceback`` in behave's model: our own errors are sentences, not call stacks."""

    def __init__(self, place: Callable[[], Place | None]) -> None:
        self._place = place

    def __getattr__(self, name: str) -> Any:
        return getattr(traceback, name)

    def format_exc(self, *args: Any, **options: Any) -> str:
        """The exception that is being handled, as behave shows it below the step."""
        error = sys.exc_info()[1]
        if isinstance(error, StepParseError):
            return str(error)  # a converter of the vocabulary has said what is wrong
        if not isinstance(error, MeshbddError):
            return traceback.format_exc(*args, **options)
        error.met_at(self._place())
        return str(error)


def show_sentences(place: Callable[[], Place | None]) -> None:
    """Show our errors as sentences; behave formats what a step raised before any hook could.

    Args:
        place: Where the step that runs stands.
    """
    behave.model.traceback = _Sentences(place)
