"""A project without any mesh, whose scenarios end in every way that behave knows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.tools import until

ENVIRONMENT = """
from meshbdd.cluster.signals import Signals
def before_all(context):
    context.signals = Signals(lambda: [])  # as meshbdd.hooks does, which would want a lab
    context.signals.install()
    if context.config.userdata.get("boom"):
        raise RuntimeError("no run")
def after_all(context):
    context.signals.restore()
def before_feature(context, feature):
    if "feature_waits" in feature.tags: wait()
    if "feature_boom" in feature.tags: raise RuntimeError("no feature")
def after_feature(context, feature):
    if "after_feature_boom" in feature.tags: raise RuntimeError("after feature")
def before_rule(context, rule):
    if "rule_boom" in rule.tags: raise RuntimeError("no rule")
def before_scenario(context, scenario):
    tags = scenario.effective_tags
    if "before_boom" in tags: raise RuntimeError("no before")
    if "before_waits" in tags: wait()
    if "skipme" in tags: scenario.skip("not for today")
    if "cleanup_boom" in tags:
        def remove_fault(): raise RuntimeError("the fault is still there")
        context.add_cleanup(remove_fault)
from meshbdd.hooks import after_step
def after_scenario(context, scenario):
    if "after_waits" in scenario.effective_tags: wait()
    if "after_boom" in scenario.effective_tags: raise RuntimeError("no after")
    if "restore_boom" in scenario.effective_tags:
        from meshbdd.errors import RestoreIncomplete
        raise RestoreIncomplete("MB0320", "VirtualService shop/x still carries the fault", help="meshbdd recover")
def wait():
    import time
    from pathlib import Path
    Path("waiting").touch()
    until = time.monotonic() + 30
    while time.monotonic() < until: time.sleep(0.05)
"""

STEPS = """
import time
from behave import step
from pathlib import Path
from meshbdd.errors import BadInput, ClaimFailed, EnvironmentBroken, Inconclusive, NotPossible, Place

@step("it passes")
def _(c): pass
@step("it fails with {n:d} of {total:d}")
def _(c, n, total): raise ClaimFailed("MB0601", f"at least 95% of requests succeed: {n} of {total} did")
@step("it asserts")
def _(c): assert 1 == 2, "one is not two"
@step("nobody can tell")
def _(c): raise Inconclusive("MB0602", "no call met the fault", help="send requests that do")
@step("it is bad input")
def _(c): raise BadInput("MB0502", "There is no request", help="define it")
@step("the mesh refuses")
def _(c): raise BadInput("MB0404", "The host is governed by nothing", help="apply a VirtualService")
@step("the lab is down")
def _(c): raise EnvironmentBroken("MB0701", "no lab answers", help="meshbdd lab up")
@step("this mesh cannot")
def _(c): raise NotPossible("MB0432", "Linkerd mirrors no traffic", help="run this on Istio")
@step("a change is made")
def _(c):
    wrong = next(s for s in c.scenario.steps if "blue" in s.name or "red" in s.name)
    place = Place(Path(wrong.filename), wrong.line)
    raise BadInput("MB0508", f"The step «{wrong.name}» further on is not understood: no step says this.", place=place, help="mend it; nothing was changed")
@step("the moon is red")
def _(c): pass
@step("the request")
@step("the options")
def _(c): pass
@step("it says «{words}»")
def _(c, words): raise ClaimFailed("MB0601", words)
@step("it divides by zero")
def _(c): 1 / 0
@step("it skips the rest")
def _(c): c.scenario.skip("seen enough")
@step("it waits for a signal")
def _(c):
    Path("waiting").touch()
    until = time.monotonic() + 30
    while time.monotonic() < until: time.sleep(0.05)
"""

ENDED = """Feature: A
  Scenario: first
    Given it passes
  Scenario: nobody knows
    Then nobody can tell
  Scenario: end
    Given it waits for a signal
  Scenario: after
    Given it passes
"""
"""A signal comes in its middle."""

ALL = """@critical
Feature: Alpha
  What alpha is for.

  Scenario: same name
    Given it passes
  Scenario: same name
    Given it passes
  Scenario: a claim fails
    Given it passes
    Then it fails with 88 of 100
    And it passes
  Scenario: an assertion fails
    Then it asserts
  Scenario: inconclusive
    Then nobody can tell
  Scenario: bad input
    Then it is bad input
  Scenario: mesh
    Then the mesh refuses
  Scenario: environment
    Then the lab is down
  Scenario: a step breaks
    Given it divides by zero
  Scenario: unknown words
    Given the moon is blue
    And it passes
  @before_boom
  Scenario: the hook before fails
    Given it passes
  @after_boom
  Scenario: the hook after fails
    Given it passes
  @restore_boom
  Scenario: the undo fails
    Then it fails with 1 of 2
  @cleanup_boom
  Scenario: the clean-up fails
    Given it passes
  @skipme
  Scenario: skipped by a hook
    Given it passes
  Scenario: skipped in the middle
    Given it passes
    And it skips the rest
    And it passes
  Scenario: not possible on this mesh
    Given it passes
    And this mesh cannot
    And it passes
  @restore_boom
  Scenario: not possible, and the undo fails
    Given this mesh cannot
  Scenario Outline: rows <n>
    Given it passes
    Examples:
      | n |
      | 1 |
      | 2 |
  Scenario: without steps
  Rule: First rule
    Scenario: in a rule
      Given it passes
    Scenario: failing in a rule
      Given it fails with 2 of 3
    Scenario Outline: rows in a rule <n>
      Given it passes
      Examples: some
        | n |
        | 1 |
  @rule_boom
  Rule: Second rule
    Scenario: behind a rule's hook
      Given it passes
"""

OTHERS = {
    "b.feature": "@feature_boom\nFeature: Beta\n  Scenario: behind a feature's hook\n    Given it passes\n",
    "deep/er/c.feature": "@after_feature_boom\nFeature: Gamma\n  Scenario: before a feature's hook\n    Given it passes\n",
    "deep/d.feature": "Feature: Ünïcode 網格\n  Scenario: сервис падает 💥\n    Given it passes\n  Scenario: "
    + "long " * 200
    + "\n    Given it passes\n",
}


class Toy:
    """The project in a folder."""

    def __init__(self, folder: Path, features: Mapping[str, str]) -> None:
        self.folder = folder
        (folder / "steps").mkdir(parents=True)
        (folder / "steps" / "toy_steps.py").write_text(STEPS)
        (folder / "environment.py").write_text(ENVIRONMENT)
        for name, text in features.items():
            file = folder / "features" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.execute(["-m", "meshbdd", "run", *arguments], environment)

    def behave(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        own = ["-f", "plain", "-o", "-", "-f", "meshbdd.report:MeshbddFormatter", "-o", "allure-results"]
        return self.execute(["-m", "behave", *own, *arguments], {})

    def execute(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**os.environ, **environment},
            timeout=60,
            check=False,
        )

    def interrupted(self, number: signal.Signals, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run, and send a signal from outside when a step waits for one."""
        (self.folder / "waiting").unlink(missing_ok=True)
        with subprocess.Popen(
            [sys.executable, "-m", "meshbdd", "run", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder,
        ) as process:  # fmt: skip
            until("the step that waits", (self.folder / "waiting").exists, 60)
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    @property
    def results(self) -> Path:
        return self.folder / "allure-results"


def read(results: Path, kind: str = "result") -> list[dict[str, Any]]:
    """The files of a kind, whole ones only."""
    return [json.loads(file.read_text()) for file in results.glob(f"*-{kind}.json")]


def by_name(results: Path) -> dict[str, dict[str, Any]]:
    return {result["name"]: result for result in read(results)}


def statuses(results: Path) -> Counter[str]:
    return Counter(result["status"] for result in read(results))


def behave_counts(output: str) -> Counter[str]:
    """behave's own count of the scenarios, from its summary."""
    line = next(line for line in output.splitlines() if " scenarios passed" in line or " scenario passed" in line)
    counts: Counter[str] = Counter()
    for part in line.split(", "):
        number, *words = part.split()
        counts["passed" if "passed" in words else words[-1]] += int(number)
    return counts
