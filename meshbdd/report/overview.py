"""The answer to a reviewer's first questions, above the steps: what was injected, did it arrive, what traffic saw, why."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape

from meshbdd.evidence import CallsLogged, ChangeArrived, Event, FaultAccounted, TrafficSent, VerdictReached
from meshbdd.response_flags import in_words

_MARKS = {"passed": "✔", "failed": "✘", "inconclusive": "?"}


def overview(events: Sequence[Event], picture: str = "") -> str:
    """A few lines in HTML; empty where there is nothing to tell.

    Args:
        events: What the scenario told.
        picture: An SVG to show below the lines.
    """
    rows = [row for event in events for row in _rows(event)]
    if not rows:
        return ""
    # No table: Allure 3 does not wrap the lines of one.
    lines = "".join(f'<p style="margin:3px 0"><b>{name}</b>&ensp;{escape(told)}</p>' for name, told in rows)
    if picture:
        data = base64.b64encode(picture.encode()).decode()
        lines += f'<p><img alt="timeline" src="data:image/svg+xml;base64,{data}" style="max-width:100%"></p>'
    return lines


def as_html(description: str) -> str:
    """A description as its author wrote it: no mark-up of theirs is obeyed, and lines stay lines."""
    lines = "<br>".join(escape(description).splitlines())
    return f"<p>{lines}</p>" if lines.strip() else ""


def _rows(event: Event) -> Iterator[tuple[str, str]]:
    match event:
        case ChangeArrived():
            slowest = max(event.proxies.values(), default=0.0)
            at = (
                f"at all {len(event.proxies)} proxies"
                if len(event.proxies) > 1
                else f"at the proxy {next(iter(event.proxies))}"
                if event.proxies
                else "at the API"
            )
            yield (
                "Changed",
                f"{event.summary} ({event.reason}); in force {at} after {event.written_ms + slowest:.0f} ms",
            )
            for finding in event.findings:
                yield "Note", finding
        case TrafficSent() if event.samples:
            counts = Counter(sample.told for sample in event.samples)
            seen = ", ".join(f"{number:,} × {told}" for told, number in counts.most_common(5))
            yield "Sent", f'{len(event.samples):,} × "{event.name}" from {event.vantage} to {event.target}: {seen}'
        case FaultAccounted():
            flags = f", {in_words(event.flags)}" if event.flags else ""
            which = f"calls that reached {event.service}" if event.unreached else f"calls to {event.service}"
            rest = "".join(f"; {n:,} more were sent nowhere, {how}" for how, n in event.unreached.items())
            yield (
                "Fault",
                f"«{event.summary}» hit {event.hit:,} of {event.calls:,} {which}{flags}{rest}"
                + (f"; {event.others}" if event.others else ""),
            )
        case CallsLogged():
            failed: Counter[tuple[str, str, str]] = Counter()
            for call in event.calls:
                if call.failed and call.flags:
                    failed[call.part_of or call.caller, call.service, in_words(call.flags)] += call.count
            for (caller, service, told), count in failed.most_common(3):
                yield "Calls", f"{count:,} × {caller} → {service} failed, {told}"
        case VerdictReached():
            yield f"{_MARKS.get(event.outcome, '')} {event.outcome}", event.sentence
