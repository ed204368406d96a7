"""``meshbdd report``: one HTML page from a folder of results."""

from __future__ import annotations

import json
from pathlib import Path

import click

from meshbdd.cli.run import RESULTS


@click.command()
@click.argument("results", type=click.Path(path_type=Path), default=RESULTS, metavar="[RESULTS]")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("allure-report"), show_default=True,
    help="Folder for the page and the history of runs.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON only.")
def report(results: Path, output: Path, as_json: bool) -> None:
    """Build one HTML page, which opens from disk, from the results of a run.

    Allure 3 builds it where Node.js is (it is fetched with npm on first use), else Allure 2 where Java is.
    """
    from meshbdd.report.page import build_page  # noqa: PLC0415 - slow to import

    built = build_page(results.resolve(), output.resolve())
    if as_json:
        told = {
            "page": str(built.page),
            "tool": built.tool,
            "seconds": round(built.seconds, 3),
            "bytes": built.page.stat().st_size,
            "unreadable": [str(file) for file in built.gaps.unreadable],
            "missing": list(built.gaps.missing),
            "unwritten": built.gaps.unwritten,
        }
        click.echo(json.dumps(told))
    else:
        size = built.page.stat().st_size / 1e6
        click.echo(f"{built.page}  ({size:.1f} MB, by {built.tool} in {built.seconds:.1f} s)")
        click.echo(f"Open it: {built.page.as_uri()}")
    if built.problem is not None:
        raise built.problem
