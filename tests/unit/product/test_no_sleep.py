"""There are no fixed sleeps: everything waits for a condition, with a deadline."""

from __future__ import annotations

import re
from pathlib import Path

PAUSES = {"waiting.py", "cluster/undo.py", "cluster/change.py"}
"""Between two looks, or two tries, with a deadline; nowhere else."""


def test_nothing_sleeps_but_between_two_tries(project: Path) -> None:
    root = project / "meshbdd"
    files = [f for f in [*root.rglob("*.py"), *(project / "steps").glob("*.py")] if root / "lab" not in f.parents]
    sleeping = {
        str(file.relative_to(root)) if file.is_relative_to(root) else file.name
        for file in files
        if re.search(r"\bsleep\(", file.read_text("utf-8"))
    }
    assert sleeping == PAUSES
