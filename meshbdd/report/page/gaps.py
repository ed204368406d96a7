"""What a folder of results lacks of its run: files that are damaged, and files that never came to be, a full disk for one.

Both versions of Allure pass over either without a word, and the page is greener than the run was.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshbdd.report.results import EXTRA, listed

_SHOWN = re.compile(r".*-(result|container|globals|attachment)(\.\w+)*")
"""Files that the page is made of."""


@dataclass(frozen=True, slots=True)
class Gaps:
    """What is not on the page.

    Attributes:
        unreadable: Files that are no JSON object.
        missing: Names of files that the run was about to write, and that are not there.
        unwritten: How many scenarios more the run was to run than there are results of, by ``run.json``.
    """

    unreadable: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()
    unwritten: int = 0

    def __bool__(self) -> bool:
        return bool(self.unreadable or self.missing or self.unwritten)

    @property
    def sentence(self) -> str:
        """What they are, and what the page lacks."""
        told = [
            _tell([file.name for file in self.unreadable], "cut off or damaged"),
            _tell(self.missing, "not there, though the run wrote or was about to write"),
            f"{'A scenario' if self.unwritten == 1 else f'{self.unwritten} scenarios'} of the run left no result"
            if self.unwritten
            else "",
        ]
        one = len(self.unreadable) + len(self.missing) + self.unwritten == 1
        lacks = f"so the page lacks what stood in {'it' if one else 'them'}"
        return f"{'; '.join(part for part in told if part)}; {lacks}."


def _tell(names: tuple[str, ...] | list[str], what: str) -> str:
    if not names:
        return ""
    how_many = "A file of the results is" if len(names) == 1 else f"{len(names)} files of the results are"
    them = f" {'it' if len(names) == 1 else 'them'}" if what.endswith("write") else ""
    return f"{how_many} {what}{them}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"


def find(results: Path) -> Gaps:
    """The gaps in a folder of results."""
    unreadable = tuple(
        file
        for kind in ("result", "container", "globals")
        for file in sorted(results.glob(f"*-{kind}.json"))
        if not isinstance(_read(file), dict)
    )
    missing = tuple(sorted(n for n in listed(results) if _SHOWN.fullmatch(n) and not (results / n).exists()))
    return Gaps(unreadable, missing, _unwritten(results, sum("-result." in name for name in missing)))


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None


def _unwritten(results: Path, named: int) -> int:
    """Where even the list of names could not be written. A run that was killed says by itself how many it left out."""
    if any(results.glob("unended*-globals.json")):
        return 0
    runs = [_read(file) for file in (results / EXTRA).glob("run*.json")]
    planned = sum(run.get("planned") or 0 for run in runs if isinstance(run, dict))
    return max(planned - named - len(list(results.glob("*-result.json"))), 0)


def without(gaps: Gaps, results: Path, copy: Path) -> Path:
    """The results without what is damaged, and with a problem that names the gaps, so that the page is not too green."""
    shutil.copytree(results, copy, ignore=lambda *_: [file.name for file in gaps.unreadable])
    problem = {"errors": [{"message": f"environment: {gaps.sentence}", "timestamp": round(time.time() * 1000)}]}
    (copy / "gaps-globals.json").write_text(json.dumps(problem), "utf-8")
    return copy
