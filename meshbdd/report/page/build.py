"""One page from a folder of results, and the history that connects it with the pages of earlier runs."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshbdd.errors import BadInput, EnvironmentBroken
from meshbdd.report import categories
from meshbdd.report.page import tools

_OURS = ".meshbdd-report.json"
_ANALYTICS = re.compile(r"<script[^>]*googletagmanager[^>]*></script>\s*<script>.*?</script>", re.DOTALL)
"""Both versions put Google Analytics into every page and have no option against it."""


@dataclass(frozen=True, slots=True)
class Built:
    """A page.

    Attributes:
        page: The file.
        tool: What made it.
        seconds: How long that took, fetching not counted.
    """

    page: Path
    tool: str
    seconds: float


def build_page(results: Path, output: Path) -> Built:
    """Build the page.

    Args:
        results: A folder of Allure results; nothing in it is changed.
        output: Folder for ``index.html`` and the history; what an earlier page left there is used and replaced.

    Raises:
        BadInput: there are no results, or something else is in the output's place.
        EnvironmentBroken: neither Node.js nor Java is here, or Allure could not be fetched or run.
    """
    _see_results(results)
    _see_output(output)
    node, java = tools.node_version(), tools.java_version()
    if node is not None and node >= tools.LEAST_NODE:
        try:
            command = tools.allure_3()
        except EnvironmentBroken:
            if java is None:
                raise
        else:
            return _build(results, output, f"Allure {tools.ALLURE_3}", lambda *paths: _allure_3(command, *paths))
    if java is not None and java[0] >= tools.LEAST_JAVA:
        folder = tools.allure_2()
        return _build(results, output, f"Allure {tools.ALLURE_2}", lambda *paths: _allure_2(folder, *paths))
    least = ".".join(map(str, tools.LEAST_NODE))
    found = f"Node.js {'.'.join(map(str, node))} is too old (at least {least})" if node else "Node.js is not here"
    raise EnvironmentBroken(
        "MB0815",
        f"The page cannot be made: {found}, and neither is Java; the results, run.json and junit.xml stay in {results}.",
        help=f"install Node.js {least} or newer, or Java {tools.LEAST_JAVA} or newer, then: meshbdd report",
    )


def _see_results(results: Path) -> None:
    if not results.is_dir():
        raise BadInput(
            "MB0816", f"There is no folder of results at {results}.", help="run the features first: meshbdd run"
        )
    if not any(results.glob("*-result.json")) and not any(results.glob("*-globals.json")):
        raise BadInput("MB0817", f"{results} holds no results.", help="run the features first: meshbdd run")


def _see_output(output: Path) -> None:
    if (output / "index.html").exists() and not (output / _OURS).exists():
        raise BadInput(
            "MB0818",
            f"{output / 'index.html'} is there and is no report of meshbdd's.",
            help="name another folder with -o",
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / _OURS).touch()
    except OSError as error:
        raise BadInput(
            "MB0819", f"The report cannot be written to {output}: {error.strerror}.", help="name another folder with -o"
        ) from None


def _build(results: Path, output: Path, tool: str, generate: Any) -> Built:
    began = time.monotonic()
    digest = _digest(results)
    known = _known(output)
    with tempfile.TemporaryDirectory(prefix="meshbdd-report-") as temporary:
        work = Path(temporary)
        # A page made again from the same results is no further run in its history.
        past = output / ("history-before" if known.get("results") == digest else "history")
        if past.is_dir():
            shutil.copytree(past, work / "history")
        (work / "history").mkdir(exist_ok=True)
        page = generate(results, work)
        text = _ANALYTICS.sub("", page.read_text("utf-8"))
        new = work / "index.html"
        new.write_text(text, "utf-8")
        try:
            _replace(past if past.is_dir() else None, output / "history-before")
            _replace(work / "history", output / "history")
            shutil.copyfile(new, output / "index.html.tmp")
            (output / "index.html.tmp").replace(output / "index.html")
            (output / _OURS).write_text(json.dumps({"results": digest}), "utf-8")
        except OSError as error:
            raise BadInput(
                "MB0819",
                f"The report cannot be written to {output}: {error.strerror}.",
                help="name another folder with -o",
            ) from None
    return Built(output / "index.html", tool, time.monotonic() - began)


def _replace(source: Path | None, target: Path) -> None:
    if source == target:
        return
    shutil.rmtree(target, ignore_errors=True)
    if source is not None:
        shutil.copytree(source, target)
    else:
        target.mkdir()


def _known(output: Path) -> dict[str, Any]:
    try:
        known = json.loads((output / _OURS).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _digest(results: Path) -> str:
    """Which results these are: scenarios get a new id in every run."""
    names = sorted(file.name for file in results.glob("*-result.json"))
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _allure_3(command: Path, results: Path, work: Path) -> Path:
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


def _allure_2(folder: Path, results: Path, work: Path) -> Path:
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


def _add_outside_problems(results: Path, more: Path) -> None:
    """Allure 2 of Maven Central knows no problems outside of scenarios; without them its page would be too green."""
    for number, file in enumerate(sorted(results.glob("*-globals.json"))):
        for error in json.loads(file.read_text("utf-8")).get("errors", ()):
            message = error.get("message") or ""
            made = {
                "uuid": f"outside-{number}", "historyId": hashlib.sha256(message.encode()).hexdigest(),
                "name": "outside of any scenario", "status": "broken", "statusDetails": {"message": message},
                "start": error.get("timestamp"), "stop": error.get("timestamp"),
            }  # fmt: skip
            (more / f"outside-{number}-result.json").write_text(json.dumps(made), "utf-8")
