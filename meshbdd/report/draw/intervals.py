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
    """The course of a sequential test: what did not hold so far, and where the verdict would have fallen.

    Args:
        outcome: Of the verdict.
        numbers: The verdict's; ``path`` must be there.
    """
    path = [point for point in numbers["path"] if point[0] > 0]
    made = theme.figure(_WIDTH, 190)
    ax = theme.axes(made, (56, 34, _WIDTH - 76, 122))
    most = max(path[-1][0], 2)
    misses = [n - hits for n, hits, _ in path]
    high = max(max(misses) * 1.3, 3.0)
    ax.set_xlim(1, most)
    ax.set_ylim(-0.04 * high, high)
    _shade(ax, numbers.get("boundaries") or [], high)
    ax.plot([point[0] for point in path], misses, color=theme.INK, linewidth=1.5)
    theme.dots(ax, [path[-1][0]], [misses[-1]], _COLOURS.get(outcome, theme.FAULT), size=9)
    marks = [round(high * i / 4) for i in range(5)]
    theme.ticks(ax.yaxis, marks, [f"{mark:,}" for mark in marks])
    steps = [1 + round((most - 1) * i / 4) for i in range(5)]
    theme.ticks(ax.xaxis, steps, [f"{step:,}" for step in steps])
    ax.set_ylabel("misses")
    ax.set_xlabel("requests", labelpad=2)
    told = f"{outcome} after {path[-1][0]:,} requests, {misses[-1]:,} of which miss; shaded: where it would be green, or red"
    made.text(56 / _WIDTH, 1 - 18 / 190, told, fontsize=9)
    return theme.svg(made)


def _shade(ax: Any, bounds: Sequence[Sequence[float | None]], high: float) -> None:
    """Where the verdict falls after so many requests: [total, fail_to, pass_from, pass_to, fail_from], counts of hits."""
    for low_index, high_index, colour in ((2, 3, theme.GOOD), (None, 1, theme.BAD), (4, None, theme.BAD)):
        rows = []
        for bound in bounds:
            total = float(bound[0] or 0)
            least = 0.0 if low_index is None else bound[low_index]
            most = total if high_index is None else bound[high_index]
            if total and least is not None and most is not None and least <= most:
                rows.append((total, min(max(total - most, -1.0), high), min(max(total - least, -1.0), high)))
        if rows:
            ax.fill_between(*zip(*rows, strict=True), color=colour, alpha=0.14, linewidth=0, step="mid")
