"""``meshbdd check`` as its users run it; in this process where nothing of it stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meshbdd.cli import main
from tests.cli.test_commands import meshbdd
from tests.golden.meaning import DATA


@dataclass(frozen=True)
class Ran:
    returncode: int
    stdout: str
    stderr: str

    @property
    def findings(self) -> list[dict[str, Any]]:
        return json.loads(self.stdout)


Check = Callable[..., Ran]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    def run(*arguments: str, cwd: Path = tmp_path) -> Ran:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr("sys.argv", ["meshbdd", "check", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return Ran(int(ended.value.code or 0), told.out, told.err)

    return run


ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAME}
spec:
  hosts: [payment-service]
  http: [{route: [{destination: {host: HOST}}]}]
"""


def _write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)


def _route(name: str = "a", host: str = "payment-service") -> str:
    return ROUTE.replace("NAME", name).replace("HOST", host)


def test_sound_manifests_and_the_shipped_ones(check: Check, tmp_path: Path, project: Path) -> None:
    _write(tmp_path, a_yaml=_route())
    ran = check("--json", "a.yaml")
    assert (ran.returncode, ran.findings, ran.stderr) == (0, [], "")
    ran = check("features", "manifests/shop", "manifests/vantage", cwd=project)
    assert ran.stdout.startswith("Nothing doubtful in ")
    assert ran.returncode == 0


def test_a_name_or_a_version_that_there_is_not(check: Check, tmp_path: Path) -> None:
    _write(tmp_path, a_yaml=_route("X_y"), b_yaml=_route().replace("/v1", "/v9"))
    ran = check("a.yaml", "b.yaml")
    assert ran.returncode == 2
    assert "MB0475 error:" in ran.stdout
    assert "--> a.yaml:4" in ran.stdout
    assert "MB0476 error:" in ran.stdout
    assert "--> b.yaml:2" in ran.stdout


def test_a_version_of_linkerds_kinds_that_there_is_not(check: Check, tmp_path: Path) -> None:
    _write(tmp_path, a_yaml=_SERVER.replace("v1beta3", "v1") + "spec: {podSelector: {}, port: http}\n")
    ran = check("--mesh", "linkerd", "a.yaml")
    assert ran.returncode == 2
    assert "MB0476 error: Server a is of policy.linkerd.io/v1, a version that there is not." in ran.stdout
    assert "help: write policy.linkerd.io/v1beta3" in ran.stdout


def test_findings_are_json_of_four_fields(check: Check, tmp_path: Path) -> None:
    _write(tmp_path, a_yaml=_route(host="paymnt-service"))
    ran = check("--json", "a.yaml")
    assert ran.returncode == 1
    (found,) = ran.findings
    assert set(found) == {"object", "code", "severity", "sentence"}
    assert (found["object"], found["code"], found["severity"]) == ("VirtualService shop/a", "MB0901", "error")


def test_people_read_sentence_place_and_help(check: Check, tmp_path: Path) -> None:
    _write(tmp_path, a_yaml=_route(host="paymnt-service"))
    told = check("a.yaml").stdout
    assert "MB0901 error: VirtualService shop/a: rule 1's route leads to" in told
    assert "--> a.yaml" in told
    assert 'help: did you mean "payment-service"?' in told
    assert "1 error in 1 file." in told


STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: SPACE}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: gateways}
spec:
  selector: {matchLabels: {app: order-service}}
  rules:
  - from:
    - source: {namespaces: [SPACE]}
    - source: {principals: [cluster.local/ns/SPACE/sa/istio-ingressgateway-service-account]}
"""


@pytest.mark.parametrize("world", [(), ("--world", "world.yaml")])
def test_the_root_namespace_is_there_wherever_istio_is(check: Check, tmp_path: Path, world: tuple[str, ...]) -> None:
    shop = "kind: Namespace\nmetadata: {name: shop}\n---\n"
    pod = "kind: Pod\nmetadata: {name: o, labels: {app: order-service}}\nspec: {containers: []}\n"
    _write(tmp_path, world_yaml=shop + pod, m_yaml=STRICT.replace("SPACE", "istio-system"))
    ran = check("m.yaml", *world)
    assert ran.returncode == 0, ran.stdout
    assert "Nothing doubtful" in ran.stdout
    _write(tmp_path, m_yaml=STRICT.replace("SPACE", "istio-sytem"))
    assert {f["code"] for f in check("m.yaml", "--json", *world).findings} == {"MB0321", "MB0955", "MB0956"}


def test_the_world_is_another_file(check: Check, tmp_path: Path) -> None:
    _write(tmp_path, a_yaml=_route(), b_yaml=_route("b"))
    world = tmp_path / "world.yaml"
    world.write_text(
        (DATA / "world.yaml").read_text("utf-8")
        + "---"
        + _route("b").replace("{name: b}", "{name: b, namespace: shop}")
    )
    ran = check("--json", "--world", str(world), "a.yaml")
    assert sorted(f"{f['code']} {f['object']}" for f in ran.findings) == [
        "MB0910 VirtualService shop/a",
        "MB0910 VirtualService shop/b",
    ]
    assert ran.returncode == 1


def test_manifests_are_judged_together_and_faults_one_by_one(check: Check, tmp_path: Path) -> None:
    fault = "  http: [{fault: {abort: {httpStatus: 503, percentage: {value: 100}}}, "
    _write(tmp_path, x_yaml=_route("x").replace("  http: [{", fault), y_yaml=_route("y").replace("  http: [{", fault))
    assert check("--json", "x.yaml", "y.yaml").findings == []
    _write(tmp_path, z_yaml=_route("z"))
    found = check("--json", ".").findings
    assert {f["object"] for f in found if f["code"] == "MB0910"} == {f"VirtualService shop/{name}" for name in "xyz"}


def test_what_istio_refuses(check: Check, tmp_path: Path) -> None:
    _write(tmp_path, a_yaml=_route().replace("hosts: [payment-service]", 'hosts: ["pay_ment service"]'))
    ran = check("a.yaml")
    assert "MB0990 error: VirtualService shop/a: Istio refuses it:" in ran.stdout
    assert ran.returncode == 1


def test_what_the_api_refuses_is_not_istios_word(check: Check, tmp_path: Path) -> None:
    route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec: {parentRefs: x}\n"
    _write(tmp_path, a_yaml=route)
    ran = check("--mesh", "linkerd", "a.yaml")
    assert "MB0990 error: HTTPRoute shop/a: The API refuses it:" in ran.stdout
    assert "Istio" not in ran.stdout


@pytest.mark.parametrize("mesh", ["istio", "linkerd"])
def test_a_route_that_is_for_nothing_on_linkerd(check: Check, tmp_path: Path, mesh: str) -> None:
    route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\n"
    route += "spec: {parentRefs: [{name: payment-service}], rules: [{}]}\n"
    _write(tmp_path, a_yaml=route)
    ran = check("--mesh", mesh, "a.yaml")
    told = "MB0480 error: HTTPRoute a of the manifest would do nothing: its parent is Gateway payment-service of"
    assert (told in ran.stdout) == (mesh == "linkerd")
    assert ("--> a.yaml:3" in ran.stdout) == (mesh == "linkerd")
    assert ran.returncode == (2 if mesh == "linkerd" else 0)


_SERVER = "apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {name: a}\n"


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("{podSelector: {matchLabels: {app: payment-service}}, port: http}", "Nothing doubtful in 1 file."),
        ("{podSelector: {}, port: http, acessPolicy: deny}", 'a.yaml:4\n  help: did you mean "accessPolicy"?'),
        ("{podSelector: {}, port: http, proxyProtocol: HTTP/3}", "Linkerd refuses it: Server a: unknown variant `HTTP/3`"),
        ("{podSelector: {}}", "The API refuses it: Server a: spec.port: Required value."),
        ("{podSelector: {matchLabels: [a]}, port: http}", "The API refuses it: Server a: spec.podSelector.matchLabels: Invalid value"),
        ("[1]", "The API refuses it: Server a: spec: Invalid value"),
        ("text", "The API refuses it: Server a: spec: Invalid value"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("mesh", ["linkerd", "istio"])
def test_the_shape_of_linkerds_own_kinds(check: Check, tmp_path: Path, mesh: str, spec: str, told: str) -> None:
    _write(tmp_path, a_yaml=f"{_SERVER}spec: {spec}\n")
    ran = check("--mesh", mesh, "a.yaml")
    assert told in ran.stdout
    assert ran.returncode == (0 if told.startswith("Nothing") else 2 if "help: did" in told else 1)


_ROUTE_OF_GATEWAYS = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: NAME, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: payment-service, port: 80}]
  rules: [RULE]
"""
_SERVICE_WITH = """
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: shop, annotations: {balancer.linkerd.io/failure-accrual: consecutve}}
spec: {selector: {app: payment-service}, ports: [{name: http, port: 80, targetPort: http}]}
"""
_SERVER_FOR = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: NAME, namespace: shop}
spec: {podSelector: {matchLabels: {app: payment-service}}, port: http}
"""


@pytest.mark.parametrize(
    ("manifest", "code"),
    [
        (_ROUTE_OF_GATEWAYS.replace("RULE", "{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: payment-service, port: 80}}}]}"), "MB0465"),
        (_ROUTE_OF_GATEWAYS.replace("RULE", "{timeouts: {request: 2s, backendRequest: 1s}}"), "MB0993"),
        (_ROUTE_OF_GATEWAYS.replace("RULE", "{retry: {attempts: 2}}"), "MB0993"),
        (_SERVICE_WITH, "MB0469"),
        (_SERVICE_WITH.replace("consecutve", "consecutive"), None),
        (_ROUTE_OF_GATEWAYS.replace("RULE", "{timeouts: {request: 2s}}"), None),
        (_SERVER_FOR, None),
    ],
)  # fmt: skip
def test_what_a_run_on_linkerd_would_refuse_or_linkerd_ignores(
    check: Check, tmp_path: Path, manifest: str, code: str | None
) -> None:
    _write(tmp_path, a_yaml=manifest.replace("NAME", "a"), b_yaml=manifest.replace("NAME", "b"))
    found = check("--mesh", "linkerd", "--json", "a.yaml", "b.yaml").findings
    assert {f["code"] for f in found if f["code"] != "MB0963"} == ({code} if code else set())
    assert len(found) == (2 if code else 0), "of two routes, or Servers, files do not tell which is the older one"
    if code == "MB0993":
        assert check("--mesh", "istio", "--json", "a.yaml").findings == []


def test_the_manifests_of_the_shop_and_the_examples_are_sound_on_linkerd(check: Check, project: Path) -> None:
    ran = check("--mesh", "linkerd", "manifests/shop", "manifests/vantage", "manifests/examples/linkerd", cwd=project)
    assert ran.stdout.startswith("Nothing doubtful in ")


def test_what_the_api_or_linkerd_refuses_of_a_manifest_is_told_at_the_step_that_applies_it(
    check: Check, tmp_path: Path
) -> None:
    feature = 'Feature: f\n  Scenario: s\n    Given the manifest "a.yaml" is applied\n'
    for spoiled, code in (
        (_SERVER_FOR.replace("port: http", "port: http, accesPolicy: deny"), "MB0320"),
        (_SERVER_FOR.replace("port: http", "port: http, accessPolicy: all"), "MB0990"),
        (_SERVER_FOR.replace("v1beta3", "v1beta2").replace("port: http", "port: http, accessPolicy: deny"), "MB0320"),
    ):
        _write(tmp_path, f_feature=feature, a_yaml=spoiled.replace("NAME", "a"))
        found = check("--mesh", "linkerd", "--json", "f.feature").findings
        assert [f["code"] for f in found] == [code]


@pytest.mark.parametrize(("kind", "port", "status"), [("StatefulSet", "http", 0), ("DaemonSet", "htpp", 2)])
def test_the_pods_of_every_kind_of_workload_are_known(
    check: Check, tmp_path: Path, kind: str, port: str, status: int
) -> None:
    world = f"""
apiVersion: apps/v1
kind: {kind}
metadata: {{name: db, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec: {{containers: [{{name: db, image: db, ports: [{{name: http, containerPort: 80}}]}}]}}
"""
    server = f"""
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: db, namespace: shop}}
spec: {{podSelector: {{matchLabels: {{app: db}}}}, port: {port}}}
"""
    _write(tmp_path, world_yaml=world, a_yaml=server)
    ran = check("--mesh", "linkerd", "--world", "world.yaml", "a.yaml")
    assert ran.returncode == status, ran.stdout
    assert ('no pod that it selects has a port of the name "htpp"' in ran.stdout) == bool(status)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.yaml"], "MB0244 error: There is no file nowhere.yaml."),
        (["--world", "nowhere.yaml", "good.yaml"], "MB0244 error: There is no file nowhere.yaml."),
        (["notes.txt"], "MB0245 error: notes.txt is neither a feature file nor a manifest."),
        (["empty"], "MB0246 error: empty holds no feature file and no manifest."),
        (["broken.yaml"], "MB0416 error: broken.yaml is not valid:"),
        (["list.yaml"], "MB0419 error: list.yaml holds a document without kind and metadata.name."),
        (["nothing.yaml"], "MB0418 error: nothing.yaml holds no object."),
        (["bad.feature"], "bad.feature is no feature file"),
        (["undefined.feature"], "The step «the sky falls» is not understood: no step says this."),
        ([], "Missing argument 'FILES...'"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(
    check: Check, tmp_path: Path, arguments: list[str], words: str
) -> None:
    _write(
        tmp_path,
        good_yaml=_route(),
        notes_txt="notes",
        broken_yaml="a: [",
        list_yaml="- 1\n- 2\n",
        nothing_yaml="---\n",
        bad_feature="Scenario: S\n",
        undefined_feature="Feature: F\n  Scenario: S\n    Given the sky falls\n",
    )
    (tmp_path / "empty").mkdir()
    ran = check(*arguments)
    assert ran.returncode == 2
    assert words in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


def test_one_bad_file_does_not_hide_what_is_found_in_others(check: Check, tmp_path: Path) -> None:
    _write(tmp_path, a_yaml=_route(host="paymnt-service"), b_yaml="a: [")
    ran = check("--json", "a.yaml", "b.yaml")
    assert [f["code"] for f in ran.findings] == ["MB0901", "MB0416"]
    assert ran.returncode == 2


def test_steps_that_a_project_wrote_itself_are_known_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "own_steps.py").write_text(
        "from behave import step\n\n@step('the sky falls')\ndef falls(context):\n    raise SystemExit(99)\n"
    )
    _write(tmp_path, x_feature="Feature: F\n  Scenario: S\n    Given the sky falls\n")
    ran = meshbdd("check", "x.feature", cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_fields_namespaces_and_kinds_that_nobody_knows(check: Check, tmp_path: Path) -> None:
    _write(
        tmp_path,
        field_yaml=_route().replace("route:", "retrys: {}, route:"),
        home_yaml=_route("b").replace("name: b", "name: b, namespace: shopp"),
        kind_yaml=_route("c").replace("VirtualService", "VirtualServce"),
    )
    ran = check("field.yaml", "home.yaml", "kind.yaml")
    assert ran.returncode == 2, "what no API server would take is not understood"
    for words in (
        'knows: spec.http[0].retrys.\n  --> field.yaml:7\n  help: did you mean "retries"?',
        'the namespace "shopp", which does not exist.\n  --> home.yaml:4\n  help: did you mean "shop"?',
        "MB0991 warning: VirtualServce shop/c: nobody here knows the kind",
        "help: did you mean VirtualService?",
    ):
        assert words in ran.stdout


def test_a_manifest_of_a_step_is_refused_for_the_same(check: Check, tmp_path: Path) -> None:
    _write(tmp_path, field_yaml=_route().replace("route:", "retrys: {}, route:"))
    step = '    Given the manifest "field.yaml" is applied\n'
    (tmp_path / "x.feature").write_text(f"Feature: F\n  Scenario: S\n{step}")
    ran = check("x.feature")
    assert ran.returncode == 2
    assert "spec.http[0].retrys.\n" in ran.stdout
    assert "field.yaml:7" in ran.stdout


SUBSETS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: rule}
spec:
  host: payment-service
  subsets: [{name: stable, labels: {version: stable}}]
"""


@pytest.mark.parametrize("more", ["", '  Scenario: T\n    Given the manifest "route.yaml" is applied\n'])
def test_a_manifest_of_a_step_is_judged_with_what_its_scenario_applies_before(
    check: Check, tmp_path: Path, more: str
) -> None:
    route = _route().replace("host: payment-service}", "host: payment-service, subset: stable}")
    _write(tmp_path, rule_yaml=SUBSETS, route_yaml=route)
    steps = [f'    Given the manifest "{name}.yaml" is applied\n' for name in ("rule", "route")]
    (tmp_path / "x.feature").write_text(f"Feature: F\n  Scenario: S\n{''.join(steps)}{more}")
    assert [f["code"] for f in check("--json", "route.yaml").findings if f["severity"] == "error"] == ["MB0903"]
    alone, beside = (
        check("--json", *files).findings for files in (["x.feature"], ["x.feature", "rule.yaml", "route.yaml"])
    )
    assert [f["code"] for f in alone if f["severity"] == "error"] == (["MB0903"] if more else [])
    assert beside == alone, "what is so at one of the steps alone is told there"


def test_what_is_so_at_one_step_alone_is_told_of_the_manifest_where_only_a_run_can_tell_of_the_step(
    check: Check, tmp_path: Path
) -> None:
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: payment-service}\nspec: {ports: [{port: 80}]}\n"
    route = _route().replace("host: payment-service}", "host: payment-service, subset: stable}")
    _write(tmp_path, rule_yaml=SUBSETS, route_yaml=route, world_yaml=service)
    rule, lead = (f'    Given the manifest "{name}.yaml" is applied\n' for name in ("rule", "route"))
    for scenarios, told in ([rule + lead, lead], ["MB0903"]), ([rule + lead], []):
        text = "".join(f"  Scenario: {n}\n{steps}" for n, steps in enumerate(scenarios))
        (tmp_path / "x.feature").write_text(f"Feature: F\n{text}")
        found = check("--json", "--world", "world.yaml", "x.feature", "rule.yaml", "route.yaml").findings
        assert [f["code"] for f in found if f["severity"] == "error"] == told, scenarios


SERVER = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: mine}
spec: {podSelector: {matchLabels: {app: payment-service}}, port: http}
"""
OF_THE_SERVER = """
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: all}
spec: {targetRef: {group: policy.linkerd.io, kind: Server, name: NAME}, requiredAuthenticationRefs: []}
"""


@pytest.mark.parametrize(("name", "told"), [("mine", set()), ("other", {"MB0480"})])
def test_so_is_a_policy_for_a_server_of_another_manifest(
    check: Check, tmp_path: Path, name: str, told: set[str]
) -> None:
    _write(tmp_path, server_yaml=SERVER, policy_yaml=OF_THE_SERVER.replace("NAME", name))
    steps = [f'    Given the manifest "{file}.yaml" is applied\n' for file in ("server", "policy")]
    (tmp_path / "x.feature").write_text(f"Feature: F\n  Scenario: S\n{''.join(steps)}")
    ran = check("--mesh", "linkerd", "--json", "x.feature", "server.yaml", "policy.yaml")
    assert {f["code"] for f in ran.findings if f["severity"] == "error"} == told
    assert ran.returncode == (2 if told else 0)


def test_features_are_judged_for_the_mesh_that_is_asked_for(check: Check, tmp_path: Path) -> None:
    step = "    Given order-service accepts at most 2 concurrent requests\n"
    (tmp_path / "x.feature").write_text(f"Feature: F\n  Scenario: S\n{step}")
    [finding] = check("--mesh", "linkerd", "--json", "x.feature").findings
    assert "Linkerd limits how many requests come in a second" in finding["sentence"]
    assert check("--json", "x.feature").findings == check("--mesh", "istio", "--json", "x.feature").findings == []


def test_a_world_that_is_linkerds_alone_is_judged_for_linkerd(check: Check, tmp_path: Path) -> None:
    space = "kind: Namespace\napiVersion: v1\nmetadata: {name: shop, annotations: {linkerd.io/inject: enabled}}\n---"
    pod = "\nkind: Pod\napiVersion: v1\nmetadata: {name: pay, namespace: shop}\nspec: {containers: []}\n"
    _write(tmp_path, a_yaml=space + pod)
    ran = check("a.yaml", "--world", "a.yaml")
    assert ran.stdout == "Nothing doubtful in 1 file.\n"
    assert ran.stderr.startswith("Judged for Linkerd, as Namespace shop is for it")
    ran = check("a.yaml", "--world", "a.yaml", "--mesh", "istio")
    assert "MB0960 info: Namespace shop: it has no label istio-injection" in ran.stdout
    assert ran.stderr == ""


def test_a_folder_stands_for_what_a_run_on_the_mesh_would_read(check: Check, tmp_path: Path) -> None:
    (tmp_path / "m" / "linkerd").mkdir(parents=True)
    (tmp_path / "m" / "a.yaml").write_text(_route(host="paymnt-service"))
    parent = "parentRefs: [{group: '', kind: Service, name: paymnt-service, port: 80}]"
    (tmp_path / "m" / "linkerd" / "a.yaml").write_text(
        f"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: a}}\nspec: {{{parent}}}\n"
    )
    seen = {mesh: [f["object"] for f in check("--mesh", mesh, "--json", "m").findings] for mesh in ("istio", "linkerd")}
    assert seen == {"istio": ["VirtualService shop/a"], "linkerd": ["HTTPRoute shop/a"]}
    assert [f["object"] for f in check("--json", "m/linkerd").findings] == ["HTTPRoute shop/a"], "it was asked for"


def test_a_service_that_is_only_told_something_stays_what_it_is(check: Check, tmp_path: Path) -> None:
    told = "apiVersion: v1\nkind: Service\nmetadata: {name: payment-service, annotations: {a: b}}\n---"
    _write(tmp_path, a_yaml=told + _route().replace("{host: HOST}", "{host: HOST, port: {number: 80}}"))
    assert check("--json", "a.yaml").findings == []


_SPEC = "spec: {selector: {app: payment-service}, ports: [{name: http, port: 80, targetPort: http}]}"
_TOLD = """
apiVersion: v1
kind: Service
metadata: {name: payment-service, namespace: shop, annotations: {retry.linkerd.io/http: "500, 503"}}
"""


@pytest.mark.parametrize("spec", ["", _SPEC])
def test_what_is_wrong_with_a_document_is_told_whatever_its_file_is_called(
    check: Check, tmp_path: Path, spec: str
) -> None:
    whole = "apiVersion: v1\nkind: Service\nmetadata: {name: payment-service, namespace: shop}\n" + _SPEC
    for name, other in (("a", "b"), ("c", "b")):
        _write(tmp_path, **{f"{name}_yaml": _TOLD + spec, f"{other}_yaml": whole})
        ran = check("--mesh", "linkerd", f"{name}.yaml", f"{other}.yaml")
        reverse = check("--mesh", "linkerd", f"{other}.yaml", f"{name}.yaml")
        assert "MB0469 error:" in ran.stdout
        assert f"--> {name}.yaml:4" in ran.stdout
        assert (ran.returncode, ran.stdout) == (2, reverse.stdout)


def test_of_one_object_in_two_files_each_is_judged(check: Check, tmp_path: Path) -> None:
    _write(tmp_path, a_yaml=_route(host="paymnt-service"), b_yaml=_route(host="payment-service"))
    for files in (("a.yaml", "b.yaml"), ("b.yaml", "a.yaml")):
        assert [f["code"] for f in check("--json", *files).findings] == ["MB0901"]
        assert "--> a.yaml" in check(*files).stdout


@pytest.mark.parametrize("object_", [_SERVICE_WITH, _ROUTE_OF_GATEWAYS.replace("RULE", "{}")])
def test_all_annotations_that_linkerd_cannot_read_are_told(check: Check, tmp_path: Path, object_: str) -> None:
    bad = '{retry.linkerd.io/http: "500, 503", timeout.linkerd.io/request: 1.5s, retry.linkerd.io/limit: "-1"}'
    text = object_.replace("NAME", "a").replace("{balancer.linkerd.io/failure-accrual: consecutve}", bad)
    text = (
        text
        if bad in text
        else text.replace("{name: a, namespace: shop}", f"{{name: a, namespace: shop, annotations: {bad}}}")
    )
    _write(tmp_path, a_yaml=text)
    found = check("--mesh", "linkerd", "--json", "a.yaml").findings
    assert sorted(f["code"] for f in found if f["code"] != "MB0963") == ["MB0453", "MB0464", "MB0469"]


def test_the_projects_own_folders_hold_no_error(check: Check, project: Path) -> None:
    assert check("features", "manifests", cwd=project).returncode == 0  # there are two breakers for one service
    assert check("--json", "--mesh", "linkerd", "manifests/examples/linkerd", cwd=project).findings == []
