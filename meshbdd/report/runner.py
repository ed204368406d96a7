"""behave, run in this process with meshbdd's formatter behind everything that the user asked for."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import behave.__main__ as behave_main
from behave.configuration import Configuration
from behave.exception import ConfigError, TagExpressionError
from behave.formatter._registry import register_as
from behave.formatter.base import StreamOpener
from behave.parser import ParserError
from behave.reporter.summary import SummaryReporter
from behave.runner import Runner

from meshbdd.errors import BadInput, EnvironmentBroken, MeshbddError, Place
from meshbdd.report.careful import CarefulFormatter
from meshbdd.report.exits import PastBehave, guarded
from meshbdd.report.formatter import NAMES, MeshbddFormatter, expect, report_problem
from meshbdd.report.outcome import Category, Problem
from meshbdd.report.record import RunRecord
from meshbdd.report.results import ResultsFolder
from meshbdd.report.runfile import add_problem


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run of behave ended.

    Attributes:
        code: behave's exit code.
        record: What became of the scenarios; ``None`` where behave was asked for something else than running them.
        folder: The results; ``None`` as above.
    """

    code: int
    record: RunRecord | None = None
    folder: ResultsFolder | None = None


class _CouldNotRun(PastBehave):
    """Carries an error past behave, which would print it in its own words, or with a call stack."""


class _Runner(Runner):  # type: ignore[misc] # behave has no types
    formatters: list[Any]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._called: set[str] = set()  # names of hooks

    def run(self) -> bool:
        try:
            return bool(super().run())
        except (KeyboardInterrupt, _CouldNotRun):
            raise
        except BaseException as error:
            # What fails outside of steps and hooks ends behave at once, without the hooks that undo changes and take
            # a lab down, and without an end of its output. A file of steps may call sys.exit() when it is read.
            self._call_last_hooks()
            self._close_formatters()
            raise _CouldNotRun from error

    def _call_last_hooks(self) -> None:
        """Those that have not been called, of a run that had begun."""
        scenario = getattr(self.context, "scenario", None)
        last: list[tuple[Any, ...]] = [("after_scenario", scenario)] if scenario is not None else []
        last += [("after_all",)] if self._called & {"before_all", "after_all"} == {"before_all"} else []
        for name, *arguments in last:
            hook = self.hooks.get(name)
            try:
                if hook is not None:
                    guarded(hook, f"the hook {name}")(self.context, *arguments)
            except Exception as error:  # noqa: BLE001 - what stopped the run is told; each hook has its chance
                sys.stderr.write(f"meshbdd: {name} failed: {error}\n")

    def _close_formatters(self) -> None:
        for formatter in self.formatters:
            try:
                formatter.close()
            except Exception as error:  # noqa: BLE001 - as above
                sys.stderr.write(f"meshbdd: the formatter {formatter.name} failed at its end: {error}\n")

    def run_model(self, features: Any = None) -> bool:
        self.formatters = [_with_care(formatter) for formatter in self.formatters]
        expect(self.features)  # also those that a failing before_all leaves out
        try:
            return bool(super().run_model(features))
        except _CouldNotRun:
            self._end_before_the_first()
            raise

    def run_hook(self, hook_name: str, *arguments: Any) -> bool:
        """behave's, but for ``before_all``: it would tell of an error there in two places, as of a user who aborted."""
        self._called.add(hook_name)
        if hook_name == "before_all" and hook_name in self.hooks:
            self.hooks[hook_name] = self._carrying(self.hooks[hook_name])
        return bool(super().run_hook(hook_name, *arguments))

    def _carrying(self, hook: Callable[[Any], None]) -> Callable[[Any], None]:
        """The hook, whose errors pass behave; Ctrl-C does not, and behave goes on to what comes last."""
        before_all = guarded(hook, "the hook before_all")

        def run(context: Any) -> None:
            try:
                before_all(context)
            except Exception as error:  # noqa: BLE001 - a project's own hook may raise anything
                if not self.config.meshbdd_record.problems:  # meshbdd's own hook has told the report already
                    report_problem(error)
                raise _CouldNotRun from (error if isinstance(error, MeshbddError) else _broken(error))

        return run

    def _end_before_the_first(self) -> None:
        """Do what behave does at the end of a run, without its count of the nothing that ran."""
        self._call_last_hooks()
        reporters = [one for one in self.config.reporters if not isinstance(one, SummaryReporter)]
        for feature in self.features:
            for reporter in reporters:
                reporter.feature(feature)
        self._close_formatters()
        for reporter in reporters:
            reporter.end()


def _broken(error: Exception) -> EnvironmentBroken:
    """An error that a project's own hook did not foresee."""
    return EnvironmentBroken(
        "MB0227",
        f"The run could not begin: before_all failed with {type(error).__name__}: {error}",
        place=_place_of(error),
        help="mend what it names; nothing was run",
    )


def _place_of(error: BaseException | None) -> Place | None:
    """The line that raised an error."""
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    return Place(Path(frames[-1].filename), frames[-1].lineno) if frames else None


def _print(*words: Any, **options: Any) -> None:
    """``print`` for behave's command, which begins every run with a line about the class that runs it."""
    if words != (f"USING RUNNER: {_Runner.__module__}:{_Runner.__name__}",):
        print(*words, **options)  # noqa: T201 - it is behave's own


behave_main.print = _print


def run_behave(arguments: Sequence[str], results: Path) -> Ran:
    """Run behave with the user's arguments, and our formatter behind theirs.

    Args:
        arguments: behave's.
        results: Folder for the results where the arguments do not name one with ``-f meshbdd -o FOLDER``.

    Raises:
        BadInput: the arguments, the feature files, the step files or the results folder are not what they should be.
    """
    register_as("meshbdd", MeshbddFormatter)
    try:
        config = Configuration(list(arguments))
    except (ConfigError, TagExpressionError) as error:
        raise BadInput("MB0224", f"behave does not understand this: {error}", help="see behave --help") from None
    config.meshbdd_record, config.meshbdd_folder, config.meshbdd_begun = RunRecord(), None, False
    if not config.dry_run:
        config.meshbdd_folder = ResultsFolder(_add_formatter(config, results))
        config.meshbdd_folder.take()  # refused before behave begins
    own = config.runner in {"", "default", "behave.runner:Runner"}
    try:
        code = int(behave_main.run_behave(config, _Runner if own else None) or 0)
    except _CouldNotRun as wrapped:
        if not config.meshbdd_record.ended:
            raise _could_not_run(wrapped.__cause__, config) from None
        code = 1
        add_problem(config.meshbdd_folder, config.meshbdd_record, _cut_off_by(wrapped.__cause__))
    except SystemExit as error:  # a runner of the user's own may let it pass
        raise _could_not_run(error, config) from None
    record: RunRecord = config.meshbdd_record
    if not config.meshbdd_begun:
        return Ran(code)
    if code and not record.went_wrong:
        told = "behave reports an error outside of the scenarios; its output above says which"
        add_problem(config.meshbdd_folder, record, Problem(Category.UNEXPECTED, told))
    return Ran(code, record, config.meshbdd_folder)


def _add_formatter(config: Any, results: Path) -> Path:
    """Put our formatter behind the user's. behave pairs formats and outputs by their order.

    Returns:
        Where the results go.
    """
    formats = list(config.format or [])
    if not formats or len(formats) == len(config.defaults.get("format") or ()):
        formats.append(config.default_format)  # as behave does where the command line names none
    outputs = list(config.outputs)
    outputs += [
        StreamOpener(str(results)) if name in NAMES else StreamOpener(stream=sys.stdout)
        for name in formats[len(outputs) :]
    ]
    if not NAMES & set(formats):
        formats.append("meshbdd")
        outputs.append(StreamOpener(str(results)))
    config.format, config.outputs = formats, outputs
    return Path(next(output.name for name, output in zip(formats, outputs, strict=True) if name in NAMES))


def _with_care(formatter: Any) -> Any:
    """A formatter of the user's cannot end the run; ours has to say what became of it."""
    return formatter if isinstance(formatter, MeshbddFormatter) else CarefulFormatter(formatter)


def _cut_off_by(error: BaseException | None) -> Problem:
    """What ended the run after scenarios had run: their verdicts stand."""
    return Problem(Category.UNEXPECTED, f"the run was cut off by {type(error).__name__}: {error} ({_place_of(error)})")


_LINE = re.compile(r":\d+$")
"""Behind the name of a feature file: a line of it."""


def _could_not_run(error: BaseException | None, config: Any) -> MeshbddError:
    """What to say of an error that came before the first scenario, or from a formatter of the user's."""
    if isinstance(error, ParserError):
        place = Place(Path(str(error.filename)), error.line) if error.filename else None
        told = BadInput(
            "MB0225",
            f"A feature file cannot be read: {error.args[0]}",
            place=place,
            help="mend the file; nothing was run",
        )
    elif isinstance(error, MeshbddError):
        return error
    elif isinstance(error, FileNotFoundError) and str(error) in {path.removeprefix("@") for path in config.paths}:
        told = BadInput("MB0244", f"There is no file {_LINE.sub('', str(error))}.", help="check the path")
    elif isinstance(error, ConfigError) and str(error).startswith("No steps directory"):
        told = BadInput(
            "MB0228",
            "Nothing gives behave the steps: there is no environment.py beside the features, nor in a folder above them.",
            help="write one of two lines: import meshbdd.steps, and from meshbdd.hooks import *",
        )
    else:
        told = BadInput(
            "MB0226",
            f"behave could not run: {type(error).__name__}: {error}",
            place=_place_of(error),
            help="mend what it names",
        )
    if config.meshbdd_folder is not None and not config.meshbdd_begun:
        add_problem(
            config.meshbdd_folder, config.meshbdd_record, Problem(Category.FEATURE, f"{told.sentence} ({told.place})")
        )
    return told
