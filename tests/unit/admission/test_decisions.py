"""The same decision as Istio on each recorded resource of a kind that the lab has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from meshbdd.lab.admission import admit
from meshbdd.lab.admission.definitions import spec_schema
from meshbdd.lab.api import schema as structural

DATA = Path(__file__).parents[2] / "golden" / "data" / "istio-refused.yaml"
CASES = yaml.safe_load(DATA.read_text())


def _objects(case: dict[str, Any]) -> list[dict[str, Any]]:
    return [obj for obj in yaml.safe_load_all(case["resource"]) if obj]


KNOWN = [case for case in CASES if all(spec_schema(obj["kind"]) for obj in _objects(case))]


def _refused(obj: dict[str, Any]) -> str | None:
    definition = spec_schema(obj["kind"])
    assert definition is not None
    # kubectl asks the API server for strict validation, as the recording did.
    unknown = structural.prune(
        {"type": "object", "properties": {"spec": definition}}, yaml.safe_load(yaml.safe_dump(obj))
    )
    return f"unknown field {unknown[0]}" if unknown else admit(obj).refused


@pytest.mark.parametrize("case", KNOWN, ids=[case["name"] for case in KNOWN])
def test_the_decision_is_istios(case: dict[str, Any]) -> None:
    refused = [sentence for obj in _objects(case) if (sentence := _refused(obj))]
    assert bool(refused) == bool(case["refused_by"]), refused or "accepted"
    if not refused:
        assert sum(len(admit(obj).warnings) for obj in _objects(case)) == case["warnings"]


def test_most_recorded_kinds_are_known() -> None:
    assert len(KNOWN) >= 52, f"{len(KNOWN)} of {len(CASES)}"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {
                "hosts": ["a"],
                "http": [
                    {"route": [{"destination": {"host": "a"}}], "retries": {"attempts": 1, "retryOn": "sometimes"}}
                ],
            },
            "sometimes",
        ),
        (
            {
                "hosts": ["a"],
                "http": [{"route": [{"destination": {"host": "a"}}], "fault": {"abort": {"grpcStatus": "BROKEN"}}}],
            },
            "BROKEN",
        ),
        (
            {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}], "corsPolicy": {"maxAge": "1s"}}]},
            "spec.http[0].corsPolicy",
        ),
        ({"hosts": ["a"], "http": [{"delegate": {"name": "b"}}]}, "spec.http[0].delegate"),
        ({"hosts": ["a"], "http": [{"redirect": {"uri": "/", "redirectCode": 309}}]}, "309"),
    ],
)
def test_a_refusal_names_field_and_value(spec: dict[str, Any], words: str) -> None:
    decision = admit({"kind": "VirtualService", "metadata": {"name": "x", "namespace": "shop"}, "spec": spec})
    assert decision.refused is not None
    assert words in decision.refused
    assert "VirtualService x in shop" in decision.refused


def test_what_istio_accepts_is_accepted() -> None:
    spec = {"hosts": ["nobody"], "http": [{"route": [{"destination": {"host": "nobody", "subset": "v9"}}]}]}
    assert admit({"kind": "VirtualService", "metadata": {"name": "x"}, "spec": spec}).refused is None
