"""What the spec of a pod says: its containers, native sidecars among them, and their environment."""

from __future__ import annotations

from typing import Any

from meshbdd.pod_spec import containers, variable

SPEC: dict[str, Any] = {
    "containers": [{"name": "app", "env": [{"name": "LEVEL", "value": "of the application"}]}],
    "initContainers": [
        {
            "name": "proxy",
            "restartPolicy": "Always",
            "env": [{"name": "EMPTY"}, {"name": "LEVEL", "value": "of the proxy"}],
        }
    ],
}


def test_a_native_sidecar_is_one_of_the_containers() -> None:
    assert [container["name"] for container in containers(SPEC)] == ["app", "proxy"]


def test_what_is_not_there_or_null_has_no_containers() -> None:
    assert containers({"containers": None}) == []


def test_a_variable_is_that_of_the_container_asked_for() -> None:
    assert variable(SPEC, "proxy", "LEVEL") == "of the proxy"
    assert variable(SPEC, "app", "LEVEL") == "of the application"


def test_a_variable_without_a_value_a_name_or_a_container_is_empty() -> None:
    assert variable(SPEC, "proxy", "EMPTY") == ""
    assert variable(SPEC, "app", "OTHER") == ""
    assert variable(SPEC, "nobody", "LEVEL") == ""
    assert variable({"containers": [{"name": "app", "env": None}]}, "app", "LEVEL") == ""
