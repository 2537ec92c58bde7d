"""Tests of the expected optimism of the best of several trials, against simulations of known truth."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from ppi_train.errors import DataError
from ppi_train.evaluation.optimism import Metric, best_of_many
from ppi_train.evaluation.pair_metrics import ranking_metrics, sigmoid

TRIALS, PAIRS = 20, 300
LABELS = (np.arange(PAIRS) % 2).astype(np.int8)


def simulated(rng: np.random.Generator, gains: np.ndarray) -> np.ndarray:
    """Logits (t, n) of trials whose noise is independent, with the given distances of the classes."""
    return np.asarray(rng.normal(size=(len(gains), PAIRS)) + gains[:, None] * (LABELS - 0.5))


def true_optimism(gains: np.ndarray, repeats: int = 100) -> float:
    """How much better the best trial's AUROC is than on new pairs, on average."""
    rng = np.random.default_rng(0)
    on_new_pairs = norm.cdf(gains / np.sqrt(2))
    found = []
    for _ in range(repeats):
        logits = simulated(rng, gains)
        values = np.array([ranking_metrics(row, LABELS)["auroc"] for row in logits])
        found.append(values.max() - on_new_pairs[values.argmax()])
    return float(np.mean(found))


def estimated(gains: np.ndarray) -> float:
    """The mean estimate over several validation sets."""
    rng = np.random.default_rng(1)
    found = [
        best_of_many(simulated(rng, gains), LABELS, metric="auroc", resamples=50, seed=seed).optimism
        for seed in range(12)
    ]
    return float(np.mean(found))


def test_the_optimism_of_equally_good_trials_is_that_of_the_simulation() -> None:
    gains = np.full(TRIALS, 1.0)
    truth = true_optimism(gains)
    assert truth > 0.04  # 1.87 standard errors of 0.027
    assert estimated(gains) == pytest.approx(truth, rel=0.25)


def test_the_optimism_of_trials_that_differ_is_near_that_of_the_simulation() -> None:
    gains = np.linspace(0.6, 1.2, TRIALS)
    assert estimated(gains) == pytest.approx(true_optimism(gains), rel=0.4)


def test_a_trial_that_is_far_better_is_not_optimistic() -> None:
    gains = np.full(TRIALS, 0.2)
    gains[7] = 3.0
    found = best_of_many(simulated(np.random.default_rng(3), gains), LABELS, metric="auroc", seed=0)
    assert found.best == 7
    assert found.tied.tolist() == [trial == 7 for trial in range(TRIALS)]
    assert abs(found.optimism) < 0.003


@pytest.mark.parametrize("metric", get_args(Metric))
def test_optimism_is_positive_for_each_metric(metric: Metric) -> None:
    logits = simulated(np.random.default_rng(4), np.full(TRIALS, 1.0))
    found = best_of_many(logits, LABELS, metric=metric, resamples=60, seed=0)
    assert 0 < found.low < found.optimism < found.high
    assert found.n_trials == TRIALS


def test_values_are_those_of_sklearn() -> None:
    logits = simulated(np.random.default_rng(5), np.array([0.5, 1.5])).round(1)  # with ties
    expected = {
        "auroc": [roc_auc_score(LABELS, row) for row in logits],
        "auprc": [average_precision_score(LABELS, row) for row in logits],
        "auprc_1to100": [
            average_precision_score(LABELS, row, sample_weight=np.where(LABELS == 1, 1, 100))
            for row in logits
        ],
        "loss": [log_loss(LABELS, sigmoid(row)) for row in logits],
    }
    for metric in get_args(Metric):
        found = best_of_many(logits, LABELS, metric=metric, resamples=20, seed=0)
        np.testing.assert_allclose(found.values, expected[metric], rtol=1e-12)
        assert ((found.intervals[:, 0] < found.values) & (found.values < found.intervals[:, 1])).all()


def test_intervals_are_as_wide_as_the_spread_of_new_pairs() -> None:
    rng = np.random.default_rng(6)
    found = best_of_many(simulated(rng, np.ones(1)), LABELS, metric="auroc", resamples=1000, seed=0)
    again = [ranking_metrics(row, LABELS)["auroc"] for row in simulated(rng, np.ones(500))]
    low, high = found.intervals[0]
    assert high - low == pytest.approx(2 * 1.96 * np.std(again), rel=0.15)


def test_one_trial_is_not_chosen_and_has_no_optimism() -> None:
    found = best_of_many(simulated(np.random.default_rng(7), np.ones(1)), LABELS, metric="auroc", seed=0)
    assert (found.optimism, found.low, found.high) == (0, 0, 0)


def test_the_same_seed_gives_the_same_result_also_with_two_pairs_of_a_class() -> None:
    labels = np.array([1, 1, 0, 0, 0, 0], dtype=np.int8)
    logits = np.random.default_rng(8).normal(size=(3, 6)).astype(np.float32)
    first, second = (best_of_many(logits, labels, metric="auprc", resamples=30, seed=5) for _ in range(2))
    assert first.optimism == second.optimism
    np.testing.assert_array_equal(first.intervals, second.intervals)


def test_bad_scores_are_refused() -> None:
    logits = simulated(np.random.default_rng(9), np.ones(2))
    logits[1, 5] = np.nan
    with pytest.raises(DataError, match="finite"):
        best_of_many(logits, LABELS, metric="auroc", seed=0)
