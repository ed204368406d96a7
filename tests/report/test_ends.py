"""What would end a run at once, or be passed over: it is told, and costs no verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.report.toy import Toy, by_name, read, statuses

STEPS = """
import sys
from behave import step
class Other(BaseException): pass
@step("it exits with {n:d}")
def _(c, n): sys.exit(n)
@step("it raises what is no Exception")
def _(c): raise Other("not this one")
@step("its clean-up exits")
def _(c): c.add_cleanup(lambda: sys.exit(0))
"""

RED_THEN_EXIT = """Feature: A
  Scenario: red
    Then it fails with 1 of 2
  Scenario: exits
    Given it passes
    Then it exits with 0
    And it passes
  Scenario: raises
    Then it raises what is no Exception
  Scenario: its clean-up
    Given its clean-up exits
  Scenario: later
    Given it passes
"""

HOOKS = """
import sys
def before_all(context):
    if context.config.userdata.get("all"): sys.exit(0)
def before_feature(context, feature):
    if "clean" in feature.tags:
        def tidy(): raise RuntimeError("password=hunter2 of the feature")
        context.add_cleanup(tidy)
def before_rule(context, rule):
    def sweep(): raise RuntimeError("of the rule")
    context.add_cleanup(sweep)
def before_scenario(context, scenario):
    if "exit" in scenario.effective_tags: sys.exit(0)
def after_scenario(context, scenario):
    if "leak" in scenario.effective_tags: raise RuntimeError("GET http://x/?token=hunter2 failed")
    if "clean_leak" in scenario.effective_tags:
        def forget(): raise RuntimeError("password=hunter2")
        context.add_cleanup(forget)
def after_all(context):
    from pathlib import Path
    with Path("taken-away").open("a") as file: file.write("once")
    if context.config.userdata.get("after"): raise RuntimeError("password=hunter2 in after_all")
    if context.config.userdata.get("last"):
        def last(): raise RuntimeError("at the very end")
        context.add_cleanup(last)
"""


def _toy(folder: Path, text: str, hooks: str = HOOKS) -> Toy:
    toy = Toy(folder / "toy", {"a.feature": text})
    (toy.folder / "steps" / "more_steps.py").write_text(STEPS)
    (toy.folder / "environment.py").write_text(hooks)
    return toy


def _outside(toy: Toy) -> list[str]:
    """The report's global errors; run.json has the same."""
    errors = [error["message"] for globe in read(toy.results, "globals") for error in globe["errors"]]
    run = json.loads((toy.results / "meshbdd" / "run.json").read_text())
    assert sorted(p["sentence"] for p in run["problems"]) == sorted(e.partition(": ")[2] for e in errors)
    return sorted(errors)


def _secrets(toy: Toy) -> list[str]:
    return [file.name for file in toy.results.rglob("*") if file.is_file() and "hunter2" in file.read_text()]


@pytest.mark.parametrize("how", ["run", "behave"])
def test_a_step_that_exits_is_a_broken_step(tmp_path: Path, how: str) -> None:
    toy = _toy(tmp_path, RED_THEN_EXIT)
    done: Any = toy.run("-f", "plain") if how == "run" else toy.behave()
    assert done.returncode == 1, "a claim is false" + done.stdout + done.stderr
    assert (toy.folder / "taken-away").exists(), "after_all runs"
    results = by_name(toy.results)
    assert {name: result["status"] for name, result in results.items()} == {
        "red": "failed",
        "exits": "broken",
        "raises": "broken",
        "its clean-up": "broken",
        "later": "passed",
    }
    assert results["exits"]["statusDetails"]["message"].startswith(
        "unexpected error: RuntimeError: the step called sys.exit(0), which says nothing of what is tested"
    )
    assert [step["status"] for step in results["exits"]["steps"]] == ["passed", "broken", "skipped"]
    assert "the step raised Other('not this one')" in results["raises"]["statusDetails"]["message"]
    assert "called sys.exit(0)" in results["its clean-up"]["statusDetails"]["message"]
    if how == "run":
        assert "1 passed, 1 failed, 3 broken" in done.stdout


def test_a_hook_that_exits_ends_the_run_and_says_so(tmp_path: Path) -> None:
    toy = _toy(
        tmp_path, "Feature: A\n  @exit\n  Scenario: one\n    Given it passes\n  Scenario: two\n    Given it passes\n"
    )
    done = toy.run("-f", "plain")
    assert done.returncode == 4, done.stdout + done.stderr
    assert (toy.folder / "taken-away").exists()
    results = by_name(toy.results)
    assert (results["one"]["status"], results["two"]["status"]) == ("broken", "unknown")
    assert "the hook before_scenario called sys.exit(0)" in results["one"]["statusDetails"]["message"]


@pytest.mark.parametrize("where", ["before_all", "steps"])
def test_an_exit_before_anything_ran_is_not_green(tmp_path: Path, where: str) -> None:
    toy = _toy(tmp_path, "Feature: A\n  Scenario: one\n    Given it passes\n")
    if where == "steps":
        (toy.folder / "steps" / "bad_steps.py").write_text("import sys\nsys.exit(0)\n")
    done = toy.run(*(["-D", "all=1"] if where == "before_all" else []))
    assert (done.returncode, "sys.exit" in done.stderr or "SystemExit" in done.stderr) == (
        4 if where == "before_all" else 2,
        True,
    ), done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_what_fails_around_scenarios_is_named(tmp_path: Path) -> None:
    text = "@clean\nFeature: A\n  Scenario: one\n    Given it passes\n  Rule: R\n    Scenario: two\n      Given it passes\n"
    toy = _toy(tmp_path, text)
    done = toy.run("-f", "plain", "-D", "after=1", "-D", "last=1")
    assert done.returncode == 4, done.stdout + done.stderr
    assert _outside(toy) == [
        "unexpected error: after_all: RuntimeError: password=••• in after_all",
        "unexpected error: feature «A»: CLEANUP-ERROR in tidy: RuntimeError: password=••• of the feature",
        "unexpected error: rule «R»: CLEANUP-ERROR in sweep: RuntimeError: of the rule",
    ]
    assert statuses(toy.results)["passed"] == 2
    done = toy.run("-f", "plain", "-D", "last=1", "-n", "two")
    assert "unexpected error: the run: CLEANUP-ERROR in last: RuntimeError: at the very end" in _outside(toy)
    assert done.returncode == 4


def test_no_secret_of_a_hook_is_in_the_results(tmp_path: Path) -> None:
    toy = _toy(
        tmp_path,
        "Feature: A\n  @leak\n  Scenario: hook\n    Given it passes\n  @clean_leak\n  Scenario: clean-up\n    Given it passes\n"
        "  Scenario Outline: row\n    Given it passes\n    Examples:\n      | token |\n      | hunter2 |\n"
        '  Scenario: nobody knows\n    Given the password="hunter2"\n',
    )
    assert toy.run().returncode == 2
    assert statuses(toy.results) == {"broken": 3, "passed": 1}
    assert "token=•••" in by_name(toy.results)["hook"]["statusDetails"]["message"]
    assert "password=•••" in by_name(toy.results)["clean-up"]["statusDetails"]["message"]
    assert not _secrets(toy)


def test_a_formatter_that_fails_costs_nothing_but_its_own_output(tmp_path: Path) -> None:
    """behave's own ``progress`` fails with KeyError after a clean-up that failed."""
    text = "Feature: A\n  Scenario: red\n    Then it fails with 1 of 2\n  @cleanup_boom\n  Scenario: unclean\n    Given it passes\n"
    toy = Toy(
        tmp_path / "toy", {"a.feature": text, "b.feature": "Feature: B\n  Scenario: later\n    Given it passes\n"}
    )
    done = toy.run("-f", "progress", "-o", "progress.txt")
    assert done.returncode == 1, done.stdout + done.stderr
    assert statuses(toy.results) == {"failed": 1, "broken": 1, "passed": 1}
    assert "1 passed, 1 failed, 1 broken" in done.stdout
    told = "the formatter progress failed, its output ends there ("
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    (problem,) = _outside(toy)
    assert problem.startswith(f"unexpected error: {told}")
    assert "a.feature" in (toy.folder / "progress.txt").read_text(), "what it had written"
    assert toy.run("-f", "progress", "-o", "progress.txt", "-n", "later").returncode == 0


def test_what_cuts_a_run_off_leaves_the_verdicts_before_it(tmp_path: Path) -> None:
    """A reporter, for instance: behave has no care for any."""
    toy = _toy(tmp_path, RED_THEN_EXIT)
    with (toy.folder / "environment.py").open("a") as file:
        file.write(
            "class Bad:\n    def feature(self, f): raise RuntimeError('no ink')\n    def end(self): pass\n"
            "def before_feature(context, feature): context.config.reporters.insert(0, Bad())\n"
        )
    done = toy.run("-f", "plain")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 passed, 1 failed, 3 broken" in done.stdout
    (problem,) = _outside(toy)
    assert problem.startswith("unexpected error: the run was cut off by RuntimeError: no ink (")
    assert (toy.folder / "taken-away").read_text() == "once"


def test_what_fails_at_the_very_end_calls_no_hook_twice(tmp_path: Path) -> None:
    toy = _toy(tmp_path, "Feature: A\n  Scenario: one\n    Given it passes\n")
    with (toy.folder / "environment.py").open("a") as file:
        file.write(
            "class Bad:\n    def feature(self, f): pass\n    def end(self): raise RuntimeError('no ink')\n"
            "def before_feature(context, feature): context.config.reporters.insert(0, Bad())\n"
        )
    done = toy.run("-f", "plain")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert (toy.folder / "taken-away").read_text() == "once"


def test_before_a_file_that_cannot_be_read_no_hook_is_called(tmp_path: Path) -> None:
    toy = _toy(tmp_path, "Feature: A\n  Scenario: one\n    Given it passes\n    Thn it passes\n")
    done = toy.run()
    assert done.returncode == 2
    assert done.stderr.startswith("MB0225 error: "), done.stderr
    assert not (toy.folder / "taken-away").exists()
