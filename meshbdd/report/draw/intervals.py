"""The interval of a statistical claim against what the claim allows, and the course of a sequential decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshbdd.report.draw import theme

_WIDTH, _LEFT, _RIGHT = 640, 24, 24
_COLOURS = {"passed": theme.GOOD, "failed": theme.BAD}


def draw_interval(outcome: str, numbers: Mapping[str, Any]) -> str:
    """The share that was seen, its intervals, and the shares with which the claim holds.

    Args:
        outcome: Of the verdict.
        numbers: The verdict's; ``requests``, ``hits`` and ``interval_95`` must be there.
    """
    total, hits = numbers["requests"], numbers["hits"]
    low, high = numbers["interval_95"]
    wide_low, wide_high = numbers.get("exact_interval_99", (low, high))
    accepted = _accepted(numbers)
    left = min(wide_low, *(accepted or ()), hits / total)
    right = max(wide_high, hits / total, *(a for a in accepted or () if a < 1))
    margin = max((right - left) * 0.12, 0.004)
    left, right = max(left - margin, -0.02), min(right + margin, 1.02)
    made = theme.figure(_WIDTH, 104)
    ax = theme.axes(made, (_LEFT, 30, _WIDTH - _LEFT - _RIGHT, 46))
    ax.set_xlim(left, right)
    ax.set_ylim(0, 1)
    ax.spines["left"].set_visible(False)
    if accepted:
        ax.axvspan(max(accepted[0], left), min(accepted[1], right), color=theme.GOOD, alpha=0.14, linewidth=0)
    colour = _COLOURS.get(outcome, theme.FAULT)
    ax.plot([wide_low, wide_high], [0.5, 0.5], color=colour, linewidth=1.6)
    ax.plot([low, high], [0.5, 0.5], color=colour, linewidth=7, alpha=0.55, solid_capstyle="butt")
    theme.dots(ax, [hits / total], [0.5], theme.INK, size=8)
    theme.ticks(ax.yaxis, [], [])
    marks = [left + (right - left) * i / 4 for i in range(5)]
    theme.ticks(ax.xaxis, marks, [f"{mark:.1%}" for mark in marks])
    seen = f"● {hits:,} of {total:,} = {hits / total:.2%}   thick: 95% interval   thin: 99%, exact"
    allowed = "   shaded: where the claim holds" if accepted else ""
    made.text(_LEFT / _WIDTH, 1 - 16 / 104, seen + allowed, fontsize=9)
    return theme.svg(made)


def _accepted(numbers: Mapping[str, Any]) -> tuple[float, float] | None:
    """The shares with which a claim holds: of a literal count what it accepts, else the edges of its test."""
    if "accepted" in numbers:
        low, high = numbers["accepted"]
        return low / numbers["requests"], high / numbers["requests"]
    edges = [float(edge) for edge in numbers.get("edges") or ()]
    if not edges:
        return None
    design = (numbers.get("design") or {}).get("share", 1.0)
    if len(edges) > 1:
        return min(edges), max(edges)
    return (edges[0], 1.0) if design >= edges[0] else (0.0, edges[0])


def draw_decision(outcome: str, numbers: Mapping[str, Any]) -> str:
    """The course of a sequential test: the share so far, and where it would have been green or red.

    Args:
        outcome: Of the verdict.
        numbers: The verdict's; ``path`` must be there.
    """
    path = [point for point in numbers["path"] if point[0] > 0]
    made = theme.figure(_WIDTH, 190)
    ax = theme.axes(made, (56, 34, _WIDTH - 76, 122))
    most = max(path[-1][0], 2)
    ax.set_xlim(1, most)
    shares = [hits / n for n, hits, _ in path]
    bounds = numbers.get("boundaries") or []
    low, high = min([*shares, *(numbers.get("edges") or [])]), max(shares)
    margin = max((high - low) * 0.25, 0.01)
    low, high = max(low - margin, 0), min(high + margin, 1)
    ax.set_ylim(low, high + (0.01 if high == 1 else 0))
    _shade(ax, bounds, (low, high))
    for edge in numbers.get("edges") or ():
        ax.axhline(edge, color=theme.FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.plot([point[0] for point in path], shares, color=theme.INK, linewidth=1.5)
    theme.dots(ax, [path[-1][0]], [shares[-1]], _COLOURS.get(outcome, theme.FAULT), size=8)
    marks = [low + (high - low) * i / 4 for i in range(5)]
    theme.ticks(ax.yaxis, marks, [f"{mark:.1%}" for mark in marks])
    steps = [1 + round((most - 1) * i / 4) for i in range(5)]
    theme.ticks(ax.xaxis, steps, [f"{step:,}" for step in steps])
    ax.set_xlabel("requests", labelpad=2)
    told = (
        f"{outcome} after {path[-1][0]:,} requests; green above, red below the shaded edges; dashed: the claim's bound"
    )
    made.text(56 / _WIDTH, 1 - 18 / 190, told, fontsize=9)
    return theme.svg(made)


def _shade(ax: Any, bounds: Sequence[Sequence[float | None]], frame: tuple[float, float]) -> None:
    """Where the verdict would have fallen after so many requests: [total, fail_to, pass_from, pass_to, fail_from]."""
    low, high = frame
    for index, colour, limit in ((2, theme.GOOD, high + 0.02), (1, theme.BAD, low)):
        points = [(b[0], b[index]) for b in bounds if b[0] and b[index] is not None]
        xs = [float(n or 0) for n, _ in points]
        ys = [float(count or 0) / float(n or 1) for n, count in points]
        inside = [(x, y) for x, y in zip(xs, ys, strict=True) if low - 1 <= y <= high + 1]
        if inside:
            xs, ys = [x for x, _ in inside], [y for _, y in inside]
            ax.fill_between(xs, ys, limit, color=colour, alpha=0.13, linewidth=0)
