"""What a cluster has of kinds that are not installed."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client as kubernetes_client

from meshbdd.cluster import Cluster
from meshbdd.cluster.client import ApiFailure


class _Answers(Cluster):
    """A cluster that answers each question with one status."""

    def __init__(self, status: int) -> None:
        super().__init__(kubernetes_client.Configuration(), "shop", "it")
        self.status = status
        self.asked: list[str] = []

    def request(self, _method: str, path: str, **_options: Any) -> bytes:
        self.asked.append(path)
        if self.status == 200:
            return b'{"items": [{"metadata": {"name": "a"}}]}'
        raise ApiFailure(self.status, "", path)


def test_of_a_kind_that_is_not_installed_there_is_none_and_it_is_asked_for_once() -> None:
    cluster = _Answers(404)
    assert cluster.list("Server") == cluster.list("Server", "shop") == []
    assert len(cluster.asked) == 1
    assert cluster.list("Sidecar") == []
    assert len(cluster.asked) == 2


def test_what_may_not_be_seen_is_not_none() -> None:
    cluster = _Answers(403)
    for _ in range(2):
        with pytest.raises(ApiFailure):
            cluster.list("Server")
    cluster.status = 200
    assert cluster.list("Server") == [
        {"apiVersion": "policy.linkerd.io/v1beta3", "kind": "Server", "metadata": {"name": "a"}}
    ]
