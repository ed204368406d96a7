"""The service graph: who called whom, how often, what went wrong, and where a fault was injected."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from meshbdd.evidence import Call
from meshbdd.report.draw import theme

_COLUMN, _ROW, _MARGIN, _BOX = 240, 62, 14, (132, 26)
_LONGEST = 22
"""Characters of a name that fit into its box."""


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
    width = max(2 * _MARGIN + _BOX[0] + _COLUMN * (len(columns) - 1), 430)
    height = 24 + _ROW * rows + 8
    picture = theme.Picture(width, height)
    where = {}
    for number, column in enumerate(columns):
        for row, name in enumerate(column):
            down = 24 + _ROW * (row + 0.5 + (rows - len(column)) / 2)
            where[name] = (_MARGIN + _BOX[0] / 2 + _COLUMN * number, height - down)
    for edge in edges:
        _draw_edge(picture, where[edge.caller], where[edge.service], edge)
    for name, (x, y) in where.items():
        wide, high = _BOX[0] / 2, _BOX[1] / 2
        corners = [
            (x - wide, y - high),
            (x + wide, y - high),
            (x + wide, y + high),
            (x - wide, y + high),
            (x - wide, y - high),
        ]
        picture.path([corners], line=theme.FAINT, fill=theme.BOX)
        picture.text(x, y - 3, name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…", across="center")
    picture.text(_MARGIN, height - 15, "calls as the callers' sidecars logged them", size=8.5, colour=theme.FAINT)
    return picture.svg()


def _draw_edge(picture: theme.Picture, start: tuple[float, float], stop: tuple[float, float], edge: Edge) -> None:
    colour = theme.FAULT if edge.injected else theme.BAD if edge.failed else theme.FAINT
    side = _BOX[0] / 2 if stop[0] > start[0] else -_BOX[0] / 2
    tail, head = (start[0] + side, start[1]), (stop[0] - side, stop[1])
    picture.path([[tail, head]], line=colour, width=2.2 if edge.injected else 1.4, dashed=bool(edge.injected))
    angle = math.atan2(head[1] - tail[1], head[0] - tail[0])
    wings = [(head[0] - 9 * math.cos(angle + turn), head[1] - 9 * math.sin(angle + turn)) for turn in (0.4, -0.4)]
    picture.path([[head, *wings, head]], fill=colour)
    lines = [f"{edge.calls:,} calls" + (f", {edge.failed:,} failed" if edge.failed else "")]
    lines += [f"fault in {edge.injected:,}"] if edge.injected else []
    x, y = (tail[0] + head[0]) / 2, (tail[1] + head[1]) / 2
    for row, line in enumerate(reversed(lines)):
        told = theme.BAD if edge.failed else theme.INK
        picture.text(x, y + 8 + 11 * row, line, size=8, colour=told, across="center")
