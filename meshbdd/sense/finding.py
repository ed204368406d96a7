"""What a check says of an object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from meshbdd.sense.reading import namespace_of, text


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    """The object cannot do in this world what it says: a step that would write it is refused."""
    WARNING = "warning"
    """The object works, though hardly as its author means it; goes into the evidence of the step."""
    INFO = "info"
    """Worth knowing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One doubt about one object.

    Attributes:
        object: ``Kind namespace/name``; ``Kind name`` where the kind has no namespaces; a place in a feature file.
        code: ``MB`` and four digits; docs/checks.md has them all.
        severity: How much it matters.
        sentence: What is at fault, where, and what comes of it.
        help: One action.
    """

    object: str
    code: str
    severity: Severity
    sentence: str
    help: str

    def to_json(self) -> dict[str, str]:
        """As ``meshbdd check --json`` prints it."""
        return {"object": self.object, "code": self.code, "severity": str(self.severity), "sentence": self.sentence}

    def __str__(self) -> str:
        return f"{self.code} {self.severity}: {self.object}: {self.sentence}\n  help: {self.help}"


@dataclass(frozen=True, slots=True)
class Check:
    """A rule that objects can break.

    Attributes:
        code: Its number.
        severity: How much a breach matters.
        title: The rule broken, in a few words, for the index of codes.
        help: The action that mends it, unless a finding knows a better one.
        istio: Codes under which ``istioctl analyze`` says the same; empty where it is silent.
    """

    code: str
    severity: Severity
    title: str
    help: str
    istio: tuple[str, ...] = ()

    def on(self, obj: Mapping[str, Any] | str, sentence: str, help: str | None = None) -> Finding:  # noqa: A002 - the word that the output uses
        """A finding about an object."""
        name = obj if isinstance(obj, str) else name_of(obj)
        return Finding(name, self.code, self.severity, sentence, help or self.help)


def name_of(obj: Mapping[str, Any]) -> str:
    """``Kind namespace/name``, as findings call an object."""
    namespace = namespace_of(obj)
    return f"{text(obj, 'kind')} {namespace}{'/' if namespace else ''}{text(obj, 'metadata', 'name')}"
