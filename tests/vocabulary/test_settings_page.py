"""The page of the settings is that of the code, and what a message asks to be set can be set as the message says."""

from __future__ import annotations

from pathlib import Path

from meshbdd.mesh.looking import Looks
from meshbdd.settings import load_settings
from meshbdd.units import Duration
from tests.vocabulary.settings_page import settings_page


def test_the_page_is_that_of_the_code(project: Path) -> None:
    assert (project / "docs" / "settings.md").read_text("utf-8") == settings_page(), "run `make steps`"


def test_a_setting_that_help_names_is_set_where_it_says(tmp_path: Path) -> None:
    told = str((Looks.wait.__kwdefaults__ or {})["help_"])
    assert "in [tool.meshbdd] of pyproject.toml, or -D gate_timeout=30s" in told
    (tmp_path / "pyproject.toml").write_text('[tool.meshbdd]\ngate_timeout = "20s"\n', "utf-8")
    assert load_settings(tmp_path, {}).gate_timeout == Duration(20)
    assert load_settings(tmp_path, {}, {"gate_timeout": "30s"}).gate_timeout == Duration(30)
