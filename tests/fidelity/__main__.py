"""``python -m tests.fidelity``: run every row of the table and its mutant, and print what was seen.

With ``--page FILE`` the other tables are played too, and record and page are written if all came out as announced;
``--recorded FILE`` writes the page from the last record, where only its words have changed. Exit code 1 where something
does not come out as it announces, or cannot fail.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fidelity.delivery import case_differences
from tests.fidelity.linkerd import __main__ as linkerd
from tests.fidelity.open_connections import FINDINGS, Finding
from tests.fidelity.page import page
from tests.fidelity.played import Played, compiled, held_key, row_key, today
from tests.fidelity.rows import Row, run
from tests.fidelity.table import ROWS
from tests.fidelity.world import World
from tests.golden.meaning import cases


def _mutant_is_seen(world: World, row: Row) -> bool:
    return bool(run(world, row, mutated=True).contradictions)


def _print(world: World, rows: list[Row], *, mutants: bool) -> tuple[bool, dict[str, str]]:
    good, topic = True, ""
    verdicts: dict[str, str] = {}
    for row in rows:
        if row.topic != topic:
            topic = row.topic
            print(f"\n{topic}")
        outcome = run(world, row)
        verdicts[row_key(row)] = outcome.verdict
        print(f"  {outcome.verdict:20} {row.rule}  ({row.source})  seen: {outcome.seen}", flush=True)
        for line in outcome.contradictions:
            print(f"  {'':20} - {line}")
        if row.declared:
            print(f"  {'':20} because {row.declared}")
        if mutants and not _mutant_is_seen(world, row):
            print(f"  {'':20} - passes with other resources too: this row cannot fail")
            good = False
        good = good and outcome.good
    return good, verdicts


def _held(world: World) -> dict[str, bool]:
    """What running sidecars hold, for every golden case."""
    held: dict[str, bool] = {}
    for case in cases():
        for pod, found in case_differences(world, case).items():
            for line in found[:5]:
                print(f"  {'differs':20} {case} at {pod}: {line}", flush=True)
            held[held_key(case, pod)] = not found
    print(f"\nConfiguration held by running sidecars: {sum(held.values())} of {len(held)} agree (case × sidecar)")
    return held


def _open_connections(world: World) -> list[Finding]:
    print("\nChanges under open connections", flush=True)
    findings = [find(world) for find in FINDINGS]
    for finding in findings:
        print(f"  {'agrees' if finding.agrees else 'differs':20} {finding}")
    return findings


def _write(file: Path, played: Played) -> None:
    file.write_text(page(played), "utf-8")
    print(f"\n{file}: written")


def _play_all(rows: list[Row], file: Path) -> bool:
    """Play every table, and write record and page where all came out as announced."""
    with tempfile.TemporaryDirectory() as folder:
        world = World.up("fidelity", Path(folder))
        try:
            good, verdicts = _print(world, rows, mutants=True)
            findings, held = _open_connections(world), _held(world)
        finally:
            world.down()
    print("\nLinkerd", flush=True)
    outcomes = linkerd.report()
    stale = {finding.change: [finding.stale_on, finding.stale_off] for finding in findings}
    digests = {row_key(row): compiled(row) for row in rows}
    played = Played(today(), verdicts, digests, held, stale, {outcome.name: outcome.verdict for outcome in outcomes})
    good = good and all(held.values()) and all(f.agrees for f in findings) and all(o.good for o in outcomes)
    if good:
        played.write()
        _write(file, played)
    else:
        print(f"\n{file}: not written, for not everything came out as announced")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fidelity", description=__doc__)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--only", default="", metavar="WORD", help="rows whose topic or rule has this word")
    chosen.add_argument("--page", type=Path, metavar="FILE", help="play everything, Linkerd too, and write the page")
    parser.add_argument("--no-mutants", action="store_true", help="do not prove that each row can fail")
    chosen.add_argument("--recorded", type=Path, metavar="FILE", help="write the page from the record of the last run")
    asked = parser.parse_args()
    if asked.recorded:
        _write(asked.recorded, Played.read())
        return 0
    if asked.page and asked.no_mutants:
        parser.error("the page says that each row can fail: leave --no-mutants out")
    rows = [row for row in ROWS if asked.only.lower() in f"{row.topic} {row.rule}".lower()]
    if asked.page:
        return 0 if _play_all(rows, asked.page) else 1
    with tempfile.TemporaryDirectory() as folder:
        world = World.up("fidelity", Path(folder))
        try:
            good, _ = _print(world, rows, mutants=not asked.no_mutants)
        finally:
            world.down()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
