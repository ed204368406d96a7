"""What the lab's API fills in where an object does not say it."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.lab.api.defaults import fill_in

Object = dict[str, Any]


def _filled(key: str, spec: Object) -> Object:
    obj: Object = {"metadata": {"name": "fresh", "namespace": "shop"}, "spec": spec}
    fill_in(key, obj, lambda *_: "10.0.0.1", None)
    found: Object = obj["spec"]
    return found


@pytest.mark.parametrize(
    ("said", "account"),
    [
        ({}, "default"),
        ({"serviceAccount": "old"}, "old"),
        ({"serviceAccountName": "new"}, "new"),
        ({"serviceAccountName": "new", "serviceAccount": "old"}, "new"),
    ],
)
def test_the_service_account_of_a_pod_may_go_by_its_alias(said: Object, account: str) -> None:
    assert _filled("pods", {"containers": [], **said})["serviceAccountName"] == account


def test_replicas_that_are_left_empty_are_one() -> None:
    template = {"metadata": {}, "spec": {"containers": []}}
    for said, many in (({}, 1), ({"replicas": None}, 1), ({"replicas": 0}, 0)):
        assert _filled("deployments.apps", {"template": template, **said})["replicas"] == many
