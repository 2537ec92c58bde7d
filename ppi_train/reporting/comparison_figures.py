"""Figures that compare the curves of several models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppi_train.evaluation.pair_metrics import Labels
from ppi_train.reporting.comparison import ComparedModel
from ppi_train.reporting.figures import BLUE, GREEN, GREY, VERMILLION, dress, new_figure, thinned

# Okabe & Ito's, the reference in black; colour and line style together distinguish ten models.
_COLOURS = ("black", BLUE, VERMILLION, GREEN, "#CC79A7", "#56B4E9", "#E69F00", "#7A5200", "#5B3A8C", GREY)
_STYLES = ("-", "--", "-.", ":")
_LONGEST = 34


def roc_curves_figure(models: Sequence[ComparedModel], labels: Labels) -> Figure:
    """The ROC curves of models on the same pairs, with labels (n,)."""
    from sklearn.metrics import roc_curve  # over one second to import

    figure = new_figure(5.6, 6.0)
    axes = figure.subplots()
    for place, model in enumerate(models):
        false_rate, true_rate = thinned(*roc_curve(labels, model.probabilities)[:2])
        _draw(axes, place, model, "auroc", false_rate, true_rate)
    axes.plot((0, 1), (0, 1), color=GREY, linewidth=1)
    _finish(axes, "ROC", "false positive rate", "true positive rate")
    return figure


def precision_recall_curves_figure(models: Sequence[ComparedModel], labels: Labels) -> Figure:
    """The precision-recall curves of models on the same pairs, with labels (n,)."""
    from sklearn.metrics import precision_recall_curve  # over one second to import

    figure = new_figure(5.6, 6.0)
    axes = figure.subplots()
    for place, model in enumerate(models):
        precision, recall = thinned(
            *precision_recall_curve(labels, model.probabilities, drop_intermediate=True)[:2]
        )
        _draw(axes, place, model, "auprc", recall, precision, drawstyle="steps-post")
    axes.axhline(float(np.mean(labels)), color=GREY, linewidth=1)
    _finish(axes, "Precision-recall", "recall", "precision")
    return figure


def differences_figure(models: Sequence[ComparedModel], metric: str) -> Figure:
    """Differences of all models from the first, with their intervals.

    `metric` is `auprc` or `auroc`.
    """
    others = models[1:]
    figure = new_figure(5.6, 1.3 + 0.4 * len(others))
    axes = figure.subplots()
    axes.axvline(0, color=GREY, linewidth=1.2, linestyle="--")
    for place, model in enumerate(others):
        assert model.differences is not None, model.label
        found = model.differences[metric]
        axes.plot((found.low, found.high), (place, place), color=BLUE, linewidth=3, alpha=0.5)
        axes.plot(found.difference, place, "o", color=BLUE, markersize=7)
    dress(axes, "", f"difference in {metric.upper()} to the reference", "", legend=None)
    axes.margins(x=0.12)
    axes.locator_params(axis="x", nbins=5)
    axes.set_ylim(len(others) - 0.4, -0.6)
    names = [f"{place}. {_short(model.label)}" for place, model in enumerate(others, start=2)]
    axes.set_yticks(range(len(others)), names, parse_math=False)
    return figure


def _draw(
    axes: Axes,
    place: int,
    model: ComparedModel,
    metric: str,
    x: np.ndarray,
    y: np.ndarray,
    *,
    drawstyle: str = "default",
) -> None:
    axes.plot(
        x,
        y,
        color=_COLOURS[place],
        linestyle=_STYLES[place % len(_STYLES)],
        linewidth=1.8,
        drawstyle=drawstyle,
        label=f"{place + 1}. {_short(model.label)}: {model.metrics[metric]:.3f}",
    )


def _finish(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    dress(axes, title, x_label, y_label, legend=None)
    legend = axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.14), fontsize=9.5, frameon=False, handlelength=3
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "…"
