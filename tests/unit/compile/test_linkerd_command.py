"""``meshbdd lab compile --mesh linkerd``: the shipped examples, worlds of plain YAML, how Linkerd was installed, refusals."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from meshbdd.cli import cli
from meshbdd.errors import BadInput
from meshbdd.lab.compile import Mesh, compile_pod
from meshbdd.lab.compile.command import complete
from meshbdd.lab.lifecycle import read_objects, replacing, shop_objects
from meshbdd.lab.linkerd.command import compile_files
from meshbdd.lab.linkerd.kind import LINKERD

EXAMPLES = Path(__file__).resolve().parents[3] / "manifests" / "examples"
PARENT = "parentRefs: [{group: '', kind: Service, name: payment-service, port: 80}]"


def _written(folder: Path, *texts: str) -> list[Path]:
    files = [folder / f"{number}.yaml" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    return files


def _plain(folder: Path) -> dict[str, Any]:
    """The demo shop with nothing that changes it."""
    return compile_files(_written(folder, "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"))


@pytest.mark.parametrize("file", sorted((EXAMPLES / "linkerd").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_linkerd_example_has_an_effect_on_the_demo_shop(file: Path, tmp_path: Path) -> None:
    made, plain = compile_files([file]), _plain(tmp_path)
    changed = [
        place for side in ("outbound", "inbound") for place in plain[side] if made[side][place] != plain[side][place]
    ]
    assert changed
    refused = [
        c for told in made["status"].values() for parent in told for c in parent["conditions"] if c["status"] != "True"
    ]
    assert not refused
    assert not made["schema"]
    assert not made["admission"]


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_istio_example_has_an_effect_on_the_demo_shop(file: Path) -> None:
    plain = Mesh.read(complete(shop_objects()))
    changed = Mesh.read(complete(replacing(shop_objects(), read_objects([file], "shop"))))
    before = {pod: compile_pod(plain, pod[1], pod[0]).to_json() for pod in plain.pods}
    assert any(compile_pod(changed, pod[1], pod[0]).to_json() != before[pod] for pod in before)


WORLD = """
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {%s selector: {app: a}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: taken}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {containers: [{name: app, image: shop}]}
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{group: '', kind: Service, name: a, port: 80}]
  rules: [{filters: [{type: RequestRedirect, requestRedirect: {hostname: b.example}}]}]
"""


def test_a_service_of_plain_yaml_has_the_address_that_an_api_server_would_give_it(tmp_path: Path) -> None:
    file, world = _written(tmp_path, ROUTE, WORLD % "")
    made = compile_files([file], world)
    policy = made["outbound"]["a.shop:80 from shop"]["protocol"]["detect"]["http1"]
    assert [route["metadata"]["resource"]["name"] for route in policy["routes"]] == ["r"]
    places = {place.partition(":")[0] for place in made["outbound"] if place.startswith("10.96.")}
    assert len(places) == 2, "the made-up address is one that no other Service has"


def test_a_headless_service_stays_without_an_address(tmp_path: Path) -> None:
    file, world = _written(tmp_path, ROUTE, WORLD % "clusterIP: None,")
    told = compile_files([file], world)["status"]["HTTPRoute.gateway.networking.k8s.io shop/r"]
    assert told[0]["conditions"][0]["message"] == "parent service must have a ClusterIP"


CONFIG = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: linkerd-config, namespace: linkerd}\ndata:\n  values: |\n    "
)


def test_the_control_planes_own_config_is_read_from_the_world(tmp_path: Path) -> None:
    values = "proxy: {defaultInboundPolicy: deny, opaquePorts: '80'}\n    clusterNetworks: 203.0.113.0/24"
    file, config = _written(tmp_path, ROUTE, f"{WORLD % ''}---\n{CONFIG}{values}")
    made = compile_files([file], config)
    assert made["inbound"]["client.shop:9090"]["labels"]["name"] == "deny"
    assert "opaque" in made["outbound"]["taken.shop:80 from shop"]["protocol"]
    assert made["outbound"]["203.0.113.7:80 from shop"] == {"error": "NotFound: No such service"}
    assert compile_files([file], *_written(tmp_path / "..", WORLD % ""))["inbound"] != made["inbound"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("proxy: {defaultInboundPolicy: nobody}", "proxy.defaultInboundPolicy is nobody, which is none of"),
        (
            "policyController: {additionalArgs: --allow-l5d-request-headers}",
            "policyController.additionalArgs is no list",
        ),
        ("proxy: {opaquePorts: 25}", "proxy.opaquePorts is no text"),
        ("clusterNetworks: everything", "clusterNetworks holds 'everything'"),
        ("identity: {issuer: {issuanceLifetime: a day}}", "identity.issuer.issuanceLifetime is 'a day'"),
        ("identity: {issuer: {issuanceLifetime: 0s}}", "identity.issuer.issuanceLifetime is 0s, and no certificate"),
        ("[1, 2]", "values is no YAML mapping"),
        ("a: [", "values is no YAML mapping"),
    ],
)
def test_values_that_no_control_plane_starts_with_are_refused(tmp_path: Path, values: str, words: str) -> None:
    with pytest.raises(BadInput, match="MB0737") as refused:
        compile_files(_written(tmp_path, ROUTE, CONFIG + values), *_written(tmp_path / "..", WORLD % ""))
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("values", "lives", "renewed"),
    [("", 86400, 60480), ("identity: {issuer: {issuanceLifetime: 30m0s}}", 1800, 1260)],
)
def test_how_long_certificates_live_is_for_the_control_plane_to_say(values: str, lives: float, renewed: float) -> None:
    config = {"kind": "ConfigMap", "metadata": {"name": "linkerd-config"}, "data": {"values": values}}
    lifetime, after = LINKERD.certificate_terms({"spec": {"containers": []}}, [config])
    assert (lifetime.total_seconds(), after.total_seconds()) == (lives, pytest.approx(renewed))


def _kind(kind: str, group: str, spec: str, name: str = "x") -> str:
    return f"apiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def _route(spec: str) -> str:
    return _kind("HTTPRoute", "gateway.networking.k8s.io/v1", spec)


_PROFILE = "payment-service.shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_route(f"{{{PARENT}, rules: 7}}"), "spec.rules in body must be of type array"),
        (_route(f"{{{PARENT}, rules: x}}"), "spec.rules in body must be of type array"),
        (_route("null"), "spec: Required value"),
        (_route("{parentRefs: 5}"), "spec.parentRefs in body must be of type array"),
        (_route(f"{{{PARENT}, rules: [{{matches: [text]}}]}}"), "spec.rules[0].matches[0] in body"),
        (_route(f"{{{PARENT}, rules: [{{matches: [{{headers: [{{name: a}}]}}]}}]}}"), "headers[0].value: Required value"),
        (_route(f"{{{PARENT}, rules: [{{backendRefs: [{{port: 80}}]}}]}}"), "backendRefs[0].name: Required value"),
        (_route(f"{{{PARENT}, rules: [{{filters: [{{cors: {{}}}}]}}]}}"), "filters[0].type: Required value"),
        (_kind("Server", "policy.linkerd.io/v1beta3", "{podSelector: {}}"), "spec.port: Required value"),
        (_kind("Server", "policy.linkerd.io/v1beta3", "{podSelector: x, port: 80}"), "spec.podSelector in body"),
        (_kind("GRPCRoute", "gateway.networking.k8s.io/v1", f"{{{PARENT}, rules: [{{matches: [{{method: x}}]}}]}}"), "matches[0].method in body"),
        (_kind("ServiceProfile", "linkerd.io/v1alpha2", "{routes: [{name: a, condition: {}, timeout: 5}]}", _PROFILE), "routes[0].timeout in body"),
        (_kind("ServiceProfile", "linkerd.io/v1alpha2", "{dstOverrides: [{authority: a.b, weight: x}]}", _PROFILE), "'x' is no quantity"),
        (_kind("EgressNetwork", "policy.linkerd.io/v1alpha1", "{trafficPolicy: Deny, networks: [{cidr: x}]}"), "invalid CIDR"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: x, annotations: {retry.linkerd.io/limit: 5}}\nspec: {ports: [{port: 80}]}", "cannot unmarshal number into Go struct field ObjectMeta.annotations"),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {}", "spec.selector: Required value"),
        (_kind("HTTPRoute", "policy.linkerd.io/v1beta3", f"{{{PARENT}, rules: [{{filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: x}}]}}]}}"), "filters[0].responseHeaderModifier: unknown field"),
    ],
)  # fmt: skip
def test_what_nothing_could_read_is_refused_as_a_file_and_as_a_world(tmp_path: Path, text: str, words: str) -> None:
    bad, good, world = _written(tmp_path, text, ROUTE, f"{WORLD % ''}---\n{text}")
    for files, where in (([bad], None), ([good], world)):
        with pytest.raises(BadInput, match="MB0731") as refused:
            compile_files(files, where)
        assert words in str(refused.value)
        assert refused.value.exit_code == 2


def test_a_null_is_as_good_as_nothing_said(tmp_path: Path) -> None:
    """The API server drops it before it fills in the defaults."""
    null, bare = _written(tmp_path, _route(f"{{{PARENT}, rules: null}}"), _route(f"{{{PARENT}}}"))
    assert compile_files([null]) == compile_files([bare])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_route(f"{{{PARENT}, rulez: []}}"), "the API server would refuse it: spec.rulez: unknown field"),
        (_route(f"{{{PARENT}, rules: [{{filters: [{{type: Foo}}]}}]}}"), 'spec.rules[0].filters[0].type: Unsupported value: "Foo"'),
        (_route(f"{{{PARENT}, rules: [{{backendRefs: [{{name: a}}]}}]}}"), "Linkerd's webhook would deny it: invalid backendRef"),
        (_kind("Server", "policy.linkerd.io/v1beta3", "{port: 8080}"), '"spec" must validate one and only one schema (oneOf)'),
    ],
)  # fmt: skip
def test_what_a_cluster_would_not_take_is_said_beside_what_it_would_become(
    tmp_path: Path, text: str, words: str
) -> None:
    files = _written(tmp_path, text)
    told = CliRunner().invoke(cli, ["lab", "compile", "--mesh", "linkerd", "--json", str(files[0])])
    assert told.exit_code == 0
    assert words in told.stderr
    assert json.loads(told.stdout)["outbound"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (_kind("VirtualService", "networking.istio.io/v1", "{hosts: [a]}"), "MB0733"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", "MB0735"),
    ],
)
def test_what_no_proxy_is_told_of_is_refused(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(BadInput, match=code):
        compile_files(_written(tmp_path, text))


def _spoiled(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every place below ``spec`` with each of some values that hardly belong there."""
    for value in (None, 7, "x", ["x"]):
        yield path, value
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, inner in items:
        yield from _spoiled(inner, (*path, name))


def _with(obj: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    made = copy.deepcopy(obj)
    node = made
    for name in path[:-1]:
        node = node[name]
    node[path[-1]] = value
    return made


@pytest.mark.parametrize(
    "obj", read_objects([Path(__file__).with_name("linkerd_kinds.yaml")], "shop"), ids=lambda obj: f"{obj['kind']}-{obj['metadata']['name'][:3]}"
)  # fmt: skip
def test_whatever_stands_in_a_field_ends_in_a_sentence_or_a_policy(tmp_path: Path, obj: dict[str, Any]) -> None:
    (world,) = _written(tmp_path, WORLD % "")
    file = tmp_path / "spoiled.yaml"
    for path, value in _spoiled(obj["spec"], ("spec",)):
        file.write_text(yaml.safe_dump(_with(obj, path, value)))
        try:
            compile_files([file], world)
        except BadInput as refused:
            assert refused.code in {"MB0731", "MB0717"}  # noqa: PT017 - most of them are refused, not all


@pytest.mark.parametrize("namespace", ["{}", "[shop]", "1"])
def test_a_namespace_that_is_no_name_is_the_inputs_mistake(namespace: str, tmp_path: Path) -> None:
    text = f"apiVersion: v1\nkind: Service\nmetadata: {{name: a, namespace: {namespace}}}\nspec: {{ports: [{{port: 80}}]}}\n"
    with pytest.raises(BadInput, match="the namespace of Service a is no name"):
        compile_files(_written(tmp_path, text))


@pytest.mark.parametrize("status", ["x", "[]", "1"])
def test_a_status_that_is_no_object_is_the_inputs_mistake(status: str, tmp_path: Path) -> None:
    text = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {{containers: [{{name: a, image: a}}]}}\nstatus: {status}\n"
    with pytest.raises(BadInput, match="the status of Pod a is no object"):
        compile_files(_written(tmp_path, text))


def test_a_namespace_of_null_is_one_that_is_not_said(tmp_path: Path) -> None:
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: null}\nspec: {ports: [{port: 80}]}\n"
    assert compile_files(_written(tmp_path, text))["outbound"]["a.shop:80 from shop"]


def test_a_port_of_a_pod_without_a_number_is_the_inputs_mistake(tmp_path: Path) -> None:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: a, ports: [{}]}]}\n"
    with pytest.raises(BadInput, match="Pod a: a port has no containerPort"):
        compile_files(_written(tmp_path, text))


def test_a_name_that_kubernetes_does_not_take_is_the_inputs_mistake(tmp_path: Path) -> None:
    """With such a name the API looks at nothing else, so the rest may be of any shape."""
    text = "apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {name: /}\nspec: {podSelector: {matchLabels: -1}, port: 80}\n"
    with pytest.raises(BadInput, match=r"metadata\.name"):
        compile_files(_written(tmp_path, text))
