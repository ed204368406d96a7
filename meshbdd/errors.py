"""Everything that meshbdd raises on purpose.

::

    MeshbddError                 one sentence, one action, a code, maybe a place
    ├── BadInput                 the tester can mend it in a file or on the command line   exit 2
    ├── Refused                  a guard rail said no before anything was written          exit 5
    ├── EnvironmentBroken        the lab, the cluster or the machine does not do its part  exit 4
    ├── Inconclusive             the claim can be called neither true nor false            exit 4
    ├── NotPossible              this mesh cannot do that; its scenario is skipped         exit 2 elsewhere
    ├── RestoreIncomplete        something that meshbdd changed is still changed           exit 3
    └── ClaimFailed              a Then step that is false (also an AssertionError)        exit 1

behave shows an ``AssertionError`` as *failed* and anything else as *error*; so only ``ClaimFailed``, the one verdict
about the system under test, is an ``AssertionError``. Code numbers are grouped by room: 01 units and vocabulary,
02 settings and command line, 03 cluster, 04 mesh, 05 requests and load, 06 claims, 07 lab, 08 report, 09 sense checks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Place:
    """A line in a file that the tester wrote."""

    path: Path
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else str(self.path)


class MeshbddError(Exception):
    """A sentence for a tester: what, where and why; then one action that helps.

    Args:
        code: ``MB`` and four digits; stands in the documentation's index of codes.
        sentence: One full sentence that names the object and the value at fault.
        help: One action, an imperative; ``None`` only where there is truly nothing to do.
        place: The file and line at fault, where one is known.

    Attributes:
        step: The step that it came of, where ``place`` is in another file.
        also: What else was found at fault at the same look, for one who asks for all of it.
    """

    exit_code: ClassVar[int] = 4
    word: ClassVar[str] = "error"

    def __init__(self, code: str, sentence: str, *, help: str | None = None, place: Place | None = None) -> None:  # noqa: A002 - the word that the output uses
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.help = help
        self.place = place
        self.step: Place | None = None
        self.also: tuple[MeshbddError, ...] = ()

    def met_at(self, step: Place | None) -> None:
        """Say at which step it was met: that is its place, unless a line of another file is, which the step led to."""
        if self.place is None:
            self.place = step
        elif step is not None and self.step is None and step.path != self.place.path:
            self.step = step

    def is_of(self, step: Place | None) -> bool:
        """Whether it was met at a step."""
        return step == (self.step or self.place)

    def __str__(self) -> str:
        lines = [f"{self.code} {self.word}: {self.sentence}"]
        lines += [f"  --> {place}" for place in (self.place, self.step) if place]
        if self.help:
            lines.append(f"  help: {self.help}")
        return "\n".join([*lines, *map(str, self.also)])


class BadInput(MeshbddError):
    """The input is wrong; nothing was written anywhere."""

    exit_code = 2


class Refused(MeshbddError):
    """A guard rail refused; nothing was written anywhere."""

    exit_code = 5
    word = "refused"


class EnvironmentBroken(MeshbddError):
    """The lab, the cluster or the machine does not do its part."""


class Inconclusive(MeshbddError):
    """The claim can be called neither true nor false; never shown as green."""

    word = "inconclusive"


class NotPossible(MeshbddError):
    """This mesh cannot do that, and the sentence says why.

    A step that raises it, or is known to before anything is written, has its scenario skipped with the sentence: neither
    passed nor failed.
    """

    exit_code = 2
    word = "not possible"


class RestoreIncomplete(MeshbddError):
    """Something that meshbdd changed could not be put back; the sentence lists what."""

    exit_code = 3


class ClaimFailed(MeshbddError, AssertionError):
    """A claim about the system under test is false."""

    exit_code = 1
    word = "failed"

    def __str__(self) -> str:
        return self.sentence
