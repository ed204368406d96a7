"""``python -m tests.fidelity``: run every row of the table and its mutant, and print what was seen.

With ``--page FILE`` the other tables are played too, and the page is written if all came out as announced. Exit code 1
where something does not come out as it announces, or cannot fail.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import tempfile
from pathlib import Path

from tests.fidelity.delivery import case_differences
from tests.fidelity.linkerd import __main__ as linkerd
from tests.fidelity.open_connections import FINDINGS
from tests.fidelity.page import page
from tests.fidelity.rows import Row, run
from tests.fidelity.table import ROWS
from tests.fidelity.world import World
from tests.golden.meaning import cases


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


def _held(world: World) -> bool:
    """What running sidecars hold, for every golden case."""
    good = True
    for case in cases():
        for pod, found in case_differences(world, case).items():
            for line in found[:5]:
                print(f"  {'differs':20} {case} at {pod}: {line}", flush=True)
            good = good and not found
    print(f"\nConfiguration held by running sidecars: {'agrees' if good else 'differs'} ({len(cases())} cases)")
    return good


def _open_connections(world: World) -> bool:
    print("\nChanges under open connections", flush=True)
    findings = [find(world) for find in FINDINGS]
    for finding in findings:
        print(f"  {'agrees' if finding.agrees else 'differs':20} {finding}")
    return all(finding.agrees for finding in findings)


def _write(file: Path) -> None:
    file.write_text(page(dt.datetime.now(dt.UTC).date()), "utf-8")
    print(f"\n{file}: written")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fidelity", description=__doc__)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--only", default="", metavar="WORD", help="rows whose topic or rule has this word")
    chosen.add_argument("--page", type=Path, metavar="FILE", help="play everything, Linkerd too, and write the page")
    parser.add_argument("--no-mutants", action="store_true", help="do not prove that each row can fail")
    asked = parser.parse_args()
    if asked.page and asked.no_mutants:
        parser.error("the page says that each row can fail: leave --no-mutants out")
    rows = [row for row in ROWS if asked.only.lower() in f"{row.topic} {row.rule}".lower()]
    with tempfile.TemporaryDirectory() as folder:
        world = World.up("fidelity", Path(folder))
        try:
            good = _print(world, rows, mutants=not asked.no_mutants)
            if asked.page:
                good = all([good, _open_connections(world), _held(world)])
        finally:
            world.down()
    if asked.page:
        print("\nLinkerd", flush=True)
        good = linkerd.report() and good
        if good:
            _write(asked.page)
        else:
            print(f"\n{asked.page}: not written, for not everything came out as announced")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
