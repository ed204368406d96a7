"""``meshbdd lab compile`` as it is called: its form, its agreement with the recordings, its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from meshbdd.cli import cli
from meshbdd.errors import BadInput, EnvironmentBroken
from meshbdd.lab.compile.command import compile_files
from tests.golden.meaning import DATA, PODS, differences, golden, meaning

WORLD = DATA / "world.yaml"
SECTIONS = ["virtual_hosts", "clusters", "endpoints", "filter_chains", "listeners", "extensions", "warnings"]


@pytest.mark.parametrize(
    ("case", "pod"), [("01-no-config", PODS[0]), ("02-vs-abort-500-all", PODS[0]), ("59-ef-armed-fault-on", PODS[1])]
)
def test_the_command_prints_what_the_recording_has(case: str, pod: str) -> None:
    told = CliRunner().invoke(
        cli,
        ["lab", "compile", "--json", "--world", str(WORLD), "--for", pod, str(DATA / "istio" / case / "in.yaml")],
    )
    assert told.exit_code == 0
    made = json.loads(told.output)
    assert sorted(made) == sorted(SECTIONS)
    assert not differences(meaning(made), meaning(golden(case, pod)))


def _answering(name: str, status: int) -> str:
    return (
        f"{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: {name}}}, "
        f"spec: {{hosts: [{name}.example], http: [{{directResponse: {{status: {status}}}}}]}}}}"
    )


@pytest.mark.parametrize(
    "files",
    [
        [_answering("first", 201), _answering("second", 202)],
        [f"{{apiVersion: v1, kind: List, items: [{_answering('first', 201)}, {_answering('second', 202)}]}}"],
    ],
    ids=["two files", "a list, as kubectl get -o yaml prints it"],
)
def test_several_objects_count_together(tmp_path: Path, files: list[str]) -> None:
    paths = [tmp_path / f"{number}.yaml" for number in range(len(files))]
    for path, text in zip(paths, files, strict=True):
        path.write_text(text)
    made = compile_files(paths, WORLD, PODS[0])
    for name, status in (("first", 201), ("second", 202)):
        answer = made["virtual_hosts"][f"80 / {name}.example:80"]["routes"][0]["direct_response"]
        assert answer == {"status": status}


def test_what_is_accepted_with_a_warning_is_told(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec:\n  hosts: [a.example]\n"
        "  http: [{directResponse: {status: 200}}, {directResponse: {status: 201}}]\n"
    )
    warnings = compile_files([file], WORLD, PODS[0])["warnings"]
    assert len(warnings) == 1
    assert warnings[0].startswith("VirtualService x: ")


VIRTUAL_SERVICE = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec: "


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (VIRTUAL_SERVICE + "{hosts: [a.example], tcp: [{route: [{destination: {host: a.example}}]}]}", "MB0731", "spec.tcp"),
        (VIRTUAL_SERVICE + "{hosts: [a.example], tls: [{match: [{sniHosts: [a.example]}], route: [{destination: {host: a.example}}]}]}", "MB0731", "spec.tls"),
        (VIRTUAL_SERVICE + "{hosts: [a.example], http: [{timeot: 1s, directResponse: {status: 200}}]}", "MB0731", "timeot"),
        (VIRTUAL_SERVICE + "{hosts: [a.example], http: [{timeout: -5s, directResponse: {status: 200}}]}", "MB0731", "-5s"),
        (VIRTUAL_SERVICE + "{hosts: [a.example], http: [{timeout: 99999999h, directResponse: {status: 200}}]}", "MB0731", "99999999h"),
        (VIRTUAL_SERVICE + "{hosts: [a.example], http: [{match: [{uri: {regex: '(?=x)'}}], directResponse: {status: 200}}]}", "MB0731", "(?="),
        ("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: x}\nspec: {action: CUSTOM, provider: {name: p}, rules: [{}]}", "MB0731", "spec.action"),
        ("apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: x}\nspec: {configPatches: [{applyTo: LISTENER, patch: {operation: MERGE, value: {}}}]}", "MB0731", "spec.configPatches[0].applyTo"),
        ("apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {name: x}\nspec: {url: a}", "MB0730", "WasmPlugin"),
        ("apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: x}\nspec: {}", "MB0730", "Gateway"),
        ("apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: TCPRoute\nmetadata: {name: x}\nspec: {}", "MB0730", "TCPRoute"),
        ("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {namespace: x}\nspec: {hosts: [a]}", "MB0717", "without metadata.name"),
        ("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec: [a]", "MB0717", "spec of VirtualService x"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{name: http}]}", "MB0731", "spec.ports[0].port"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {}", "MB0731", "spec.containers"),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {}", "MB0731", "spec.selector"),
        ("apiVersion: apps/v9\nkind: Deployment\nmetadata: {name: x}\nspec: {}", "MB0730", "apps/v9"),
        ("apiVersion: networking.istio.io/v2\nkind: VirtualService\nmetadata: {name: x}\nspec: {}", "MB0730", "networking.istio.io/v2"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, text: str, code: str, words: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(BadInput) as refusal:
        compile_files([file], WORLD, PODS[0])
    assert refusal.value.code == code
    assert words in str(refusal.value)
    assert "\n" not in refusal.value.sentence


def test_a_world_is_admitted_like_what_is_compiled(tmp_path: Path) -> None:
    wrong = tmp_path / "world.yaml"
    wrong.write_text(WORLD.read_text("utf-8") + f"\n---\n{VIRTUAL_SERVICE}{{hosts: [a], tcp: [{{}}]}}", "utf-8")
    with pytest.raises(BadInput, match=r"spec\.tcp"):
        compile_files([DATA / "istio" / "02-vs-abort-500-all" / "in.yaml"], wrong, PODS[0])


def test_pods_and_endpoints_that_a_world_leaves_out_are_made_up(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(
        """
apiVersion: apps/v1
kind: Deployment
metadata: {name: more, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: more}}
  template:
    metadata: {labels: {app: more}}
    spec: {containers: [{name: app, image: more, ports: [{name: web, containerPort: 8081}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: more, namespace: shop}
spec: {selector: {app: more}, ports: [{name: http, port: 80, targetPort: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: order-service, namespace: other}
spec: {selector: {app: order}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: order-1, namespace: other, labels: {app: order}}
spec: {containers: [{name: app, image: order}]}
status: {podIP: 10.9.9.9}
"""
    )
    endpoints = compile_files([file], WORLD, PODS[0])["endpoints"]

    def places(cluster: str) -> set[tuple[str, int]]:
        addresses = [
            endpoint["endpoint"]["address"]["socket_address"]
            for locality in endpoints[cluster]["endpoints"]
            for endpoint in locality["lb_endpoints"]
        ]
        return {(address["address"], address["port_value"]) for address in addresses}

    more = places("outbound|80||more.shop.svc.cluster.local")
    assert len(more) == 3
    assert {port for _, port in more} == {8081}
    assert not more & places("outbound|80||order-service.shop.svc.cluster.local")
    assert places("outbound|80||order-service.other.svc.cluster.local") == {("10.9.9.9", 80)}


def test_an_unknown_pod_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(VIRTUAL_SERVICE + "{hosts: [a.example], http: [{directResponse: {status: 200}}]}")
    with pytest.raises(BadInput, match=r"no pod 'nobody\.shop'") as refusal:
        compile_files([file], WORLD, "nobody.shop")
    assert refusal.value.code == "MB0732"


def test_a_mistake_of_the_compiler_is_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(*_: object) -> None:
        raise KeyError("port")

    monkeypatch.setattr("meshbdd.lab.compile.command.compile_pod", mistaken)
    file = DATA / "istio" / "02-vs-abort-500-all" / "in.yaml"
    told = CliRunner().invoke(cli, ["lab", "compile", str(file)])
    assert isinstance(told.exception, EnvironmentBroken)
    assert told.exception.sentence == f"The lab fails to compile {file}: KeyError: 'port'."
