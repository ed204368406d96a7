"""What one scenario told, step by step; at its end it becomes evidence in the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from allure_commons.model2 import TestResult

from meshbdd.evidence import Event
from meshbdd.report.attachments import attachments
from meshbdd.report.reporter import Reporter


@dataclass(slots=True)
class Scene:
    """The events of one scenario, each with the step that told it."""

    told: list[tuple[Event, Any]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def add(self, event: Event, step: Any) -> None:
        """Keep an event; drawing waits for the scenario's end, off the way of its requests."""
        self.told.append((event, step))

    def show(self, reporter: Reporter, test: TestResult) -> None:
        """Write everything as attachments of the steps."""
        for event, step in self.told:
            for attachment in attachments(event):
                a = attachment
                reporter.attach_to(step if step is not None else test, a.body, a.name, a.mime, a.extension)
