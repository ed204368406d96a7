"""Plots as static SVG: nothing in them runs or is fetched, because reports show attachments in frames that allow neither.

matplotlib (the extra ``report``) is imported when the first plot is drawn, at the end of a scenario.
"""

from meshbdd.report.draw.graph import draw_graph
from meshbdd.report.draw.intervals import draw_decision, draw_growth, draw_interval
from meshbdd.report.draw.theme import HOW_TO_DRAW, can_draw
from meshbdd.report.draw.timeline import draw_timeline

__all__ = ["HOW_TO_DRAW", "can_draw", "draw_decision", "draw_graph", "draw_growth", "draw_interval", "draw_timeline"]
