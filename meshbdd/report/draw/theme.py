"""What all plots share: colours, sizes, and SVG that is small and looks the same in a light and in a dark report."""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

HOW_TO_DRAW = "Plots need matplotlib: pip install 'meshbdd[report]' draws them from the next run on."

INK, FAINT, PAPER = "#1f2933", "#7b8794", "#ffffff"
GOOD, BAD, FAULT, PHASE, CLAIM = "#1b7f4b", "#c62828", "#f59e0b", "#3b6fb6", "#5b4b9a"
"""Told apart by form or label too, never by colour alone."""

_DPI = 72  # SVG's points are pixels then
_NUMBER = re.compile(r"(?<=[\s\"(,;:MLHVCQ-])(\d+\.\d{2})\d+")
_JUNK = re.compile(
    r"<metadata>.*?</metadata>|<!--.*?-->|<\?xml[^>]*\?>|<!DOCTYPE[^>]*>|\s*<title>.*?</title>", re.DOTALL
)


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


@cache
def _library() -> tuple[Any, Any]:
    import matplotlib as mpl  # noqa: PLC0415 - half a second, and an extra
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    mpl.rcParams.update(
        {
            "svg.fonttype": "none",  # text stays text: smaller, and a reviewer can search and copy it
            "svg.hashsalt": "meshbdd",
            "font.sans-serif": ["DejaVu Sans"],
            "font.size": 9,
            "path.simplify": False,
            "text.color": INK,
            "axes.edgecolor": FAINT,
            "axes.labelcolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.linewidth": 0.7,
        }
    )
    return Figure, FigureCanvasSVG


def figure(width: float, height: float) -> Any:
    """An empty figure, its sides in pixels."""
    make, canvas = _library()
    made = make(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=PAPER)
    canvas(made)
    return made


def axes(made: Any, box: tuple[float, float, float, float]) -> Any:
    """Axes at (left, bottom, width, height) in pixels, without the lines above and at the right."""
    width, height = (side * _DPI for side in made.get_size_inches())
    left, bottom, wide, high = box
    ax = made.add_axes((left / width, bottom / height, wide / width, high / height))
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def ticks(axis: Any, values: Sequence[float], labels: Sequence[str]) -> None:
    """Fixed ticks; finding nice ones takes matplotlib longer than everything else."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator  # noqa: PLC0415 - see above

    axis.set_major_locator(FixedLocator(list(values)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FixedFormatter(list(labels)))


def dots(
    ax: Any, xs: Sequence[float], ys: Sequence[float], colour: str, size: float = 4.5, cross: bool = False
) -> None:
    """Many dots, or crosses, as one path; matplotlib's own markers take ten times the bytes."""
    from matplotlib.patches import PathPatch  # noqa: PLC0415 - see above
    from matplotlib.path import Path  # noqa: PLC0415
    from matplotlib.transforms import IdentityTransform  # noqa: PLC0415

    if not len(xs):
        return
    points = ax.transData.transform(list(zip(xs, ys, strict=True)))
    arm = size * 0.6
    strokes = [(-arm, -arm, arm, arm), (-arm, arm, arm, -arm)] if cross else [(-0.01, 0.0, 0.01, 0.0)]
    vertices, codes = [], []
    for x, y in points:
        for left, low, right, high in strokes:
            vertices += [(x + left, y + low), (x + right, y + high)]
            codes += [Path.MOVETO, Path.LINETO]
    width = 1.6 if cross else size
    style = {
        "transform": IdentityTransform(),
        "capstyle": "round",
        "fill": False,
        "edgecolor": colour,
        "linewidth": width,
    }
    ax.figure.add_artist(PathPatch(Path(vertices, codes), alpha=0.75, **style))


def svg(made: Any) -> str:
    """The figure as SVG, without what only tools need, its numbers to a hundredth of a pixel."""
    text = io.StringIO()
    made.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    lean = _NUMBER.sub(r"\1", _JUNK.sub("", text.getvalue()))
    return re.sub(r"\n\s*", "\n", lean).strip() + "\n"
