"""Standard output and standard error that may not be writable: a full disk, a reader that has gone, nothing at all."""

from __future__ import annotations

import os
import sys

import click

from meshbdd.errors import EnvironmentBroken

_ELSEWHERE = "make room, or send it somewhere else"


def write(text: str) -> None:
    """Print a result.

    Raises:
        EnvironmentBroken: it cannot be written.
    """
    if sys.stdout is None:  # what Python makes of a descriptor that was closed before it began
        raise EnvironmentBroken(
            "MB0258", "The result cannot be written to standard output: that is closed.", help=_ELSEWHERE
        )
    try:
        click.echo(text)
    except OSError as error:
        _let_go(sys.stdout.fileno())
        raise EnvironmentBroken(
            "MB0258", f"The result cannot be written to standard output: {error.strerror}.", help=_ELSEWHERE
        ) from None


def complain(text: str) -> None:
    """Say on standard error what is wrong; where that takes nothing, the exit code alone must say it."""
    try:
        click.echo(text, err=True)
    except OSError:
        _let_go(sys.stderr.fileno())


def _let_go(descriptor: int) -> None:
    """Python writes what is left in the buffer once more at its end, and would complain and exit with 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
