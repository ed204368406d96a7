"""A new Service whose port leads to no port of its pods is refused with that reason; its endpoints were awaited in vain."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.errors import BadInput
from meshbdd.mesh import Linkerd
from tests.unit.product.staged import Staged
from tests.unit.product.test_linkerd import Objects, _obj

Object = dict[str, Any]


def _new(target: object, app: str = "payment-service") -> Object:
    port = {"name": "http", "port": 80, "targetPort": target}
    return {**_obj("Service", "alias", {"selector": {"app": app}, "ports": [port]}, "v1")}


def _template(app: str, ports: list[Object], **more: Any) -> Object:
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "app", "ports": ports}], **more}}


def _deployment(app: str, ports: list[Object], **more: Any) -> Object:
    return _obj("Deployment", app, {"replicas": 1, "template": _template(app, ports, **more)}, "apps/v1")


def _world() -> Staged:
    pod = {**_obj("Pod", "fresh-1", {}, "v1"), **_template("fresh", [{"name": "http", "containerPort": 8080}])}
    pod["metadata"] |= {"name": "fresh-1", "namespace": "shop"}
    return Staged(Linkerd, [_obj("Namespace", "shop", {}), *Objects().objects, pod], ())


@pytest.mark.parametrize(("target", "action"), [("nosuch", "correct targetPort"), ("htp", 'did you mean "http"?')])
def test_a_name_that_no_container_has(target: str, action: str) -> None:
    told = f'Port 80 of Service alias leads to target port "{target}", which no container of its pods has'
    with pytest.raises(BadInput, match=told) as caught:
        _world()([_new(target, "fresh")])
    assert (caught.value.code, caught.value.help) == ("MB0451", action)


@pytest.mark.parametrize("target", ["http", 8080, 9999])
def test_a_name_that_one_has_and_a_number(target: object) -> None:
    assert _world()([_new(target, "fresh")]).edits


def test_where_there_are_no_pods_nobody_knows() -> None:
    assert _world()([_new("nosuch", "nobody")]).edits


def test_the_manifests_own_deployment_counts() -> None:
    named = [{"name": "web", "containerPort": 8080}]
    assert _world()([_new("web", "made"), _deployment("made", named)]).edits
    beside = {"initContainers": [{"name": "side", "restartPolicy": "Always", "ports": named}]}
    assert _world()([_new("web", "made"), _deployment("made", [], **beside)]).edits
    with pytest.raises(BadInput, match='leads to target port "web"'):
        _world()([_new("web", "made"), _deployment("made", [])])
