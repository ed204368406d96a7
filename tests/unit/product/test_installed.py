"""Which mesh a cluster has."""

from __future__ import annotations

import json
from typing import cast

import pytest

from meshbdd.cluster import Cluster
from meshbdd.errors import BadInput
from meshbdd.mesh.installed import find_mesh


class _Api:
    context = "staging"

    def __init__(self, *groups: str) -> None:
        self._groups = groups

    def request(self, _method: str, path: str) -> bytes:
        assert path == "/apis"
        return json.dumps({"groups": [{"name": name} for name in ("apps", *self._groups)]}).encode()


def _find(asked: str, *groups: str) -> str:
    return find_mesh(cast("Cluster", _Api(*groups)), asked)


ISTIO, LINKERD = "networking.istio.io", "policy.linkerd.io"


def test_the_one_that_is_installed_is_taken() -> None:
    assert _find("auto", ISTIO) == "istio"
    assert _find("auto", LINKERD, "gateway.networking.k8s.io") == "linkerd"
    assert _find("linkerd", ISTIO, LINKERD) == "linkerd"


@pytest.mark.parametrize(
    ("asked", "groups", "words", "action"),
    [
        ("auto", (ISTIO, LINKERD), "needs a mesh, and the cluster staging has istio and linkerd", "name one"),
        ("auto", (), "has neither Istio nor Linkerd", "install the mesh"),
        ("linkerd", (ISTIO,), "needs linkerd, and the cluster staging has istio", "name the one that is there"),
    ],
)
def test_what_cannot_be_told_is_asked_for(asked: str, groups: tuple[str, ...], words: str, action: str) -> None:
    with pytest.raises(BadInput, match=words) as refused:
        _find(asked, *groups)
    assert action in str(refused.value.help)
