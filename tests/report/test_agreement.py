"""The report agrees with behave, scenario by scenario, whatever becomes of them."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from tests.report.toy import ALL, ENDED, OTHERS, Toy, behave_counts, by_name, read, statuses

BROKEN = ("error", "hook_error", "cleanup_error")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Toy, str]:
    toy = Toy(tmp_path_factory.mktemp("toy"), {"sub/a.feature": ALL, **OTHERS})
    done = toy.run("-f", "plain")
    assert done.returncode == 3, done.stdout + done.stderr
    return toy, done.stdout


def test_every_scenario_has_one_result_of_behaves_status(ran: tuple[Toy, str]) -> None:
    toy, output = ran
    said, shown = behave_counts(output), statuses(toy.results)
    behind_hooks = 2  # behave calls those untested; the report says what kept them from running
    assert said["untested"] == behind_hooks
    assert shown == Counter(
        passed=said["passed"],
        failed=said["failed"],
        broken=sum(said[word] for word in BROKEN) + behind_hooks,
        skipped=said["skipped"],
    )
    assert sum(shown.values()) == sum(said.values())
    assert len({result["historyId"] for result in read(toy.results)}) == sum(shown.values()), "no two look like retries"


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("a claim fails", "failed", "at least 95% of requests succeed: 88 of 100 did"),
        ("an assertion fails", "failed", "one is not two"),
        ("inconclusive", "broken", "inconclusive: no call met the fault"),
        ("bad input", "broken", "feature file: There is no request"),
        ("mesh", "broken", "mesh configuration: The host is governed by nothing"),
        ("environment", "broken", "environment: no lab answers"),
        ("a step breaks", "broken", "unexpected error: ZeroDivisionError: division by zero"),
        ("unknown words", "broken", "feature file: Given the moon is blue ("),
        ("the hook before fails", "broken", "unexpected error: HOOK-ERROR in before_scenario: RuntimeError: no before"),
        ("the hook after fails", "broken", "unexpected error: HOOK-ERROR in after_scenario: RuntimeError: no after"),
        ("the undo fails", "broken", "restore incomplete: VirtualService shop/x still carries the fault"),
        ("the clean-up fails", "broken", "unexpected error: CLEANUP-ERROR in remove_fault"),
        ("skipped by a hook", "skipped", "skipped: not for today"),
        ("skipped in the middle", "skipped", "skipped: seen enough"),
        ("not possible on this mesh", "skipped", "skipped: Linkerd mirrors no traffic\nhelp: run this on Istio"),
        ("not possible, and the undo fails", "broken", "restore incomplete: VirtualService shop/x still carries the fault"),
        ("failing in a rule", "failed", "at least 95% of requests succeed: 2 of 3 did"),
        ("behind a rule's hook", "broken", "unexpected error: HOOK-ERROR in before_rule: RuntimeError: no rule"),
        ("behind a feature's hook", "broken", "unexpected error: HOOK-ERROR in before_feature: RuntimeError: no feature"),
    ],
)  # fmt: skip
def test_why_a_scenario_is_not_green(ran: tuple[Toy, str], name: str, status: str, message: str) -> None:
    result = by_name(ran[0].results)[name]
    assert (result["status"], result["statusDetails"]["message"][: len(message)]) == (status, message)


def test_a_failed_undo_hides_no_failed_claim(ran: tuple[Toy, str]) -> None:
    message = by_name(ran[0].results)["the undo fails"]["statusDetails"]["message"]
    assert "also: at least 95% of requests succeed: 1 of 2 did" in message


def test_what_fails_outside_of_scenarios_is_in_the_report(ran: tuple[Toy, str]) -> None:
    errors = [error["message"] for globe in read(ran[0].results, "globals") for error in globe.get("errors", ())]
    assert any("feature «Gamma»: HOOK-ERROR in after_feature" in message for message in errors)


def test_names_places_and_arguments(ran: tuple[Toy, str]) -> None:
    toy, _ = ran
    results = by_name(toy.results)
    assert "rows 1 -- @1.1" in results, "behave's own name, trimmed"
    assert results["in a rule"]["titlePath"] == ["features", "sub", "Alpha", "First rule"]
    labels = {label["name"]: label["value"] for label in results["in a rule"]["labels"]}
    assert (labels["parentSuite"], labels["suite"], labels["subSuite"]) == ("features/sub", "Alpha", "First rule")
    assert labels["severity"] == "critical", "a tag of the feature"
    step = results["a claim fails"]["steps"][1]
    assert {p["name"]: p["value"] for p in step["parameters"]} == {"n": "88", "total": "100"}
    assert [s["status"] for s in results["a claim fails"]["steps"]] == ["passed", "failed", "skipped"]
    assert [s["status"] for s in results["not possible on this mesh"]["steps"]] == ["passed", "skipped", "skipped"]
    assert "What alpha is for." in json.dumps(results["same name"])
    assert "сервис падает 💥" in results
    long = next(result for name, result in results.items() if name.startswith("long long"))
    assert ("long " * 200).strip() in long["description"], "nothing of a long name is lost"


HOSTILE = """Feature: F
  <img src=http://evil.example/x> & Map<String, List<T>>
  second line
  Scenario: secrets
    Given the request
      \"\"\"
      POST http://order-service/checkout?api_key=hunter2
      Authorization: Negotiate hunter2

      {"password": "hunter2"}
      \"\"\"
    And the options
      | header authorization | hunter2 |
    Then it says «the body was {"access_token": "hunter2", "sku»
  Scenario: markup
    Given it passes
"""


def test_no_secret_and_no_markup_of_a_feature_is_in_the_results(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy", {"a.feature": HOSTILE})
    assert toy.run().returncode == 1
    files = [file for file in toy.results.rglob("*") if file.is_file()]
    assert [file.name for file in files if "hunter2" in file.read_text()] == []
    assert any("POST http://order-service/checkout" in file.read_text() for file in files), "the rest is there"
    for result in read(toy.results):
        assert result["descriptionHtml"] == (
            "<p>&lt;img src=http://evil.example/x&gt; &amp; Map&lt;String, List&lt;T&gt;&gt;<br>second line</p>"
        )


@pytest.mark.parametrize("words", ["the moon is blue", "the moon is red"], ids=["undefined", "a wrong value"])
def test_a_step_that_is_not_understood_is_told_once_and_at_its_place(tmp_path: Path, words: str) -> None:
    text = f"Feature: F\n  Scenario: S\n    Given it passes\n    And a change is made\n    When it passes\n    And {words}\n"
    toy = Toy(tmp_path / "toy", {"a.feature": text})
    assert toy.run().returncode == 2
    (result,) = read(toy.results)
    assert result["statusDetails"]["message"] == (
        f"feature file: The step «{words}» further on is not understood: no step says this. (features/a.feature:6)\n"
        "help: mend it; nothing was changed"
    )
    assert [step["status"] for step in result["steps"]] == ["passed", "skipped", "skipped", "broken"]
    assert "further on is not understood" in result["steps"][1]["statusDetails"]["message"]
    assert f"«{words}»" in result["steps"][3]["statusDetails"]["message"]


def test_run_json_and_junit_say_the_same(ran: tuple[Toy, str]) -> None:
    toy, output = ran
    told = json.loads((toy.results / "meshbdd" / "run.json").read_text())
    assert Counter(told["counts"]) == statuses(toy.results)
    assert Counter(told["behave"]) == Counter({k: v for k, v in behave_counts(output).items() if v})
    assert told["exit_code"] == 3
    schema = json.loads((Path(__file__).parents[2] / "meshbdd/report/run.schema.json").read_text())
    jsonschema.validate(told, schema)
    cases = ET.parse(toy.results / "meshbdd" / "junit.xml").getroot().iter("testcase")
    kinds = Counter(next((child.tag for child in case), "passed") for case in cases)
    said = statuses(toy.results)
    assert kinds == Counter(
        passed=said["passed"], failure=said["failed"], error=said["broken"], skipped=said["skipped"]
    )


def test_plain_behave_says_the_same(ran: tuple[Toy, str], tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy", {"sub/a.feature": ALL, **OTHERS})
    assert toy.behave().returncode == 1
    want, got = (
        sorted((r["name"], r["status"], r["historyId"]) for r in read(results))
        for results in (ran[0].results, toy.results)
    )
    assert got == want, "ids do not hang on where or how the run was started"


def test_history_survives_a_row_inserted_above(tmp_path: Path) -> None:
    text = "Feature: F\n  Scenario Outline: S <n>\n    Given it passes\n    Examples:\n      | n |\n"
    before, after = (
        Toy(tmp_path / "1", {"a.feature": text + "      | 1 |\n"}),
        Toy(tmp_path / "2", {"a.feature": text + "      | 0 |\n      | 1 |\n"}),
    )
    assert (before.run().returncode, after.run().returncode) == (0, 0)
    old, new = by_name(before.results)["S 1 -- @1.1"], by_name(after.results)["S 1 -- @1.2"]
    assert (old["historyId"], old["testCaseId"]) == (new["historyId"], new["testCaseId"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_ended_shows_what_ran_and_what_did_not(tmp_path: Path, number: signal.Signals) -> None:
    toy = Toy(
        tmp_path / "toy", {"a.feature": ENDED, "z.feature": "Feature: Z\n  Scenario: later\n    Given it passes\n"}
    )
    done = toy.interrupted(number, "-f", "plain")
    results = by_name(toy.results)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert results["first"]["status"] == "passed"
    assert results["end"]["statusDetails"]["message"].startswith("interrupted: ")
    assert (results["after"]["status"], results["later"]["status"]) == ("unknown", "unknown")
    said = behave_counts(done.stdout)
    assert (said["passed"], said["error"]) == (1, 2)
    assert "1 passed, 1 inconclusive, 1 interrupted, 2 not run" in done.stdout
    assert not read(toy.results, "globals"), "the results themselves say it"


@pytest.mark.parametrize(
    ("tag", "told"),
    [
        ("before_waits", "interrupted: the run was ended before the first step of this scenario"),
        ("after_waits", "interrupted: the run was ended after the steps of this scenario"),
        ("feature_waits", "interrupted: a hook of the feature was interrupted"),
    ],
)
def test_a_run_that_is_ended_in_a_hook_is_interrupted(tmp_path: Path, tag: str, told: str) -> None:
    toy = Toy(tmp_path / "toy", {"a.feature": f"@{tag}\nFeature: A\n  Scenario: end\n    Given it passes\n"})
    done = toy.interrupted(signal.SIGINT, "-f", "plain")
    (result,) = read(toy.results)
    assert (result["status"], result["statusDetails"]["message"]) == ("broken", told)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "1 interrupted" in done.stdout


def test_a_killed_run_leaves_what_ran(tmp_path: Path) -> None:
    toy = Toy(
        tmp_path / "toy", {"a.feature": ENDED, "b.feature": "Feature: B\n  Scenario: later\n    Given it passes\n"}
    )
    assert toy.interrupted(signal.SIGKILL).returncode == -9
    results = by_name(toy.results)
    assert results["first"]["status"] == "passed"
    assert results["end"]["status"] == "broken"
    assert "killed in the middle" in results["end"]["statusDetails"]["message"]
    assert not list(toy.results.glob("*.tmp"))
    (told,) = [error["message"] for globe in read(toy.results, "globals") for error in globe["errors"]]
    assert told == "interrupted: the run did not come to its end: 2 of 5 scenarios ran"
    run = json.loads((toy.results / "meshbdd" / "run.json").read_text())
    assert (run["cut_short"], run["planned"], run["exit_code"]) == (True, 5, 4), "no CI takes it for green"
    assert [(s["name"], s["status"]) for s in run["scenarios"]] == [("first", "passed"), ("nobody knows", "broken")]
    assert [case.attrib["name"] for case in ET.parse(toy.results / "meshbdd" / "junit.xml").iter("testcase")] == [
        "first",
        "nobody knows",
    ]
    assert toy.run("-n", "first").returncode == 0
    assert not read(toy.results, "globals"), "a run that ends says nothing of it"
    assert not json.loads((toy.results / "meshbdd" / "run.json").read_text())["cut_short"]


def test_a_before_all_that_fails(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy", {"a.feature": "Feature: A\n  Scenario: never\n    Given it passes\n"})
    done = toy.run("-f", "json", "-o", "own.json", "-D", "boom=1")
    assert done.returncode == 4, done.stdout
    assert done.stdout == ""
    assert done.stderr.startswith("MB0227 error: The run could not begin: before_all failed with RuntimeError: no run")
    assert "environment.py:7\n" in done.stderr, "the line that raised it"
    assert isinstance(json.loads((toy.folder / "own.json").read_text()), list), "other formatters come to their end"
    errors = [error["message"] for globe in read(toy.results, "globals") for error in globe["errors"]]
    assert errors == ["unexpected error: RuntimeError: no run"], "the report is not empty and green"
    assert by_name(toy.results)["never"]["status"] == "unknown"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_before_all_that_is_interrupted_is_followed_by_after_all(tmp_path: Path, number: signal.Signals) -> None:
    """It may have begun something, a lab for one, that only ``after_all`` takes away."""
    toy = Toy(tmp_path / "toy", {"a.feature": "Feature: A\n  Scenario: never\n    Given it passes\n"})
    (toy.folder / "environment.py").write_text(
        "from pathlib import Path\nfrom meshbdd.cluster.signals import Signals\nimport threading\n"
        "def before_all(context):\n    Signals(lambda: []).install()\n    Path('waiting').touch()\n"
        "    threading.Event().wait(30)\n"
        "def after_all(context):\n    Path('taken-away').touch()\n"
    )
    done = toy.interrupted(number, "-f", "plain")
    assert (toy.folder / "taken-away").exists(), done.stdout + done.stderr
    assert done.returncode == 4, done.stdout + done.stderr
    assert by_name(toy.results)["never"]["status"] == "unknown"


def test_the_command_that_runs_a_scenario_again_is_whole(tmp_path: Path) -> None:
    steps = (
        "from behave import step\nfrom meshbdd.evidence import VerdictReached\nfrom meshbdd.report import tell\n"
        "@step('it tells')\ndef _(c): tell(VerdictReached('passed', 'it is so'))\n"
    )
    toy = Toy(tmp_path / "toy", {"a b.feature": "Feature: A\n  Scenario: one\n    Given it tells\n"})
    (toy.folder / "steps" / "tell_steps.py").write_text(steps)
    arguments = [
        "--mesh",
        "linkerd",
        "--target",
        "cluster",
        "-D",
        "lab=my lab",
        "-D",
        "api_token=hunter2",
        "-D",
        "slow",
    ]
    assert toy.run(*arguments).returncode == 0
    (result,) = read(toy.results)
    (source,) = [a["source"] for a in result["attachments"] if a["name"] == "reproduce"]
    assert (toy.results / source).read_text() == (
        "meshbdd run --target cluster --mesh linkerd -D 'lab=my lab' -D 'api_token=•••' -D slow=true 'features/a b.feature:2'\n"
    )


def test_two_formatters_do_not_mix(tmp_path: Path) -> None:
    """allure-commons hands every result to every formatter of the process; ours keeps out of that."""
    toy = Toy(tmp_path / "toy", {"sub/a.feature": ALL})
    toy.run("-f", "allure_behave.formatter:AllureFormatter", "-o", "theirs", "-f", "plain", "-o", "out/plain.txt")
    assert "Scenario: a claim fails" in (toy.folder / "out" / "plain.txt").read_text()
    theirs = read(toy.folder / "theirs")
    assert len(theirs) == len({result["uuid"] for result in theirs})
    assert not {r["uuid"] for r in theirs} & {r["uuid"] for r in read(toy.results)}
    assert sum(statuses(toy.results).values()) == ALL.count("Scenario: ") + 3
