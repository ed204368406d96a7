"""The service graph: who called whom, how often, what went wrong, and where a fault was injected."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from meshbdd.evidence import Call
from meshbdd.report.draw import theme

_COLUMN, _ROW, _MARGIN, _BOX = 230, 62, 30, (118, 26)


@dataclass(frozen=True, slots=True)
class Edge:
    """All calls from one workload to one service."""

    caller: str
    service: str
    calls: int
    failed: int
    injected: int


def edges_of(calls: Iterable[Call]) -> list[Edge]:
    """The graph's edges."""
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for call in calls:
        sums[call.caller, call.service][0] += call.count
        sums[call.caller, call.service][1] += call.count if call.failed else 0
        sums[call.caller, call.service][2] += call.count if call.injected else 0
    return [Edge(*pair, *numbers) for pair, numbers in sorted(sums.items())]


def columns_of(edges: Sequence[Edge]) -> list[list[str]]:
    """The services by their distance from those whom nobody calls; a loop of calls begins at its first caller."""
    called = {edge.service for edge in edges}
    layer = [name for name in dict.fromkeys(edge.caller for edge in edges) if name not in called]
    layer = layer or [edges[0].caller]
    columns, placed = [layer], set(layer)
    while layer:
        layer = list(dict.fromkeys(e.service for e in edges if e.caller in layer and e.service not in placed))
        placed |= set(layer)
        if layer:
            columns.append(layer)
        elif rest := [edge.caller for edge in edges if edge.caller not in placed]:
            layer = [rest[0]]
            placed |= set(layer)
            columns.append(layer)
    return columns


def draw_graph(edges: Sequence[Edge]) -> str:
    """Draw it; there must be at least one edge."""
    columns = columns_of(edges)
    rows = max(len(column) for column in columns)
    width, height = 2 * _MARGIN + _BOX[0] + _COLUMN * (len(columns) - 1), 24 + _ROW * rows + 8
    made = theme.figure(max(width, 430), height)
    ax = theme.axes(made, (0, 0, max(width, 430), height))
    ax.set_axis_off()
    ax.set_xlim(0, max(width, 430))
    ax.set_ylim(height, 0)
    where = {}
    for number, column in enumerate(columns):
        for row, name in enumerate(column):
            where[name] = (_MARGIN + _BOX[0] / 2 + _COLUMN * number, 24 + _ROW * (row + 0.5 + (rows - len(column)) / 2))
    for edge in edges:
        _draw_edge(ax, where[edge.caller], where[edge.service], edge)
    for name, (x, y) in where.items():
        box = {"boxstyle": "round,pad=0.45", "facecolor": "#eef2f7", "edgecolor": theme.FAINT, "linewidth": 0.8}
        ax.text(x, y, name, ha="center", va="center", fontsize=9, bbox=box)
    made.text(
        _MARGIN / max(width, 430),
        1 - 15 / height,
        "calls as the callers' sidecars logged them",
        fontsize=8.5,
        color=theme.FAINT,
    )
    return theme.svg(made)


def _draw_edge(ax: object, start: tuple[float, float], stop: tuple[float, float], edge: Edge) -> None:
    colour = theme.FAULT if edge.injected else theme.BAD if edge.failed else theme.FAINT
    label = f"{edge.calls:,} calls"
    if edge.failed:
        label += f", {edge.failed:,} failed"
    if edge.injected:
        label += f"\nfault in {edge.injected:,}"
    forward = stop[0] > start[0]
    half = _BOX[0] / 2 if forward else -_BOX[0] / 2
    arrow = {
        "arrowstyle": "-|>",
        "color": colour,
        "linewidth": 2.2 if edge.injected else 1.4,
        "linestyle": "--" if edge.injected else "-",
    }
    ax.annotate("", (stop[0] - half, stop[1]), (start[0] + half, start[1]), arrowprops=arrow)  # type: ignore[attr-defined]
    x, y = (start[0] + stop[0]) / 2, (start[1] + stop[1]) / 2
    ax.text(x, y - 4, label, ha="center", va="bottom", fontsize=8, color=theme.INK if not edge.failed else theme.BAD)  # type: ignore[attr-defined]
