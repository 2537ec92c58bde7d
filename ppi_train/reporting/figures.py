"""Figures of a run: learning curves, ROC, precision-recall, scores and reliability.

Each function returns a `Figure` with an Agg canvas of its own. pyplot is not used: its global list of
figures leaks memory over a long run, and picks a window system where there is one. Importing
this module imports matplotlib; callers import it when they draw.

The figure of an explanation: residue weights, one panel per protein.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from ppi_train.evaluation.pair_metrics import (
    THRESHOLD,
    checked_probabilities,
    expected_calibration_error,
    reliability_bins,
)
from ppi_train.evaluation.ranking import Ranking
from ppi_train.evaluation.uncertainty import precision_by_kept

# Okabe & Ito 2008, "Color universal design": distinguishable with every common form of colour blindness
BLUE, VERMILLION, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#8A8A8A", "#333333"
DPI = 150
_FEW_POINTS = 2000
_RESOLUTION = 1000  # steps of a curve from 0 to 1
_LOWER_IS_BETTER = ("loss", "brier", "ece")

Place = Literal["best", "lower left", "lower right", "upper left", "upper right", "upper center"]


def curves_figure(history: Sequence[Mapping[str, float]], *, best_metric: str = "val/auroc") -> Figure:
    """Loss, and AUROC with AUPRC, over the epochs.

    Args:
        history: One entry per epoch: `epoch` and any of `train/loss`, `val/loss`, `val/auroc` and
            `val/auprc`; a value that is absent or not finite leaves a gap.
        best_metric: The metric whose best epoch is marked; losses, Brier and ECE are best when lowest.
    """
    assert history, "no epoch to draw"
    figure = new_figure(10.0, 4.2)
    loss, quality = figure.subplots(1, 2)
    lines = {"train/loss": ("train", BLUE, "o"), "val/loss": ("validation", VERMILLION, "s")}
    _draw_curves(loss, history, lines, "Loss", "loss", best_metric)
    lines = {"val/auroc": ("AUROC", BLUE, "o"), "val/auprc": ("AUPRC", VERMILLION, "s")}
    _draw_curves(quality, history, lines, "Validation", "AUROC, AUPRC", best_metric)
    return figure


def roc_figure(probabilities: npt.NDArray[Any], labels: npt.NDArray[Any], title: str) -> Figure:
    """True against false positive rate over all thresholds; probabilities and labels (n,)."""
    values, truth = checked_probabilities(probabilities, labels)
    ranking = Ranking.of(values, truth)
    false_rate, true_rate = thinned(*ranking.roc_curve())
    figure = new_figure(5.2, 5.2)
    axes = figure.subplots()
    axes.fill_between(false_rate, true_rate, color=BLUE, alpha=0.10, linewidth=0)
    axes.plot(false_rate, true_rate, color=BLUE, linewidth=2, label=f"AUROC = {ranking.auroc():.3f}")
    axes.plot((0, 1), (0, 1), color=GREY, linestyle="--", linewidth=1.2, label="chance = 0.500")
    _unit_square(axes)
    dress(axes, title, "false positive rate", "true positive rate", legend="lower right")
    return figure


def precision_recall_figure(probabilities: npt.NDArray[Any], labels: npt.NDArray[Any], title: str) -> Figure:
    """Precision against recall as steps, with the prevalence; arrays (n,).

    The area under the steps is the AUPRC.
    """
    values, truth = checked_probabilities(probabilities, labels)
    ranking, prevalence = Ranking.of(values, truth), float(truth.mean())
    auprc = ranking.average_precision()
    precision, recall = thinned(*ranking.precision_recall_curve())
    figure = new_figure(5.2, 5.2)
    axes = figure.subplots()
    axes.fill_between(recall, precision, step="post", color=BLUE, alpha=0.10, linewidth=0)
    axes.plot(
        recall, precision, drawstyle="steps-post", color=BLUE, linewidth=2, label=f"AUPRC = {auprc:.3f}"
    )
    label = f"prevalence = {prevalence:.3f}"
    axes.axhline(prevalence, color=GREY, linestyle="--", linewidth=1.2, label=label)
    _unit_square(axes)
    place: Place = "lower left" if prevalence > 0.3 else "upper right"
    dress(axes, title, "recall", "precision", legend=place)
    return figure


def score_histogram_figure(probabilities: npt.NDArray[Any], labels: npt.NDArray[Any], title: str) -> Figure:
    """Histograms of the probabilities of each class; arrays (n,).

    The bars of each class sum to 100%.
    """
    values, truth = checked_probabilities(probabilities, labels)
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    edges = np.linspace(0.0, 1.0, 51)
    for label, name, colour in ((0, "non-interacting", BLUE), (1, "interacting", VERMILLION)):
        chosen = values[truth == label]
        share = np.histogram(chosen, bins=edges)[0] / chosen.size
        text = f"{name}: {chosen.size:,} pairs, mean {chosen.mean():.3f}"
        axes.stairs(share, edges, fill=True, color=colour, alpha=0.22)
        axes.stairs(share, edges, color=colour, linewidth=1.8, label=text)
    axes.axvline(THRESHOLD, color=GREY, linestyle="--", linewidth=1.2, label=f"threshold {THRESHOLD}")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.3)  # headroom, so that the legend covers no bar
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    dress(axes, title, "predicted probability", "share of the class", legend="upper center")
    return figure


def reliability_figure(probabilities: npt.NDArray[Any], labels: npt.NDArray[Any], title: str) -> Figure:
    """Observed frequency against predicted probability per bin; arrays (n,).

    A second panel shows the number of pairs in each bin.
    """
    values, truth = checked_probabilities(probabilities, labels, both_classes=False)
    bins = reliability_bins(values, truth)
    figure = new_figure(5.2, 6.6)
    axes, below = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    axes.plot((0, 1), (0, 1), color=GREY, linestyle="--", linewidth=1.2, label="perfect calibration")
    ece = expected_calibration_error(values, truth)
    axes.vlines(bins.confidence, bins.confidence, bins.frequency, color=VERMILLION, linewidth=1.5, alpha=0.7)
    label = f"observed, ECE = {ece:.3f}"
    axes.plot(bins.confidence, bins.frequency, color=BLUE, marker="o", linewidth=1.8, label=label)
    _unit_square(axes)
    dress(axes, title, "", "observed share interacting", legend="upper left")
    below.bar(bins.lower, bins.pairs, bins.upper - bins.lower, align="edge", color=BLUE, alpha=0.6)
    below.set_ylim(0, None)
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    below.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    dress(below, "", "predicted probability", "pairs", legend=None)
    return figure


def selective_figure(
    probabilities: npt.NDArray[Any], labels: npt.NDArray[Any], uncertainty: npt.NDArray[Any], title: str
) -> Figure:
    """Precision against the fraction kept, most certain pairs first; arrays (n,).

    The deviation of the logit alone is not a useful order, since pairs near 1/2 have small ones too. So one
    curve orders pairs by how many deviations their logit is away from zero, and for comparison a second one
    by the distance of the probability from 1/2.
    """
    values, truth = checked_probabilities(probabilities, labels)
    inside = np.clip(values, 1e-12, 1 - 1e-12)
    deviations = np.log(inside / (1 - inside)) / np.maximum(uncertainty, 1e-12)
    orders = {
        "by distance in deviations": (-np.abs(deviations), BLUE, "o"),
        "by distance from 1/2": (-np.abs(values - THRESHOLD), VERMILLION, "s"),
    }
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    for name, (order, colour, marker) in orders.items():
        kept = precision_by_kept(values, truth, order)
        axes.plot(kept.fractions, kept.precision, color=colour, marker=marker, linewidth=1.8, label=name)
    axes.set_xlim(0, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    dress(axes, title, "share of the pairs kept, the surest first", "precision", legend="best")
    return figure


def save_figures(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Writes each figure as `<name>.png` into `folder`, and returns the paths.

    The paths are in the order of the mapping. The same figure gives the same bytes: neither the time nor
    matplotlib's version is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        _freeze_layout(figure)
        # `savefig` draws twice, the first time to find what the frozen layout has settled.
        FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})  # type: ignore[no-untyped-call]
        paths.append(path)
    return paths


def as_svg(figure: Figure, *, title: str | None = None) -> bytes:
    """Renders a figure as SVG with text as paths.

    The same figure gives the same bytes.

    Args:
        figure: What to render.
        title: Replaces the title of the first panel, which has one of the same height.
    """
    sink = io.BytesIO()
    _freeze_layout(figure)
    if title is not None:
        figure.axes[0].title.set_text(title)
    with rc_context({"svg.hashsalt": "ppi_train", "svg.fonttype": "path"}):
        FigureCanvasSVG(figure).print_svg(sink, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return sink.getvalue()


def thinned(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Drops the points of a curve that would not be visible.

    The curve lies within the unit square; a point is dropped if it is in the same screen cell as the one
    before. A curve of 50,000 points is 2 MB of SVG, and looks like one of 1,000. Short curves stay as they
    are.
    """
    if len(x) <= _FEW_POINTS:
        return x, y
    cells = np.round(np.stack([x, y]) * _RESOLUTION)
    keep = np.ones(len(x), dtype=bool)
    keep[1:] = (cells[:, 1:] != cells[:, :-1]).any(axis=0)
    keep[-1:] = True
    return x[keep], y[keep]


def new_figure(width: float, height: float) -> Figure:
    """Makes an empty figure, in inches, without pyplot."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _freeze_layout(figure: Figure) -> None:
    """Computes the layout once and switches the layout engine off.

    The engine moves the axes a little each time, so that a second file would differ.
    """
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.execute(figure)
        figure.set_layout_engine("none")


def dress(axes: Axes, title: str, x_label: str, y_label: str, *, legend: Place | None = "best") -> None:
    """Gives a panel its labels and the common grid, fonts and frame.

    The style does not depend on the user's matplotlibrc.
    """
    # A user's table name may contain $, and matplotlib would fail to parse the text between as a formula.
    axes.set_title(title, fontsize=13, color=INK, parse_math=False)
    axes.set_xlabel(x_label, fontsize=12, color=INK, parse_math=False)
    axes.set_ylabel(y_label, fontsize=12, color=INK, parse_math=False)
    axes.tick_params(labelsize=10.5, colors=INK)
    axes.grid(True, color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    if legend is not None and axes.get_legend_handles_labels()[0]:
        axes.legend(loc=legend, fontsize=10.5, frameon=True, framealpha=0.9, edgecolor="#DDDDDD")


def _unit_square(axes: Axes) -> None:
    margin = 0.01  # a curve along the frame stays visible
    axes.set_xlim(-margin, 1 + margin)
    axes.set_ylim(-margin, 1 + margin)
    axes.set_aspect("equal")


def _draw_curves(
    axes: Axes,
    history: Sequence[Mapping[str, float]],
    lines: Mapping[str, tuple[str, str, str]],
    title: str,
    y_label: str,
    best_metric: str,
) -> None:
    """Draws metrics over the epochs, with the best epoch marked.

    `lines` maps each metric to its label, colour and marker.
    """
    best = _best_epoch(history, best_metric)
    epochs = np.array([entry["epoch"] for entry in history], dtype=np.float64)
    for name, (label, colour, marker) in lines.items():
        values = _series(history, name)
        if not np.isfinite(values).any():
            continue
        shown = marker if len(history) <= 20 else None  # markers of many epochs would overlap
        chosen = values[-1] if best is None else values[best]
        text = f"{label} = {chosen:.3f}"
        axes.plot(epochs, values, color=colour, linewidth=1.8, marker=shown, markersize=5, label=text)
        if best is not None:
            axes.plot(epochs[best], chosen, color=colour, marker=marker, markersize=9, markeredgecolor=INK)
    if best is not None:
        axes.axvline(epochs[best], color=GREY, linestyle="--", linewidth=1.2, zorder=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if len(history) == 1:  # one point has no range of its own
        axes.set_xticks(epochs)
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
    dress(axes, title, "epoch", y_label)
    legend = axes.get_legend()
    if legend is not None:
        last = f"last epoch, {epochs[-1]:.0f}"
        which = last if best is None else f"best {best_metric}, epoch {epochs[best]:.0f}"
        legend.set_title(f"at the {which}")
        legend.get_title().set_fontsize(10.5)
        legend.set_alignment("left")


def _best_epoch(history: Sequence[Mapping[str, float]], metric: str) -> int | None:
    """Index of the metric's best epoch, or None without finite values.

    Of equal values the first counts.
    """
    values = _series(history, metric)
    if not np.isfinite(values).any():
        return None
    lower = metric.rsplit("/", 1)[-1] in _LOWER_IS_BETTER
    return int(np.nanargmin(values) if lower else np.nanargmax(values))


def _series(history: Sequence[Mapping[str, float]], name: str) -> npt.NDArray[np.float64]:
    """One metric over the epochs; NaN where absent or not finite."""
    values = np.array([entry.get(name, np.nan) for entry in history], dtype=np.float64)
    return np.where(np.isfinite(values), values, np.nan)


# A longer protein is drawn in at most this many columns, each with the largest weight of its residues.
_COLUMNS = 1200


def residue_weights_figure(proteins: Sequence[str], weights: Sequence[np.ndarray], title: str) -> Figure:
    """Draws the residue weights of two proteins, relative to the largest.

    Each protein's weights (l,) are divided by its own largest weight.
    """
    figure = new_figure(10.0, 4.6)
    # An accession may contain $, and matplotlib would fail to parse the text between as a formula.
    figure.suptitle(title, parse_math=False)
    panels = figure.subplots(2, 1)
    for axes, protein, values, colour in zip(panels, proteins, weights, (BLUE, VERMILLION), strict=True):
        stride = -(-len(values) // _COLUMNS)
        starts = np.arange(0, len(values), stride)
        largest = np.maximum.reduceat(values, starts) / max(float(values.max()), 1e-30)
        axes.fill_between(starts + 1, largest, step="post", color=colour, linewidth=0)
        axes.set_xlim(1, len(values) + 1)
        axes.set_ylim(0, 1.05)
        axes.set_title(f"{protein}, {len(values):,} residues", loc="left", fontsize=10, parse_math=False)
        axes.set_ylabel("weight / largest")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("residue")
    return figure
