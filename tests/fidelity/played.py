"""What came of the tables the last time that all of them were played: the record that the page is written from.

``python -m tests.fidelity --page FILE`` plays and records; ``test_page`` holds the record to the tables, so that a line
that was added or changed since is not on the page as if it had been checked.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import hashlib
import json
from pathlib import Path

from meshbdd.lab.compile import Mesh, compile_pod
from tests.fidelity.linkerd.world import experiments
from tests.fidelity.open_connections import EXPECTED
from tests.fidelity.rows import Row, documents
from tests.fidelity.table import ROWS
from tests.golden.meaning import PODS, cases, world

RECORD = Path(__file__).with_name("played.json")


@dataclasses.dataclass(frozen=True, slots=True)
class Played:
    """The outcomes of one run.

    Attributes:
        date: When, ``2026-01-31``.
        rows: Rule and what it was checked by → its verdict. Each was seen to fail with other resources, too.
        compiled: The same rules → a digest of what their resources became, see ``compiled``.
        held: Golden case and sidecar → whether the sidecar held what the compiler prints.
        open_connections: Change → stale answers, after it and after its end.
        linkerd: Recorded experiment → its verdict.
    """

    date: str
    rows: dict[str, str]
    compiled: dict[str, str]
    held: dict[str, bool]
    open_connections: dict[str, list[int]]
    linkerd: dict[str, str]

    def write(self, file: Path = RECORD) -> None:
        """Keep it."""
        file.write_text(json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def read(cls, file: Path = RECORD) -> Played:
        """What was kept."""
        return cls(**json.loads(file.read_text("utf-8")))

    def missing(self) -> list[str]:
        """What the tables hold and was not played, or is no more what was played."""
        asked = {
            *map(row_key, ROWS), *(held_key(case, pod) for case in cases() for pod in PODS), *EXPECTED,
            *(experiment["id"] for experiment in experiments()),
        }  # fmt: skip
        otherwise = (key for row in ROWS if self.compiled.get(key := row_key(row)) != compiled(row))
        return sorted({*otherwise, *(asked ^ {*self.rows, *self.held, *self.open_connections, *self.linkerd})})


def row_key(row: Row) -> str:
    """A row by its rule, and by a digest of its resources, its requests and the claims about their answers."""
    steps = [(repr(what), [check.words for check in checks]) for what, checks in row.steps]
    whole = json.dumps([row.text, row.mutated, row.declared, steps])
    return f"{row.topic}: {row.rule} [{hashlib.sha256(whole.encode()).hexdigest()[:8]}]"


def compiled(row: Row) -> str:
    """A digest of what a row's resources become for the sidecars of the recorded world, so that a changed compiler shows."""
    return _digest(row.text)


@functools.cache
def _digest(resources: str) -> str:
    mesh = Mesh.read([*world(), *documents(resources)])
    made = [compile_pod(mesh, *pod.split(".")).to_json() for pod in PODS]
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:8]


def held_key(case: str, pod: str) -> str:
    """A golden case at a sidecar."""
    return f"{case} at {pod}"


def today() -> str:
    """The date of a run."""
    return dt.datetime.now(dt.UTC).date().isoformat()
