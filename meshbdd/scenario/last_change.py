"""One rule for all claims: what was seen before the mesh changed tells nothing after it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from meshbdd.claims import Outcome, Verdict

_ACTION = "send requests between the change and the claim"


@dataclass(slots=True)
class LastChange:
    """The last change of the mesh, and what has met it. Each is a change in words; empty where requests met it, or none was made.

    Attributes:
        begun: The last change, or withdrawal of one, whatever has met it.
        unmet: That, where no request was sent since.
        unmet_in_force: The change that came into force after the last request.
        of_samples: The change that what the claims judge has not met, though later requests may have.
    """

    begun: str = ""
    unmet: str = ""
    unmet_in_force: str = ""
    of_samples: str = ""

    def begin(self, summary: str) -> None:
        """A change, or a withdrawal of one, is about to be made."""
        self.begun = self.unmet = self.of_samples = summary

    def arrived(self) -> None:
        """The change is in force everywhere."""
        self.unmet = self.unmet_in_force = self.begun

    def met(self) -> None:
        """A request was sent since."""
        self.unmet = self.unmet_in_force = ""

    def sampled(self) -> None:
        """What was sent last is what the claims judge from now on."""
        self.of_samples = self.unmet

    def to_be_drawn(self) -> None:
        """What the claims judge is sent only from now on."""
        self.of_samples = ""


def not_met(claim: str, change: str, *, others: bool = False) -> Verdict:
    """A claim on requests that were all sent before a change, though others may have been sent since."""
    why = "the requests that it judges were sent before" if others else "no request was sent since"
    return Verdict.cannot_tell(f"{claim}: {why} the mesh was changed («{change}»)", _ACTION)


def none_met(verdict: Verdict, change: str) -> Verdict:
    """A verdict on calls that were all made before a change; one that could not be told keeps its own reason."""
    if not change or verdict.outcome is Outcome.INCONCLUSIVE:
        return verdict
    sentence = f"{verdict.sentence}; but no such call was made since the mesh was changed («{change}»)"
    return replace(verdict, outcome=Outcome.INCONCLUSIVE, sentence=sentence, help=_ACTION)
