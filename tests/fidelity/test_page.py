"""The page "how true is the lab" says what was checked, and what was checked is what the tables hold."""

from __future__ import annotations

from pathlib import Path

from tests.fidelity.page import counts, page
from tests.fidelity.played import Played

NAME = "docs/how-true-is-the-lab.md"


def test_what_the_page_tells_of_was_played() -> None:
    assert Played.read().missing() == [], "the tables have changed since they were played: run `make fidelity`"


def test_the_page_is_that_of_the_tables(project: Path) -> None:
    there = (project / NAME).read_text("utf-8")
    assert there == page(Played.read()), f"write it anew: python -m tests.fidelity --recorded {NAME}"


def test_the_readme_has_the_counts_of_the_page(project: Path) -> None:
    readme = (project / "README.md").read_text("utf-8")
    assert NAME in readme
    for count in counts(Played.read()):
        assert f"{count.agree} of {count.of}" in readme, count
