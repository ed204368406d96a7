"""The sense checks against Istio's own analyzers: what these find is found, and more; sound worlds are left in peace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from meshbdd import sense
from meshbdd.sense import catalog
from tests.golden.meaning import DATA


def _documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


WORLD = _documents((DATA / "world.yaml").read_text("utf-8"))
CASES: list[dict[str, Any]] = yaml.safe_load((DATA / "istio-analysis.yaml").read_text("utf-8"))

SILENT = {
    "destination-rules-two": {"MB0933"},
    "destination-rule-disable-under-strict": {"MB0936"},
    "peer-authentication-no-pods": {"MB0950"},
    "service-no-pods": {"MB0951"},
    "fault-and-retries-one-route": {"MB0920"},
    "per-try-exceeds-timeout": {"MB0925"},
    "delay-longer-than-own-timeout": {"MB0921"},
    "sidecar-no-egress": {"MB0970"},
}
"""Worlds of which Istio's analyzers say nothing, and what there is to say."""


SAME = {check.code: check.istio for check in catalog.CHECKS}
"""Our code → Istio's codes for the same."""


UNSAID = {
    "virtual-service-gateway-missing": (
        "IST0132",
        "that a missing gateway has not the host, either, goes without saying",
    ),
    "virtual-service-duplicate-match": (
        "IST0131",
        "of a rule that no request reaches it is not said that a match is there twice",
    ),
    "envoy-filter-relative": ("IST0133", "the lab's admission warns of it, when it is applied"),
    "authorization-namespace-missing": ("IST0127", "that nothing is selected in a namespace that does not exist, too"),
}
"""World → the message of Istio's that has no counterpart of its own, and why; something else is said of the same object."""


def missed(case: dict[str, Any]) -> list[str]:
    """Istio's messages about a world that nothing here says of the same object."""
    seen = {(finding.object, code) for finding in found(case) for code in SAME[finding.code]}
    return [f"{m['code']} of {m['object']}" for m in case["messages"] if (m["object"], m["code"]) not in seen]


def found(case: dict[str, Any]) -> list[sense.Finding]:
    """What is found in a world."""
    return sense.check_changes(_documents(case["resources"]), WORLD)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
def test_what_istio_finds_is_found(case: dict[str, Any]) -> None:
    unsaid = [UNSAID[case["name"]][0]] if case["name"] in UNSAID else []
    assert [message.partition(" ")[0] for message in missed(case)] == unsaid
    assert found(case), "each of these worlds is doubtful"


@pytest.mark.parametrize("case", [c for c in CASES if not c["messages"]], ids=lambda c: c["name"])
def test_where_istio_is_silent(case: dict[str, Any]) -> None:
    assert SILENT[case["name"]] <= {finding.code for finding in found(case)}


def test_the_table_of_silent_cases_is_whole() -> None:
    assert set(SILENT) == {case["name"] for case in CASES if not case["messages"]}


def _shop(project: Path) -> list[dict[str, Any]]:
    files = [file for room in ("shop", "vantage") for file in sorted((project / "manifests" / room).glob("*.yaml"))]
    return [document for file in files for document in _documents(file.read_text("utf-8"))]


def test_sound_worlds_are_left_in_peace(project: Path) -> None:
    assert sense.check(WORLD) == []
    assert sense.check(_shop(project)) == []


EXAMPLES = {"circuit-breaker.yaml": ["MB0934"]}
"""The guide's circuit breaker can never open: one endpoint, and 10 % of one is none."""


def test_the_examples_are_sound_but_for_one(project: Path) -> None:
    found = {}
    for file in sorted((project / "manifests" / "examples").glob("*.yaml")):
        documents = _documents(file.read_text("utf-8"))
        for document in documents:
            document["metadata"].setdefault("namespace", "shop")
        codes = [finding.code for finding in sense.check_changes(documents, _shop(project))]
        found |= {file.name: codes} if codes else {}
    assert found == EXAMPLES
