"""docs/checks.md is the catalogue."""

from __future__ import annotations

from pathlib import Path

from meshbdd.sense.catalog import CHECKS


def test_the_index_of_codes_is_the_catalogue(project: Path) -> None:
    told = (project / "docs" / "checks.md").read_text("utf-8")
    rows = [line for line in told.splitlines() if line.startswith("| MB")]
    wanted = []
    for check in CHECKS:
        help_ = check.help.replace("|", r"\|")
        wanted.append(
            f"| {check.code} | {check.severity} | {check.title} | {', '.join(check.istio) or '–'} | {help_} |"
        )
    assert rows == wanted, "the table should read:\n" + "\n".join(wanted)
