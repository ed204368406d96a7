"""The command line as its users run it: real processes, exit codes, one sentence for each mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from meshbdd.lab import lifecycle
from tests.tools import LabUnderTest

CHECKOUT = """
    Given the request "checkout":
      '''
      POST http://order-service/checkout

      {"sku": "A1", "quantity": 1}
      '''
""".replace("'''", '"""')


def meshbdd(
    *arguments: str, cwd: Path, lab: LabUnderTest | None = None, seconds: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    known = {**os.environ, **environment}
    if lab is not None:
        known["KUBECONFIG"] = str(lab.info.kubeconfig)
    return subprocess.run(
        [sys.executable, "-m", "meshbdd", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=known,
        timeout=seconds,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "features").mkdir()
    (tmp_path / "environment.py").write_text("import meshbdd.steps\nfrom meshbdd.hooks import *\n")
    return tmp_path


def _feature(folder: Path, steps: str) -> None:
    (folder / "features" / "x.feature").write_text(f"Feature: F\n  Scenario: S\n{CHECKOUT}{steps}")


@pytest.mark.parametrize(
    ("steps", "code", "words"),
    [
        ('    When "checkout" is sent\n    Then the response status is 200\n', 0, "1 passed"),
        ('    When "checkout" is sent\n    Then the response status is 418\n', 1, "the response status is 418: it was 200"),
        ("    Then the response status is 200\n", 4, "no request was sent, so there is nothing to judge"),
        ('    Given payment-service fails 100%\n      | method | GET |\n    When "checkout" is sent\n    Then the response status is 200\n', 0, "1 passed"),
        ('    Given payment-service fails 100%\n      | called by | notification-service |\n    When "checkout" is sent\n    Then the response status is 200\n', 4, "notification-service.shop did not call payment-service.shop while"),
        ("    Given paymnt-service fails 100%\n", 2, 'did you mean "payment-service"?'),
        ('    Given payment-service fails 100%\n    When "checkuot" is sent\n', 2, 'There is no request "checkuot"'),
        ("    Given payment-service fails 50\n", 2, "Write it like 50%"),
        ("    Given payment-service fails 100%\n      | methd | GET |\n", 2, "did you mean 'method'?"),
        ("    Given payment-service fails 100%\n    When the service explodes\n", 2, "no step says this"),
    ],
)  # fmt: skip
def test_exit_codes_and_sentences(lab: LabUnderTest, folder: Path, steps: str, code: int, words: str) -> None:
    _feature(folder, steps)
    ran = meshbdd("run", "-f", "plain", cwd=folder, lab=lab)
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert words in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr
    assert not lab.cluster.list("VirtualService"), "nothing stays in the cluster"
    if code in {1, 2}:
        lines = (folder / "features" / "x.feature").read_text().splitlines()
        number, guilty = [(n, line.strip()) for n, line in enumerate(lines, 1) if line.strip() and "|" not in line][-1]
        assert f"features/x.feature:{number}  {guilty}\n" in ran.stdout, "the summary names the step, not the scenario"


def test_a_fault_that_meets_no_call_is_inconclusive(lab: LabUnderTest, folder: Path) -> None:
    """The vacuous pass: the claim is true, and says nothing about the fault."""
    (folder / "features" / "x.feature").write_text(
        "Feature: F\n  Scenario: S\n    Given the request \"version\":\n      '''\n      GET http://order-service/version\n      '''\n".replace(
            "'''", '"""'
        )
        + '    Given payment-service fails 100%\n    When "version" is sent\n    Then the response status is 200\n'
    )
    ran = meshbdd("run", "-f", "plain", cwd=folder, lab=lab)
    assert ran.returncode == 4, ran.stdout
    assert "Nobody called payment-service.shop while" in ran.stdout
    assert "1 inconclusive" in ran.stdout


@pytest.mark.parametrize(
    ("second", "code", "told"), [("checkout", 0, "1 passed"), ("version", 4, "Nobody called payment")]
)
def test_what_does_not_need_a_service_may_be_asked_first(
    lab: LabUnderTest, folder: Path, second: str, code: int, told: str
) -> None:
    """Whether a fault met a call is told of all the time in which it was in force, by the last claim at the latest."""
    version = 'Given the request "version":\n"""\nGET http://order-service/version\n"""\n'
    _feature(
        folder,
        version
        + 'Given payment-service fails 100%\nWhen "version" is sent\nThen the response status is 200\n'
        + f'When "{second}" is sent\nThen the response takes at least 1ms\n',
    )
    ran = meshbdd("run", "-f", "plain", cwd=folder, lab=lab)
    assert ran.returncode == code, ran.stdout
    assert told in ran.stdout


def test_the_output_is_whole_in_a_file(lab: LabUnderTest, folder: Path) -> None:
    """behave used to open /dev/stdout anew, which truncates a file, and which some users may not do at all."""
    _feature(folder, '    When "checkout" is sent\n    Then the response status is 200\n')
    file = folder / "output.txt"
    with file.open("w") as stream:
        stream.write("a line before\n")
        stream.flush()
        command = [sys.executable, "-m", "meshbdd", "run", "-f", "plain"]
        environment = {**os.environ, "KUBECONFIG": str(lab.info.kubeconfig)}
        subprocess.run(command, stdout=stream, cwd=folder, env=environment, timeout=120, check=True)
    lines = file.read_text().splitlines()
    assert lines[0] == "a line before"
    assert "Feature: F" in lines
    assert any("Then the response status is 200 ... passed" in line for line in lines)
    assert any(line.startswith("Allure results:") for line in lines)


def test_a_formatter_that_fails_leaves_nothing_in_the_mesh(lab: LabUnderTest, folder: Path) -> None:
    """behave would call no hook any more, and the fault would stay until the next run's sweep."""
    (folder / "bad.py").write_text(
        "from behave.formatter.base import Formatter\n"
        "class Bad(Formatter):\n"
        "    def result(self, step):\n"
        "        if 'fails' in step.name:\n"
        "            raise RuntimeError('no paper left')\n"
    )
    _feature(folder, '    Given payment-service fails 100%\n    When "checkout" is sent\n')
    ran = meshbdd("run", "-f", "bad:Bad", cwd=folder, lab=lab, PYTHONPATH=str(folder))
    assert ran.returncode == 4, ran.stdout + ran.stderr
    assert "no paper left" in ran.stderr
    assert "1 passed" in ran.stdout, "the run goes on without it"
    assert "Traceback" not in ran.stdout + ran.stderr
    assert not lab.cluster.list("VirtualService"), "the fault is still in the mesh"


@pytest.mark.parametrize("how", [["meshbdd", "run", "-f", "plain"], ["behave", "-f", "plain"]], ids=["run", "behave"])
def test_a_step_that_calls_sys_exit_leaves_nothing_in_the_mesh(lab: LabUnderTest, folder: Path, how: list[str]) -> None:
    """behave would end at once, with the step's exit code: green, though a claim was false."""
    (folder / "environment.py").write_text(
        "import sys\nfrom behave import step\nimport meshbdd.steps\nfrom meshbdd.hooks import *\n"
        "@step('the project calls exit')\ndef _(context): sys.exit(0)\n"
    )
    _feature(
        folder,
        '    When "checkout" is sent\n    Then the response status is 418\n'
        "  Scenario: it ends\n    Given payment-service fails 100%\n    When the project calls exit\n",
    )
    ran = subprocess.run(
        [sys.executable, "-m", *how],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "KUBECONFIG": str(lab.info.kubeconfig)},
        timeout=120,
        check=False,
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "the step called sys.exit(0)" in ran.stdout
    assert not lab.cluster.list("VirtualService"), "the fault is still in the mesh"


def test_nothing_selected_is_not_green(lab: LabUnderTest, folder: Path) -> None:
    _feature(folder, '    When "checkout" is sent\n')
    ran = meshbdd("run", "--tags=@nothing", cwd=folder, lab=lab)
    assert ran.returncode == 2
    assert "nothing was tested" in ran.stderr


def test_plain_behave_starts_a_lab_of_its_own_and_takes_it_down(folder: Path) -> None:
    _feature(folder, '    When "checkout" is sent\n    Then the response status is 200\n')
    environment = {**os.environ, "MESHBDD_LAB": "auto", "KUBECONFIG": "/nowhere/kubeconfig"}
    ran = subprocess.run(
        [sys.executable, "-m", "behave", "-f", "plain"],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "KUBECONFIG=/nowhere/kubeconfig is ignored" in ran.stderr
    listed = json.loads(meshbdd("lab", "status", "--json", cwd=folder).stdout)["labs"]
    assert "auto" not in [lab["name"] for lab in listed]


def test_a_copy_of_a_labs_kubeconfig_leads_to_that_lab(lab: LabUnderTest, folder: Path) -> None:
    """As the README has it: `meshbdd lab kubeconfig > kubeconfig`. It used to be ignored, and another lab was tested."""
    (folder / "kubeconfig").write_text(lab.info.kubeconfig.read_text())
    _feature(folder, '    When "checkout" is sent\n    Then the response status is 200\n')
    ran = meshbdd("run", cwd=folder, KUBECONFIG=str(folder / "kubeconfig"), MESHBDD_LAB="nobody")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "is ignored" not in ran.stderr
    assert "nobody" not in [info.name for info in lifecycle.running()]


CLOSED = """apiVersion: v1
kind: Config
current-context: gone
clusters: [{name: gone, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: gone, user: {token: nobody}}]
contexts: [{name: gone, context: {cluster: gone, user: gone}}]
"""


@pytest.mark.parametrize(
    ("kubeconfig", "options", "code", "words"),
    [
        (None, (), 2, "MB0302 error: No kubeconfig at "),
        (CLOSED, (), 4, "MB0306 error: The API server https://127.0.0.1:1 did not answer"),
        (CLOSED, ("-D", "mesh=nonsense"), 2, "MB0212 error: The option 'mesh' is 'nonsense'"),
    ],
)
def test_a_run_that_cannot_begin_is_one_sentence(
    folder: Path, kubeconfig: str | None, options: tuple[str, ...], code: int, words: str
) -> None:
    """behave said the error in two places, and that a user had aborted it."""
    _feature(folder, '    When "checkout" is sent\n')
    if kubeconfig is not None:
        (folder / "kubeconfig").write_text(kubeconfig)
    asked = ("run", "--target", "cluster", *options, "--junit")
    ran = meshbdd(*asked, cwd=folder, KUBECONFIG=str(folder / "kubeconfig"))
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert ran.stdout == ""
    sentence, action = ran.stderr.splitlines()
    assert sentence.startswith(words)
    assert action.startswith("  help: ")
    told = json.loads((folder / "allure-results/meshbdd/run.json").read_text())
    assert told["exit_code"] == code
    assert [problem["sentence"] for problem in told["problems"]] == [
        f"{sentence.partition(' error: ')[2]}\n{action.strip()}"
    ]
    assert told["counts"] == {"unknown": 1}
    assert 'errors="1"' in (folder / "allure-results/meshbdd/junit.xml").read_text()
    assert len(list((folder / "reports").glob("*.xml"))) == 1, "behave's own reports are written too"


def test_allure_results_carry_the_evidence(lab: LabUnderTest, folder: Path) -> None:
    _feature(
        folder,
        '    Given payment-service fails 100%\n    When "checkout" is sent\n    Then the response status is 503\n',
    )
    assert meshbdd("run", "-f", "plain", cwd=folder, lab=lab).returncode == 0
    results = list((folder / "allure-results").glob("*-result.json"))
    assert len(results) == 1
    attached = [path.read_text() for path in (folder / "allure-results").glob("*-attachment.*")]
    assert any("the fault hit 6 of 6 calls to payment-service.shop" in text for text in attached)
    assert any(
        "+      name: meshbdd-" in text or "+    name: meshbdd-" in text or "name: meshbdd-" in text
        for text in attached
    )
    assert any(text.startswith("passed: the response status is 503: it was 503") for text in attached)


def test_compile_shows_what_yaml_becomes(project: Path, tmp_path: Path) -> None:
    made = meshbdd(
        "lab",
        "compile",
        "--json",
        "--for",
        "order-service-1.shop",
        str(project / "manifests/examples/payment-fails-500.yaml"),
        cwd=tmp_path,
    )
    host = json.loads(made.stdout)["virtual_hosts"]["80 / payment-service.shop.svc.cluster.local:80"]
    fault = host["routes"][0]["typed_per_filter_config"]["envoy.filters.http.fault"]
    assert fault["abort"] == {"http_status": 500, "percentage": {"denominator": "MILLION", "numerator": 1000000}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec: {hosts: [a], http: [{fault: {abort: {httpStatus: 9, percentage: {value: 1}}}, route: [{destination: {host: a}}]}]}\n", "9 is no HTTP status"),
        ("apiVersion: v1\nkind: Toaster\nmetadata: {name: x}\n", "no kind Toaster (v1).\n  help: compile takes: AuthorizationPolicy, "),
        ("a: [", "is not YAML"),
        ("a: 2001-99-99", "month must be in 1..12"),
        ("", "MB0734 error: x.yaml holds no Kubernetes object.\n  help: name a file with at least one"),
        ("# no more than a comment\n---\n", "MB0734"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", "No sidecar is told anything of what x.yaml holds: ConfigMap x.\n  help: compile takes: "),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: 5\n", "ConfigMap"),
    ],
)  # fmt: skip
def test_compile_refuses_in_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    ran = meshbdd("lab", "compile", "x.yaml", cwd=tmp_path)
    assert ran.returncode == 2
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr


def test_help_and_steps(tmp_path: Path) -> None:
    assert "demo" in meshbdd("--help", cwd=tmp_path).stdout
    phrases = json.loads(meshbdd("steps", "--json", cwd=tmp_path).stdout)["steps"]
    assert len(phrases) >= 25
    assert all(entry["example"] for entry in phrases)


def test_every_package_is_in_the_wheel(project: Path) -> None:
    """pyproject.toml lists the packages by hand; the folders are the truth."""
    listed = set(tomllib.loads((project / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {".".join(init.parent.relative_to(project).parts) for init in (project / "meshbdd").rglob("__init__.py")}
    assert listed == folders | {"meshbdd.steps", "meshbdd.manifests"}
