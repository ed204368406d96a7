"""The features as they are, on Linkerd: nine of ten scenarios run there and pass, the rest are skipped with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.defects.healthy import run_all
from tests.defects.project import Project
from tests.tools import LabUnderTest


@pytest.mark.timeout(600)
def test_the_same_features_pass_on_linkerd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = LabUnderTest.up("linkerdfeatures", mesh="linkerd")
    try:
        told = run_all(Project.copy(tmp_path / "project"), lab)
    finally:
        lab.down()
    with capsys.disabled():
        print(f"\nthe features on Linkerd: {told}")
