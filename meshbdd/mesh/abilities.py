"""What a mesh can do for a step, and why it cannot: asked before anything is written, and printed as a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from meshbdd.errors import NotPossible
from meshbdd.intents import Intent

TITLES = {"istio": "Istio", "linkerd": "Linkerd"}
"""A mesh as settings and tags name it → as sentences do."""


class Ability(StrEnum):
    """What a step needs of a mesh, besides that an intent comes true."""

    CLIENTS = "requests are sent from its client pods"
    MANIFESTS = "a tester's own manifest is applied"
    SIDECARS = "it tells which pods have a proxy"
    CERTIFICATES = "its proxies show their certificates"
    ROTATION = "its proxies get new certificates while somebody waits"
    COUNTERS = "its proxies count requests by caller"
    TLS_COUNTERS = "its proxies count requests by how they were secured"
    PLAINTEXT = "its proxies turn plaintext away"
    REFUSALS = "its proxies close connections"
    DENIALS = "its proxies tell which requests they denied"
    ACCESS_LOG = "its proxies log every request"
    TRACES = "its proxies log the trace context"
    CIRCUITS = "its proxies tell which endpoints they eject"
    PROMETHEUS = "a Prometheus scrapes its proxies"


Need = Intent | Ability
"""Everything that a step can need of a mesh."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a mesh says of a need.

    Attributes:
        possible: Whether it can.
        told: By what means, or under which condition, it can; or why it cannot.
    """

    possible: bool
    told: str = ""

    def __str__(self) -> str:
        if not self.possible:
            return f"no: because {self.told}"
        return f"yes, {self.told}" if self.told else "yes"


YES = Answer(True)
Answering = Callable[[Need, str], Answer]
"""A mesh's own statement: what is needed, and the target (``lab`` or ``cluster``) → its answer."""


ONLY_THE_LABS_CLIENTS = "where its client pods can be entered: so far the lab's alone"
"""``Ability.CLIENTS`` on a cluster."""


def no(because: str) -> Answer:
    """It cannot, because …"""
    return Answer(False, because)


def both(answers: list[Answer]) -> Answer:
    """The answer to several needs at once: the first that is in the way, else all that is to be said."""
    refused = next((answer for answer in answers if not answer.possible), None)
    told = dict.fromkeys(answer.told for answer in answers if answer.told)
    return refused or Answer(True, "; ".join(told))


def refuse_impossible(answer: Answer, what: str) -> None:
    """Let nothing be begun that a mesh cannot do.

    Args:
        answer: What the mesh says.
        what: What was wanted, in a tester's words.

    Raises:
        NotPossible: it cannot; the sentence says why.
    """
    if not answer.possible:
        raise NotPossible("MB0432", f"«{what}» is not possible here, because {answer.told}.")
