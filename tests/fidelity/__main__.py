"""``python -m tests.fidelity``: run every row of the table and its mutant, and print what was seen.

Exit code 1 where a row does not come out as it announces, or cannot fail.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fidelity.rows import Row, run
from tests.fidelity.table import ROWS
from tests.fidelity.world import World


def _mutant_is_seen(world: World, row: Row) -> bool:
    return bool(run(world, row, mutated=True).contradictions)


def _print(world: World, rows: list[Row], *, mutants: bool) -> bool:
    good, topic = True, ""
    for row in rows:
        if row.topic != topic:
            topic = row.topic
            print(f"\n{topic}")
        outcome = run(world, row)
        print(f"  {outcome.verdict:20} {row.rule}  ({row.source})  seen: {outcome.seen}", flush=True)
        for line in outcome.contradictions:
            print(f"  {'':20} - {line}")
        if row.declared:
            print(f"  {'':20} because {row.declared}")
        if mutants and not _mutant_is_seen(world, row):
            print(f"  {'':20} - passes with other resources too: this row cannot fail")
            good = False
        good = good and outcome.good
    return good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fidelity", description=__doc__)
    parser.add_argument("--only", default="", metavar="WORD", help="rows whose topic or rule has this word")
    parser.add_argument("--no-mutants", action="store_true", help="do not prove that each row can fail")
    chosen = parser.parse_args()
    rows = [row for row in ROWS if chosen.only.lower() in f"{row.topic} {row.rule}".lower()]
    with tempfile.TemporaryDirectory() as folder:
        world = World.up("fidelity", Path(folder))
        try:
            good = _print(world, rows, mutants=not chosen.no_mutants)
        finally:
            world.down()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
