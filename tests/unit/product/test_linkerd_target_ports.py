"""A new Service whose port leads to no port of its pods is refused with that reason; its endpoints were awaited in vain."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.errors import BadInput
from meshbdd.lab.controllers.endpoints import target_port
from meshbdd.mesh import Linkerd
from meshbdd.mesh.catalog import ports_of
from meshbdd.pod_spec import named_ports
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
    only_first = {"initContainers": [{"name": "once", "ports": named}]}
    for more in ({}, only_first):
        with pytest.raises(BadInput, match=r'leads to target port "web".* so that port would have no endpoint'):
            _world()([_new("web", "made"), _deployment("made", [], **more)])


def _spec(**more: Any) -> Object:
    first = {"name": "app", "ports": [{"name": "web", "containerPort": 8080}, {"containerPort": 9090}]}
    return {"containers": [first, {"name": "b", "ports": [{"name": "web", "containerPort": 8081}]}], **more}


def test_a_name_is_looked_up_as_kubernetes_does_it() -> None:
    ports = [{"name": "web", "containerPort": 1}, {"name": "side", "containerPort": 2}]
    beside = {"name": "side", "restartPolicy": "Always", "ports": ports}
    once = {"name": "once", "ports": [{"name": "once", "containerPort": 3}]}
    assert named_ports(_spec()) == {"web": 8080}
    assert named_ports(_spec(initContainers=[once, beside])) == {"web": 8080, "side": 2}


def test_the_lab_and_the_catalog_look_it_up_so_too() -> None:
    beside = {"name": "side", "restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 2}]}
    pod = {"spec": _spec(initContainers=[beside])}
    assert target_port({"port": 80, "targetPort": "side"}, pod) == 2
    assert target_port({"port": 80, "targetPort": "once"}, pod) is None
    service = {"spec": {"ports": [{"port": 80, "targetPort": "side"}, {"port": 81, "targetPort": "web"}]}}
    assert ports_of(service, [pod]) == (2, 8080)
