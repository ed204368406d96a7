"""The page "how true is the lab" says what was checked, and what was checked is what the tables hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from meshbdd.lab.compile import Mesh, compile_pod
from tests.fidelity.inverse import NOT_DELIVERED, SECTIONS
from tests.fidelity.page import counts, page
from tests.fidelity.played import Played
from tests.golden.meaning import PODS, world

NAME = "docs/how-true-is-the-lab.md"


def test_what_the_page_tells_of_was_played() -> None:
    assert Played.read().missing() == [], (
        "the tables, or what they compile to, changed since they were played: run `make fidelity`"
    )


def test_the_page_is_that_of_the_tables(project: Path) -> None:
    there = (project / NAME).read_text("utf-8")
    assert there == page(Played.read()), f"write it anew: python -m tests.fidelity --recorded {NAME}"


def test_the_readme_has_the_counts_of_the_page(project: Path) -> None:
    readme = (project / "README.md").read_text("utf-8")
    assert NAME in readme
    for count in counts(Played.read()):
        assert f"{count.agree} of {count.of}" in readme, count


def test_what_is_not_delivered_is_a_part_of_what_is_compiled() -> None:
    made = compile_pod(Mesh.read(world()), *PODS[0].split("."))
    for part in NOT_DELIVERED:
        found = ((section, name, item) for section in SECTIONS for name, item in getattr(made, section).items())
        assert any(part.holds(*one) for one in found), part.part


def test_a_changed_compiler_shows() -> None:
    played = Played.read()
    assert set(played.compiled) == set(played.rows)
    key = next(iter(played.compiled))
    assert key in dataclasses.replace(played, compiled={**played.compiled, key: "otherwise"}).missing()
