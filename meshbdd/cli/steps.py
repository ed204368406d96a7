"""``meshbdd steps``: the vocabulary, and what of it each mesh can do."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from meshbdd.cli.output import write
from meshbdd.errors import BadInput

if TYPE_CHECKING:  # imported by the command itself, so that --help is quick
    from meshbdd.phrases import Phrase

_WIDE = 110
"""Columns of a terminal below which a table of five columns is no help."""


@click.command()
@click.argument("words", nargs=-1)
@click.option("--mesh", type=click.Choice(["istio", "linkerd"]), help="What this mesh can do; both if left out.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def steps(words: tuple[str, ...], mesh: str | None, as_json: bool) -> None:
    """List the phrases that feature files can use, and which of them a mesh can do on the lab and on a cluster.

    WORDS are some of a phrase, or a whole step; then only the phrases that have them are shown, with all that is said of
    them.
    """
    import meshbdd.steps  # noqa: F401, PLC0415 - registers them
    from meshbdd.phrases import found, phrases  # noqa: PLC0415 - slow to import

    wanted = " ".join(words)
    shown = found(wanted, phrases()) if wanted else phrases()
    if not shown:
        raise BadInput(
            "MB0223", f"No phrase has the words «{wanted}».", help="write fewer words; meshbdd steps lists all phrases"
        )
    meshes = [mesh] if mesh else ["istio", "linkerd"]
    if as_json:
        write(json.dumps({"steps": [_data(phrase, meshes) for phrase in shown]}, ensure_ascii=False))
    elif wanted or not sys.stdout.isatty() or shutil.get_terminal_size().columns < _WIDE:
        write("\n\n".join(_text(phrase, meshes, whole=bool(wanted)) for phrase in shown))
    else:
        _table(shown, meshes)


def _data(phrase: Phrase, meshes: Sequence[str]) -> dict[str, Any]:
    from meshbdd.mesh import STATEMENTS  # noqa: PLC0415 - slow to import
    from meshbdd.phrases import TARGETS  # noqa: PLC0415

    def answer(mesh: str, target: str) -> dict[str, Any]:
        said = phrase.answer(STATEMENTS[mesh], target)
        return {"possible": said.possible, "told": said.told, "answer": str(said)}

    return {
        "phrase": phrase.pattern,
        "topic": phrase.topic,
        "meaning": phrase.meaning,
        "told": phrase.told,
        "example": phrase.example,
        "meshes": {mesh: {target: answer(mesh, target) for target in TARGETS} for mesh in meshes},
    }


def _text(phrase: Phrase, meshes: Sequence[str], *, whole: bool) -> str:
    """A phrase in some lines, for a pipe, and for those who asked about it."""
    from meshbdd.mesh import STATEMENTS  # noqa: PLC0415 - slow to import
    from meshbdd.mesh.abilities import TITLES  # noqa: PLC0415

    told = phrase.told if whole else phrase.meaning
    answers = [f"{TITLES[mesh]}: {phrase.told_by(STATEMENTS[mesh])}" for mesh in meshes]
    below = "\n".join([told, f"Example: {phrase.example}", *answers])
    return f"{phrase.pattern}\n{textwrap.indent(below, '    ')}"


def _table(shown: Sequence[Phrase], meshes: Sequence[str]) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow to import
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from meshbdd.mesh import STATEMENTS  # noqa: PLC0415
    from meshbdd.mesh.abilities import TITLES  # noqa: PLC0415
    from meshbdd.phrases import TARGETS  # noqa: PLC0415

    columns = [(mesh, target) for mesh in meshes for target in TARGETS]
    table = Table()
    table.add_column("phrase", ratio=3)
    for mesh, target in columns:
        table.add_column(f"{TITLES[mesh]}, {target}", ratio=1)
    for before, phrase in zip([shown[0], *shown], shown, strict=False):
        if phrase.topic != before.topic:
            table.add_section()
        answers = [phrase.answer(STATEMENTS[mesh], target) for mesh, target in columns]
        cells = [Text(str(answer), style="" if answer.possible else "red") for answer in answers]
        table.add_row(Text(phrase.pattern), *cells)
    Console().print(table)
