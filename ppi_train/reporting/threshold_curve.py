"""Graph similarity over thresholds: the figure and the table of a report.

Importing this module imports matplotlib; callers import it when they draw.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ppi_train.evaluation.network.curve import ThresholdCurve
from ppi_train.evaluation.pair_metrics import sigmoid
from ppi_train.reporting.figures import BLUE, GREEN, GREY, INK, VERMILLION, as_svg, dress, new_figure
from ppi_train.reporting.page import Picture, Row, Table, columns, number

_COLOURS = (BLUE, VERMILLION, GREEN, GREY)
_MARKERS = ("o", "s", "D")
_ROWS = 9  # thresholds in the table, apart from the marked ones


def similarity_figure(curve: ThresholdCurve, marked: Mapping[str, float]) -> Figure:
    """Graph similarity against relative density over all thresholds, a line for each kind of node sets.

    Args:
        curve: The metrics over the thresholds.
        marked: Thresholds of the curve by name, each with a marker of its own.
    """
    figure = new_figure(6.4, 4.6)
    axes = figure.subplots()
    for (kind, found), colour in zip(curve.by_kind.items(), _COLOURS, strict=False):
        density, similarity = found["relative_density"], found["graph_similarity"]
        shown = np.isfinite(density) & (density > 0)
        axes.plot(density[shown], similarity[shown], color=colour, label=kind.replace("_", " "))
        for threshold, marker in zip(marked.values(), _MARKERS, strict=False):
            place = int(np.searchsorted(curve.thresholds, threshold))
            if shown[place]:
                point = density[place], similarity[place]
                axes.plot(*point, marker=marker, markersize=8, color=colour, markeredgecolor=INK)
    for name, marker in zip(marked, _MARKERS, strict=False):
        axes.plot([], [], marker=marker, color="white", markeredgecolor=INK, linestyle="none", label=name)
    axes.axvline(1.0, color=GREY, linestyle="--", linewidth=1.2)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(bottom=0)
    dress(axes, "Graph similarity over thresholds", "relative density", "graph similarity")
    return figure


def similarity_picture(curve: ThresholdCurve, marked: Mapping[str, float], figure: Figure) -> Picture:
    """The figure for a page."""
    highest = {kind: curve.best(kind)["graph_similarity"] for kind in curve.by_kind}
    reached = ", ".join(f"{kind.replace('_', ' ')} {value:.3f}" for kind, value in highest.items())
    return Picture(
        svg=as_svg(figure),
        alt=f"Graph similarity against relative density over thresholds; highest: {reached}",
        caption=f"What every threshold gives, from strict (left) to lax; marked: {', '.join(marked)}. "
        "The top of a line is chosen with the true network: the limit of these scores, and no result.",
    )


def similarity_table(curve: ThresholdCurve, marked: Mapping[str, float]) -> Table:
    """Graph similarity and relative density at some thresholds, the highest first, and of every pair.

    Args:
        curve: The metrics over the thresholds.
        marked: Thresholds of the curve by name, which all get a row.
    """
    names = {int(np.searchsorted(curve.thresholds, at)): name for name, at in marked.items()}
    spread = np.linspace(0, len(curve.thresholds) - 1, min(_ROWS, len(curve.thresholds))).astype(int)
    measures = {
        f"{kind.replace('_', ' ')}, {name.replace('_', ' ')}": values
        for kind, found in curve.by_kind.items()
        for name, values in found.items()
    }
    rows = tuple(
        Row(
            cells=(
                names.get(place, ""),
                f"{sigmoid(curve.thresholds[place]):.4f}",
                f"{curve.edges[place]:,}",
                *(number(float(values[place])) for values in measures.values()),
            )
        )
        for place in sorted({*spread.tolist(), *names}, reverse=True)
    )
    every_pair = [value for found in curve.everything.values() for value in found.values()]
    rows += (Row(cells=("every pair called", "0", "all", *map(number, every_pair))),)
    heads = columns(["threshold"], ["probability", "edges", *measures])
    return Table(caption="Graph similarity and relative density over thresholds", columns=heads, rows=rows)
