"""What all plots share: colours, a frame with scales, and SVG that is small and the same in a light and a dark report.

matplotlib writes the SVG; its Axes are left out, because they would take four fifths of the time of a plot.
"""

from __future__ import annotations

import importlib.util
import io
import math
import re
import warnings
from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace

HOW_TO_DRAW = "Plots need matplotlib: pip install 'meshbdd[report]' draws them from the next run on."

INK, FAINT, PAPER, BOX = "#1f2933", "#7b8794", "#ffffff", "#eef2f7"
GOOD, BAD, FAULT, PHASE, STATE = "#1b7f4b", "#c62828", "#f59e0b", "#3b6fb6", "#5b4b9a"
"""Told apart by form or label too, never by colour alone."""

_DPI = 72  # SVG's points are pixels then
_NUMBER = re.compile(r"(\d+\.\d)\d+")
_PATH = re.compile(r' d="([^"]*)"')
_DOT = re.compile(r"M([\d.]+) ([\d.]+)L\1 \2(?=M|$)")
_JUNK = re.compile(
    r"<metadata>.*?</metadata>|<!--.*?-->|<\?xml[^>]*\?>|<!DOCTYPE[^>]*>|<title>.*?</title>"
    r"|<g id=\"\w+\">|</g>| transform=\"rotate\(-0 [^\"]*\)\"|; stroke-linejoin: miter|font-family: 'DejaVu Sans', sans-serif; ",
    re.DOTALL,
)
"""What no reader of the picture needs; a fourth of its bytes."""
_TEXT = re.compile(r'<text style="([^"]*)"')
_USUAL = re.compile(rf"font-size: 9px(; )?|text-anchor: start(; )?|(; )?fill: {INK}")
"""What the style sheet of a picture says of all its words, or is so by itself."""


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


@cache
def _library() -> SimpleNamespace:
    import matplotlib as mpl  # noqa: PLC0415 - half a second, and an extra
    from matplotlib import patches, path, text, transforms  # noqa: PLC0415
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    mpl.rcParams.update(
        {
            "svg.fonttype": "none",  # text stays text: smaller, and a reviewer can search and copy it
            "svg.hashsalt": "meshbdd",
            "font.sans-serif": ["DejaVu Sans"],
            "path.simplify": False,
        }
    )
    pixels = transforms.IdentityTransform()
    return SimpleNamespace(
        Figure=Figure, Canvas=FigureCanvasSVG, Path=path.Path, Patch=patches.PathPatch, Text=text.Text, pixels=pixels
    )


class Picture:
    """An empty picture.

    Args:
        width: In pixels.
        height: In pixels; it counts from below.
    """

    def __init__(self, width: float, height: float) -> None:
        library = _library()
        self._library = library
        self._figure = library.Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=PAPER)
        library.Canvas(self._figure)
        self.height = height

    def path(
        self, strokes: Sequence[Sequence[tuple[float, float]]], *, line: str | None = None, fill: str | None = None,
        width: float = 1.0, alpha: float = 1.0, round_ends: bool = False, dashed: bool = False,
    ) -> None:  # fmt: skip
        """Lines or filled shapes, all of one look, as one element."""
        strokes = [stroke for stroke in strokes if stroke]
        if not strokes:
            return
        points = [point for stroke in strokes for point in stroke]
        move, to = self._library.Path.MOVETO, self._library.Path.LINETO
        codes = [code for stroke in strokes for code in (move, *[to] * (len(stroke) - 1))]
        patch = self._library.Patch(
            self._library.Path(points, codes), transform=self._library.pixels, fill=fill is not None, facecolor=fill or "none",
            edgecolor=line or "none", linewidth=width if line else 0, alpha=alpha,
            capstyle="round" if round_ends else "butt", linestyle=(0, (4, 3)) if dashed else "-",
        )  # fmt: skip
        self._figure.add_artist(patch)

    def box(self, left: float, low: float, right: float, high: float, fill: str, alpha: float = 1.0) -> None:
        """A filled rectangle."""
        self.path([[(left, low), (right, low), (right, high), (left, high), (left, low)]], fill=fill, alpha=alpha)

    def text(
        self, x: float, y: float, words: str, *, size: float = 9, colour: str = INK, across: str = "left",
        up: str = "baseline", bold: bool = False, turned: bool = False,
    ) -> None:  # fmt: skip
        """Words; ``across`` and ``up`` say which point of them lies at (x, y)."""
        made = self._library.Text(
            x, y, words, fontsize=size, color=colour, ha=across, va=up, fontweight="bold" if bold else "normal",
            rotation=90 if turned else 0, transform=self._library.pixels, parse_math=False,
        )  # fmt: skip
        self._figure.add_artist(made)

    def svg(self) -> str:
        """The picture as SVG, without what only tools need, its numbers to a hundredth of a pixel."""
        text = io.StringIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # text stays text, and the browser has its own fonts
            self._figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        return _lean(text.getvalue())


def _lean(svg: str) -> str:
    """The same picture in half the bytes, its numbers to a tenth of a pixel: a page holds hundreds of them."""
    svg = _PATH.sub(lambda path: f' d="{_lean_path(path[1])}"', _JUNK.sub("", svg))
    usual = f"text{{font-family:'DejaVu Sans',sans-serif;font-size:9px;fill:{INK}}}"
    svg = svg.replace("*{stroke-linejoin: round", f"{usual}*{{stroke-linejoin: round")
    svg = _TEXT.sub(lambda text: f'<text style="{_USUAL.sub("", text[1])}"', svg).replace('<text style=""', "<text")
    return re.sub(r"\n\s*", "\n", svg).strip() + "\n"


def _lean_path(path: str) -> str:
    short = re.sub(r"\s*([MLz])\s*", r"\1", _NUMBER.sub(r"\1", path)).strip()
    return _DOT.sub(r"M\1 \2h0", short)


class Frame:
    """A part of a picture with scales.

    Args:
        picture: The picture.
        box: (left, low, width, height) in pixels.
        xs: The values at the left and the right edge.
        ys: The values at the lower and the upper edge.
        log: Whether the upright scale is logarithmic.
    """

    def __init__(
        self, picture: Picture, box: tuple[float, float, float, float], xs: tuple[float, float],
        ys: tuple[float, float], *, log: bool = False,
    ) -> None:  # fmt: skip
        self._picture = picture
        self.left, self.low, self.width, self.high = box[0], box[1], box[2], box[3]
        self._xs, self._log = xs, log
        self.ys = ys
        self._scaled = (math.log(ys[0]), math.log(ys[1])) if log else ys

    def x(self, value: float) -> float:
        """Where a value lies across."""
        return self.left + self.width * (value - self._xs[0]) / ((self._xs[1] - self._xs[0]) or 1)

    def y(self, value: float) -> float:
        """Where a value lies upright; inside the frame always."""
        low, high = self._scaled
        share = ((math.log(value) if self._log else value) - low) / ((high - low) or 1)
        return self.low + self.high * min(max(share, 0.0), 1.0)

    def line(
        self, xs: Sequence[float], ys: Sequence[float], colour: str, width: float = 1.5, *, dashed: bool = False
    ) -> None:
        """A line through points."""
        points = [(self.x(x), self.y(y)) for x, y in zip(xs, ys, strict=True)]
        self._picture.path([points], line=colour, width=width, dashed=dashed)

    def band(self, start: float, stop: float, colour: str, alpha: float = 0.16) -> None:
        """The whole height between two values."""
        left, right = (self.x(min(max(value, self._xs[0]), self._xs[1])) for value in (start, stop))
        self._picture.box(left, self.low, right, self.low + self.high, colour, alpha)

    def between(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], colour: str) -> None:
        """The area between two lines."""
        below = [(self.x(x), self.y(y)) for x, y in zip(xs, lows, strict=True)]
        above = [(self.x(x), self.y(y)) for x, y in zip(xs, highs, strict=True)]
        self._picture.path([[*below, *reversed(above)]], fill=colour, alpha=0.14)

    def dots(
        self, xs: Sequence[float], ys: Sequence[float], colour: str, size: float = 4.5, *, cross: bool = False
    ) -> None:
        """Dots, or crosses, all as one element."""
        arm = size * 0.6
        strokes = [(-arm, -arm, arm, arm), (-arm, arm, arm, -arm)] if cross else [(-0.01, 0.0, 0.01, 0.0)]
        points = [(self.x(x), self.y(y)) for x, y in zip(xs, ys, strict=True)]
        lines = [[(x + a, y + b), (x + c, y + d)] for x, y in points for a, b, c, d in strokes]
        self._picture.path(lines, line=colour, width=1.6 if cross else size, alpha=0.75, round_ends=True)

    def scale_across(self, marks: Sequence[float], labels: Sequence[str], name: str = "") -> None:
        """The scale below the frame."""
        ticks = [[(self.x(mark), self.low), (self.x(mark), self.low - 4)] for mark in marks]
        self._picture.path([[(self.left, self.low), (self.left + self.width, self.low)], *ticks], line=FAINT, width=0.8)
        for mark, label in zip(marks, labels, strict=True):
            self._picture.text(self.x(mark), self.low - 15, label, across="center")
        if name:
            self._picture.text(self.left + self.width / 2, self.low - 28, name, across="center")

    def scale_upright(self, marks: Sequence[float], labels: Sequence[str], name: str = "") -> None:
        """The scale at the left of the frame."""
        ticks = [[(self.left, self.y(mark)), (self.left - 4, self.y(mark))] for mark in marks]
        self._picture.path([[(self.left, self.low), (self.left, self.low + self.high)], *ticks], line=FAINT, width=0.8)
        for mark, label in zip(marks, labels, strict=True):
            self._picture.text(self.left - 7, self.y(mark) - 3.2, label, across="right")
        if name:
            self._picture.text(
                self.left - 50, self.low + self.high / 2, name, across="center", up="center", turned=True
            )
