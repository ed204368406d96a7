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
    left, right = max(left - margin, 0.0), min(right + margin, 1.0)
    picture = theme.Picture(_WIDTH, 120)
    frame = theme.Frame(picture, (_LEFT, 30, _WIDTH - _LEFT - _RIGHT, 46), (left, right), (0, 1))
    if accepted:
        frame.band(max(accepted[0], left), min(accepted[1], right), theme.GOOD, 0.14)
    colour = _COLOURS.get(outcome, theme.FAULT)
    frame.line([wide_low, wide_high], [0.5, 0.5], colour, 1.6)
    frame.line([low, high], [0.5, 0.5], colour, 7)
    frame.dots([hits / total], [0.5], theme.INK, 8)
    marks = [left + (right - left) * i / 4 for i in range(5)]
    frame.scale_across(marks, [f"{mark:.1%}" for mark in marks])
    seen = f"● {hits:,} of {total:,} = {hits / total:.2%} seen   thick bar: where the true share lies, 95% sure   thin: 99% sure"
    picture.text(_LEFT, 104, seen)
    if accepted:
        picture.text(_LEFT, 90, "green: shares with which the claim holds", colour=theme.GOOD)
    return picture.svg()


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


def draw_growth(outcome: str, numbers: Mapping[str, Any]) -> str:
    """By how much a quantile of durations grew, its bounds, and the growths with which the claim holds.

    Args:
        outcome: Of the verdict.
        numbers: The verdict's, in seconds; ``grows_at_least``, ``grows_at_most`` (``None``: no bound), ``limit_seconds``,
            ``before``, ``after`` and ``quantile`` must be there.
    """
    least, most, limit = numbers["grows_at_least"], numbers["grows_at_most"], numbers["limit_seconds"]
    was, now = numbers["before"]["seconds"], numbers["after"]["seconds"]
    seen = now - was if now is not None and was is not None else None
    known = [value for value in (least, most, limit, seen, 0.0) if value is not None]
    margin = (max(known) - min(known)) * 0.12
    left, right = min(known) - margin, max(known) + margin
    picture = theme.Picture(_WIDTH, 120)
    frame = theme.Frame(picture, (_LEFT, 30, _WIDTH - _LEFT - _RIGHT, 46), (left, right), (0, 1))
    frame.band(left, limit, theme.GOOD, 0.14)
    frame.line([0, 0], [0, 1], theme.FAINT, 1, dashed=True)
    bounds = [left if least is None else least, right if most is None else most]
    frame.line(bounds, [0.5, 0.5], _COLOURS.get(outcome, theme.FAULT), 7)
    if seen is not None:
        frame.dots([seen], [0.5], theme.INK, 8)
    marks = [left + (right - left) * i / 4 for i in range(5)]
    frame.scale_across(marks, [f"{mark * 1000:+.2g} ms" for mark in marks])
    dot = f"● p{numbers['quantile']:g} grew by {_change(seen)}; " if seen is not None else ""
    picture.text(_LEFT, 104, f"{dot}thick bar: where the growth lies, {_change(least)} to {_change(most)}")
    picture.text(_LEFT, 90, f"green: less than {_change(limit)}, with which the claim holds", colour=theme.GOOD)
    return picture.svg()


def _change(seconds: float | None) -> str:
    if seconds is None:
        return "no bound"
    return f"{'−' if seconds < 0 else '+'}{abs(seconds) * 1000:.3g} ms"


def draw_decision(outcome: str, numbers: Mapping[str, Any]) -> str:
    """The course of a sequential test: what did not hold so far, and where the verdict would have fallen.

    Args:
        outcome: Of the verdict.
        numbers: The verdict's; ``path`` must be there.
    """
    path = [point for point in numbers["path"] if point[0] > 0]
    misses = [n - hits for n, hits, _ in path]
    most, high = max(path[-1][0], 2), max(max(misses) * 1.3, 3.0)
    picture = theme.Picture(_WIDTH, 190)
    frame = theme.Frame(picture, (62, 38, _WIDTH - 84, 122), (1, most), (-0.04 * high, high))
    _shade(frame, numbers.get("boundaries") or [], high)
    frame.line([point[0] for point in path], misses, theme.INK)
    frame.dots([path[-1][0]], [misses[-1]], _COLOURS.get(outcome, theme.FAULT), 9)
    marks = sorted({round(high * i / 4) for i in range(5)})
    frame.scale_upright(marks, [f"{mark:,}" for mark in marks], "misses")
    steps = sorted({1 + round((most - 1) * i / 4) for i in range(5)})
    frame.scale_across(steps, [f"{step:,}" for step in steps], "requests")
    told = f"{outcome} after {path[-1][0]:,} requests, {misses[-1]:,} of which miss; shaded: where it would be green, or red"
    picture.text(62, 172, told)
    return picture.svg()


def _shade(frame: theme.Frame, bounds: Sequence[Sequence[float | None]], high: float) -> None:
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
            xs, lows, highs = zip(*rows, strict=True)
            frame.between(xs, lows, highs, colour)
