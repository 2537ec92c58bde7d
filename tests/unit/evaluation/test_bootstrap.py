"""The bootstrap: its weighted metrics against sklearn's, its coverage, and its determinism."""

from __future__ import annotations

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics

from ppi_train.errors import DataError
from ppi_train.evaluation import bootstrap
from ppi_train.evaluation.bootstrap import ScoreGroups, bootstrap_intervals, metrics_of_counts
from ppi_train.evaluation.pair_metrics import pair_metrics, sigmoid

Scored = tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]


def simulated(pairs: int, seed: int = 0, decimals: int | None = None) -> Scored:
    """Calibrated scores of AUROC about 0.76; few decimals make ties."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(pairs) < 0.4).astype(np.int8)
    scores = sigmoid(rng.normal(size=pairs) + labels - 0.5 + np.log(0.4 / 0.6))
    return (scores if decimals is None else scores.round(decimals)), labels


@pytest.mark.parametrize("decimals", [None, 2, 1, 0])
def test_weighted_metrics_equal_those_of_sklearn(decimals: int | None) -> None:
    scores, labels = simulated(400, decimals=decimals)
    groups = ScoreGroups.of(scores, labels)
    rng = np.random.default_rng(1)
    draws = [rng.integers(0, 400, 400) for _ in range(5)]
    got = metrics_of_counts(groups.values, np.stack([groups.counts(groups.codes[one]) for one in draws]))
    called = scores >= 0.5
    for place, draw in enumerate(draws):
        weight = np.bincount(draw, minlength=400)
        expected = {
            "auroc": metrics.roc_auc_score(labels, scores, sample_weight=weight),
            "auprc": metrics.average_precision_score(labels, scores, sample_weight=weight),
            "accuracy": metrics.accuracy_score(labels, called, sample_weight=weight),
            "f1": metrics.f1_score(labels, called, sample_weight=weight),
            "mcc": metrics.matthews_corrcoef(labels, called, sample_weight=weight),
            "brier": metrics.brier_score_loss(labels, scores, sample_weight=weight),
            "ece": pair_metrics(scores[draw], labels[draw])["ece"],
        }
        assert {name: values[place] for name, values in got.items()} == pytest.approx(
            expected, rel=0, abs=1e-12
        )


def test_all_scores_tied_and_perfect_scores() -> None:
    labels = np.array([0, 1, 1, 0], dtype=np.int8)
    tied = ScoreGroups.of(np.full(4, 0.7), labels)
    got = metrics_of_counts(tied.values, tied.counts(tied.codes)[None])
    assert (got["auroc"][0], got["auprc"][0], got["mcc"][0]) == (0.5, 0.5, 0.0)
    perfect = ScoreGroups.of(labels.astype(np.float64), labels)
    got = metrics_of_counts(perfect.values, perfect.counts(perfect.codes)[None])
    assert (got["auroc"][0], got["auprc"][0], got["ece"][0]) == (1.0, 1.0, 0.0)
    assert got["mcc"][0] == pytest.approx(1.0, abs=1e-12)


def test_a_top_score_that_was_not_drawn_does_no_harm() -> None:
    values = np.array([0.2, 0.4, 0.9])
    counts = np.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    got = metrics_of_counts(values, counts)
    assert (got["auroc"][0], got["auprc"][0]) == (1.0, 1.0)


def test_intervals_hold_the_point_value_and_narrow_with_more_pairs() -> None:
    widths = []
    for pairs in (500, 8000):
        scores, labels = simulated(pairs)
        intervals = bootstrap_intervals(scores, labels, resamples=200, seed=0)
        point = pair_metrics(scores, labels)
        assert list(intervals) == list(point)
        for name, (low, high) in intervals.items():
            # calibration error is biased upwards in a resample, so that it may lie below its interval
            assert low < point[name] < high or name == "ece"
        widths.append(intervals["auroc"][1] - intervals["auroc"][0])
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.35)


def test_interval_covers_the_true_auroc_about_as_often_as_it_says() -> None:
    truth = 0.7602499389065233  # of two normal distributions one standard deviation apart: Phi(1/sqrt(2))
    hits = 0
    for seed in range(120):
        scores, labels = simulated(300, seed=seed)
        low, high = bootstrap_intervals(scores, labels, resamples=200, confidence=0.9, seed=seed)["auroc"]
        hits += low <= truth <= high
    assert 0.82 <= hits / 120 <= 0.97


def test_same_seed_same_intervals_whatever_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels = simulated(300)
    first = bootstrap_intervals(scores, labels, resamples=50, seed=3)
    assert bootstrap_intervals(scores, labels, resamples=50, seed=3) == first
    assert bootstrap_intervals(scores, labels, resamples=50, seed=4) != first
    monkeypatch.setattr(bootstrap, "_CELLS_AT_ONCE", 1)
    one_by_one = bootstrap_intervals(scores, labels, resamples=50, seed=3)
    for name, ends in first.items():
        assert one_by_one[name] == pytest.approx(ends, rel=0, abs=1e-12)


def test_the_order_of_the_classes_and_ties_in_few_pairs_are_survived() -> None:
    scores, labels = np.array([0.3, 0.8, 0.8]), np.array([0, 1, 0], dtype=np.int8)
    intervals = bootstrap_intervals(scores, labels, resamples=300, seed=0)  # a third hold one class only
    assert all(np.isfinite(ends).all() for ends in intervals.values())
    assert intervals["auroc"] == (0.5, 1.0)


def test_a_wider_confidence_gives_a_wider_interval() -> None:
    scores, labels = simulated(500)
    narrow = bootstrap_intervals(scores, labels, resamples=200, confidence=0.5, seed=0)
    wide = bootstrap_intervals(scores, labels, resamples=200, confidence=0.99, seed=0)
    for name in wide:
        assert wide[name][0] < narrow[name][0] < narrow[name][1] < wide[name][1]


def test_memory_does_not_grow_with_the_resamples() -> None:
    scores, labels = simulated(20_000)
    peaks = []
    for resamples in (10, 60):
        tracemalloc.start()
        bootstrap_intervals(scores, labels, resamples=resamples, seed=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1_000_000


def test_one_class_and_nan_are_refused() -> None:
    with pytest.raises(DataError, match="one class only"):
        bootstrap_intervals(np.array([0.1, 0.2]), np.array([1, 1]), seed=0)
    with pytest.raises(DataError, match="not finite"):
        bootstrap_intervals(np.array([0.1, np.nan]), np.array([0, 1]), seed=0)
    with pytest.raises(DataError, match="not probabilities"):
        bootstrap_intervals(np.array([0.1, 1.2]), np.array([0, 1]), seed=0)
