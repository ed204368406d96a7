"""Who a scenario is: its name, its place in the report, and ids that stay the same from run to run."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from allure_behave.utils import get_fullname
from allure_commons.mapping import labels_set, parse_tag
from allure_commons.model2 import Label, Link, Parameter, TestResult
from allure_commons.types import LabelType, Severity
from allure_commons.utils import platform_label
from behave.model import Rule, ScenarioOutline

from meshbdd.report import redact

_LONGEST_NAME = 300
"""Characters of a name that the report shows in its lists; the whole name stands in the description."""


class Identities:
    """Gives each scenario of a run its ids.

    The history of an ``Examples`` row hangs on its cells, not on its number, so that a row inserted above it changes
    nothing. Scenarios that cannot be told apart by file, rule, name and cells are numbered in their order; else
    Allure would show one of them as a retry of the other.

    Args:
        base: The project's folder; files are named from there, wherever the run was started.
        issue_pattern: ``https://tracker/{}`` for the tag ``@allure.issue:KEY``.
        link_pattern: The same for ``@allure.link``.
    """

    def __init__(self, base: Path, issue_pattern: str | None = None, link_pattern: str | None = None) -> None:
        self._base = base
        self._patterns = {"issue_pattern": issue_pattern, "link_pattern": link_pattern}
        self._seen: Counter[tuple[str, ...]] = Counter()
        self._order: dict[int, int] = {}

    def learn(self, feature: Any) -> None:
        """Number the scenarios of a feature that look alike."""
        for scenario in feature.walk_scenarios():
            if id(scenario) not in self._order:
                key = (*self._key(scenario), *_cells(scenario))
                self._order[id(scenario)] = self._seen[key]
                self._seen[key] += 1

    def file(self, scenario: Any) -> PurePath:
        """The feature file, from the project's folder."""
        path = Path(scenario.filename or "")
        try:
            return path.absolute().relative_to(self._base)
        except ValueError:
            return path

    def describe(self, scenario: Any, result: TestResult) -> None:
        """Fill in who a scenario is."""
        key, row = self._key(scenario), scenario._row
        order = self._order.get(id(scenario), 0)
        case = (*key, f"#{order + 1}") if order else key
        name = name_of(scenario)
        result.name = name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…"
        result.fullName = get_fullname(scenario)
        result.testCaseId = _digest(case)
        result.historyId = _digest((*case, *_cells(scenario)))
        cells = zip(row.headings, row.cells, strict=True) if row else ()
        result.parameters = [Parameter(*pair) for pair in redact.headers(dict(cells)).items()]
        rule = _rule(scenario)
        folders = [part for part in self.file(scenario).parts[:-1] if part != self.file(scenario).anchor]
        suite = scenario.feature.name or self.file(scenario).name
        result.titlePath = [*folders, suite, *([rule] if rule else [])]
        parsed = list(self._tags(scenario))
        result.links = [item for item in parsed if isinstance(item, Link)]
        default = Label(name=LabelType.SEVERITY, value=Severity.NORMAL)
        result.labels = labels_set([default, *(item for item in parsed if isinstance(item, Label))])
        result.labels += [
            Label(name=LabelType.PARENT_SUITE, value="/".join(folders)),
            Label(name=LabelType.SUITE, value=suite),
            Label(name=LabelType.FEATURE, value=suite),
            Label(name=LabelType.FRAMEWORK, value="behave"),
            Label(name=LabelType.LANGUAGE, value=platform_label()),
        ]
        if rule:
            result.labels += [Label(name=LabelType.SUB_SUITE, value=rule), Label(name=LabelType.STORY, value=rule)]

    def _key(self, scenario: Any) -> tuple[str, ...]:
        outline = scenario.parent if isinstance(scenario.parent, ScenarioOutline) else None
        return (self.file(scenario).as_posix(), _rule(scenario), (outline or scenario).name.strip())

    def _tags(self, scenario: Any) -> Iterator[Label | Link]:
        for above in (scenario.feature, _rule_of(scenario), scenario):
            for tag in above.tags if above is not None else ():
                yield parse_tag(str(tag), **self._patterns)


def name_of(scenario: Any) -> str:
    """Behave's name, trimmed; the keyword where there is none."""
    return str(scenario.name).strip() or str(scenario.keyword)


def _cells(scenario: Any) -> tuple[str, ...]:
    row = scenario._row
    return tuple(f"{name}={value}" for name, value in zip(row.headings, row.cells, strict=True)) if row else ()


def _rule_of(scenario: Any) -> Any:
    above = scenario.parent
    while above is not None and not isinstance(above, Rule):
        above = getattr(above, "parent", None)
    return above


def _rule(scenario: Any) -> str:
    rule = _rule_of(scenario)
    return str(rule.name).strip() if rule is not None else ""


def _digest(parts: tuple[str, ...]) -> str:
    return hashlib.md5("\0".join(parts).encode(), usedforsecurity=False).hexdigest()
