"""Whose a request is that a proxy logged: this scenario's, or one of an earlier one that came late.

A client that has gone does not end what it asked for: its calls may still come when the next scenario runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from meshbdd.load.ids import KIN, RequestIds
from meshbdd.load.merging import MergedIds

_KIN = re.compile(KIN)


@dataclass(slots=True)
class SentIds:
    """What the ids of a run's requests have in common, load by load."""

    _now: set[str] = field(default_factory=set)
    _earlier: set[str] = field(default_factory=set)
    _older: set[str] = field(default_factory=set)
    _names: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        """A scenario begins: what was sent until now is none of its requests."""
        self._earlier |= self._now
        self._now.clear()
        self._older.clear()
        self._names.clear()

    def changed(self, going_on: RequestIds | MergedIds | None = None) -> None:
        """The mesh changes: what was sent until now did not meet that, but for a load that goes on."""
        self._older = self._now - (going_on.kin if going_on else set())

    def add(self, ids: RequestIds | MergedIds, name: str = "") -> None:
        """The scenario sends these, by the request of that name."""
        self._now |= ids.kin
        self._names |= dict.fromkeys(ids.kin, name)

    def name_of(self, request_id: str) -> str:
        """The name of the scenario's request that has this id; empty where nobody knows, as of one that the tester fixed."""
        found = _KIN.search(request_id)
        return self._names.get(found[0], "") if found else ""

    def are_ours(self, request_id: str) -> bool:
        """Whether a request is the scenario's, or was sent by one of its claims."""
        return self._is_in(self._now, request_id)

    def are_earlier(self, request_id: str) -> bool:
        """Whether a request was sent by an earlier scenario; of one whose id the tester fixed nobody knows."""
        return self._is_in(self._earlier, request_id)

    def are_older(self, request_id: str) -> bool:
        """Whether a request is one of the scenario's that was sent before the last change of the mesh."""
        return self._is_in(self._older, request_id)

    @staticmethod
    def _is_in(loads: set[str], request_id: str) -> bool:
        found = _KIN.search(request_id)
        return found is not None and found[0] in loads


def trace_of(request_id: str) -> str:
    """The trace id with which a request is sent that carries a trace context of ours."""
    return request_id.replace("-", "")
