"""Tests of the figures: legends, axes, marks, and written files."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from sklearn.metrics import average_precision_score, roc_auc_score

from ppi_train.errors import DataError
from ppi_train.evaluation.pair_metrics import expected_calibration_error, sigmoid
from ppi_train.reporting.figures import (
    curves_figure,
    precision_recall_figure,
    reliability_figure,
    residue_weights_figure,
    roc_figure,
    save_figures,
    score_histogram_figure,
)

PairFigure = Callable[[npt.NDArray[Any], npt.NDArray[Any], str], Figure]
PAIR_FIGURES: list[PairFigure] = [
    roc_figure,
    precision_recall_figure,
    score_histogram_figure,
    reliability_figure,
]


def simulated(pairs: int = 2000) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]:
    rng = np.random.default_rng(0)
    labels = (rng.random(pairs) < 0.4).astype(np.int8)
    return sigmoid(rng.normal(size=pairs) + labels), labels


def history(epochs: int, best: int) -> list[dict[str, float]]:
    """AUROC rises to the best epoch and falls after it."""
    return [
        {
            "epoch": epoch,
            "train/loss": 0.7 - 0.01 * epoch,
            "val/loss": 0.69 + 0.001 * epoch,
            "val/auroc": 0.62 - 0.001 * abs(epoch - best),
            "val/auprc": 0.61 - 0.001 * abs(epoch - best),
        }
        for epoch in range(1, epochs + 1)
    ]


def legend_texts(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [legend.get_title().get_text(), *(text.get_text() for text in legend.get_texts())]


def dashed_lines(axes: Axes) -> list[list[float]]:
    return [np.asarray(line.get_xdata()).tolist() for line in axes.lines if line.get_linestyle() == "--"]


def test_roc_states_the_value_of_sklearn() -> None:
    scores, labels = simulated()
    figure = roc_figure(scores, labels, "a title")
    (axes,) = figure.axes
    assert f"AUROC = {roc_auc_score(labels, scores):.3f}" in legend_texts(axes)
    assert axes.get_title() == "a title"
    assert axes.get_aspect() == 1
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("false positive rate", "true positive rate")


def test_area_under_the_drawn_roc_is_its_auroc() -> None:
    scores, labels = simulated()
    line = roc_figure(scores, labels, "").axes[0].lines[0]
    area = np.trapezoid(np.asarray(line.get_ydata()), np.asarray(line.get_xdata()))
    assert area == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_precision_recall_states_the_value_of_sklearn_and_the_prevalence() -> None:
    scores, labels = simulated()
    (axes,) = precision_recall_figure(scores, labels, "").axes
    auprc = average_precision_score(labels, scores)
    assert legend_texts(axes)[1:] == [f"AUPRC = {auprc:.3f}", f"prevalence = {labels.mean():.3f}"]
    steps, level = axes.lines
    recall, precision = np.asarray(steps.get_xdata()), np.asarray(steps.get_ydata())
    assert np.sum(-np.diff(recall) * precision[:-1]) == pytest.approx(auprc, abs=1e-12)
    np.testing.assert_allclose(np.asarray(level.get_ydata()), labels.mean())


def test_histogram_names_both_classes_with_their_sizes() -> None:
    scores, labels = simulated()
    (axes,) = score_histogram_figure(scores, labels, "").axes
    texts = " | ".join(legend_texts(axes))
    assert f"non-interacting: {int((labels == 0).sum()):,} pairs" in texts
    assert f"interacting: {int(labels.sum())} pairs" in texts


def test_reliability_states_its_error_and_counts_every_pair() -> None:
    scores, labels = simulated()
    figure = reliability_figure(scores, labels, "")
    axes, below = figure.axes
    assert f"observed, ECE = {expected_calibration_error(scores, labels):.3f}" in legend_texts(axes)
    assert sum(bar.get_height() for bar in below.patches) == len(scores)  # type: ignore[attr-defined]


def test_curves_mark_the_best_epoch_in_both_panels() -> None:
    figure = curves_figure(history(30, best=7))
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert dashed_lines(axes) == [[7, 7]]
        assert legend_texts(axes)[0] == "at the best val/auroc, epoch 7"
    assert legend_texts(figure.axes[0])[1:] == ["train = 0.630", "validation = 0.697"]
    assert legend_texts(figure.axes[1])[1:] == ["AUROC = 0.620", "AUPRC = 0.610"]


def test_a_loss_is_best_when_lowest_and_epochs_need_not_start_at_one() -> None:
    resumed = history(10, best=9)[3:]
    figure = curves_figure(resumed, best_metric="val/loss")
    assert dashed_lines(figure.axes[0]) == [[4, 4]]


def test_one_epoch_is_visible() -> None:
    figure = curves_figure(history(1, best=1))
    for axes in figure.axes:
        assert dashed_lines(axes) == [[1, 1]]
        assert axes.get_xlim() == (0, 2)
        assert axes.get_xticks().tolist() == [1]
        assert all(line.get_marker() not in (None, "None") for line in axes.lines[:1])


def test_missing_and_diverged_values_leave_gaps(tmp_path: Path) -> None:
    entries = history(5, best=4)
    entries[3]["val/auroc"] = float("nan")
    del entries[0]["train/loss"]
    figure = curves_figure(entries)
    assert dashed_lines(figure.axes[1]) == [[3, 3]]
    no_validation = curves_figure([{"epoch": 1, "train/loss": 0.5}, {"epoch": 2, "train/loss": 0.4}])
    assert legend_texts(no_validation.axes[0]) == ["at the last epoch, 2", "train = 0.400"]
    figures = {"gaps": figure, "no_validation": no_validation}
    save_figures(figures, tmp_path)


@pytest.mark.parametrize("draw", [figure for figure in PAIR_FIGURES if figure is not reliability_figure])
def test_one_class_is_refused(draw: PairFigure) -> None:
    with pytest.raises(DataError, match="one class only"):
        draw(np.array([0.1, 0.2]), np.array([1, 1]), "")


@pytest.mark.parametrize("draw", PAIR_FIGURES)
def test_two_pairs_are_enough(draw: PairFigure, tmp_path: Path) -> None:
    save_figures({"small": draw(np.array([0.0, 1.0]), np.array([0, 1]), "")}, tmp_path)


def test_files_are_valid_images_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    scores, labels = simulated()

    def drawn() -> dict[str, Figure]:
        figures: dict[str, Figure] = {"curves": curves_figure(history(9, best=5))}
        figures |= {str(place): draw(scores, labels, "title") for place, draw in enumerate(PAIR_FIGURES)}
        return figures

    figures = drawn()
    first = save_figures(figures, tmp_path / "a" / "b")
    assert [path.name for path in first] == ["curves.png", "0.png", "1.png", "2.png", "3.png"]
    again = save_figures(figures, tmp_path / "again")
    anew = save_figures(drawn(), tmp_path / "anew")
    for path, repeated, redrawn in zip(first, again, anew, strict=True):
        assert imread(path).shape[2] == 4
        assert path.read_bytes() == repeated.read_bytes() == redrawn.read_bytes()


def test_pyplot_is_not_used(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import ppi_train.reporting.figures as f; "
        "drawn = f.curves_figure([{'epoch': 1, 'val/auroc': 0.5}]); "
        f"f.save_figures({{'curves': drawn}}, Path({str(tmp_path)!r})); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["$\\evil$", "a$b$c", "../../x", "<b>"])
def test_an_accession_is_text_and_no_formula(name: str) -> None:
    figure = residue_weights_figure([name, name], [np.ones(5), np.ones(7)], f"{name} and {name}")
    figure.savefig(io.BytesIO(), format="png")
    assert figure.get_suptitle() == f"{name} and {name}"
