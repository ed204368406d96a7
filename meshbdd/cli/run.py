"""``meshbdd run`` and ``meshbdd demo``: behave with a results folder, a summary and an exit code that says more."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from meshbdd.errors import BadInput

RESULTS = Path("allure-results")
_HERE = Path(__file__).resolve().parents[1]


def _behave(arguments: Sequence[str]) -> int:
    from behave.__main__ import main as behave_main  # noqa: PLC0415 - slow to import

    return int(behave_main(list(arguments)) or 0)


def _summary(results: Path) -> None:
    from meshbdd.hooks import tally  # noqa: PLC0415 - slow to import

    table = Table(title="meshbdd", title_justify="left", show_header=False)
    for word, names, style in (
        ("passed", tally.passed, "green"),
        ("failed", tally.failed, "red"),
        ("inconclusive", tally.inconclusive, "yellow"),
        ("not understood", tally.bad_input, "magenta"),
        ("broken", tally.broken, "magenta"),
        ("restore incomplete", tally.restore_incomplete, "bold red"),
    ):
        if names or word == "passed":
            shown = "" if word == "passed" else "\n".join(names)
            table.add_row(f"[{style}]{len(names)} {word}[/]", shown)
    console = Console(stderr=False)
    console.print(table)
    console.print(f"Allure results: {results.resolve()}")


def _options(arguments: Sequence[str], short: str, long: str) -> int:
    """How often an option stands among behave's arguments."""
    return sum(
        a == long or a.startswith(f"{long}=") or (a.startswith(short) and not a.startswith("--")) for a in arguments
    )


def run_features(arguments: Sequence[str]) -> int:
    """Run behave in this process.

    Returns:
        The exit code: 0 passed, 1 failed, 2 bad input or nothing selected, 3 restore incomplete, 4 inconclusive or
        broken, 5 refused.
    """
    from meshbdd.hooks import tally  # noqa: PLC0415 - slow to import

    shutil.rmtree(RESULTS, ignore_errors=True)  # Allure would take what is left for retries
    if RESULTS.exists():
        raise BadInput("MB0222", f"{RESULTS} is there and is no folder of results.", help="move it away")
    own = ["-f", "allure_behave.formatter:AllureFormatter", "-o", str(RESULTS)]
    # behave pairs formats and outputs by their order, so each format of the user needs an output before ours follows.
    own = ["-o", "-"] * (_options(arguments, "-f", "--format") - _options(arguments, "-o", "--outfile")) + own
    shown = [] if _options(arguments, "-f", "--format") else ["-f", "pretty", "-o", "-"]
    code = _behave([*arguments, *shown, *own])
    if tally.refusal is not None:
        return tally.exit_code
    _summary(RESULTS)
    if code == 0 and not tally.passed:
        click.echo(
            "MB0221 error: No scenario was selected, so nothing was tested.\n  help: check tags, names and paths",
            err=True,
        )
        return 2
    return tally.exit_code or (4 if code else 0)


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["--help"]}
)
@click.option("--target", type=click.Choice(["lab", "cluster"]), help="Where to run; the lab unless said otherwise.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(target: str | None, arguments: tuple[str, ...]) -> None:
    """Run feature files, with behave's own options (see `behave --help`)."""
    extra = ["-D", f"target={target}"] if target else []
    sys.exit(run_features([*extra, *arguments]))


@click.command()
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: tuple[str, ...]) -> None:
    """Bring a lab up with the demo shop, run the demo features on it, take it down."""
    project = _demo_project()
    here = Path.cwd()
    global RESULTS  # noqa: PLW0603 - results belong where the user is, features are where they ship
    RESULTS = here / "allure-results"
    os.chdir(project)
    sys.exit(run_features([*arguments, "features"]))


def _demo_project() -> Path:
    """The folder with the demo features: the checkout's, or the copy inside the wheel."""
    checkout = _HERE.parent
    return checkout if (checkout / "features").is_dir() else _HERE / "demo"
