"""In which order changes are taken back, and which of them at one time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from meshbdd.cluster import Change
from meshbdd.mesh.markers import ConfigChanged
from meshbdd.scenario.in_force import InForce, Written


def rounds(found: Sequence[InForce]) -> Iterator[list[Written]]:
    """Stages that may go at one time, the latest first, round by round.

    Of each plan its last stage goes first, since earlier ones may be what later ones lead to. A stage stays as long as a later
    change of one of its objects does: that stands on it. One that is known by what a proxy's pages looked like before it goes
    alone, after all later ones and before all earlier ones: else they would look like that no more.

    Args:
        found: What is to be taken back, in the order in which it was written.
    """
    left = [list(item.written) for item in found]
    while any(left):
        staying, ready = [list(stages) for stages in left], list[Written]()
        for number in reversed(range(len(left))):  # the latest first: what it leaves standing blocks those before it
            if not left[number]:
                continue
            last, later = left[number][-1], [stage for stages in staying[number + 1 :] for stage in stages]
            nameless = any(isinstance(marker, ConfigChanged) for marker in last.stage.markers)
            if nameless and (ready or later):
                break
            if not {change.edit.target for change in last.changes} & {c.edit.target for s in later for c in s.changes}:
                ready.append(staying[number].pop())
            if nameless:
                break
        left = staying
        yield ready


def batches(stages: Sequence[Written]) -> Iterator[Sequence[Written]]:
    """Stages that may be taken back at once, the latest first.

    A marker that is not unique is known by what was there before its change, an earlier change for instance. It can be seen
    to go only while that is still there: taken back together, "strict" and its exception would leave what the exception
    looked like.
    """
    if sum(any(not marker.unique for marker in written.stage.markers) for written in stages) > 1:
        yield from ([written] for written in stages)
    else:
        yield stages


def hand_on(going: Written, staying: Iterable[Written], later: Collection[Change]) -> None:
    """What a stage did stays at proxies where a later change of its object says the same: it is awaited to go with that one.

    Gone is then what was not there before either of them.

    Args:
        going: The stage, whose undoing changes nothing.
        staying: Stages that stay, in the order in which they were written.
        later: The changes that were made after the stage.
    """
    targets = {change.edit.target for change in going.changes}
    for written in staying:
        if any(change in later and change.edit.target in targets for change in written.changes):
            had, stage = going.stage, written.stage
            markers = (*stage.markers, *(marker for marker in had.markers if marker not in stage.markers))
            renewed = tuple(dict.fromkeys((*stage.renewed, *had.renewed)))
            written.stage = replace(stage, markers=markers, renewed=renewed)
            written.before = {**written.before, **going.before}
            return
