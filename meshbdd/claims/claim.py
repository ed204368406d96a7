"""What the world asks of a claim about requests, whatever it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from meshbdd.claims.share import Explain, Stopped, unexplained
from meshbdd.claims.verdict import Verdict
from meshbdd.load.sample import Sample


class Claim(Protocol):
    """A claim about the requests of a scenario."""

    @property
    def text(self) -> str:
        """The claim as the tester wrote it."""

    def judge(self, samples: Sequence[Sample], explain: Explain = unexplained) -> Verdict:
        """Judge an explicit count, literally."""

    def judge_enough(
        self, samples: Sequence[Sample], explain: Explain = unexplained, *, stopped: Stopped | None = None
    ) -> Verdict | None:
        """Judge a stream of which more can be drawn; ``None`` where the claim needs more of it.

        Args:
            samples: The stream so far, in the order of the requests' starts.
            explain: What the proxies say was injected.
            stopped: Why there will be no more; ``None`` where there can be.
        """
