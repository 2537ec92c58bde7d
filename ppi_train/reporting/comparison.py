"""Report sections and figures that compare several models on the same pairs.

The first model is the reference. `agreement` measures whether two models make the same calls; a paired
bootstrap whether one ranks the pairs better. Importing this module imports matplotlib.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppi_train.evaluation.pair_metrics import Floats, Labels
from ppi_train.evaluation.paired import PairedDifference
from ppi_train.evaluation.ranking import Ranking
from ppi_train.evaluation.uncertainty import agreement
from ppi_train.reporting.figures import BLUE, GREEN, GREY, VERMILLION, dress, new_figure, thinned
from ppi_train.reporting.page import (
    Bar,
    Headline,
    Level,
    Row,
    Section,
    Table,
    columns,
    number,
)
from ppi_train.reporting.sections import described, estimate_of, listed, ranking_scales

_SHOWN = ("auprc", "auroc")

# Okabe & Ito's, the reference in black; colour and line style together distinguish ten models.
_COLOURS = ("black", BLUE, VERMILLION, GREEN, "#CC79A7", "#56B4E9", "#E69F00", "#7A5200", "#5B3A8C", GREY)
_STYLES = ("-", "--", "-.", ":")
_LONGEST = 34


@dataclass(frozen=True, kw_only=True)
class ComparedModel:
    """One model on the pairs that all of them scored.

    Attributes:
        label: Name of the model, different for each.
        probabilities: (n,) in the order of the pairs.
        metrics: By name, with `_ci_low` and `_ci_high`.
        differences: From the reference, by metric; None for the reference.
        trained_on: Number of the pairs that it was trained on; None: they could not be compared.
    """

    label: str
    probabilities: Floats
    metrics: Mapping[str, float]
    differences: Mapping[str, PairedDifference] | None
    trained_on: int | None


def comparison_headline(models: Sequence[ComparedModel], *, prevalence: float) -> Headline:
    """Says which models are better or worse than the reference."""
    reference = models[0]
    sentences = []
    for model in models[1:]:
        assert model.differences is not None, model.label
        found = model.differences["auprc"]
        verdict = {"good": "ranks these pairs better than", "bad": "ranks these pairs worse than"}.get(
            _level(found), "cannot be distinguished from"
        )
        sentences.append(
            f"{model.label} {verdict} {reference.label}: {found.difference:+.3f} AUPRC "
            f"(95% interval {found.low:+.3f} to {found.high:+.3f})."
        )
    bars = {
        name: [Bar(label=model.label, estimate=estimate_of(model.metrics, name)) for model in models]
        for name in _SHOWN
    }
    scales = ranking_scales(bars, prevalence=prevalence, large=False)
    return Headline(sentences=tuple(sentences), scales=scales)


def differences_section(models: Sequence[ComparedModel], *, note: str) -> Section:
    """The paired differences from the reference.

    `note` states how their intervals are computed.
    """
    tables = []
    for name in _SHOWN:
        rows = [_reference_row(models[0], name), *(_difference_row(model, name) for model in models[1:])]
        numbers = (name.upper(), "95% interval", "difference", "its 95% interval")
        heads = columns(["model"], numbers)
        tables.append(Table(caption=f"{name.upper()}. {note}", columns=heads, rows=tuple(rows)))
    text = [
        "All models score the same pairs, and each resample draws the same pairs for both, so that the "
        "interval of a difference is narrower than the models' own intervals suggest."
    ]
    if len(models) > 2:
        text.append(
            "The intervals are not corrected for multiple comparisons: of twenty models as good as the "
            "reference, one is expected to look better or worse. And a test set that was used to pick the "
            "best of many models no longer tests it."
        )
    return Section(text=tuple(text), tables=tuple(tables))


def _reference_row(model: ComparedModel, name: str) -> Row:
    found = estimate_of(model.metrics, name)
    cells = (model.label, number(found.value), found.interval or "–", "–", "–")
    return Row(cells=cells, word="reference")


def _difference_row(model: ComparedModel, name: str) -> Row:
    assert model.differences is not None, model.label
    found, own = model.differences[name], estimate_of(model.metrics, name)
    level = _level(found)
    return Row(
        cells=(
            model.label,
            number(own.value),
            own.interval or "–",
            *found.cells,
        ),
        level=level,
        word={"good": "better", "bad": "worse"}.get(level, "no clear difference"),
    )


def _level(found: PairedDifference) -> Level:
    return "good" if found.low > 0 else "bad" if found.high < 0 else "even"


def all_metrics_section(models: Sequence[ComparedModel]) -> Section:
    """Every metric of every model, with its interval."""
    rows = tuple(
        Row(cells=(described(name)[0], *(_with_interval(model.metrics, name) for model in models)))
        for name in listed(models[0].metrics)
    )
    heads = columns(["metric"], [model.label for model in models])
    caption = "Value and 95% interval; calls at a probability of 0.5 or above"
    return Section(tables=(Table(caption=caption, columns=heads, rows=rows),))


def _with_interval(metrics: Mapping[str, float], name: str) -> str:
    if name not in metrics:
        return "–"
    found = estimate_of(metrics, name)
    return f"{number(found.value)} ({found.interval})" if found.interval else number(found.value)


def agreement_section(models: Sequence[ComparedModel], labels: Labels) -> Section:
    """Compares the ranks and the calls of each two models."""
    rows = []
    for place, first in enumerate(models):
        for second in models[place + 1 :]:
            found = agreement(first.probabilities, second.probabilities, labels)
            shares = (found.same_calls, found.first_alone, found.second_alone)
            cells = (
                first.label,
                second.label,
                number(found.rank_correlation),
                *(f"{share:.1%}" for share in shares),
            )
            rows.append(Row(cells=cells))
    numbers = ("rank correlation", "same call", "only the first is right", "only the second is right")
    heads = columns(["first model", "second model"], numbers)
    text = (
        "Two models with the same AUPRC may find different pairs: where they agree least, their mean may do "
        "better than either.",
    )
    caption = "Spearman's correlation of the scores, and the calls at a probability of 0.5"
    return Section(text=text, tables=(Table(caption=caption, columns=heads, rows=tuple(rows)),))


def trained_on_section(models: Sequence[ComparedModel], *, pairs: int) -> Section:
    """Whether a model has seen the pairs that it is judged by."""
    rows = tuple(_trained_on_row(model, pairs) for model in models)
    heads = columns(["model"], ["test pairs that it was trained on", "share"])
    text = (
        "A model that was trained on test pairs, directly or through an ancestor, has an unfair advantage. "
        "For the overlap of proteins, see the page of each model's own evaluation.",
    )
    return Section(text=text, tables=(Table(caption="Even one is too many", columns=heads, rows=rows),))


def _trained_on_row(model: ComparedModel, pairs: int) -> Row:
    if model.trained_on is None:
        return Row(cells=(model.label, "could not be compared", ""), level="bad", word="unknown")
    return Row(
        cells=(model.label, f"{model.trained_on:,}", f"{model.trained_on / pairs:.1%}"),
        level="bad" if model.trained_on else "good",
        word="leak" if model.trained_on else "fine",
    )


def roc_curves_figure(models: Sequence[ComparedModel], labels: Labels) -> Figure:
    """The ROC curves of models on the same pairs, with labels (n,)."""
    figure = new_figure(5.6, 6.0)
    axes = figure.subplots()
    for place, model in enumerate(models):
        false_rate, true_rate = thinned(*Ranking.of(model.probabilities, labels).roc_curve())
        _draw(axes, place, model, "auroc", false_rate, true_rate)
    axes.plot((0, 1), (0, 1), color=GREY, linewidth=1)
    _finish(axes, "ROC", "false positive rate", "true positive rate")
    return figure


def precision_recall_curves_figure(models: Sequence[ComparedModel], labels: Labels) -> Figure:
    """The precision-recall curves of models on the same pairs, with labels (n,)."""
    figure = new_figure(5.6, 6.0)
    axes = figure.subplots()
    for place, model in enumerate(models):
        precision, recall = thinned(*Ranking.of(model.probabilities, labels).precision_recall_curve())
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
