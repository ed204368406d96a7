"""Events → attachments: what a reviewer reads below a step."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch

from meshbdd.evidence import (
    CallsLogged,
    ChangeArrived,
    ChangeWithdrawn,
    FaultAccounted,
    QueryAnswered,
    RunBegan,
    TrafficSent,
    VerdictReached,
)
from meshbdd.report import exchanges
from meshbdd.report import flags as flags_of
from meshbdd.response_flags import MEANINGS

LARGEST = 1024 * 1024
"""Bytes. Reports with larger attachments get slow to open; both Allure versions keep them inside the page."""
_CUT = "… cut at 1 MiB"

_MOST_ROWS = 200
_DRAWN = {"path", "boundaries"}
"""Numbers of a verdict that are there to be drawn; run.json has them all."""

_EXTENSIONS = {
    "text/plain": "txt",
    "text/csv": "csv",
    "application/json": "json",
    "image/svg+xml": "svg",
    exchanges.MIME: "json",
}


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
    def fitting(self) -> Attachment:
        """This, or where it would make a report slow to open: its first lines, or a note in the place of a picture."""
        content = self.text.encode("utf-8", "replace")
        if len(content) <= LARGEST:
            return self
        if self.mime not in {"text/plain", "text/csv"}:  # half of it would be nothing
            return Attachment(self.name, f"left out: {len(content):,} bytes are more than a report shows\n")
        room = content[: LARGEST - len(_CUT.encode()) - 2].decode("utf-8", "ignore")
        lines = room[: room.rindex("\n")] if "\n" in room else room
        return replace(self, text=f"{lines}\n{_CUT}\n")

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
    words = [event.summary, *([event.reason] if event.reason else []), *event.findings, "", *event.differences]
    slowest = max(event.proxies.values(), default=0.0)
    rows = [["proxy", "holds it after"], ["(the API has it)", f"{event.written_ms:.0f} ms"]]
    rows += [
        [pod, f"{event.written_ms + ms:.0f} ms"] for pod, ms in sorted(event.proxies.items(), key=lambda item: item[1])
    ]
    proxies = f"{len(event.proxies)} {'proxy' if len(event.proxies) == 1 else 'proxies'}"
    arrived = f"arrived at {proxies if event.proxies else 'the API'} after {event.written_ms + slowest:.0f} ms"
    return [Attachment(f"manifest diff: {event.summary}", "\n".join(words) + "\n"), table(arrived, rows)]


@attachments.register
def _(event: ChangeWithdrawn) -> list[Attachment]:
    return [Attachment("kept", "\n".join(event.kept))] if event.kept else []


@attachments.register
def _(event: TrafficSent) -> list[Attachment]:
    rows = [["started (UTC)", "milliseconds", "outcome", "response flags", "request id"]]
    rows += [
        [clock(s.started), f"{s.seconds * 1000:.1f}", s.told, s.flags, s.request_id] for s in event.samples[:_MOST_ROWS]
    ]
    shown = f", the first {_MOST_ROWS:,}" if len(event.samples) > _MOST_ROWS else ""
    count = f"{len(event.samples):,} request{'' if len(event.samples) == 1 else 's'}"
    made = [table(f'{count} "{event.name}" from {event.vantage}{shown}', rows)]
    if event.rate:
        made.append(Attachment(f'rate of "{event.name}"', f"{event.rate}\n"))
    if event.request is not None:
        for sample in exchanges.samples_of_each_kind(event):
            text = exchanges.exchange(event.request, sample)
            made.append(Attachment(f'"{event.name}": {sample.told}', text, exchanges.MIME))
    return made


@attachments.register
def _(event: FaultAccounted) -> list[Attachment]:
    told = f"the fault hit {event.hit} of {event.calls} calls to {event.service}"
    flags = ", ".join(f"{flag} ({MEANINGS.get(flag, 'see Envoy')})" for flag in event.flags)
    rows = [["caller", "calls", "hit by the fault"]]
    rows += [[pod, str(calls), str(hit)] for pod, (calls, hit) in sorted(event.callers.items())]
    rows.append(["all", str(event.calls), str(event.hit)])
    rest = f"{event.sent} requests were sent meanwhile; calling proxies logged {event.seen} of them"
    rest += "".join(f"; {n} calls were sent nowhere, {how}" for how, n in event.unreached.items())
    rest += "".join(
        f"; {n} calls to {other} were led to it, and the fault is not for these" for other, n in event.led.items()
    )
    rest += "".join(f"; {n} calls to it were led to {other}, past the fault" for other, n in event.away.items())
    rest += "".join(f"; {who} called {event.service} past every proxy, {n} times" for who, n in event.bypassed.items())
    rest += "".join(
        f"; {n} copies came to it, mirrored of calls of {who} to another service" for who, n in event.copied.items()
    )
    rest += f"; {event.others}" if event.others else ""
    words = [told, rest, f"«{event.summary}»", *([f"response flags: {flags}"] if flags else [])]
    return [Attachment("fault accounting", "\n".join(words) + "\n"), table("fault accounting by caller", rows)]


@attachments.register
def _(event: CallsLogged) -> list[Attachment]:
    return [table("response flags", flags_of.rows(event.calls))] if event.calls else []


@attachments.register
def _(event: VerdictReached) -> list[Attachment]:
    shown = {name: value for name, value in event.numbers.items() if name not in _DRAWN}
    numbers = "".join(
        f"{name}: {json.dumps(value, default=str, ensure_ascii=False)}\n" for name, value in shown.items()
    )
    notes = "".join(f"note: {note}\n" for note in event.notes)
    return [Attachment("verdict", f"{event.outcome}: {event.sentence}\n{notes}\n{numbers}\n")]


@attachments.register
def _(event: QueryAnswered) -> list[Attachment]:
    names = sorted({name for labels, _ in event.rows for name in labels})
    rows = [[*(labels.get(name, "") for name in names), f"{value:g}"] for labels, value in event.rows]
    return [table(f"query {event.promql}", [[*names, "value"], *rows])]


def clock(unix: float) -> str:
    """A time of the day, in UTC."""
    return dt.datetime.fromtimestamp(unix, dt.UTC).strftime("%H:%M:%S.%f")[:-3]


def table(name: str, rows: Iterable[Sequence[str]]) -> Attachment:
    """Rows, headings first, as a table."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return Attachment(name, text.getvalue(), "text/csv")
