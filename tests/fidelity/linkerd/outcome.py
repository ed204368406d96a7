"""Playing an experiment on the lab, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from meshbdd.lab.linkerd.deviations import DEVIATIONS
from tests.fidelity.linkerd.calls import Seen, calls, with_records
from tests.fidelity.linkerd.expected import AT_ONCE, COUNTS, DECLARED, judge_of
from tests.fidelity.linkerd.judge import Difference
from tests.fidelity.linkerd.world import World

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an experiment: its differences by the number of the request, and what was seen."""

    name: str
    found: tuple[tuple[int, Difference], ...]
    seen: tuple[Sequence[Seen], ...]

    @property
    def differences(self) -> tuple[str, ...]:
        return tuple(f"request {number}: {difference.text}" for number, difference in self.found)

    @property
    def verdict(self) -> str:
        if any(not difference.declared for _, difference in self.found):
            return "differs"
        if self.name not in DECLARED:
            return "agrees"
        missing = DECLARED[self.name].items.keys() - {number for number, _ in self.found}
        return "agrees now, so the declaration must go" if missing else "differs as declared"

    @property
    def good(self) -> bool:
        return self.verdict in {"agrees", "differs as declared"}


def declared_reason(name: str) -> str:
    return str(next(d for d in DEVIATIONS if d.key == DECLARED[name].key))


def play(world: World, experiment: Object) -> tuple[Sequence[Seen], ...]:
    """Send an experiment's requests as they were recorded.

    The applications are asked when all are through: between two rounds it would be a part of the pause, of seconds on a
    busy machine.
    """
    made: list[dict[str, Seen]] = []
    for number, item in enumerate(experiment["observed"]):
        if "after_ms" in item:
            time.sleep(item["after_ms"] / 1000)  # the recording's own pause: part of the experiment
        recorded = sum(answer["count"] for answer in item["answers"])
        count = COUNTS.get(experiment["id"], recorded)
        made.append(calls(world, experiment, item["request"], count, AT_ONCE.get((experiment["id"], number), 1)))
    return tuple(with_records(world, one) for one in made)


def judged(experiment: Object, seen: Sequence[Sequence[Seen]]) -> Outcome:
    """Compare what was seen with what was recorded."""
    name = experiment["id"]
    found = tuple(
        (number, difference)
        for number, (item, mine) in enumerate(zip(experiment["observed"], seen, strict=True))
        for difference in judge_of(name, number)(item, mine)
    )
    return Outcome(name, tuple(dict.fromkeys(found)), tuple(seen))


def run(world: World, experiment: Object) -> Outcome:
    """Play an experiment and compare."""
    return judged(experiment, play(world, experiment))
