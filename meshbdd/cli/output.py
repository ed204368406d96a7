"""Standard output that may not be writable: a full disk, a reader that has gone."""

from __future__ import annotations

import os
import sys

import click

from meshbdd.errors import EnvironmentBroken


def write(text: str) -> None:
    """Print a result.

    Raises:
        EnvironmentBroken: it cannot be written.
    """
    try:
        click.echo(text)
    except OSError as error:
        # Python writes what is left in the buffer once more at its end, and would complain and exit with 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise EnvironmentBroken(
            "MB0258",
            f"The result cannot be written to standard output: {error.strerror}.",
            help="make room, or send it somewhere else",
        ) from None
