"""run.json and junit.xml: what became of a run, for machines."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from typing import Any
from weakref import WeakKeyDictionary
from xml.etree import ElementTree as ET

from allure_commons.model2 import GlobalError, Globals
from allure_commons.utils import now, uuid4

from meshbdd import __version__
from meshbdd.report.outcome import Category, Problem
from meshbdd.report.record import RunRecord, ScenarioRecord
from meshbdd.report.results import EXTRA, ResultsFolder

SCHEMA = "https://meshbdd.dev/schema/run-1.json"
"""The name of the format; ``meshbdd/report/run.schema.json`` describes it."""

_NOT_IN_XML = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 65534, 65535), "�")


def write_run_files(folder: ResultsFolder, record: RunRecord) -> None:
    """Write both files; what they held before is replaced."""
    folder.write(f"{EXTRA}/run{folder.shard}.json", run_json(record))
    folder.write(f"{EXTRA}/junit{folder.shard}.xml", junit(record))


_texts: WeakKeyDictionary[ScenarioRecord, str] = WeakKeyDictionary()
"""Scenarios as JSON: the files are written after each one, and what is over does not change."""


def run_json(record: RunRecord) -> str:
    """What ``run.json`` holds, a line a scenario."""
    lines = []
    for scenario in record.scenarios.values():
        if scenario not in _texts:
            _texts[scenario] = json.dumps(_scenario(scenario), ensure_ascii=False, default=str)
        lines.append(_texts[scenario])
    frame = json.dumps(_frame(record), ensure_ascii=False, indent=1, default=str).removesuffix("\n}")
    scenarios = ",\n".join(lines)
    return f'{frame},\n "scenarios": [\n{scenarios}\n ]\n}}\n'


def mark_running(folder: ResultsFolder, record: RunRecord) -> None:
    """Keep a problem in the report for as long as the run has not ended; a killed one cannot say so any more."""
    name = f"unended{folder.shard}-globals.json"
    if not record.running:
        folder.remove(name)
        return
    of = f" of {record.planned}" if record.planned else ""
    told = f"{Category.INTERRUPTED.prefix}the run did not come to its end: {record.ended}{of} scenarios ran"
    folder.write_item(name, Globals(errors=[GlobalError(message=told, timestamp=now())]))


def add_problem(folder: ResultsFolder, record: RunRecord, problem: Problem) -> None:
    """Show what went wrong outside of any scenario, in the report and in both files."""
    record.problems.append(problem)
    item = GlobalError(
        message=f"{problem.category.prefix}{problem.sentence}", trace=problem.trace or None, timestamp=now()
    )
    folder.write_item(f"{uuid4()}-globals.json", Globals(errors=[item]))
    write_run_files(folder, record)


def _frame(record: RunRecord) -> dict[str, Any]:
    """What it holds, but for the scenarios."""
    scenarios = list(record.scenarios.values())
    return {
        "schema": SCHEMA,
        "meshbdd": __version__,
        "started": min((s.started for s in scenarios), default=time.time()),
        "environment": dict(record.facts),
        "counts": dict(record.counts),
        "behave": dict(Counter(s.behave for s in scenarios)),
        "seconds": round(sum(s.seconds for s in scenarios), 3),
        "drawing_seconds": round(record.drawing_seconds, 3),
        "cut_short": record.cut_short,
        "planned": max(record.planned, record.ended),
        "exit_code": record.exit_code,
        "problems": [{"category": p.category.value, "sentence": p.sentence} for p in record.problems],
    }


def _scenario(record: ScenarioRecord) -> dict[str, Any]:
    category = record.outcome.category
    return {
        "file": record.file,
        "line": record.line,
        "feature": record.feature,
        "rule": record.rule,
        "name": record.name,
        "status": record.outcome.status,
        "behave": record.behave,
        "category": category.value if category else None,
        "message": record.outcome.message,
        "started": record.started,
        "seconds": round(record.seconds, 6),
        "evidence": record.evidence,
    }


def junit(record: RunRecord) -> bytes:
    """JUnit's XML: a suite for each feature. What is broken, and what a run did not reach, is an error."""
    root = ET.Element("testsuites", name="meshbdd")
    features: dict[tuple[str, str], list[ScenarioRecord]] = defaultdict(list)
    for scenario in record.scenarios.values():
        features[scenario.file, scenario.feature].append(scenario)
    for feature, scenarios in features.items():
        statuses = Counter(s.outcome.status for s in scenarios)
        suite = ET.SubElement(
            root,
            "testsuite",
            name=_text(feature[1] or feature[0]),
            tests=str(len(scenarios)),
            failures=str(statuses["failed"]),
            errors=str(statuses["broken"] + statuses["unknown"]),
            skipped=str(statuses["skipped"]),
            time=f"{sum(s.seconds for s in scenarios):.3f}",
        )
        for scenario in scenarios:
            _case(suite, scenario)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _case(suite: ET.Element, record: ScenarioRecord) -> None:
    where = ".".join(part for part in (record.feature, record.rule) if part)
    case = ET.SubElement(
        suite, "testcase", name=_text(record.name), classname=_text(where), time=f"{record.seconds:.3f}",
        file=_text(record.file), line=str(record.line),
    )  # fmt: skip
    tag = {"failed": "failure", "broken": "error", "unknown": "error", "skipped": "skipped"}.get(record.outcome.status)
    if tag:
        category = record.outcome.category
        element = ET.SubElement(case, tag, message=_text(record.outcome.message))
        if tag != "skipped":
            element.set("type", category.value if category else "Not run")
            element.text = _text(record.outcome.trace)


def _text(text: str) -> str:
    """Without what XML 1.0 cannot hold."""
    return text.translate(_NOT_IN_XML)
