"""What is doubtful about what a scenario's steps write, each in turn."""

from __future__ import annotations

from collections.abc import Sequence

from meshbdd.errors import Place
from meshbdd.rehearsal.report import Report
from meshbdd.rehearsal.stage import Object
from meshbdd.sense import Finding, check, check_changes, name_of
from meshbdd.sense.catalog import UNUSED_SUBSET_POLICY
from meshbdd.sense.reading import mapping, mappings, text

_OPEN = {UNUSED_SUBSET_POLICY.code}
"""What is so only until something follows: subsets are defined before a route leads to them, lest calls be lost between
(https://istio.io/latest/docs/ops/best-practices/traffic-management/, "Avoid 503 errors while reconfiguring service routes")."""


class Writes:
    """The steps' writes, and the findings about them.

    Args:
        mesh: The mesh that reads them.
        report: Where the findings go.
    """

    def __init__(self, mesh: str, report: Report) -> None:
        self._mesh = mesh
        self._report = report
        self._open: dict[Finding, Place] = {}

    def written(self, before: Sequence[Object], after: Sequence[Object], place: Place) -> None:
        """A step was done: what it changed is looked at; what a later one may still mend, only once it is used."""
        known = {id(obj) for obj in before}
        changed = [obj for obj in after if id(obj) not in known]
        if not changed:
            return
        if self._open:
            there, still = {name_of(obj) for obj in after}, set(check(after, self._mesh))
            # Of an object that is gone it was true all the while.
            self._open = {f: at for f, at in self._open.items() if f in still or f.object not in there}
        for finding in check_changes(changed, before, self._mesh):
            if finding.code in _OPEN:
                self._open.setdefault(finding, place)
            else:
                self._report.add(finding, place)
        if self._open:
            led = [f'subset "{name}"' for name in _subsets(after)]
            self._open = {f: at for f, at in self._open.items() if not any(word in f.sentence for word in led)}

    def used(self) -> None:
        """Requests meet what is written so far, or nothing more will be."""
        for finding, place in self._open.items():
            self._report.add(finding, place)
        self._open.clear()


def _subsets(objects: Sequence[Object]) -> set[str]:
    """The subsets to which VirtualServices lead, the steps' own too."""
    routes = (r for obj in objects if obj.get("kind") == "VirtualService" for r in mappings(obj, "spec", "http"))
    return {
        text(way, "destination", "subset") or text(way, "subset")
        for route in routes
        for way in (*mappings(route, "route"), *mappings(route, "mirrors"), mapping(route, "mirror"))
    } - {""}
