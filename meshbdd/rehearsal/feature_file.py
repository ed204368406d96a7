"""A feature file, read as behave reads it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from behave.model import Feature
from behave.parser import ParserError, parse_file

from meshbdd.errors import BadInput, Place


def read_feature(file: Path) -> Feature:
    """Parse a feature file.

    Raises:
        BadInput: it cannot be read, or is none.
    """
    try:
        feature = parse_file(str(file))
    except ParserError as error:
        told = [line.removeprefix("REASON: ") for line in str(error.args[0]).splitlines() if line.strip()]
        said = f"{told[-1].rstrip('.')} («{error.line_text}»)" if error.line_text else told[-1].rstrip(".")
        place = Place(file, getattr(error, "line", None))
        raise BadInput("MB0241", f"{file} is no feature file: {said}.", help="mend that line", place=place) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("MB0242", f"{file} cannot be read: {error}.", help="check the path") from None
    if feature is None:
        raise BadInput("MB0243", f"{file} holds no feature.", help="begin it with Feature:")
    return cast("Feature", feature)
