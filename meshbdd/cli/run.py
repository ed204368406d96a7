"""``meshbdd run`` and ``meshbdd demo``: behave with a results folder, a summary and an exit code that says more."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from meshbdd.errors import BadInput

RESULTS = Path("allure-results")
"""Where the results go unless the user names a folder."""

_HERE = Path(__file__).resolve().parents[1]
_results_option = click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=RESULTS,
    show_default=True,
    help="Folder for the Allure results.",
)


def run_features(arguments: Sequence[str], results: Path) -> int:
    """Run behave in this process.

    Args:
        arguments: behave's.
        results: Folder for the results, unless the arguments name meshbdd's formatter with a folder of its own.

    Returns:
        The exit code: 0 passed, 1 failed, 2 bad input or nothing selected, 3 restore incomplete, 4 inconclusive or
        broken, 5 refused.

    Raises:
        BadInput: behave does not understand its arguments or the feature files, or nothing was selected.
        MeshbddError: the run could not begin; the results say so too.
    """
    from meshbdd.cli.summary import show_summary  # noqa: PLC0415 - slow to import
    from meshbdd.report.runner import run_behave  # noqa: PLC0415

    ran = run_behave(arguments, results)
    if ran.record is None:
        return ran.code
    lost = ran.folder.problem if ran.folder else None
    show_summary(ran.record, ran.folder.path if ran.folder else results)
    if lost is not None:
        click.echo(str(lost), err=True)
    if ran.code == 0 and not ran.record.counts["passed"]:
        raise _nothing_tested(len(ran.record.skipped))
    return ran.record.exit_code or (4 if ran.code or lost else 0)


def _nothing_tested(skipped: int) -> BadInput:
    if skipped:
        what = (
            "The one scenario that was selected was"
            if skipped == 1
            else f"All {skipped} scenarios that were selected were"
        )
        return BadInput("MB0222", f"{what} skipped, so nothing was tested.", help="the reasons stand above")
    return BadInput("MB0221", "No scenario was selected, so nothing was tested.", help="check tags, names and paths")


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["--help"]}
)
@click.option("--target", type=click.Choice(["lab", "cluster"]), help="Where to run; the lab unless said otherwise.")
@click.option(
    "--mesh", type=click.Choice(["istio", "linkerd"]), help="On which mesh; the one that is there unless said."
)
@_results_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(target: str | None, mesh: str | None, results: Path, arguments: tuple[str, ...]) -> None:
    """Run feature files, with behave's own options (see `behave --help`)."""
    named = {"target": target, "mesh": mesh}
    extra = [word for name, value in named.items() if value for word in ("-D", f"{name}={value}")]
    sys.exit(run_features([*extra, *arguments], results))


@click.command()
@_results_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(results: Path, arguments: tuple[str, ...]) -> None:
    """Bring a lab up with the demo shop, run the demo features on it, take it down."""
    results = results.absolute()  # results belong where the user is, features are where they ship
    os.chdir(_demo_project())
    sys.exit(run_features([*arguments, "features"], results))


def _demo_project() -> Path:
    """The folder with the demo features: the checkout's, or the copy inside the wheel."""
    checkout = _HERE.parent
    return checkout if (checkout / "features").is_dir() else _HERE / "demo"
