"""What one scenario told, step by step; at its end it becomes evidence in the report."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from typing import Any, TypeVar

from allure_commons.model2 import Status, TestResult

from meshbdd.evidence import (
    CallsLogged,
    ChangeArrived,
    ChangeWithdrawn,
    Event,
    FaultAccounted,
    TrafficSent,
    VerdictReached,
)
from meshbdd.load.sample import Sample
from meshbdd.report import draw
from meshbdd.report.attachments import Attachment, attachments
from meshbdd.report.draw.graph import edges_of
from meshbdd.report.draw.timeline import Span
from meshbdd.report.overview import overview
from meshbdd.report.reporter import Reporter
from meshbdd.report.shown import shown
from meshbdd.response_flags import NO_ENDPOINT

_SVG = "image/svg+xml"
_E = TypeVar("_E")


@dataclass(slots=True)
class Scene:
    """The events of one scenario, each with the step that told it.

    Attributes:
        told: Events and steps; no step where none ran.
        data: The same for run.json, filled in at the end.
        drawing_seconds: What drawing took.
    """

    told: list[tuple[Event, Any]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    drawing_seconds: float = 0.0

    def add(self, event: Event, step: Any) -> None:
        """Keep an event; drawing waits for the scenario's end, off the way of its requests."""
        self.told.append((event, step))

    def show(self, reporter: Reporter, test: TestResult, reproduce: str) -> None:
        """Write everything as attachments of the steps. What cannot be shown is said, and costs no verdict.

        Args:
            reporter: Writes the files.
            test: The scenario's result.
            reproduce: How to run this scenario again.
        """
        self.told = [(shown(event), step) for event, step in self.told]
        for event, step in self.told:
            self._attach(reporter, step if step is not None else test, partial(attachments, event))
        began = time.perf_counter()
        last = next((s for e, s in reversed(self.told) if isinstance(e, VerdictReached) and s is not None), test)
        for event, step in self.told:
            if isinstance(event, VerdictReached):
                self._attach(reporter, step or test, partial(_draw_verdict, event))
        drawn = self._attach(reporter, last, self._draw_scenario)
        self.drawing_seconds = time.perf_counter() - began
        self.data.update(_data(event for event, _ in self.told))
        # What is not green is explained at first sight.
        picture = next((a.text for a in drawn if a.mime == _SVG), "") if test.status != Status.PASSED else ""
        summary = overview([event for event, _ in self.told], picture)
        if summary:
            test.descriptionHtml = summary + (test.descriptionHtml or "")
        if self.told:
            text = f"{reproduce}\n"
            reporter.attach_to(test, text, "reproduce", "text/plain", "txt")

    def _attach(self, reporter: Reporter, item: Any, make: Callable[[], Iterable[Attachment]]) -> Sequence[Attachment]:
        try:
            all_made = list(make())
            for made in (attachment.fitting for attachment in all_made):
                reporter.attach_to(item, made.text, made.name, made.mime, made.extension)
        except Exception:  # noqa: BLE001 - whatever is wrong with a picture, the verdict stands
            reporter.attach_to(item, traceback.format_exc(), "evidence that could not be shown", "text/plain", "txt")
            return ()
        return all_made

    def _all(self, kind: type[_E]) -> list[_E]:
        return [event for event, _ in self.told if isinstance(event, kind)]

    def _draw_scenario(self) -> Iterator[Attachment]:
        samples = [sample for sent in self._all(TrafficSent) for sample in sent.samples]
        if samples and draw.can_draw():
            yield Attachment("timeline", draw.draw_timeline(samples, list(self._spans())), _SVG)
        elif samples:
            yield Attachment("timeline (text)", _timeline_text(samples, list(self._spans())))
        faulty = {name for fault in self._all(FaultAccounted) if fault.hit for name in _names(fault.service)}
        edges = edges_of((call for logged in self._all(CallsLogged) for call in logged.calls), faulty)
        if edges and draw.can_draw():
            yield Attachment("service graph", draw.draw_graph(edges), _SVG)

    def _spans(self) -> Iterator[Span]:
        """Changes in force, and phases of load."""
        end = max(
            [s.started + s.seconds for sent in self._all(TrafficSent) for s in sent.samples]
            + [withdrawn.began for withdrawn in self._all(ChangeWithdrawn)]
        )
        for arrived in self._all(ChangeArrived):
            start = arrived.began + (arrived.written_ms + max(arrived.proxies.values(), default=0)) / 1000
            stops = (w.began for w in self._all(ChangeWithdrawn) if w.summary == arrived.summary and w.began >= start)
            kind = "fault" if arrived.faulty else "policy"
            yield Span(arrived.summary, start, min(stops, default=max(end, start)), kind)
        for sent in self._all(TrafficSent):
            if sent.samples:
                stop = max(s.started + s.seconds for s in sent.samples)
                label = f'{len(sent.samples):,} × "{sent.name}" from {sent.vantage}'
                yield Span(label, sent.samples[0].started, stop, "load")
        yield from list(self._breaker_states(end)) or self._nowhere_to_send()

    def _breaker_states(self, end: float) -> Iterator[Span]:
        """When each caller's circuit breaker was open, as the oracles replayed it."""
        phases = [phase for verdict in self._all(VerdictReached) for phase in verdict.numbers.get("phases") or ()]
        # The claims of a scenario replay the same calls; the last one knows most of each phase.
        known = {(phase["caller"], phase["began"]): phase for phase in phases if phase.get("state") == "open"}
        for (caller, began), phase in known.items():
            yield Span(f"circuit open at {caller}", began, max(phase.get("ended") or end, began), "state")

    def _nowhere_to_send(self) -> Iterator[Span]:
        """When callers had no endpoint to send to, by their logs, where no claim replayed the circuit breakers."""
        calls = [call for logged in self._all(CallsLogged) for call in logged.calls]
        for call in calls:
            if NO_ENDPOINT in call.flags and call.began:
                told = f"{call.caller}: no endpoint of {call.service} left ({NO_ENDPOINT}), {call.count:,} calls"
                yield Span(told, call.began, call.ended, "state")


def _names(service: str) -> tuple[str, str]:
    """A service with and without its namespace."""
    return service, service.partition(".")[0]


def _draw_verdict(event: VerdictReached) -> Iterator[Attachment]:
    numbers = event.numbers
    if not draw.can_draw():
        return
    if numbers.get("path"):
        yield Attachment("course of the decision", draw.draw_decision(event.outcome, numbers), _SVG)
    if numbers.get("requests", 0) and "hits" in numbers and "interval_95" in numbers:
        yield Attachment("interval", draw.draw_interval(event.outcome, numbers), _SVG)
    if "grows_at_most" in numbers and "limit_seconds" in numbers:
        yield Attachment("interval", draw.draw_growth(event.outcome, numbers), _SVG)


def _timeline_text(samples: list[Sample], spans: list[Span]) -> str:
    """The timeline where nothing can be drawn: the same facts as lines."""
    began = min([sample.started for sample in samples] + [span.start for span in spans])
    lines = [f"{span.start - began:8.3f} – {span.stop - began:8.3f} s  {span.label}" for span in spans]
    good = sum(sample.succeeded for sample in samples)
    ranked = sorted(sample.seconds for sample in samples)
    lines.append(f"{len(samples):,} requests, {good:,} succeeded")
    lines += [f"p{p}: {ranked[min(len(ranked) - 1, len(ranked) * p // 100)] * 1000:.1f} ms" for p in (50, 95, 99)]
    return "\n".join([*lines, "", draw.HOW_TO_DRAW]) + "\n"


def _data(events: Iterable[Event]) -> dict[str, Any]:
    """Events as plain data for run.json; of traffic only how much, the samples are in the report."""
    told: dict[str, list[Any]] = {"changes": [], "traffic": [], "faults": [], "claims": []}
    for event in events:
        match event:
            case ChangeArrived():
                told["changes"].append(_plain(event))
            case TrafficSent():
                good = sum(sample.succeeded for sample in event.samples)
                counted = {"requests": len(event.samples), "succeeded": good}
                told["traffic"].append({"name": event.name, "from": event.vantage, "to": event.target, **counted})
            case FaultAccounted() | VerdictReached():
                told["faults" if isinstance(event, FaultAccounted) else "claims"].append(_plain(event))
    return {name: items for name, items in told.items() if items}


def _plain(value: Any) -> Any:
    """A value as JSON has it. ``dataclasses.asdict`` would count the items of a ``Counter`` instead of copying it."""
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value
