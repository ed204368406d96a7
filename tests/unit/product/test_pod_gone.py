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


def _failing(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> Tunnel:
    def connects() -> Any:
        raise error

    def fails(_self: Tunnel) -> Any:
        try:
            connects()
        except (ApiException, OSError):
            raise
        except BaseException as hidden:  # noqa: BLE001 - as kubernetes.stream.ws_client does
            raise ApiException(status=0, reason=str(hidden))  # noqa: B904

    monkeypatch.setattr(Tunnel, "_open", fails)
    return Tunnel(cast("Cluster", None), "pay-1", "shop", 15020)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ApiException(status=0, reason=""), "no answer came (ApiException)"),
        (ApiException(status=0), "no answer came (ApiException)"),
        (AssertionError(), "no answer came (AssertionError)"),
        (TimeoutError(), "no answer came (TimeoutError)"),
        (ApiException(status=403, reason="Forbidden"), "403 Forbidden"),
        (ValueError("two\n  lines.\n"), "two lines"),
        (ConnectionRefusedError(111, "Connection refused"), "[Errno 111] Connection refused"),
    ],
)
def test_what_failed_is_told_on_one_line(error: Exception, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentBroken) as caught:
        _failing(error, monkeypatch).get("/")
    told = f"Port 15020 of pod pay-1.shop does not answer through the API server: {words}."
    assert caught.value.sentence == told


def test_an_interruption_while_a_tunnel_opens_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        _failing(KeyboardInterrupt(), monkeypatch).get("/")


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
