"""Requests that claims draw as they need them: ``enough "checkout" requests are sent``.

Several claims share what was drawn; each looks at it from the first request on, in the order of the starts, so that
none of them depends on where another one stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from meshbdd.claims import Claim, Verdict
from meshbdd.claims.share import Explain, Stopped
from meshbdd.errors import Inconclusive
from meshbdd.load import Sample
from meshbdd.units import Duration

_FIRST_BATCH = 20
_GROWTH = 10
"""Later batches are a tenth of what was drawn: so much is drawn too many at worst, and the pauses between stay few."""


def unused(name: str) -> Inconclusive:
    """What there is to say where nothing was sent and nothing judged, which must not be green.

    Args:
        name: The request.
    """
    return Inconclusive(
        "MB0520",
        f'Enough "{name}" requests were to be sent, but no claim follows that asks for any.',
        help="write the claims that they are for after it",
    )


class Enough:
    """A stream of requests of one kind.

    Args:
        name: What the tester calls the request.
        draw: Sends so many more, but begins none after so long; gives their samples in the order of their starts.
        within: How long one claim may draw.
        at_most: How many requests may be drawn in all; ``None``: as many as the claims need.

    Attributes:
        samples: What was drawn so far.
        judged: Whether a claim has asked for any.
    """

    def __init__(
        self, name: str, draw: Callable[[int, Duration], Sequence[Sample]], within: Duration, at_most: int | None = None
    ) -> None:
        self.name = name
        self._draw = draw
        self._within = within
        self._at_most = at_most
        self._ended: Stopped | None = None
        self.samples: list[Sample] = []
        self.judged = False

    def end(self, stopped: Stopped) -> None:
        """Draw no more: what comes later would meet another system than what came before."""
        self._ended = self._ended or stopped

    def judge(self, claim: Claim, explain: Explain) -> Verdict:
        """Draw until a claim can be told, or no more may be drawn."""
        self.judged = True
        deadline = time.monotonic() + self._within.seconds
        while (verdict := claim.judge_enough(self.samples, explain, stopped=self._stopped(deadline))) is None:
            left = max(deadline - time.monotonic(), 0.001)
            self.samples += self._draw(self._batch(), Duration(left))
        return verdict

    def _stopped(self, deadline: float) -> Stopped | None:
        if self._ended is not None:
            return self._ended
        if self._at_most is not None and len(self.samples) >= self._at_most:
            return Stopped(f"and no more than {self._at_most:,} may be sent", "let it send more")
        if time.monotonic() >= deadline:
            return Stopped(f"and the {self._within} are over that a claim may draw for", "set enough_timeout higher")
        return None

    def _batch(self) -> int:
        wanted = max(_FIRST_BATCH, len(self.samples) // _GROWTH)
        return wanted if self._at_most is None else min(wanted, self._at_most - len(self.samples))
