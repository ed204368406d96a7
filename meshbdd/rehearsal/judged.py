"""What a scenario sends and what it claims, held together: a claim that no request comes before, requests that no claim judges.

A run ends in neither red nor green there, once all else has been done. Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from meshbdd.claims import Verdict
from meshbdd.errors import Inconclusive, Place
from meshbdd.scenario.enough import unused

_SENDS = re.compile(r'(enough )?"([^"]+)" (?:is sent|keeps being sent|requests are sent).*')
_STOPS = "the load stops"


@dataclass(frozen=True, slots=True)
class Said:
    """A step, as far as it sends or judges something.

    Attributes:
        text: Its text.
        place: Where it stands.
        claim: The claim by which it judges what was sent; empty where it does not.
        understood: Whether it is known what it does: not of a step that a project wrote itself, nor of one that is refused.
    """

    text: str
    place: Place
    claim: str = ""
    understood: bool = True


def sends(text: str) -> bool:
    """Whether a step sends requests."""
    return _SENDS.fullmatch(text) is not None


def unjudged(steps: Iterable[Said]) -> Iterator[tuple[Inconclusive, Place]]:
    """Why one scenario's run could end in neither red nor green, whatever the mesh does, and the step that it is for.

    Args:
        steps: Its steps.
    """
    sent = False
    enough: tuple[str, Place] | None = None
    for step in steps:
        sends = _SENDS.fullmatch(step.text)
        if enough and (sends or step.text == _STOPS):
            yield unused(enough[0]), enough[1]
        if step.claim or sends or not step.understood or step.text == _STOPS:
            enough = None
        if step.claim and not sent:
            sentence = Verdict.nothing_to_judge(step.claim).sentence
            yield Inconclusive("MB0618", f"{sentence}.", help="send a request before it"), step.place
        if sends and sends[1]:
            enough = sends[2], step.place
        sent = sent or sends is not None or not step.understood
    if enough:
        yield unused(enough[0]), enough[1]
