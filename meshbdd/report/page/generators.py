"""One page by either version of Allure, as meshbdd calls them."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from meshbdd.errors import EnvironmentBroken
from meshbdd.report import categories
from meshbdd.report.page import tools


def run_allure_3(command: Path, results: Path, work: Path) -> Path:
    """Build the page with Allure 3.

    Args:
        command: Its command file.
        results: The results.
        work: A folder to build in; its ``history`` is read and written.

    Raises:
        EnvironmentBroken: it failed.
    """
    settings = {
        "name": "meshbdd",
        "output": str(work / "page"),
        "historyPath": str(work / "history" / "history.jsonl"),
        "appendHistory": True,
        "hideLabels": [
            "framework",
            "language",
            "parentSuite",
            "suite",
            "subSuite",
            "feature",
            "story",
        ],  # stand in the path
        "categories": {"rules": categories.for_allure_3()},
        "plugins": {
            "awesome": {
                "options": {
                    "singleFile": True,
                    "reportName": "meshbdd",
                    "groupBy": ["parentSuite", "suite", "subSuite"],
                }
            }
        },
    }
    (work / "allurerc.json").write_text(json.dumps(settings), "utf-8")
    line = ["node", str(command), "generate", str(results.resolve()), "--config", str(work / "allurerc.json")]
    said = tools.run_generator(line, work)
    page = work / "page" / "index.html"
    if not page.is_file():
        raise EnvironmentBroken(
            "MB0814", f"Allure could not build the page: {said.strip()[:400]}", help="see its words"
        )
    return page


def run_allure_2(folder: Path, results: Path, work: Path) -> Path:
    """Build the page with Allure 2.

    Args:
        folder: Where it is.
        results: The results.
        work: A folder to build in; its ``history`` is read and written.

    Raises:
        EnvironmentBroken: it failed.
    """
    more = work / "more"
    more.mkdir()
    if any((work / "history").iterdir()):
        shutil.copytree(work / "history", more / "history")
    _add_outside_problems(results, more)
    command = [
        "java",
        "-classpath",
        f"{folder}/lib/*:{folder}/config",
        "io.qameta.allure.CommandLine",
        "generate",
        str(results.resolve()),
        str(more),
        "--clean",
        "-o",
    ]
    tools.run_generator([*command, str(work / "many")], work)  # only this form writes the history
    tools.run_generator([*command, str(work / "page"), "--single-file"], work)
    made = work / "many" / "history"
    if made.is_dir():
        shutil.rmtree(work / "history")
        shutil.copytree(made, work / "history")
    return work / "page" / "index.html"


OUTSIDE = "outside of any scenario"
"""The suite of Allure 2's page that holds what went wrong there, a case for each; docs/report.md tells of it."""


def _add_outside_problems(results: Path, more: Path) -> None:
    """Allure 2 of Maven Central knows no problems outside of scenarios; without them its page would be too green."""
    files = [json.loads(file.read_text("utf-8")) for file in sorted(results.glob("*-globals.json"))]
    for number, error in enumerate(error for told in files for error in told.get("errors", ())):
        message = error.get("message") or ""
        made = {
            "uuid": f"outside-{number}", "historyId": hashlib.sha256(message.encode()).hexdigest(),
            "name": f"{OUTSIDE}: {message.partition(chr(10))[0][:120]}", "status": "broken",
            "statusDetails": {"message": message}, "labels": [{"name": "parentSuite", "value": OUTSIDE}],
            "start": error.get("timestamp"), "stop": error.get("timestamp"),
        }  # fmt: skip
        (more / f"outside-{number}-result.json").write_text(json.dumps(made), "utf-8")
    # Allure 2 sorts the cases of each folder by that folder's own categories.
    (more / "categories.json").write_text(json.dumps(categories.for_allure_2()), "utf-8")
