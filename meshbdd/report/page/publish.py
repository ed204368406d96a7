"""The page and its history, put in the place of those before: all of it or nothing."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from meshbdd.errors import BadInput


def publish(new: Path, output: Path) -> None:
    """Put a page and its history in the place of those before: all of it or nothing.

    Raises:
        BadInput: the output cannot be written; what is there stays as it was.
    """
    staged, made = output / ".new", not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staged, ignore_errors=True)  # of a build that was killed
        shutil.copytree(new, staged / "new")  # whatever needs room is done before anything is replaced
        (staged / "old").mkdir()
        for item in (staged / "new").iterdir():
            if (output / item.name).exists():
                (output / item.name).rename(staged / "old" / item.name)
            item.rename(output / item.name)
    except OSError as error:
        _put_back(staged, output)
        shutil.rmtree(output if made else staged, ignore_errors=True)
        raise not_written(output, error) from None
    shutil.rmtree(staged, ignore_errors=True)


def _put_back(staged: Path, output: Path) -> None:
    for item in (staged / "old").glob("*"):
        shutil.rmtree(output / item.name, ignore_errors=True)
        with contextlib.suppress(OSError):
            item.rename(output / item.name)


def not_written(output: Path, error: OSError) -> BadInput:
    """What to say of it."""
    return BadInput(
        "MB0819",
        f"The report cannot be written to {output}: {why(error)}.",
        help="make room there, or name another folder with -o",
    )


def why(error: OSError) -> str:
    """The system's word for it; of ``copytree``, which collects them, the first."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return str(error.args[0][0][2]).partition("] ")[2] or str(error.args[0][0][2])
    return error.strerror or str(error)
