"""``python -m tests.fidelity.linkerd``: play every recorded experiment on the lab and print what came of it.

Exit code 1 where something differs that is not declared, or agrees although it is.
"""

from __future__ import annotations

import argparse
import collections
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fidelity.linkerd.expected import DECLARED
from tests.fidelity.linkerd.outcome import Outcome, declared_reason, run
from tests.fidelity.linkerd.world import World, experiments

AT_ONCE = 12
OVERRIDDEN = "l5d-headers"
"""The experiment that was recorded with a control plane that allows requests to override timeouts and retries."""


def play(world: World, only: str = "") -> list[Outcome]:
    """All experiments side by side: each has a Service of its own. Last the one with another setting than the default."""
    chosen = [e for e in experiments() if re.search(only, e["id"])]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        played = list(threads.map(lambda e: run(world, e), (e for e in chosen if e["id"] != OVERRIDDEN)))
    if any(e["id"] == OVERRIDDEN for e in chosen):
        world.allow_request_headers()
    return [*played, *(run(world, e) for e in chosen if e["id"] == OVERRIDDEN)]


def report(only: str = "") -> list[Outcome]:
    """Play them on a lab of their own and print what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        world = World.up("fidelity-linkerd", Path(folder))
        try:
            outcomes = play(world, only)
        finally:
            world.down()
    for outcome in outcomes:
        print(f"{outcome.verdict:20} {outcome.name}")
        for line in outcome.differences:
            print(f"{'':20} - {line}")
        if outcome.name in DECLARED:
            print(f"{'':20} because {declared_reason(outcome.name)}")
    counts = collections.Counter(outcome.verdict for outcome in outcomes)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()), flush=True)
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fidelity.linkerd", description=__doc__)
    parser.add_argument("--only", default="", metavar="WORD", help="experiments with this word in their name")
    chosen = parser.parse_args()
    return 0 if all(outcome.good for outcome in report(chosen.only)) else 1


if __name__ == "__main__":
    sys.exit(main())
