"""One result for each scenario that behave knows, whatever becomes of it."""

from __future__ import annotations

import shlex
import time
from collections import deque
from pathlib import Path
from typing import Any

import allure_commons
from allure_behave.listener import AllureListener, GroupContext
from allure_commons.model2 import Label, Parameter, Status, StatusDetails, TestResult, TestStepResult
from allure_commons.utils import now, uuid4

from meshbdd.errors import Place
from meshbdd.evidence import Event
from meshbdd.report import redact
from meshbdd.report.attachments import Attachment, table
from meshbdd.report.identity import Identities, name_of
from meshbdd.report.outcome import STATUS, Category, Outcome, Problem, culprit_of, outcome_of, place_of
from meshbdd.report.overview import as_html
from meshbdd.report.record import RunRecord, ScenarioRecord
from meshbdd.report.reporter import Reporter
from meshbdd.report.results import ResultsFolder
from meshbdd.report.scene import Scene

_KILLED = Outcome(Status.BROKEN, (Problem(Category.INTERRUPTED, "the run was killed in the middle of this scenario"),))


class Listener(AllureListener):  # type: ignore[misc] # allure-behave has no types
    """Turns behave's calls into results.

    allure-behave's listener, except for what it loses (docs/report.md lists it): it knows scenarios only by their
    steps, so it takes a failed hook for a skipped scenario and a failed clean-up for a passed one.

    Args:
        config: behave's configuration.
        folder: Where the results go.
        record: What became of the run.
    """

    def __init__(self, config: Any, folder: ResultsFolder, record: RunRecord) -> None:
        # Not calling the base: it would make a reporter of its own, which shares its state with all others.
        known = config.userdata.get
        self.behave_config = config
        self.issue_pattern = known("AllureFormatter.issue_pattern")
        self.link_pattern = known("AllureFormatter.link_pattern")
        self.logger = Reporter(folder)
        self.record = record
        self.identities = Identities(Path(config.base_dir).resolve(), self.issue_pattern, self.link_pattern)
        self.group_context = GroupContext(self.logger)
        self.group_context.enter()
        self.steps: deque[Any] = deque()
        self.current_step_uuid: str | None = None
        self.current_scenario_uuid: str | None = None
        self._began = 0.0
        self._test: TestResult | None = None
        self._culprit: tuple[Place, str] | None = None
        self.scene = Scene()

    # Hooks of allure-commons that would be called for every Allure formatter's scenario: not ours.

    def start_test(self, *_: Any, **__: Any) -> None:
        """Nothing: ``start_scenario`` is called by the formatter of this listener alone."""

    def stop_test(self, *_: Any, **__: Any) -> None:
        """Nothing, see ``start_test``."""

    # scenarios

    def start_scenario(self, scenario: Any) -> None:
        """A scenario begins. Its result is written at once, so that a killed run shows where it ended."""
        self.steps.clear()
        self.group_context.enter()
        self._began, self.scene = time.time(), Scene()
        self._test, self._culprit = self._result(scenario), None
        self.current_scenario_uuid = self._test.uuid
        self._conclude(self._test, _KILLED)
        self.logger.write_test(self._test)
        self.logger.schedule_test(self._test.uuid, self._test)

    def stop_scenario(self, scenario: Any, *, interrupted: bool = False) -> None:
        """A scenario is over.

        Args:
            scenario: behave's model of it.
            interrupted: The run was ended in its middle, outside of any step.
        """
        test = self._test
        self._test = self.current_scenario_uuid = None
        if test is None:
            return
        while self.logger.last_executable is not test:  # a step that an interruption left open
            self.logger.stop_step(self.current_step_uuid, stop=now(), status=Status.BROKEN)
        self.flush_steps()
        if scenario.status.name == "skipped" and not self.behave_config.show_skipped:
            self._drop(scenario, test)
            return
        outcome = outcome_of(scenario)
        if interrupted:
            outcome = Outcome(outcome.status, note="the run was ended in the middle of this scenario")
        self._remember(scenario, outcome)
        self._conclude(test, outcome)
        self.scene.show(self.logger, test, self._command(scenario))
        self.record.drawing_seconds += self.scene.drawing_seconds
        self.logger.close_test(test.uuid)
        self.group_context.append_test(test.uuid)
        self._exit_group()

    def _command(self, scenario: Any) -> str:
        """What runs this scenario again, on the same mesh and with the same settings."""
        words = ["meshbdd", "run"]
        for name, value in self.behave_config.userdata_defines or ():
            own = name in {"mesh", "target"}
            words += (
                [f"--{name}", value] if own else ["-D", f"{name}={redact.MASK if redact.is_secret(name) else value}"]
            )
        return shlex.join([*words, f"{self.identities.file(scenario).as_posix()}:{scenario.line}"])

    def _drop(self, scenario: Any, test: TestResult) -> None:
        self.record.expected.discard(id(scenario))
        self.logger.drop_test(test.uuid)
        self.logger.folder.remove(f"{test.uuid}-result.json")
        self._exit_group()

    def add_not_run(self, scenario: Any) -> None:
        """A scenario that never began: not selected, behind a failed hook, or after the run's end."""
        outcome = outcome_of(scenario)
        if outcome.status == Status.SKIPPED and not self.behave_config.show_skipped:
            self.record.expected.discard(id(scenario))
            return
        self._began, self.scene = time.time(), Scene()
        self._remember(scenario, outcome)
        test = self._result(scenario)
        steps = (TestStepResult(name=_step_name(step), status=Status.SKIPPED) for step in scenario.all_steps)
        test.steps.extend(steps)
        self._conclude(test, outcome)
        self.logger.write_test(test)

    def _result(self, scenario: Any) -> TestResult:
        test = TestResult(uuid=uuid4(), start=now())
        self.identities.describe(scenario, test)
        told = [*scenario.feature.description, *scenario.description]
        test.description = "\n".join([name_of(scenario), "", *told] if name_of(scenario) != test.name else told)
        test.descriptionHtml = as_html(test.description)
        return test

    def _conclude(self, test: TestResult, outcome: Outcome) -> None:
        test.stop = now()
        test.status = outcome.status
        details = StatusDetails(message=outcome.message, trace=outcome.trace or None)
        test.statusDetails = details if outcome.message else None

    def _remember(self, scenario: Any, outcome: Outcome) -> None:
        rule = next((label.value for label in self._result(scenario).labels if label.name == "story"), "")
        self.record.scenarios[id(scenario)] = ScenarioRecord(
            self.identities.file(scenario).as_posix(),
            scenario.line,
            scenario.feature.name,
            rule,
            name_of(scenario),
            scenario.status.name,
            outcome,
            self._began,
            time.time() - self._began,
            self.scene.data,
        )

    # steps

    def match_step(self, match: Any) -> None:
        """The next step begins."""
        if not self.steps:
            return
        self.start_behave_step(self.steps.popleft())
        step = self.logger.get_item(self.current_step_uuid)
        step.parameters = [
            Parameter(name=argument.name or f"{number}", value=redact.text(argument.original))
            for number, argument in enumerate(match.arguments or (), 1)
        ]

    def start_behave_step(self, step: Any) -> None:
        """A step begins, with its text and its table."""
        self.current_step_uuid = uuid4()
        self.logger.start_step(None, self.current_step_uuid, TestStepResult(name=_step_name(step), start=now()))
        if step.text:
            self._attach(Attachment("text", redact.lines(step.text)))
        if step.table:
            self._attach(table("table", redact.rows([step.table.headings, *(row.cells for row in step.table.rows)])))

    def _attach(self, item: Attachment) -> None:
        shown = item.fitting
        self.logger.attach_data(uuid4(), shown.text, shown.name, shown.mime, shown.extension)

    def stop_behave_step(self, result: Any) -> None:
        """A step is over."""
        status, message = self._step_outcome(result)
        self.logger.stop_step(
            self.current_step_uuid,
            stop=now(),
            status=Status.SKIPPED if status == Status.UNKNOWN else status,
            statusDetails=StatusDetails(message=message) if message else None,
        )

    def _step_outcome(self, step: Any) -> tuple[str, str]:
        """Allure's status of a step, and why it is not green.

        Where a step refused to begin because one further on is not understood, that one is the broken one.
        """
        status = STATUS.get(step.status.name, Status.BROKEN)
        told = (step.error_message or "").strip().removeprefix("ASSERT FAILED: ")
        culprit = culprit_of(step.exception)
        if culprit is not None:
            self._culprit = culprit, redact.text(told)
            return Status.SKIPPED, "nothing was changed: a step further on is not understood"
        if self._culprit is not None and place_of(step) == self._culprit[0]:
            return Status.BROKEN, self._culprit[1]
        if step.status.name == "undefined":
            return Status.BROKEN, redact.text(told or "no step says this.")
        return status, redact.text(told) if status in {Status.FAILED, Status.BROKEN} else ""

    def tell(self, event: Event) -> None:
        """Keep what the scenario tells, at the step that runs."""
        self.scene.add(event, self.logger.last_executable)

    # groups of fixtures

    def _exit_group(self) -> None:
        if self.group_context._groups:
            self.group_context.exit()

    def stop_feature(self) -> None:
        """A feature is over."""
        self._exit_group()

    def stop_session(self) -> None:
        """The run is over; an interrupted one leaves groups open."""
        while self.group_context._groups:
            self.group_context.exit()

    # what tests may say of themselves through ``allure.dynamic``, which allure-behave passes over

    @allure_commons.hookimpl  # type: ignore[untyped-decorator]
    def add_title(self, test_title: str) -> None:
        """A parameter of the test, because the name must stay behave's."""
        self.add_parameter("title", test_title, None, None)

    @allure_commons.hookimpl  # type: ignore[untyped-decorator]
    def add_description(self, test_description: str) -> None:
        """The test's own words in the place of the feature's; words, and no mark-up."""
        if self._test is not None:
            self._test.description, self._test.descriptionHtml = test_description, as_html(test_description)

    @allure_commons.hookimpl  # type: ignore[untyped-decorator]
    def add_label(self, label_type: str, labels: tuple[str, ...]) -> None:
        """A label of the scenario that runs."""
        if self._test is not None:
            self._test.labels.extend(Label(name=label_type, value=value) for value in labels)

    @allure_commons.hookimpl  # type: ignore[untyped-decorator]
    def add_parameter(self, name: str, value: str, excluded: bool | None, mode: str | None) -> None:
        """A parameter of the scenario that runs; it takes no part in its history."""
        if self._test is not None:
            item = Parameter(name=name, value=value, excluded=True if excluded is None else excluded, mode=mode)
            self._test.parameters.append(item)


def _step_name(step: Any) -> str:
    return redact.text(f"{step.keyword} {step.name}")
