"""EnvoyFilter: refused by Istio's rules, or because the lab compiles four forms only; always with the path."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.lab.admission import admit
from tests.unit.compile.test_envoy_filter import FAULT, MANAGER, fault, patch, route_patch


def decide(*patches: dict[str, Any], **spec: Any) -> Any:
    return admit(
        {
            "kind": "EnvoyFilter",
            "metadata": {"name": "ef", "namespace": "shop"},
            "spec": {"configPatches": list(patches), **spec},
        }
    )


def changed(path: str, value: Any) -> dict[str, Any]:
    """A good patch with one field changed; ``None`` takes the field away."""
    made = patch()
    node = made
    *parents, last = path.split(".")
    for name in parents:
        node = node.setdefault(name, {})
    if value is None:
        node.pop(last, None)
    else:
        node[last] = value
    return made


def test_the_four_forms_are_taken_with_istios_general_warning() -> None:
    armed = {"name": "slot", "config_discovery": {"config_source": {"ads": {}}, "type_urls": [FAULT]}}
    settings = {
        "applyTo": "EXTENSION_CONFIG",
        "patch": {"operation": "ADD", "value": {"name": "slot", "typed_config": fault()}},
    }
    epoch = {
        "applyTo": "CLUSTER",
        "match": {"context": "ANY"},
        "patch": {"operation": "MERGE", "value": {"metadata": {"filter_metadata": {"a": {"b": "c"}}}}},
    }
    breaker = {**epoch, "patch": {"operation": "MERGE", "value": {"outlier_detection": {"consecutive_5xx": 500}}}}
    route = route_patch({"timeout": "0s", "retry_policy": {"retry_on": "connect-failure"}})
    merged = patch("MERGE", "envoy.filters.http.fault", value={"typed_config": fault()})
    decision = decide(patch(), merged, patch(value=armed), settings, epoch, breaker, route)
    assert decision.refused is None
    assert len(decision.warnings) == 1


@pytest.mark.parametrize(
    ("entry", "by", "words"),
    [
        (changed("applyTo", None), "webhook", "spec.configPatches[0].applyTo"),
        (changed("patch", None), "webhook", "spec.configPatches[0].patch"),
        (changed("patch.operation", None), "webhook", "spec.configPatches[0].patch.operation"),
        (changed("patch.value", None), "webhook", "spec.configPatches[0].patch.value"),
        (changed("match.proxy", {"proxyVersion": "("}), "webhook", "match.proxy.proxyVersion"),
        (changed("match.listener.filterChain.filter", {"name": ""}), "webhook", "filterChain.filter.name"),
        (
            changed("match.listener.filterChain.filter", {"name": MANAGER, "subFilter": {}}),
            "webhook", "filter.subFilter.name",
        ),
        (
            changed("match.listener.filterChain.filter", {"name": "envoy.tcp_proxy", "subFilter": {"name": "x"}}),
            "webhook", "filter.name",
        ),
        (changed("match", {"context": "SIDECAR_INBOUND", "cluster": {}}), "webhook", "match.cluster"),
        (
            changed("patch.value.typed_config", {"@type": FAULT, "abort": {"http_status": "many"}}),
            "webhook", "patch.value",
        ),
        (changed("applyTo", "LISTENER"), "webhook", "subFilter"),
        (
            {"applyTo": "ROUTE_CONFIGURATION", "patch": {"operation": "MERGE", "value": {}}},
            "unsupported", "spec.configPatches[0].applyTo",
        ),
        (changed("patch.operation", "REPLACE"), "unsupported", "spec.configPatches[0].patch.operation"),
        (changed("patch.operation", "ADD"), "unsupported", "spec.configPatches[0].patch.operation"),
        (changed("match.context", "SIDECAR_OUTBOUND"), "unsupported", "spec.configPatches[0].match.context"),
        (changed("match.proxy", {"proxyVersion": "^1.*"}), "unsupported", "spec.configPatches[0].match.proxy"),
        (
            changed("patch.value.typed_config", {"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"}),
            "unsupported", "spec.configPatches[0].patch.value.typed_config",
        ),
        (changed("patch.value.is_optional", True), "unsupported", "patch.value.is_optional"),
        (changed("patch.value.typed_config", None), "unsupported", "spec.configPatches[0].patch.value"),
        (
            changed("patch.value", {"name": "a", "config_discovery": {"config_source": {"self": {}}, "type_urls": [FAULT]}}),
            "unsupported", "config_discovery.config_source",
        ),
        (
            changed("patch.value", {"name": "a", "config_discovery": {"config_source": {"ads": {}}, "type_urls": ["x"]}}),
            "unsupported", "config_discovery.type_urls",
        ),
        (
            {"applyTo": "CLUSTER", "patch": {"operation": "MERGE", "value": {"connect_timeout": "1s"}}},
            "unsupported", "spec.configPatches[0].patch.value.connect_timeout",
        ),
        (route_patch({"cluster": "other"}), "unsupported", "spec.configPatches[0].patch.value.route.cluster"),
        ({**route_patch({}), "match": {"context": "ANY"}}, "unsupported", "spec.configPatches[0].match.context"),
        (route_patch({"timeout": "soon"}), "webhook", "spec.configPatches[0].patch.value"),
        (
            {"applyTo": "HTTP_ROUTE", "match": {"context": "SIDECAR_OUTBOUND"}, "patch": {"operation": "REMOVE"}},
            "unsupported", "spec.configPatches[0].patch.operation",
        ),
        (
            {"applyTo": "CLUSTER", "patch": {"operation": "ADD", "value": {"name": "a"}}},
            "unsupported", "spec.configPatches[0].patch.operation",
        ),
    ],
)  # fmt: skip
def test_a_refusal_has_its_path(entry: dict[str, Any], by: str, words: str) -> None:
    decision = decide(entry)
    assert decision.refused is not None
    assert decision.refused_by == by, decision.refused
    assert words in decision.refused


@pytest.mark.parametrize(
    "config", [{"delay": {"fixed_delay": "1m30s"}}, {"abort": {"http_status": 500, "grpc_status": 3}}, {"abort": None}]
)
def test_values_are_read_as_istio_reads_them(config: dict[str, Any]) -> None:
    decision = decide(changed("patch.value.typed_config", {"@type": FAULT, **config}))
    assert decision.refused is None
    assert len(decision.warnings) == 1, decision.warnings


@pytest.mark.parametrize(
    "config",
    [{"abort": "foo"}, {"abort": ["a"]}, {"delay": "5s"}, {"delay": {"percentage": {"denominator": "FOO"}}}],
)
def test_and_refused_where_istio_refuses_them(config: dict[str, Any]) -> None:
    decision = decide(changed("patch.value.typed_config", {"@type": FAULT, **config}))
    assert decision.refused_by == "webhook", decision


def test_selectors() -> None:
    assert decide(patch(), workloadSelector={"labels": {"app": "a*"}}).refused_by == "webhook"
    assert len(decide(patch(), workloadSelector={"labels": {}}).warnings) == 2
    target = [{"kind": "Gateway", "name": "g"}]
    assert decide(patch(), targetRefs=target).refused_by == "unsupported"
    assert decide(patch(), targetRefs=target, workloadSelector={"labels": {"app": "a"}}).refused_by == "webhook"


def test_old_names_of_filters_are_warned_of() -> None:
    decision = decide(patch(at="envoy.router"))
    assert decision.refused is None
    assert any('"envoy.router" is the old name' in warning for warning in decision.warnings)


def test_a_type_that_is_no_text_is_refused() -> None:
    decision = decide(patch(value={"name": "mine", "typed_config": {"@type": {"a": "b"}}}))
    assert "spec.configPatches[0].patch.value" in decision.refused


WAYPOINT = {"applyTo": "HTTP_FILTER", "match": {"context": "WAYPOINT", "waypoint": {"portNumber": 80}}}


@pytest.mark.parametrize("rest", [{}, {"patch": {"operation": "REMOVE"}}])
def test_a_patch_for_waypoints_is_taken_and_said_to_change_no_sidecar(rest: dict[str, Any]) -> None:
    decision = decide({**WAYPOINT, **rest})
    assert decision.refused is None
    assert any("configPatches[0]: it is for waypoints" in warning for warning in decision.warnings)


@pytest.mark.parametrize(
    ("match", "words"),
    [
        ({"context": "WAYPOINT", "waypoint": {"portNumber": 65536}}, "portNumber: 65536"),
        ({"context": "WAYPOINT", "listener": {}}, "match.waypoint"),
        ({"context": "WAYPOINT"}, "match.waypoint"),
        ({"context": "SIDECAR_INBOUND", "waypoint": {}}, "match.waypoint"),
        ({"waypoint": {}}, "match.waypoint"),
    ],
)
def test_waypoints_are_matched_in_their_context_alone(match: dict[str, Any], words: str) -> None:
    decision = decide({**WAYPOINT, "match": match})
    assert decision.refused is not None
    assert words in decision.refused


def test_without_a_spec_it_is_an_empty_one() -> None:
    for spec in ({}, {"spec": None}):
        assert admit({"kind": "EnvoyFilter", "metadata": {"name": "ef"}, **spec}).refused is None
