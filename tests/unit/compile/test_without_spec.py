"""An object without a ``spec`` is one whose spec is empty, as it is for Istio."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.lab.admission import admit, crds
from meshbdd.lab.compile import Mesh, compile_pod
from tests.golden.meaning import world

GROUPS = {item["spec"]["names"]["kind"]: item["spec"]["group"] for item in crds()}
TAKEN = ("EnvoyFilter", "AuthorizationPolicy", "PeerAuthentication")
"""Kinds of which Istio takes such an object."""


def test_of_these_kinds_it_is_taken() -> None:
    assert {kind for kind in GROUPS if admit({"kind": kind, "metadata": {"name": "bare"}}).refused is None} == {*TAKEN}


@pytest.mark.parametrize("kind", [*TAKEN, "Sidecar", "HTTPRoute"])
def test_it_compiles_like_an_empty_one(kind: str) -> None:
    meta = {"name": "bare", "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"}
    bare: dict[str, Any] = {"apiVersion": f"{GROUPS[kind]}/v1", "kind": kind, "metadata": meta}
    made = [
        compile_pod(Mesh.read([*world(), obj]), "order-stable-1", "shop").to_json()
        for obj in (bare, {**bare, "spec": None}, {**bare, "spec": {}})
    ]
    assert made[0] == made[1] == made[2]
