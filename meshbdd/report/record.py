"""What became of a run: one record a scenario, for the summary, the exit code and run.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from allure_commons.model2 import Status

from meshbdd.report.outcome import Category, Outcome, Problem

WORST_FIRST = (3, 1, 5, 2, 4)
"""Exit codes in the order in which they need attention: a change that stayed, a false claim, a refusal, input, the rest."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ScenarioRecord:
    """A scenario that is over.

    Attributes:
        file: The feature file, from the project's folder.
        line: Where it stands there.
        feature: The feature's name.
        rule: The rule's name; empty where there is none.
        name: behave's name of it.
        behave: behave's status.
        outcome: What became of it.
        started: Unix time.
        seconds: How long it took, hooks and undo included.
        evidence: What it told, as plain data.
    """

    file: str
    line: int
    feature: str
    rule: str
    name: str
    behave: str
    outcome: Outcome
    started: float
    seconds: float
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class RunRecord:
    """What became of a run.

    Attributes:
        facts: Where it took place.
        scenarios: By behave's object; a scenario that is tried again replaces its record.
        problems: What went wrong outside of any scenario.
        drawing_seconds: How long drawing took in all.
        expected: Which scenarios the run is to run, by its tags, names and lines, and report; none where that is not known.
        running: Whether it has not come to its end.
    """

    facts: dict[str, str] = field(default_factory=dict)
    scenarios: dict[int, ScenarioRecord] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    drawing_seconds: float = 0.0
    expected: set[int] = field(default_factory=set)
    running: bool = False

    @property
    def planned(self) -> int:
        """How many scenarios the run is to run; 0 where that is not known."""
        return len(self.expected)

    @property
    def ended(self) -> int:
        """How many of the planned scenarios are over."""
        return sum(r.outcome.selected and r.outcome.status != Status.UNKNOWN for r in self.scenarios.values())

    @property
    def counts(self) -> Counter[str]:
        """How many scenarios have which status, in Allure's words."""
        return Counter(record.outcome.status for record in self.scenarios.values())

    def of(self, category: Category) -> list[ScenarioRecord]:
        """The scenarios of a category."""
        return [record for record in self.scenarios.values() if record.outcome.category is category]

    @property
    def skipped(self) -> list[ScenarioRecord]:
        """The scenarios that were to run, and were skipped for a reason."""
        return [r for r in self.scenarios.values() if r.outcome.status == Status.SKIPPED and r.outcome.selected]

    @property
    def cut_short(self) -> bool:
        """Whether scenarios were left out because the run ended before them, or was killed."""
        return self.running or self.counts["unknown"] > 0

    @property
    def went_wrong(self) -> list[Problem]:
        """Everything that went wrong, in scenarios and outside."""
        return [p for record in self.scenarios.values() for p in record.outcome.problems] + self.problems

    @property
    def exit_code(self) -> int:
        """The exit code of ``meshbdd run``: what needs attention first wins. Nothing that passed is bad input."""
        codes = {problem.category.exit_code for problem in self.went_wrong}
        worst = next((code for code in WORST_FIRST if code in codes), 0)
        if worst or self.cut_short:
            return worst or 4
        return 0 if self.counts["passed"] else 2
