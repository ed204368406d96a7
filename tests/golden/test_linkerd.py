"""The lab's Linkerd compiler against Linkerd's own control plane, case by case."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from meshbdd.cli import cli
from tests.golden.linkerd import DATA, cases, comparable, golden, meaning, mine
from tests.golden.meaning import differences

DIFFERENT: dict[str, str] = {}
"""Case → why the lab's answer is another one. Strict: a line has to go as soon as its case agrees."""


def found_differences(case: str) -> list[str]:
    theirs = golden(case)
    return differences(comparable(mine(case, theirs)), comparable(theirs))


def _parameters() -> list[object]:
    return [
        pytest.param(case, marks=[pytest.mark.xfail(strict=True, reason=DIFFERENT[case])] if case in DIFFERENT else [])
        for case in cases()
    ]


@pytest.mark.parametrize("case", _parameters())
def test_the_lab_compiles_as_linkerd_does(case: str) -> None:
    found = found_differences(case)
    assert not found, "\n".join(found[:20])


def test_the_comparison_sees_one_wrong_number() -> None:
    theirs = golden("021-retry-http-gateway-error-service")
    ours = mine("021-retry-http-gateway-error-service", theirs)
    policy = ours["outbound"]["order-service.shop:80 from shop"]["protocol"]["detect"]
    policy["http1"]["routes"][0]["rules"][0]["retry"]["max_retries"] = 4
    found = differences(comparable(ours), comparable(theirs))
    assert found
    assert all("max_retries" in line for line in found)


def test_agreement_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    agree = sum(not found_differences(case) for case in cases())
    with capsys.disabled():
        print(f"\nLinkerd: {agree} of {len(cases())} agree")
    assert agree == len(cases()) - len(DIFFERENT)


def test_the_command_prints_what_the_recording_has() -> None:
    """The whole way through the command line, with a resource that replaces one of the world."""
    case = DATA / "015-timeout-annotations-service"
    told = CliRunner().invoke(
        cli,
        ["lab", "compile", "--mesh", "linkerd", "--json", "--world", str(DATA / "world.yaml"), str(case / "in.yaml")],
    )
    assert told.exit_code == 0
    made = json.loads(told.output)["outbound"]
    theirs = golden(case.name)["outbound"]
    assert not differences(meaning({name: made[name] for name in theirs}), meaning(theirs))
