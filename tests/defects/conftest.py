"""The detection matrix as a table, printed at the end of the run with its size."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import pytest

FULL = bool(os.environ.get("FULL"))


@dataclass
class Table:
    """Defect → what the scenarios that ran with it said."""

    rows: dict[str, dict[str, str]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """One line a defect, and the size of it all."""
        width = max(map(len, self.rows))
        told = []
        for defect, statuses in self.rows.items():
            seen = sorted(f"{name} ({s})" for name, s in statuses.items() if s != "passed")
            told.append(
                f"{defect:<{width}}  {len(seen):>2} of {len(statuses):>2} see it: {'; '.join(seen) or 'nobody'}"
            )
        runs = sum(map(len, self.rows.values()))
        size = "every scenario" if FULL else "its own scenarios and a seeded tenth of the rest"
        return [*told, f"{len(self.rows)} defects, {runs} runs of scenarios: for each defect {size}"]


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
