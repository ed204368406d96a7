"""The service graph: who called whom, how often, what went wrong, and where a fault was injected."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from meshbdd.evidence import Call
from meshbdd.report.draw import theme

_COLUMN, _ROW, _MARGIN, _BOX = 290, 66, 14, (140, 26)
_LONGEST = 22
"""Characters of a name that fit into its box."""


@dataclass(frozen=True, slots=True)
class Edge:
    """All calls from one service, or from a workload that belongs to none, to another.

    Attributes:
        caller: Who called.
        service: Who was called.
        calls: How often.
        failed: How many of these had no answer, or one that says so.
        injected: Into how many a fault was injected.
        faulted: Whether a fault was in force here.
        flags: Response flag → calls that bore it, injected faults' aside.
    """

    caller: str
    service: str
    calls: int
    failed: int
    injected: int
    faulted: bool = False
    flags: tuple[tuple[str, int], ...] = ()

    @property
    def told(self) -> list[str]:
        """What is written beside it."""
        lines = [
            f"{self.calls:,} call{'' if self.calls == 1 else 's'}"
            + (f", {self.failed:,} failed" if self.failed else "")
        ]
        marks = [f"fault in {self.injected:,}"] if self.injected else ["fault here"] if self.faulted else []
        marks += [f"{flag} in {count:,}" for flag, count in self.flags]
        return [*lines, ", ".join(marks)] if marks else lines


def edges_of(calls: Iterable[Call], faulty: Container[str] = ()) -> list[Edge]:
    """The graph's edges.

    Args:
        calls: As the callers' sidecars logged them.
        faulty: Services that a fault was in force for, and met a call.
    """
    kinds: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in calls:
        kinds[call.part_of or call.caller, call.service].append(call)
    edges = []
    for pair, same in sorted(kinds.items()):
        flags = Counter({flag: 0 for call in same for flag in call.flags if flag not in {"FI", "DI"}})
        for call in same:
            flags.update({flag: call.count for flag in call.flags if flag in flags})
        failed = sum(call.count for call in same if call.failed)
        injected = sum(call.count for call in same if call.injected)
        here = bool(injected) or (pair[1] in faulty and failed > 0)
        edges.append(Edge(*pair, sum(call.count for call in same), failed, injected, here, tuple(flags.most_common(2))))
    return edges


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
    labels = _Labels([(x, y, _BOX[0], _BOX[1]) for x, y in where.values()])
    for edge in edges:
        _draw_edge(picture, where[edge.caller], where[edge.service], edge, labels)
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


class _Labels:
    """Finds places for words where none are yet.

    Args:
        taken: Boxes: the middle, the width and the height of each.
    """

    _PLACES = (0.5, 0.62, 0.38, 0.74, 0.26)

    def __init__(self, taken: Sequence[tuple[float, float, float, float]]) -> None:
        self._taken = list(taken)

    def place(self, tail: tuple[float, float], head: tuple[float, float], lines: Sequence[str]) -> tuple[float, float]:
        """The middle of the lowest line, along an edge or a little beside it."""
        wide, high = max(map(len, lines)) * 4.5, 11.0 * len(lines)
        tries = [
            (tail[0] + (head[0] - tail[0]) * share, tail[1] + (head[1] - tail[1]) * share + 3 + aside + high / 2)
            for aside in (0, 14, -high - 14, 28, -high - 28)
            for share in self._PLACES
        ]
        x, y = next((found for found in tries if self._free(*found, wide, high)), tries[0])
        self._taken.append((x, y, wide, high))
        return x, y - high / 2 + 3

    def _free(self, x: float, y: float, wide: float, high: float) -> bool:
        return all(abs(x - a) >= (wide + w) / 2 or abs(y - b) >= (high + h) / 2 for a, b, w, h in self._taken)


def _draw_edge(
    picture: theme.Picture, start: tuple[float, float], stop: tuple[float, float], edge: Edge, labels: _Labels
) -> None:
    colour = theme.FAULT if edge.faulted else theme.BAD if edge.failed else theme.FAINT
    side = _BOX[0] / 2 if stop[0] > start[0] else -_BOX[0] / 2
    tail, head = (start[0] + side, start[1]), (stop[0] - side, stop[1])
    picture.path([[tail, head]], line=colour, width=2.2 if edge.faulted else 1.4, dashed=edge.faulted)
    angle = math.atan2(head[1] - tail[1], head[0] - tail[0])
    wings = [(head[0] - 9 * math.cos(angle + turn), head[1] - 9 * math.sin(angle + turn)) for turn in (0.4, -0.4)]
    picture.path([[head, *wings, head]], fill=colour)
    x, y = labels.place(tail, head, edge.told)
    for row, line in enumerate(reversed(edge.told)):
        picture.text(x, y + 11 * row, line, size=8, colour=theme.BAD if edge.failed else theme.INK, across="center")
