"""What stands on the screen when a run is over: how many, what failed and why, and where the report is."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from meshbdd.report.outcome import Category
from meshbdd.report.record import RunRecord, ScenarioRecord

_STYLES = {"passed": "green", "failed": "red", "inconclusive": "yellow", "restore incomplete": "bold red"}
_STATUS_WORDS = {"passed": "passed", "failed": "failed", "skipped": "skipped", "unknown": "not run"}
_CATEGORY_WORDS = {
    Category.INCONCLUSIVE: "inconclusive",
    Category.RESTORE: "restore incomplete",
    Category.FEATURE: "not understood",
    Category.MESH: "not understood",
    Category.REFUSED: "refused",
    Category.INTERRUPTED: "interrupted",
}
_ORDER = (
    "passed",
    "failed",
    "inconclusive",
    "restore incomplete",
    "not understood",
    "broken",
    "interrupted",
    "skipped",
    "not run",
)


def word_of(record: ScenarioRecord) -> str:
    """A scenario's outcome in a tester's word."""
    known = _STATUS_WORDS.get(record.outcome.status)
    category = record.outcome.category
    return known or (_CATEGORY_WORDS.get(category, "broken") if category else "broken")


def show_summary(record: RunRecord, results: Path, console: Console | None = None) -> None:
    """Print the summary of a run."""
    console = console or Console()
    groups: dict[str, list[ScenarioRecord]] = defaultdict(list)
    for scenario in record.scenarios.values():
        groups[word_of(scenario)].append(scenario)
    console.print()
    _show_features(record, console)
    for word in _ORDER:
        if word not in {"passed", "skipped", "not run"}:
            for scenario in groups[word]:
                _show_scenario(word, scenario, console)
    for scenario in record.skipped:
        _show_scenario("skipped", scenario, console)
    for problem in record.problems:
        _print(console, f"{problem.category.prefix}{problem.sentence}", "magenta", "  ")
    counts = Text()
    for word in _ORDER:
        if groups[word] or word == "passed":
            counts.append(", " if counts else "").append(
                f"{len(groups[word])} {word}",
                style=_STYLES.get(word, "magenta" if word in {"broken", "not understood", "interrupted"} else "dim"),
            )
    seconds = sum(scenario.seconds for scenario in record.scenarios.values())
    console.print(counts.append(f" in {seconds:.1f} s", style="dim"))
    console.print(f"Allure results: {results}", soft_wrap=True, highlight=False)
    console.print(f"Make the report: meshbdd report{_argument(results)}", soft_wrap=True, highlight=False)


def _argument(results: Path) -> str:
    return "" if results == Path.cwd() / "allure-results" else f" {results}"


def _show_features(record: RunRecord, console: Console) -> None:
    features: dict[str, list[ScenarioRecord]] = defaultdict(list)
    for scenario in record.scenarios.values():
        if scenario.outcome.status not in {"skipped", "unknown"}:
            features[scenario.feature or scenario.file].append(scenario)
    for name, scenarios in features.items():
        passed = sum(scenario.outcome.status == "passed" for scenario in scenarios)
        seconds = sum(scenario.seconds for scenario in scenarios)
        style = "green" if passed == len(scenarios) else "red"
        line = (
            Text(f"{seconds:7.1f} s  ").append(f"{passed} of {len(scenarios)} passed", style=style).append(f"  {name}")
        )
        line.truncate(console.width, overflow="ellipsis")
        console.print(line)
    console.print()


def _show_scenario(word: str, scenario: ScenarioRecord, console: Console) -> None:
    line = Text(f"{word}  ", style=_STYLES.get(word, "magenta")).append(
        textwrap.shorten(scenario.name, 200), style="bold"
    )
    console.print(line, highlight=False)
    category = scenario.outcome.category
    for line_of in scenario.outcome.message.removeprefix(category.prefix if category else f"{word}: ").splitlines()[:6]:
        _print(console, line_of, "", "    ")
    _print(console, _place(scenario), "dim", "    ")
    console.print()


def _place(scenario: ScenarioRecord) -> str:
    """Where to look: the step that went wrong, else the scenario."""
    problem = scenario.outcome.gravest
    if problem is None or not problem.step:
        return f"{scenario.file}:{scenario.line}"
    return f"{problem.location}  {problem.step}"


def _print(console: Console, text: str, style: str, indent: str) -> None:
    """Wrapped at the width of the screen, whole: a sentence that is cut says nothing."""
    width = max(console.width, 40)
    lines = textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    console.print("\n".join(lines), style=style, highlight=False, markup=False, soft_wrap=True)
