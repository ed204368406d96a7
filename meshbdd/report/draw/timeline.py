"""The timeline: every request by outcome and latency, what was in force meanwhile, and how the latencies spread."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from meshbdd.load.sample import Sample
from meshbdd.report.draw import theme

_MOST_POINTS = 400
"""Of a kind. A picture shows no more; all requests are counted in the text."""

_LEAST = 1e-4
"""Seconds; the lower end of the scale of latencies, which has no zero."""

_FEWEST = 5
"""Requests of which quantiles are shown; of fewer each is a dot, and says more."""

_WORDS = 74
"""Pixels that the words of the quantiles take across."""

_WIDTH, _LEFT, _RIGHT, _PLOT, _LANE = 760, 62, 190, 190, 20


@dataclass(frozen=True, slots=True)
class Span:
    """Something that lasted.

    Attributes:
        label: What.
        start: Unix time.
        stop: Unix time.
        kind: ``fault`` shades the plot; ``policy``, ``load`` and ``state`` are bars below it.
    """

    label: str
    start: float
    stop: float
    kind: str = "fault"


def draw_timeline(samples: Sequence[Sample], spans: Sequence[Span]) -> str:
    """Draw it.

    Args:
        samples: The scenario's requests, at least one.
        spans: Faults and other changes in force, phases of load, states of circuit breakers.
    """
    began = min([sample.started for sample in samples] + [span.start for span in spans])
    ended = max([sample.started + sample.seconds for sample in samples] + [span.stop for span in spans])
    length = max(ended - began, 0.01)
    height = 34 + _PLOT + 34 + _LANE * len(spans) + 12
    picture = theme.Picture(_WIDTH, height)
    right = _RIGHT if len(samples) >= _FEWEST else 24
    wide, low_edge = _WIDTH - _LEFT - right, height - 34 - _PLOT
    latencies = _latencies([sample.seconds for sample in samples])
    frame = theme.Frame(picture, (_LEFT, low_edge, wide, _PLOT), (-0.01 * length, 1.01 * length), latencies, log=True)
    for span in spans:
        if span.kind == "fault":
            frame.band(span.start - began, span.stop - began, theme.FAULT)
    for good, colour in ((True, theme.GOOD), (False, theme.BAD)):
        kind = [sample for sample in samples if sample.succeeded is good]
        shown = kind[:: max(1, math.ceil(len(kind) / _MOST_POINTS))]
        xs, ys = [s.started - began for s in shown], [max(s.seconds, _LEAST) for s in shown]
        frame.dots(xs, ys, colour, cross=not good)
    frame.scale_across(*_seconds(length))
    frame.scale_upright(*_marks(latencies), "latency")
    _title(picture, samples)
    if len(samples) >= _FEWEST:
        _draw_spread(picture, latencies, samples, (_LEFT + wide + 14, low_edge, _RIGHT - 26, _PLOT))
    _draw_lanes(picture, spans, began, length, (_LEFT, 10, wide, _LANE * len(spans)))
    return picture.svg()


def _title(picture: theme.Picture, samples: Sequence[Sample]) -> None:
    counts = Counter(sample.told for sample in samples if not sample.succeeded)
    good = len(samples) - counts.total()
    picture.text(_LEFT, picture.height - 16, f"● {good:,} succeeded", colour=theme.GOOD, bold=True)
    if counts:
        kinds = ", ".join(f"{number:,} × {told}" for told, number in counts.most_common(4))
        failed = f"✕ {counts.total():,} failed: {kinds}"
        picture.text(_LEFT + 140, picture.height - 16, failed, colour=theme.BAD, bold=True)


def _latencies(seconds: Sequence[float]) -> tuple[float, float]:
    """The range of the scale of latencies."""
    return max(min(seconds), _LEAST) / 1.5, max(*seconds, 2 * _LEAST) * 1.8


def _marks(latencies: tuple[float, float]) -> tuple[list[float], list[str]]:
    marks = [m * 10.0**e for e in range(-4, 4) for m in (1, 2, 5)]
    marks = [mark for mark in marks if latencies[0] <= mark <= latencies[1]]
    keep = marks[:: max(1, math.ceil(len(marks) / 6))]
    if len(keep) < 2:
        keep = [latencies[0], latencies[1]]
    return keep, [duration(float(f"{mark:.2g}")) for mark in keep]


def _draw_spread(
    picture: theme.Picture,
    latencies: tuple[float, float],
    samples: Sequence[Sample],
    box: tuple[float, float, float, float],
) -> None:
    """The share of requests that were answered within each latency, beside the plot and on its scale."""
    frame = theme.Frame(picture, box, (0, 1.04), latencies, log=True)
    ranked = sorted(max(sample.seconds, _LEAST) for sample in samples)
    n = len(ranked)
    shown = sorted({*range(0, n, max(1, n // 200)), n - 1})
    frame.line([(i + 1) / n for i in shown], [ranked[i] for i in shown], theme.PHASE, 1.6)
    frame.scale_across([0, 0.5, 0.95], ["0", "50%", "95%"])
    frame.scale_upright([], [])
    top = box[1] + box[3]
    lines = [f"{name} {duration(ranked[min(n - 1, math.ceil(share * n) - 1)])}" for name, share in _QUANTILES]
    # The curve rises to the right: where its left part is below the words they stand in the upper left corner, else
    # what is right of them is higher still, and the lower right corner is free.
    free = frame.y(ranked[min(n - 1, int(n * _WORDS / box[2]))]) < top - 12 * len(lines) - 4
    left, first = (box[0] + 6, top - 11) if free else (box[0] + box[2] - _WORDS, box[1] + 12 * len(lines) - 4)
    picture.text(
        box[0] + box[2] / 2, top + 6, "requests answered within", size=8.5, colour=theme.FAINT, across="center"
    )
    for row, line in enumerate(lines):
        picture.text(left, first - 12 * row, line, size=8.5)


_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
_COLOURS = {"fault": theme.FAULT, "policy": theme.FAINT, "load": theme.PHASE, "state": theme.STATE}


def _draw_lanes(
    picture: theme.Picture, spans: Sequence[Span], began: float, length: float, box: tuple[float, float, float, float]
) -> None:
    """A bar for each span, with its words in the lane: they are what a reviewer looks for."""
    frame = theme.Frame(picture, box, (-0.01 * length, 1.01 * length), (0, max(len(spans), 1)))
    for row, span in enumerate(spans):
        start = span.start - began
        stop = max(span.stop - began, start + length * 0.004)
        low = box[1] + box[3] - _LANE * (row + 1)
        picture.box(frame.x(start), low + 2, frame.x(stop), low + _LANE - 2, _COLOURS[span.kind], 0.45)
        at_right = start > 0.55 * length
        edge = frame.x(stop) - 3 if at_right else frame.x(start) + 3
        picture.text(edge, low + 6.5, span.label, size=8.5, across="right" if at_right else "left")


def _seconds(length: float) -> tuple[list[float], list[str]]:
    """Five marks or so on an axis of seconds."""
    step = 10 ** math.floor(math.log10(length))
    step = next(step * m for m in (0.1, 0.2, 0.5, 1, 2) if length / (step * m) <= 6)
    marks = [i * step for i in range(int(length / step) + 1)]
    return marks, [duration(mark) if mark else "0" for mark in marks]


def duration(seconds: float) -> str:
    """A time as a reader says it: ``2.5 ms``, ``1.2 s``."""
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"
