"""A copy of the demo project whose files may be made wrong, and what a run of it says of each scenario."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from behave.parser import parse_file

from meshbdd.claims.share import LESS_BUSY
from meshbdd.report.outcome import Category
from tests.tools import LabUnderTest

CHECKOUT = Path(__file__).resolve().parents[2]
LATE = "late"
"""What becomes of a scenario that has no answer because the machine was too busy to ask in time, by its own words."""
_SAID = {Category.FEATURE, Category.MESH, Category.REFUSED}
"""Why a scenario that could not be taken is told so by a sentence of ours; anything else is a mistake of meshbdd's own."""


@dataclass(frozen=True, slots=True)
class Place:
    """A scenario and where it stands, as behave takes it on its command line."""

    name: str
    where: str
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Project:
    """A project folder of its own."""

    folder: Path

    @classmethod
    def copy(cls, folder: Path) -> Project:
        """Copy features and manifests of the checkout, as a user's project would have them."""
        for part in ("features", "manifests"):
            shutil.copytree(CHECKOUT / part, folder / part)
        shutil.copy(CHECKOUT / "pyproject.toml", folder / "pyproject.toml")
        (folder / "environment.py").write_text("import meshbdd.steps\nfrom meshbdd.hooks import *\n")
        return cls(folder)

    def scenarios(self) -> list[Place]:
        """Every scenario; rows of an outline by the line of their example."""
        found = []
        for file in sorted((self.folder / "features").rglob("*.feature")):
            feature = parse_file(str(file))
            for scenario in feature.walk_scenarios():
                where = f"{file.relative_to(self.folder)}:{scenario.line}"
                found.append(Place(scenario.name, where, frozenset(map(str, scenario.effective_tags))))
        return found

    def change(self, file: str, old: str, new: str) -> None:
        """Replace a text that stands in a file."""
        path = self.folder / file
        text = path.read_text("utf-8")
        assert old in text, f"{file} has no {old!r} any more: the defect is none"
        path.write_text(text.replace(old, new), "utf-8")

    def run(
        self, lab: LabUnderTest, places: Iterable[Place], environment: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Run scenarios.

        Returns:
            Scenario → ``passed``, ``failed``, ``inconclusive``, ``late``, ``skipped`` or what else became of it; not of those
            that were not chosen.
        """
        chosen = {place.name: place.where for place in places}
        results = self.folder / "allure-results"
        shutil.rmtree(results, ignore_errors=True)
        ran = subprocess.run(
            [sys.executable, "-m", "meshbdd", "run", "-f", "progress", *sorted(set(chosen.values()))],
            cwd=self.folder,
            capture_output=True,
            text=True,
            env={**os.environ, **(environment or {}), "KUBECONFIG": str(lab.info.kubeconfig)},
            timeout=550,
            check=False,
        )
        file = next(results.glob("**/run*.json"), None)
        assert file is not None, ran.stdout + ran.stderr
        scenarios = json.loads(file.read_text("utf-8"))["scenarios"]
        return {s["name"]: _word(s) for s in scenarios if s["name"] in chosen}


def _word(scenario: Mapping[str, str]) -> str:
    if scenario["status"] == "broken" and (scenario["category"] or "").casefold().startswith("inconclusive"):
        return LATE if LESS_BUSY in scenario["message"] else "inconclusive"
    if scenario["status"] == "broken":
        return "refused" if scenario["category"] in _SAID else f"broken: {scenario['message'][:200]}"
    return scenario["status"]
