"""A load that goes on while later steps run: ``"checkout" keeps being sent at 50/s`` … ``the load stops``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from meshbdd.load import Load, Plan, Result
from meshbdd.load.ids import RequestIds
from meshbdd.load.merging import MergedIds

NOTED = 1000
"""How many ids of a load are noted at most: whether a fault met any call is asked of them, not how many ran."""


class Background:
    """A load in the background, and which of its requests ran under which changes.

    Args:
        name: What the tester calls the request.

    Attributes:
        ids: Those of what it sends.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._load: Load | None = None
        self._noted = 0
        self.ids: RequestIds | MergedIds | None = None

    def start(self, plan: Plan) -> RequestIds | MergedIds:
        """Begin to send; gives the ids of what is sent."""
        self._load = Load.start(plan)
        self.ids = self._load.result().ids
        return self.ids

    def skip(self) -> None:
        """What was sent until now ran under no change in particular: one was on its way."""
        self._noted = self._load.progress().sent if self._load else 0

    def fresh(self) -> Sequence[str]:
        """Ids of the requests that began and ended since the last look."""
        if self._load is None:
            return []
        result = self._load.result()
        rows = list(itertools.islice(result.rows(self._noted), NOTED))
        if rows:
            self._noted = rows[-1].number + 1
        return [result.ids.of(row.number) for row in rows]

    def stop(self, *, at_once: bool = False) -> Result | None:
        """Send no more.

        Args:
            at_once: Do not wait for what is under way.

        Returns:
            What became of it; ``None`` where it never began.
        """
        return self._load.stop(at_once=at_once) if self._load else None
