"""A pod that goes away while a change is awaited is told as that, in the words of nobody's library."""

from __future__ import annotations

from typing import Any, cast

import pytest
from kubernetes.client import ApiException

from meshbdd.cluster import Cluster
from meshbdd.cluster.tunnel import PodGone, Tunnel
from meshbdd.errors import EnvironmentBroken, Inconclusive
from meshbdd.mesh.looking import Looks, Proxy
from meshbdd.units import Duration

REST = " -+-+- {'content-type': 'application/json', 'content-length': '9'} -+-+- b'{\"kind\":\"Status\"}'"
"""What the client appends of the answer."""


def _tunnel(status: str, monkeypatch: pytest.MonkeyPatch) -> Tunnel:
    def refused(_self: Tunnel) -> Any:
        raise ApiException(status=0, reason=f"Handshake status {status}{REST}")

    monkeypatch.setattr(Tunnel, "_open", refused)
    return Tunnel(cast("Cluster", None), "pay-1", "shop", 15000)


def test_a_pod_that_is_there_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PodGone) as caught:
        _tunnel("404 Not Found", monkeypatch).get("/")
    assert caught.value.sentence == "Pod pay-1.shop went away."


@pytest.mark.parametrize("status", ["403 Forbidden", "500 Internal Server Error"])
def test_another_answer_of_the_api_is_told_in_short(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentBroken) as caught:
        _tunnel(status, monkeypatch).get("/")
    told = f"Port 15000 of pod pay-1.shop does not answer through the API server: {status}."
    assert (caught.value.code, caught.value.sentence) == ("MB0315", told)


def test_nobody_waits_for_a_pod_that_went_away(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(cast("Cluster", None), Duration(600))
    tunnel = _tunnel("404 Not Found", monkeypatch)
    proxy = Proxy(tunnel, {"name": "pay-1", "namespace": "shop", "labels": {}})
    with pytest.raises(
        Inconclusive, match=r"the arrival of the change at pay-1\S* cannot be seen: the pod went away\."
    ) as caught:
        looks.wait([proxy], lambda there: str(there.tunnel.get("/")), "the arrival of the change")
    looks.close()
    assert (caught.value.code, caught.value.help) == ("MB0411", "keep the pods while a scenario runs")
