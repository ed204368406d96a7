"""What the README shows for a tester's own services, done as it stands there."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.cli.test_commands import meshbdd

FEATURE = """
Feature: httpbin
  Scenario: It answers, and a fault at it is seen
    Given the request "fine":
      '''
      GET http://httpbin/status/200
      '''
    When "fine" is sent
    Then the response status is 200
    Given httpbin fails 100% with status 500
    When "fine" is sent
    Then the response status is 500
"""


def _block(project: Path, language: str, word: str) -> str:
    blocks = re.findall(
        rf"^```{language}\n(.*?)^```", (project / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    (found,) = [block for block in blocks if word in block]
    return str(found)


@pytest.mark.parametrize("mapped", [False, True], ids=["with a command", "by the image"])
def test_the_readmes_own_service(project: Path, tmp_path: Path, mapped: bool) -> None:
    yaml = _block(project, "yaml", "httpbin")
    if mapped:
        (tmp_path / "pyproject.toml").write_text(_block(project, "toml", "httpbin"), "utf-8")
        yaml = re.sub(r"^ +command: .*\n", "", yaml, flags=re.MULTILINE)
    assert ("command:" in yaml) is not mapped
    (tmp_path / "httpbin.yaml").write_text(yaml, "utf-8")
    (tmp_path / "environment.py").write_text("import meshbdd.steps\nfrom meshbdd.hooks import *\n")
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "httpbin.feature").write_text(FEATURE.replace("'''", '"""'), "utf-8")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # as in an activated virtual environment
    name = "readme-mapped" if mapped else "readme"
    try:
        up = meshbdd("lab", "up", name, "--no-shop", "-f", "httpbin.yaml", cwd=tmp_path, PATH=path)
        assert up.returncode == 0, up.stdout + up.stderr
        ran = meshbdd("run", "-D", f"lab={name}", "-f", "plain", cwd=tmp_path)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "1 passed" in ran.stdout
    finally:
        meshbdd("lab", "down", name, cwd=tmp_path)
