"""Events → attachments: what a reviewer reads below a step."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from functools import singledispatch

from meshbdd.evidence import (
    ChangeArrived,
    ChangeWithdrawn,
    FaultAccounted,
    QueryAnswered,
    RunBegan,
    TrafficSent,
    VerdictReached,
)

LARGEST = 1024 * 1024
"""Characters. Reports with larger attachments get slow to open; both Allure versions keep them inside the page."""

_MOST_ROWS = 1000
_EXTENSIONS = {"text/plain": "txt", "text/csv": "csv", "application/json": "json", "image/svg+xml": "svg"}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A piece of evidence.

    Attributes:
        name: What the report calls it.
        text: Its content.
        mime: The content's MIME type.
    """

    name: str
    text: str
    mime: str = "text/plain"

    @property
    def body(self) -> str:
        """The content, cut where it would make a report slow to open."""
        return self.text if len(self.text) <= LARGEST else self.text[:LARGEST] + "\n… cut at 1 MiB\n"

    @property
    def extension(self) -> str:
        """The ending of its file."""
        return _EXTENSIONS[self.mime]


@singledispatch
def attachments(event: object) -> list[Attachment]:
    """What shows an event.

    Raises:
        TypeError: no event.
    """
    raise TypeError(f"{type(event).__name__} is no event")


@attachments.register
def _(_event: RunBegan) -> list[Attachment]:
    return []


@attachments.register
def _(event: ChangeArrived) -> list[Attachment]:
    held = ", ".join(f"{name} after {ms:.0f} ms" for name, ms in event.proxies.items()) or "the API"
    parts = [
        event.summary,
        *([event.reason] if event.reason else []),
        f"written after {event.written_ms:.0f} ms; held by {held}",
        *event.findings,
        "",
        *event.differences,
    ]
    return [Attachment(event.summary, "\n".join(parts) + "\n")]


@attachments.register
def _(event: ChangeWithdrawn) -> list[Attachment]:
    return [Attachment("kept", "\n".join(event.kept))] if event.kept else []


@attachments.register
def _(event: TrafficSent) -> list[Attachment]:
    rows = (f"{s.started:.3f},{s.seconds * 1000:.1f},{s.told},{s.request_id}" for s in event.samples[:_MOST_ROWS])
    text = "\n".join(["started,milliseconds,outcome,request id", *rows]) + "\n"
    return [Attachment(f'samples of "{event.name}"', text, "text/csv")]


@attachments.register
def _(event: FaultAccounted) -> list[Attachment]:
    told = f"the fault hit {event.hit} of {event.calls} calls to {event.service}"
    numbers = {
        "calls": event.calls,
        "hit": event.hit,
        "flags": event.flags,
        "callers": event.callers,
        "sent": event.sent,
        "seen by a calling proxy": event.seen,
        "past every proxy": event.bypassed,
    }
    return [Attachment("fault accounting", f"{told}\n{json.dumps(numbers)}\n")]


@attachments.register
def _(event: VerdictReached) -> list[Attachment]:
    numbers = json.dumps({"outcome": event.outcome, **event.numbers}, indent=2, default=str)
    notes = "".join(f"note: {note}\n" for note in event.notes)
    return [Attachment("verdict", f"{event.outcome}: {event.sentence}\n{notes}\n{numbers}\n")]


@attachments.register
def _(event: QueryAnswered) -> list[Attachment]:
    names = sorted({name for labels, _ in event.rows for name in labels})
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow([*names, "value"])
    writer.writerows([*(labels.get(name, "") for name in names), f"{value:g}"] for labels, value in event.rows)
    return [Attachment(f"query {event.promql}", table.getvalue(), "text/csv")]
