"""Rows of the table: a rule, where it is written, what is applied and sent, and what must be seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from tests.fidelity.calls import Answer, Send, send
from tests.fidelity.checks import Check
from tests.fidelity.world import World
from tests.golden.meaning import DATA

Verdict = Literal["agrees", "differs as declared", "differs", "agrees now, so the declaration must go"]

Step = tuple[Send, tuple[Check, ...]]


def _changed(text: str, old: str, new: str) -> str:
    if old not in text:
        raise ValueError(f"{old!r} is not in the resources:\n{text}")
    return text.replace(old, new)


@dataclass(frozen=True, slots=True)
class Row:
    """One rule that a client can see.

    Attributes:
        topic: Heading in the table.
        rule: What Istio does, in a sentence.
        source: Where that is written: golden case, or section of mesh-semantics.
        steps: Requests, each with the claims about their answers.
        case: The golden case whose resources are applied, as they stand.
        edits: Changes of the golden case's text, to see in milliseconds what it says in seconds.
        resources: More resources, YAML.
        together: Whether the steps are sent at the same time; otherwise one after the other.
        renew: Whether the resources change a listener, so that open connections must be renewed.
        apart: Whether each resource is created in a second of its own: the API writes no finer age down.
        mutant: ``(old, new)``: this change of the resources must make the row fail. ``None``: leaving the resources out
            must.
        declared: Why the lab differs here, and what that means for a verdict; empty where it must agree.
    """

    topic: str
    rule: str
    source: str
    steps: tuple[Step, ...]
    case: str = ""
    edits: tuple[tuple[str, str], ...] = ()
    resources: str = ""
    together: bool = False
    renew: bool = False
    apart: bool = False
    mutant: tuple[str, str] | None = None
    declared: str = ""

    @property
    def text(self) -> str:
        """The resources as YAML."""
        own = (DATA / "istio" / self.case / "in.yaml").read_text() if self.case else ""
        for old, new in self.edits:
            own = _changed(own, old, new)
        return "\n---\n".join(part for part in (own, self.resources) if part)

    @property
    def mutated(self) -> str:
        """The resources with the change that must make the row fail."""
        if self.mutant is None:
            return ""
        return _changed(self.text, *self.mutant)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row."""

    row: Row
    seen: str
    contradictions: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """Agreement, in the words of the table."""
        if self.row.declared:
            return "differs as declared" if self.contradictions else "agrees now, so the declaration must go"
        return "differs" if self.contradictions else "agrees"

    @property
    def good(self) -> bool:
        """Whether this outcome is the one that the row announces."""
        return self.verdict in {"agrees", "differs as declared"}


def documents(text: str) -> list[dict[str, Any]]:
    """The objects of a row's YAML; the namespace is shop where none is named."""
    found = [document for document in yaml.safe_load_all(text) if document]
    for document in found:
        document["metadata"].setdefault("namespace", "shop")
        document["metadata"].pop("creationTimestamp", None)
    return found


def run(world: World, row: Row, *, mutated: bool = False) -> Outcome:
    """Apply, send, judge, and take everything back.

    Args:
        world: Where.
        row: What.
        mutated: Whether to apply the changed resources, which must make it fail.
    """
    resources = documents(row.mutated if mutated else row.text)
    seen, contradictions = [], []
    try:
        world.apply(resources, renew=row.renew, apart=row.apart)
        for checks, answers in _sent(world, row):
            seen.append(summary(answers))
            for check in checks:
                found = check.contradiction(answers)
                if found is not None:
                    contradictions.append(f"{check.words}: {found}")
    finally:
        world.clean(renew=row.renew)
    return Outcome(row, "; ".join(seen), tuple(contradictions))


def _sent(world: World, row: Row) -> Iterator[tuple[tuple[Check, ...], list[Answer]]]:
    if not row.together:
        for what, checks in row.steps:
            yield checks, send(world, what)
        return
    with ThreadPoolExecutor(len(row.steps)) as threads:
        answers = threads.map(lambda step: send(world, step[0]), row.steps)
    yield from zip((checks for _, checks in row.steps), answers, strict=True)


def summary(answers: Sequence[Answer]) -> str:
    """What was seen, short: statuses with flags, attempts, time."""
    kinds = Counter(f"{a.status or 'closed'}{'' if a.flags in {'', '-'} else ' ' + a.flags}" for a in answers)
    told = ", ".join(f"{kind} ×{n}" if len(answers) > 1 else kind for kind, n in kinds.most_common(5))
    attempts = sorted({len(a.records) for a in answers})
    spread = f"{attempts[0]}" if len(attempts) == 1 else f"{attempts[0]}–{attempts[-1]}"
    slowest = max(a.seconds for a in answers)
    return f"{told}; attempts {spread}" + (f"; {slowest:.2f} s" if slowest > 0.2 else "")
