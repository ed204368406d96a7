"""Claims: pure functions from samples to verdicts. A verdict is true, or it says that it cannot tell and why."""

from meshbdd.claims.claim import Claim
from meshbdd.claims.verdict import Outcome, Verdict, judge

__all__ = ["Claim", "Outcome", "Verdict", "judge"]
