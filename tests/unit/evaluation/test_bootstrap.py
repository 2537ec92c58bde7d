"""Tests of the pair metrics' intervals: coverage, determinism, and degenerate pairs."""

from __future__ import annotations

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest

from ppi_train.errors import DataError
from ppi_train.evaluation import bootstrap
from ppi_train.evaluation.bootstrap import bootstrap_intervals
from ppi_train.evaluation.pair_metrics import pair_metrics, sigmoid

Scored = tuple[npt.NDArray[np.float64], npt.NDArray[np.int8], npt.NDArray[np.integer]]


def simulated(pairs: int, seed: int = 0) -> Scored:
    """Calibrated scores of AUROC about 0.76, of pairs that share proteins, a few each."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(pairs) < 0.4).astype(np.int8)
    scores = sigmoid(rng.normal(size=pairs) + labels - 0.5 + np.log(0.4 / 0.6))
    return scores, labels, rng.integers(0, pairs // 2, (pairs, 2))


def test_intervals_hold_the_point_value_and_narrow_with_more_pairs() -> None:
    widths = []
    for pairs in (500, 8000):
        scores, labels, proteins = simulated(pairs)
        intervals = bootstrap_intervals(scores, labels, proteins, resamples=200, seed=0)
        point = pair_metrics(scores, labels)
        assert list(intervals) == list(point)
        for name, (low, high) in intervals.items():
            assert low < point[name] < high, name
        widths.append(intervals["auroc"][1] - intervals["auroc"][0])
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.35)


def test_interval_covers_the_true_auroc_about_as_often_as_it_says() -> None:
    truth = 0.7602499389065233  # of two normal distributions one standard deviation apart: Phi(1/sqrt(2))
    hits = 0
    for seed in range(120):
        scores, labels, proteins = simulated(300, seed=seed)
        low, high = bootstrap_intervals(scores, labels, proteins, resamples=200, confidence=0.9, seed=seed)[
            "auroc"
        ]
        hits += low <= truth <= high
    assert 0.82 <= hits / 120 <= 0.97


def test_same_seed_same_intervals_whatever_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels, proteins = simulated(300)
    first = bootstrap_intervals(scores, labels, proteins, resamples=50, seed=3)
    assert bootstrap_intervals(scores, labels, proteins, resamples=50, seed=3) == first
    assert bootstrap_intervals(scores, labels, proteins, resamples=50, seed=4) != first
    monkeypatch.setattr(bootstrap, "_CELLS_AT_ONCE", 1)
    one_by_one = bootstrap_intervals(scores, labels, proteins, resamples=50, seed=3)
    for name, ends in first.items():
        assert one_by_one[name] == pytest.approx(ends, rel=0, abs=1e-12)


def test_the_order_of_the_classes_and_ties_in_few_pairs_are_survived() -> None:
    scores, labels = np.array([0.3, 0.8, 0.8]), np.array([0, 1, 0], dtype=np.int8)
    proteins = np.array([[0, 1], [1, 2], [3, 4]])
    # many draws hold one class only
    intervals = bootstrap_intervals(scores, labels, proteins, resamples=300, seed=0)
    assert all(np.isfinite(ends).all() for ends in intervals.values())
    low, high = intervals["auroc"]
    assert 0.0 <= low <= 0.75 <= high <= 1.0


def test_scores_that_are_all_equal_have_intervals_too(recwarn: pytest.WarningsRecorder) -> None:
    _, labels, proteins = simulated(200)
    intervals = bootstrap_intervals(np.full(200, 0.3), labels, proteins, resamples=50, seed=0)
    assert intervals["auroc"] == (0.5, 0.5)
    assert intervals["recall_at_fpr_1"] == intervals["mcc"] == intervals["f1"] == (0.0, 0.0)
    low, high = intervals["auprc"]
    assert low < labels.mean() < high
    assert not recwarn.list


def test_a_wider_confidence_gives_a_wider_interval() -> None:
    scores, labels, proteins = simulated(500)
    narrow = bootstrap_intervals(scores, labels, proteins, resamples=200, confidence=0.5, seed=0)
    wide = bootstrap_intervals(scores, labels, proteins, resamples=200, confidence=0.99, seed=0)
    for name in wide:
        assert wide[name][0] < narrow[name][0] < narrow[name][1] < wide[name][1]


def test_memory_does_not_grow_with_the_resamples() -> None:
    scores, labels, proteins = simulated(20_000)
    peaks = []
    for resamples in (10, 60):
        tracemalloc.start()
        bootstrap_intervals(scores, labels, proteins, resamples=resamples, seed=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1_000_000


def test_one_class_and_nan_are_refused() -> None:
    proteins = np.array([[0, 1], [1, 2]])
    with pytest.raises(DataError, match="one class only"):
        bootstrap_intervals(np.array([0.1, 0.2]), np.array([1, 1]), proteins, seed=0)
    with pytest.raises(DataError, match="not finite"):
        bootstrap_intervals(np.array([0.1, np.nan]), np.array([0, 1]), proteins, seed=0)
    with pytest.raises(DataError, match="not probabilities"):
        bootstrap_intervals(np.array([0.1, 1.2]), np.array([0, 1]), proteins, seed=0)
