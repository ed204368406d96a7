"""Istio's recorded decision on each of a list of resources, and whether the lab's is the same."""

from __future__ import annotations

from typing import Any

import yaml

from meshbdd.lab.admission import admit, unknown_fields
from meshbdd.lab.admission.definitions import spec_schema
from tests.golden.meaning import DATA

CASES: list[dict[str, Any]] = yaml.safe_load((DATA / "istio-refused.yaml").read_text("utf-8"))


def objects(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The resources of a case."""
    return [obj for obj in yaml.safe_load_all(case["resource"]) if obj]


def known(case: dict[str, Any]) -> bool:
    """Whether the lab serves all kinds of the case."""
    return all(spec_schema(obj["kind"], obj["apiVersion"]) for obj in objects(case))


def _refused(obj: dict[str, Any]) -> str | None:
    # kubectl asks the API server for strict validation, as the recording did.
    unknown = unknown_fields(obj)
    return f"unknown field {unknown[0]}" if unknown else admit(obj).refused


def difference(case: dict[str, Any]) -> str | None:
    """How the lab decides otherwise than Istio, if it does: refused or not, and how many warnings."""
    refused = [sentence for obj in objects(case) if (sentence := _refused(obj))]
    if bool(refused) != bool(case["refused_by"]):
        return f"refused: {refused[0]}" if refused else "accepted"
    warnings = 0 if refused else sum(len(admit(obj).warnings) for obj in objects(case))
    return None if refused or warnings == case["warnings"] else f"{warnings} warnings, recorded {case['warnings']}"
