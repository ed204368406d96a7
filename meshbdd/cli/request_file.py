"""A file with one request, in the form that editors have for requests (``.http``): an HTTP message between ``###`` lines."""

from __future__ import annotations

import re
from pathlib import Path

from meshbdd.errors import BadInput, Place
from meshbdd.load import Message, read_message

_SEPARATOR = re.compile(r"###.*")
_BETWEEN = re.compile(r"\s*(?:(?:#|//).*)?")
"""A line before a request, or after the last one, that says nothing to a server: blank, or a comment."""
_REQUEST = re.compile(r"[A-Z]+[ \t]+https?://\S+(?:[ \t]+HTTP/\S+)?[ \t]*")
_REQUEST_PATH = re.compile(r"[A-Z]+[ \t]+/\S*[ \t]+HTTP/\S+[ \t]*")


def read_request(file: Path, text: str, schemes: tuple[str, ...]) -> Message:
    """Read the request of a file.

    Args:
        file: The file, for errors.
        text: What it holds.
        schemes: The schemes that its URL may have.

    Raises:
        BadInput: it is no HTTP message, or there is another one, which would be sent as the first one's body.
    """
    lines = text.splitlines()
    begin = next((number for number, line in enumerate(lines) if not _BETWEEN.fullmatch(line)), 0)
    end, another = _end(lines, begin)
    if another is not None:
        raise BadInput(
            "MB0259",
            f"{file} holds more than one request.",
            help="write each into a file of its own",
            place=Place(file, another + 1),
        )
    return read_message(file.name, "\n".join(lines[begin:end]), Place(file, begin + 1), offset=0, schemes=schemes)


def _end(lines: list[str], begin: int) -> tuple[int, int | None]:
    """Where the request that begins there ends, and where another one begins, if there is one.

    In a body ``###`` may be a heading: it separates where nothing but comments follows, or a request does. A request line
    after a blank line begins another request even without it.
    """
    for number in range(begin + 1, len(lines)):
        if _SEPARATOR.fullmatch(lines[number]):
            next_one = next((n for n in range(number, len(lines)) if not _BETWEEN.fullmatch(lines[n])), None)
            if next_one is None or _is_request(lines[next_one]):
                return number, next_one
        if not lines[number - 1].strip() and _is_request(lines[number]):
            return number, number
    return len(lines), None


def _is_request(line: str) -> bool:
    return bool(_REQUEST.fullmatch(line) or _REQUEST_PATH.fullmatch(line))
