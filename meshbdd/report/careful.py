"""A user's formatter beside ours: where it fails, its own output ends, and nothing else."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

from meshbdd.errors import Place
from meshbdd.report.formatter import report_problem


class CarefulFormatter:
    """Passes everything on to a formatter until that fails.

    behave ends a run with the first error of any formatter; its own ``progress`` has one after a clean-up that failed.

    Args:
        formatter: The formatter.
    """

    def __init__(self, formatter: Any) -> None:
        self._formatter = formatter
        self._failed = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._formatter, name)
        return self._calling(name, found) if callable(found) else found

    def _calling(self, name: str, method: Any) -> Any:
        def call(*arguments: Any) -> Any:
            if self._failed and name != "close":
                return None
            try:
                return method(*arguments)
            except Exception as error:  # noqa: BLE001 - anybody's code
                if not self._failed:
                    self._tell(error)
            return None

        return call

    def _tell(self, error: Exception) -> None:
        self._failed = True
        name = getattr(self._formatter, "name", None) or type(self._formatter).__name__
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"the formatter {name} failed, its output ends there ({Place(Path(last.filename), last.lineno)}): "
        report_problem(error, where)
        sys.stderr.write(f"meshbdd: {where}{type(error).__name__}: {error}\n")
