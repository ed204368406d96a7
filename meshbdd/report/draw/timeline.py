"""The timeline: every request by outcome and latency, what was in force meanwhile, and how the latencies spread."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from meshbdd.load.sample import Sample
from meshbdd.report.draw import theme

_MOST_POINTS = 800
"""Of a kind. A picture shows no more; all requests are counted in the text."""

_WIDTH, _LEFT, _RIGHT, _PLOT, _LANE = 760, 62, 190, 190, 20


@dataclass(frozen=True, slots=True)
class Span:
    """Something that lasted.

    Attributes:
        label: What.
        start: Unix time.
        stop: Unix time.
        kind: ``fault`` shades the plot; ``load`` and ``state`` are bars below it.
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
    made = theme.figure(_WIDTH, height)
    low_edge = height - 34 - _PLOT
    wide = _WIDTH - _LEFT - _RIGHT
    ax = theme.axes(made, (_LEFT, low_edge, wide, _PLOT))
    ax.set_xlim(-0.01 * length, 1.01 * length)
    _scale_latency(ax, [sample.seconds for sample in samples])
    for span in spans:
        if span.kind == "fault":
            ax.axvspan(span.start - began, span.stop - began, color=theme.FAULT, alpha=0.16, linewidth=0)
    _draw_requests(ax, samples, began)
    theme.ticks(ax.xaxis, *_seconds(length))
    ax.set_ylabel("latency")
    _title(made, samples, height)
    _draw_spread(made, ax, samples, (_LEFT + wide + 14, low_edge, _RIGHT - 26, _PLOT))
    _draw_lanes(made, spans, began, length, (_LEFT, 10, wide, _LANE * len(spans)))
    return theme.svg(made)


def _draw_requests(ax: object, samples: Sequence[Sample], began: float) -> None:
    for good, colour in ((True, theme.GOOD), (False, theme.BAD)):
        kind = [sample for sample in samples if sample.succeeded is good]
        shown = kind[:: max(1, math.ceil(len(kind) / _MOST_POINTS))]
        xs, ys = [s.started - began for s in shown], [max(s.seconds, 1e-4) for s in shown]
        theme.dots(ax, xs, ys, colour, cross=not good)


def _title(made: object, samples: Sequence[Sample], height: float) -> None:
    counts = Counter(sample.told for sample in samples if not sample.succeeded)
    good = len(samples) - counts.total()
    text = made.text  # type: ignore[attr-defined] # a matplotlib figure
    text(_LEFT / _WIDTH, 1 - 16 / height, f"● {good:,} succeeded", color=theme.GOOD, fontweight="bold")
    if counts:
        kinds = ", ".join(f"{number:,} × {told}" for told, number in counts.most_common(4))
        failed = f"✕ {counts.total():,} failed: {kinds}"
        text((_LEFT + 130) / _WIDTH, 1 - 16 / height, failed, color=theme.BAD, fontweight="bold")


def _scale_latency(ax: object, seconds: Sequence[float]) -> None:
    low, high = max(min(seconds), 1e-4), max(*seconds, 2e-4)
    ax.set_yscale("log")  # type: ignore[attr-defined]
    ax.set_ylim(low / 1.5, high * 1.8)  # type: ignore[attr-defined]
    marks = [m * 10.0**e for e in range(-4, 4) for m in (1, 2, 5)]
    marks = [mark for mark in marks if low / 1.5 <= mark <= high * 1.8]
    keep = marks[:: max(1, math.ceil(len(marks) / 6))]
    theme.ticks(ax.yaxis, keep, [duration(mark) for mark in keep])  # type: ignore[attr-defined]


def _draw_spread(
    made: object, beside: object, samples: Sequence[Sample], box: tuple[float, float, float, float]
) -> None:
    """The share of requests that were answered within each latency, beside the plot and on its scale."""
    ax = theme.axes(made, box)
    ranked = sorted(max(sample.seconds, 1e-4) for sample in samples)
    n = len(ranked)
    shown = sorted({*range(0, n, max(1, n // 200)), n - 1})
    ax.set_yscale("log")
    ax.set_ylim(beside.get_ylim())  # type: ignore[attr-defined]
    ax.set_xlim(0, 1.04)
    ax.plot(
        [(i + 1) / n for i in shown],
        [ranked[i] for i in shown],
        color=theme.PHASE,
        linewidth=1.6,
        drawstyle="steps-pre",
    )
    theme.ticks(ax.yaxis, [], [])
    theme.ticks(ax.xaxis, [0, 0.5, 0.95], ["0", "50%", "95%"])
    lines = [f"{name} {duration(ranked[min(n - 1, math.ceil(share * n) - 1)])}" for name, share in _QUANTILES]
    ax.text(0.04, 0.98, "\n".join(lines), transform=ax.transAxes, va="top", fontsize=8.5)
    ax.set_title("requests answered within", fontsize=8.5, color=theme.FAINT, pad=4)


_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
_COLOURS = {"fault": theme.FAULT, "load": theme.PHASE, "state": theme.CLAIM}


def _draw_lanes(
    made: object, spans: Sequence[Span], began: float, length: float, box: tuple[float, float, float, float]
) -> None:
    """A bar for each span, with its words in the lane: they are what a reviewer looks for."""
    if not spans:
        return
    ax = theme.axes(made, box)
    ax.set_xlim(-0.01 * length, 1.01 * length)
    ax.set_ylim(len(spans), 0)
    ax.set_axis_off()
    for row, span in enumerate(spans):
        start, stop = span.start - began, max(span.stop - began, span.start - began + length * 0.004)
        ax.fill_between([start, stop], row + 0.12, row + 0.88, color=_COLOURS[span.kind], alpha=0.45, linewidth=0)
        at_right = start > 0.55 * length
        ax.text(
            (stop if at_right else start) / 1.0, row + 0.5, f" {span.label} ", va="center",
            ha="right" if at_right else "left", fontsize=8.5,
        )  # fmt: skip


def _seconds(length: float) -> tuple[list[float], list[str]]:
    """Five marks or so on an axis of seconds."""
    step = 10 ** math.floor(math.log10(length))
    step = next(step * m for m in (0.1, 0.2, 0.5, 1, 2) if length / (step * m) <= 6)
    marks = [i * step for i in range(int(length / step) + 1)]
    return marks, [duration(mark) if mark else "0" for mark in marks]


def duration(seconds: float) -> str:
    """A time as a reader says it: ``2.5 ms``, ``1.2 s``."""
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"
