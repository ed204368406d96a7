"""The detection matrix as a table, printed at the end of the run with its size."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from tests.defects.defect import Defect

FULL = bool(os.environ.get("FULL"))
_WORDS = {"failed": "red", "inconclusive": "inconclusive", "refused": "refused", "passed": "green"}


@dataclass(frozen=True, slots=True)
class Row:
    """A defect, what the scenarios that ran with it said, what of that was not expected, and who was asked twice for it."""

    defect: Defect
    statuses: Mapping[str, str]
    unexpected: Sequence[str]
    asked_twice: Collection[str]


@dataclass
class Table:
    """Defect × scenarios."""

    rows: list[Row] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For each defect how many said what, and who was not green; the size of it all."""
        width = max(len(row.defect.name) for row in self.rows)
        told = []
        for row in sorted(self.rows, key=lambda row: row.defect.name):
            counts = Counter(_WORDS.get(status, status) for status in row.statuses.values())
            words = dict.fromkeys((*_WORDS.values(), *counts))
            said = ", ".join(f"{counts[word]} {word}" for word in words if counts[word])
            verdict = "NOT AS EXPECTED" if row.unexpected else "as expected"
            told.append(f"{row.defect.name:<{width}}  {verdict}: of {len(row.statuses)} scenarios {said}")
            seen = sorted((s, name) for name, s in row.statuses.items() if s != "passed")
            told += [f"{'':<{width}}    {_WORDS.get(status, status)}: {name}" for status, name in seen]
            told += [f"{'':<{width}}    asked twice, the machine was late: {name}" for name in sorted(row.asked_twice)]
            told += [f"{'':<{width}}    ! {sentence}" for sentence in row.unexpected]
        wrong = sum(bool(row.unexpected) for row in self.rows)
        runs = sum(len(row.statuses) for row in self.rows)
        size = "every scenario" if FULL else "its own scenarios and a seeded tenth of the rest"
        found = f"{len(self.rows)} defects, {len(self.rows) - wrong} as expected"
        return [*told, f"{found}; {runs} runs of scenarios: for each defect {size}"]


_TABLE = pytest.StashKey[Table]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TABLE] = Table()


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Table:
    return pytestconfig.stash[_TABLE]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    table = config.stash[_TABLE]
    if table.rows:
        terminalreporter.section("detection matrix")
        for line in table.lines():
            terminalreporter.write_line(line)
