"""The formatter that behave is told of: ``-f meshbdd.report:MeshbddFormatter -o allure-results``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import allure_commons
from allure_behave.formatter import AllureFormatter
from allure_behave.utils import is_planned_scenario
from allure_commons.utils import get_testplan
from behave.exception import ConfigError
from behave.formatter.base import Formatter

from meshbdd.errors import BadInput, MeshbddError
from meshbdd.evidence import Event, RunBegan
from meshbdd.report import categories
from meshbdd.report.executor import executor_of, properties
from meshbdd.report.listener import Listener
from meshbdd.report.outcome import Category, Problem, category_of, sentence_of
from meshbdd.report.record import RunRecord
from meshbdd.report.results import ResultsFolder
from meshbdd.report.runfile import add_problem, mark_running, write_run_files

NAMES = frozenset({"meshbdd", "meshbdd.report:MeshbddFormatter", "meshbdd.report.formatter:MeshbddFormatter"})
"""What users may call the formatter. The short name is known under ``meshbdd run``, or with a line in behave's settings."""


class MeshbddFormatter(AllureFormatter):  # type: ignore[misc] # allure-behave has no types
    """Allure results that agree with behave, scenario by scenario."""

    name = "meshbdd"
    description = "Allure results with the evidence of meshbdd (-o FOLDER)"

    def __init__(self, stream_opener: Any, config: Any) -> None:
        Formatter.__init__(self, stream_opener, config)  # not AllureFormatter's: it takes what it writes from everybody
        self.record: RunRecord = getattr(config, "meshbdd_record", None) or RunRecord()
        self.folder = _folder(Path(stream_opener.name or "allure-results"), config)
        if self.folder.shared:
            sys.stderr.write(f"meshbdd: {self.folder.shared}\n")
        config.meshbdd_begun = self.record.running = True
        self.listener = Listener(config, self.folder, self.record)
        self.testplan = get_testplan()
        self._features: dict[int, Any] = {}
        self._feature: Any = None
        allure_commons.plugin_manager.register(self.listener)
        _formatters.append(self)
        there = (self.folder.path / "executor.json").exists()  # from the CI system itself, which knows best
        executor = None if there else executor_of(os.environ)
        if executor is not None:
            self.folder.write("executor.json", json.dumps(executor.fields, indent=2))
        self.folder.write("categories.json", json.dumps(categories.for_allure_2(), indent=2))
        self._write_environment()

    def expect(self, features: Iterable[Any]) -> None:
        """The features of the run, so that those which it does not reach are in the report too."""
        features = list(features)
        for feature in features:
            self._learn(feature)
        scenarios = [scenario for feature in features for scenario in feature.walk_scenarios()]
        self.record.expected = {id(scenario) for scenario in scenarios if scenario.should_run(self.config)}
        self._keep_up()

    def _keep_up(self) -> None:
        """Write what is known of the run by now; it may be killed before it can."""
        mark_running(self.folder, self.record)
        write_run_files(self.folder, self.record)

    def _learn(self, feature: Any) -> None:
        if id(feature) in self._features:
            return
        self._features[id(feature)] = feature
        self.listener.identities.learn(feature)
        for scenario in feature.walk_scenarios():
            self._wrap(scenario)
            is_planned_scenario(scenario, self.testplan)

    def _wrap(self, scenario: Any) -> None:
        run = scenario.run

        def watched(runner: Any) -> bool:
            self.listener.start_scenario(scenario)
            interrupted = True
            try:
                failed = bool(run(runner))
                interrupted = False
                return failed
            finally:
                self.listener.stop_scenario(scenario, interrupted=interrupted)
                self._keep_up()

        scenario.run = watched

    # what behave calls

    def uri(self, uri: str) -> None:  # noqa: ARG002 - behave's signature
        """A feature file begins."""
        self.listener.start_file()

    def feature(self, feature: Any) -> None:
        """A feature begins."""
        self._feature = feature
        self._learn(feature)

    def eof(self) -> None:
        """A feature is over."""
        feature, self._feature = self._feature, None
        if feature is not None:
            self._complete(feature)
        self.listener.stop_feature()
        write_run_files(self.folder, self.record)

    def _complete(self, feature: Any) -> None:
        """Add the scenarios that never began, and what went wrong around those that did."""
        known = self.record.scenarios
        for container in (feature, *feature.iter_rules()):
            ran = any(id(scenario) in known for scenario in container.walk_scenarios())
            if ran and container.hook_failed:
                self.problem(_problem(container, (container.error_message or "").strip()))
        for scenario in feature.walk_scenarios():
            if id(scenario) not in known:
                self.listener.add_not_run(scenario)

    def close(self) -> None:
        """The run is over."""
        for feature in self._features.values():
            self._complete(feature) if not self._done(feature) else None
        self.listener.stop_session()
        self.record.running = False
        self._keep_up()
        self.folder.release()
        if self in _formatters:
            _formatters.remove(self)
            allure_commons.plugin_manager.unregister(self.listener)

    def _done(self, feature: Any) -> bool:
        return all(id(scenario) in self.record.scenarios for scenario in feature.walk_scenarios())

    # what hooks and scenarios tell

    def tell(self, event: Event) -> None:
        """Something happened in the scenario that runs, or in the run."""
        if isinstance(event, RunBegan):
            self.record.facts.update(event.facts)
            self._write_environment()
        else:
            self.listener.tell(event)

    def problem(self, problem: Problem) -> None:
        """Something went wrong outside of any scenario."""
        add_problem(self.folder, self.record, problem)

    def _write_environment(self) -> None:
        self.folder.write("environment.properties", properties(self.record.facts))


_formatters: list[MeshbddFormatter] = []
"""Those of the behave run in this process."""


def _folder(path: Path, config: Any) -> ResultsFolder:
    """The folder that ``meshbdd run`` has taken already, or one that is taken now."""
    taken = getattr(config, "meshbdd_folder", None)
    if taken is not None and taken.path == path.absolute():
        known: ResultsFolder = taken
        return known
    folder = ResultsFolder(path)
    try:
        folder.take()
    except BadInput as error:
        raise ConfigError(str(error)) from None
    return folder


def _problem(container: Any, told: str) -> Problem:
    return Problem(_category(container.exception), f"{container.type} «{container.name}»: {told}")


def _category(error: BaseException | None) -> Category:
    """Outside of scenarios an assertion is no claim about what is tested."""
    return category_of(error) if isinstance(error, MeshbddError) else Category.UNEXPECTED


def formatters() -> tuple[MeshbddFormatter, ...]:
    """The formatters of the run in this process."""
    return tuple(_formatters)


def report_problem(error: BaseException, where: str = "") -> None:
    """Show what went wrong outside of any scenario.

    Args:
        error: It.
        where: What stands before its sentence.
    """
    for formatter in _formatters:
        formatter.problem(Problem(_category(error), where + sentence_of(error)))


def expect(features: Iterable[Any]) -> None:
    """Tell the formatters which features the run has."""
    for formatter in _formatters:
        formatter.expect(features)
