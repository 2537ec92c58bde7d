"""Tests of weighted metrics against sklearn, repeated rows and unweighted pairs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics

from ppi_train.evaluation.pair_metrics import pair_metrics, sigmoid
from ppi_train.evaluation.weighted_metrics import WeightedPairMetrics, WeightedRanking

Scored = tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]


def simulated(pairs: int, seed: int = 0, decimals: int | None = None) -> Scored:
    """Calibrated scores of AUROC about 0.76; few decimals make ties."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(pairs) < 0.4).astype(np.int8)
    scores = sigmoid(rng.normal(size=pairs) + labels - 0.5 + np.log(0.4 / 0.6))
    return (scores if decimals is None else scores.round(decimals)), labels


def of_weights(scored: Scored, *weights: npt.NDArray[np.int64]) -> list[dict[str, float]]:
    """All metrics by each of the weights (n,), by both ways to compute them."""
    measure, ranking = WeightedPairMetrics(*scored), WeightedRanking(*scored)
    found = [measure(row[measure.order]) for row in weights]
    for row, of_row in zip(weights, found, strict=True):
        ordered = row[ranking.order]
        assert ranking(ordered) == {name: of_row[name] for name in ("auroc", "auprc")}
        assert ranking.average_precision_at(ordered, 1 / 101) == of_row["auprc_1to100"]
    return found


@pytest.mark.parametrize("decimals", [None, 2, 1, 0])
def test_they_equal_those_of_sklearn(decimals: int | None) -> None:
    scores, labels = simulated(400, decimals=decimals)
    rng = np.random.default_rng(1)
    weights = [rng.poisson(1, 400) * rng.poisson(1, 400) for _ in range(5)]
    called = scores >= 0.5
    for weight, got in zip(weights, of_weights((scores, labels), *weights), strict=True):
        positives, negatives = (float(weight[labels == label].sum()) for label in (1, 0))
        rare = weight * np.where(labels == 1, negatives, 100 * positives)
        expected = {
            "auprc_1to100": metrics.average_precision_score(labels, scores, sample_weight=rare),
            "auroc": metrics.roc_auc_score(labels, scores, sample_weight=weight),
            "auprc": metrics.average_precision_score(labels, scores, sample_weight=weight),
            "accuracy": metrics.accuracy_score(labels, called, sample_weight=weight),
            "f1": metrics.f1_score(labels, called, sample_weight=weight),
            "mcc": metrics.matthews_corrcoef(labels, called, sample_weight=weight),
            "brier": metrics.brier_score_loss(labels, scores, sample_weight=weight),
            "log_loss": metrics.log_loss(labels, scores, sample_weight=weight),
        }
        assert {name: got[name] for name in expected} == pytest.approx(expected, rel=0, abs=1e-12)


@pytest.mark.parametrize("decimals", [None, 2, 1, 0])
def test_whole_weights_are_repeated_rows_and_ones_change_nothing(decimals: int | None) -> None:
    scores, labels = simulated(301, decimals=decimals)
    rng = np.random.default_rng(1)
    weights = [np.ones(301, np.int64), *(rng.poisson(1, 301) * rng.poisson(1, 301) for _ in range(8))]
    for weight, got in zip(weights, of_weights((scores, labels), *weights), strict=True):
        expected = pair_metrics(np.repeat(scores, weight), np.repeat(labels, weight))
        assert list(got) == list(expected)
        assert got == pytest.approx(expected, rel=0, abs=1e-12)


@pytest.mark.parametrize("scale", [1, 30, 1000])
def test_logits_keep_their_order_where_probabilities_are_0_and_1(scale: float) -> None:
    rng = np.random.default_rng(2)
    labels = (rng.random(301) < 0.4).astype(np.int8)
    logits = scale * (rng.normal(size=301) + labels).round(2)
    measure = WeightedPairMetrics(sigmoid(logits), labels, logits=logits)
    for weight in [np.ones(301, np.int64), *(rng.poisson(1, 301) * rng.poisson(1, 301) for _ in range(4))]:
        repeated = np.repeat(logits, weight), np.repeat(labels, weight)
        expected = pair_metrics(*repeated, are_logits=True)
        assert measure(weight[measure.order]) == pytest.approx(expected, rel=0, abs=1e-12)


def test_all_scores_tied_and_perfect_scores() -> None:
    labels = np.array([0, 1, 1, 0], dtype=np.int8)
    (tied,) = of_weights((np.full(4, 0.7), labels), np.ones(4, np.int64))
    assert (tied["auroc"], tied["auprc"], tied["mcc"]) == (0.5, 0.5, 0.0)
    assert (tied["precision_at_recall_10"], tied["recall_at_fpr_1"]) == (0.5, 0.0)
    assert tied["ece_adaptive"] == tied["ece"] == pytest.approx(0.2)
    (perfect,) = of_weights((labels.astype(np.float64), labels), np.ones(4, np.int64))
    for name in ("auroc", "auprc", "precision_at_recall_50", "recall_at_fpr_1", "mcc"):
        assert perfect[name] == pytest.approx(1.0, abs=1e-12), name
    assert (perfect["ece"], perfect["ece_adaptive"]) == (0.0, 0.0)
    assert perfect["log_loss"] == pytest.approx(0.0, abs=1e-12)


def test_a_top_score_that_was_not_drawn_does_no_harm() -> None:
    scores, labels = np.array([0.2, 0.4, 0.9]), np.array([0, 1, 0], dtype=np.int8)
    (got,) = of_weights((scores, labels), np.array([1, 1, 0]))
    for name in ("auroc", "auprc", "auprc_1to100", "precision_at_recall_10", "recall_at_fpr_1"):
        assert got[name] == 1.0, name
