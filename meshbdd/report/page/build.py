"""One page from a folder of results, and the history that connects it with the pages of earlier runs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshbdd.errors import BadInput, EnvironmentBroken
from meshbdd.report.page import gaps, generators, tools
from meshbdd.report.page.gaps import Gaps
from meshbdd.report.page.pack import pack
from meshbdd.report.page.publish import not_written, publish, why

_OURS = ".meshbdd-report.json"
_HISTORY = re.compile(r"history\.jsonl?|(history|categories|duration|retry)-trend\.json")
"""What both versions keep of earlier runs. CI systems may lay this alone beside the page to come."""
_ANALYTICS = re.compile(r"<script[^>]*googletagmanager[^>]*></script>\s*<script>.*?</script>", re.DOTALL)
"""Both versions put Google Analytics into every page and have no option against it."""


@dataclass(frozen=True, slots=True)
class Built:
    """A page.

    Attributes:
        page: The file.
        tool: What made it.
        seconds: How long that took, fetching not counted.
        gaps: What the results lack of their run, and the page with them.
    """

    page: Path
    tool: str
    seconds: float
    gaps: Gaps = Gaps()

    @property
    def problem(self) -> EnvironmentBroken | None:
        """What is to be told of them."""
        if not self.gaps:
            return None
        return EnvironmentBroken("MB0820", self.gaps.sentence, help="run the features again for a whole report")


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
            return _build(
                results, output, f"Allure {tools.ALLURE_3}", lambda *paths: generators.run_allure_3(command, *paths)
            )
    if java is not None and java[0] >= tools.LEAST_JAVA:
        folder = tools.allure_2()
        return _build(
            results, output, f"Allure {tools.ALLURE_2}", lambda *paths: generators.run_allure_2(folder, *paths)
        )
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
    theirs = None if (output / _OURS).exists() else next(_not_ours(output), None)
    if theirs is not None:
        raise BadInput(
            "MB0818", f"{theirs} is there and is no report of meshbdd's.", help="name another folder with -o"
        )
    above = next(folder for folder in (output, *output.parents) if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise not_written(output, OSError(0, f"{above} is {'read-only' if above.is_dir() else 'no folder'}"))


def _not_ours(output: Path) -> Iterator[Path]:
    """What a page would replace although none of ours left it."""
    for name in ("index.html", "history", "history-before"):
        found = output / name
        if found.is_dir() and name != "index.html":
            yield from (file for file in found.iterdir() if not _HISTORY.fullmatch(file.name))
        elif found.exists():
            yield found


def _build(results: Path, output: Path, tool: str, generate: Any) -> Built:
    """Build the page in a folder of its own, and put it in its place when it is whole."""
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="meshbdd-report-") as temporary:
            found = _build_in(Path(temporary), results, output, generate)
    except OSError as error:
        raise EnvironmentBroken(
            "MB0821",
            f"The page cannot be made in {tempfile.gettempdir()}: {why(error)}.",
            help="make room there, or set TMPDIR to another folder",
        ) from None
    return Built(output / "index.html", tool, time.monotonic() - began, found)


def _build_in(work: Path, results: Path, output: Path, generate: Any) -> Gaps:
    digest = _digest(results)
    known = _known(output)
    found = gaps.find(results)
    whole = gaps.without(found, results, work / "results") if found else results
    # A page made again from the same results is no further run in its history.
    past = output / ("history-before" if known.get("results") == digest else "history")
    if past.is_dir():
        shutil.copytree(past, work / "history")
    (work / "history").mkdir(exist_ok=True)
    page = generate(whole, work)
    text = pack(_ANALYTICS.sub("", page.read_text("utf-8")))
    new = work / "new"
    (new / "history-before").mkdir(parents=True)
    (new / "index.html").write_text(text, "utf-8")
    if past.is_dir():
        shutil.copytree(past, new / "history-before", dirs_exist_ok=True)
    (work / "history").rename(new / "history")
    (new / _OURS).write_text(json.dumps({"results": digest}), "utf-8")
    publish(new, output)
    return found


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
