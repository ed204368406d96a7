"""Who gets a sidecar when it is created: what the selectors of Istio's webhooks make of labels."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.sense.pods import will_be_meshed

_TRUE, _FALSE = {"sidecar.istio.io/inject": "true"}, {"sidecar.istio.io/inject": "false"}
_ON, _OFF = {"istio-injection": "enabled"}, {"istio-injection": "disabled"}
_REVISION = {"istio.io/rev": "canary"}


@pytest.mark.parametrize(
    ("namespace", "pod", "meshed"),
    [
        ({}, {}, False),
        ({}, _TRUE, True),
        ({}, _REVISION, True),
        ({}, _FALSE | _REVISION, False),
        (_ON, {}, True),
        (_ON, _FALSE, False),
        (_ON | _REVISION, {}, True),
        (_REVISION, {}, True),
        (_REVISION, _FALSE, False),
        (_OFF, {}, False),
        (_OFF, _TRUE, False),
        (_OFF, _REVISION, False),
        (_OFF | _REVISION, _TRUE, False),
        (None, {}, True),
        (None, _FALSE, False),
    ],
)
def test_labels_decide(namespace: dict[str, str] | None, pod: dict[str, str], meshed: bool) -> None:
    home: dict[str, Any] | None = None if namespace is None else {"metadata": {"labels": namespace}}
    assert will_be_meshed({"metadata": {"labels": pod}}, home) is meshed


def test_an_annotation_and_the_hosts_network_keep_it_away() -> None:
    home = {"metadata": {"labels": _ON}}
    assert not will_be_meshed({"metadata": {"annotations": _FALSE}}, home)
    assert not will_be_meshed({"spec": {"hostNetwork": True}}, home)
