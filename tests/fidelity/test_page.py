"""The page "how true is the lab" says what the tables say."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

from tests.fidelity.page import counts, page

NAME = "docs/how-true-is-the-lab.md"


def test_the_page_is_that_of_the_tables(project: Path) -> None:
    there = (project / NAME).read_text("utf-8")
    date = re.search(r"Played on (\d{4}-\d\d-\d\d)\.", there)
    assert date, "the page tells when the tables were played"
    assert there == page(dt.date.fromisoformat(date[1])), "the tables have changed: run `make fidelity`"


def test_the_readme_has_the_counts_of_the_page(project: Path) -> None:
    readme = (project / "README.md").read_text("utf-8")
    assert NAME in readme
    for count in counts():
        assert f"{count.agree} of {count.of}" in readme, count
