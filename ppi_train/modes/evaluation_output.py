"""Figures and predictions that an evaluation logs to its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ppi_train.data.pairs import PairTable
from ppi_train.evaluation.pair_metrics import sigmoid
from ppi_train.inference.output import write_predictions
from ppi_train.tracking.run import TrackedRun


def log_evaluation(
    table: PairTable,
    logits: np.ndarray,
    tracked: TrackedRun,
    output: Path,
    *,
    title: str,
    split: str,
    uncertainty: np.ndarray | None = None,
    history: Sequence[Mapping[str, float]] = (),
    best_metric: str = "val/auroc",
) -> None:
    """Logs the figures and the prediction table of scored pairs.

    Args:
        logits: Calibrated.
        uncertainty: The standard deviation of each logit; all zero where the model has none.
    """
    # matplotlib takes half a second to import, which must not delay the first training step.
    from ppi_train.reporting import figures

    probabilities, labels = sigmoid(logits), table.required_labels
    if uncertainty is not None and not uncertainty.any():
        uncertainty = None  # the model estimates none
    drawn = {"reliability": figures.reliability_figure(probabilities, labels, title)}
    if 0 < table.positives < len(table):  # the other figures need both classes
        drawn |= {
            "roc": figures.roc_figure(probabilities, labels, title),
            "precision_recall": figures.precision_recall_figure(probabilities, labels, title),
            "score_histogram": figures.score_histogram_figure(probabilities, labels, title),
        }
        if uncertainty is not None:
            drawn["precision_by_kept"] = figures.selective_figure(probabilities, labels, uncertainty, title)
    if history:
        drawn["curves"] = figures.curves_figure(history, best_metric=best_metric)
    figures.save_figures(drawn, output / "figures")
    tracked.log_folder(output / "figures", "figures")
    file = output / "predictions" / f"{split}.parquet"
    write_predictions(file, table, logits, probabilities, uncertainty)
    tracked.log_folder(output / "predictions", "predictions")
