"""Tests of bootstrap intervals: weights, coverage, determinism and degenerate pairs.

Intervals over proteins cover what those over pairs miss.
"""

from __future__ import annotations

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest

from ppi_train.errors import DataError
from ppi_train.evaluation.bootstrap import (
    bootstrap_intervals,
    interval,
    ranking_estimates,
    resample,
    shrinkage,
)
from ppi_train.evaluation.pair_metrics import pair_metrics, sigmoid
from ppi_train.evaluation.weighted_metrics import WeightedRanking


def test_a_pair_weighs_what_its_proteins_were_drawn() -> None:
    pairs = np.array([[10, 10], [10, 40], [40, 40], [40, 7], [7, 7]])
    labels = np.array([0, 1, 0, 1, 1], np.int8)
    for draw in resample(pairs, labels, resamples=50, seed=0):
        ten, forty, seven = draw.by_protein[[0, 2, 4]]
        assert ten + forty + seven == 3
        assert draw.by_protein[[1, 3]].tolist() == [ten * forty, forty * seven]
        assert draw.by_pair.sum() == 5
        for weights in draw:
            assert 0 < weights[labels == 1].sum() < weights.sum()


def test_the_numbers_of_the_proteins_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    pairs, labels = rng.integers(0, 20, (60, 2)), (np.arange(60) % 2).astype(np.int8)
    for draw, renumbered in zip(
        resample(pairs, labels, resamples=3, seed=1),
        resample(1000 + 7 * pairs, labels, resamples=3, seed=1),
        strict=True,
    ):
        np.testing.assert_array_equal(draw.by_protein, renumbered.by_protein)


def test_the_variance_is_that_of_all_two_pairs_with_a_common_protein() -> None:
    """Of a mean the wanted variance has a closed form: see Aronow, Samii & Assenova 2015."""
    rng = np.random.default_rng(0)
    proteins, count = 150, 2000
    pairs = rng.integers(0, proteins, (count, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    values = rng.normal(scale=0.4, size=proteins)[pairs].sum(axis=1) + rng.normal(size=len(pairs))
    errors = values - values.mean()
    shared = (pairs[:, None, :, None] == pairs[None, :, None, :]).any(axis=(2, 3))
    wanted = float(errors @ shared @ errors) / len(pairs) ** 2
    draws = resample(pairs, (np.arange(len(pairs)) % 2).astype(np.int8), resamples=2000, seed=0)
    means = np.array([[weights @ values / weights.sum() for weights in draw] for draw in draws])
    by_protein, by_pair = means.T
    got = by_protein.var() * shrinkage(by_protein, by_pair) ** 2
    assert got == pytest.approx(wanted, rel=0.15)
    assert by_pair.var() < 0.4 * wanted
    assert by_protein.var() > 1.1 * wanted


def test_where_no_two_pairs_share_a_protein_it_is_the_bootstrap_of_pairs() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(800) < 0.5).astype(np.int8)
    scores = rng.normal(size=800) + labels
    apart = np.arange(1600).reshape(800, 2)
    _, low, high = ranking_estimates(scores, labels, apart, resamples=400, seed=0)["auroc"]
    ranking = WeightedRanking(scores, labels)
    draws = resample(apart, labels, resamples=400, seed=0, order=ranking.order)
    ends = np.quantile([ranking(draw.by_pair)["auroc"] for draw in draws], (0.025, 0.975))
    assert high - low == pytest.approx(ends[1] - ends[0], rel=0.15)


def test_intervals_cover_where_those_of_drawn_pairs_do_not() -> None:
    """Proteins have an error of their own, and a share of positives of their own."""
    truth = 0.6915  # Phi(1 / 2): the scores of both classes are a standard deviation apart, which is sqrt(2)
    hits, naive = 0, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        pairs = rng.integers(0, 200, (2000, 2))
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        busy = rng.normal(scale=1.5, size=200)[pairs].sum(axis=1)
        labels = (rng.random(len(pairs)) < 1 / (1 + np.exp(-busy))).astype(np.int8)
        own = rng.normal(scale=np.sqrt(0.5), size=200)[pairs].sum(axis=1)
        scores = labels + own + rng.normal(size=len(pairs))
        _, low, high = ranking_estimates(scores, labels, pairs, resamples=80, seed=seed)["auroc"]
        hits += low <= truth <= high
        apart = np.arange(2 * len(pairs)).reshape(-1, 2)  # as if no protein were shared
        _, low, high = ranking_estimates(scores, labels, apart, resamples=80, seed=seed)["auroc"]
        naive += low <= truth <= high
    assert hits >= 0.85 * 60
    assert naive <= 0.80 * 60


def test_an_interval_holds_its_point_and_stays_within_bounds() -> None:
    rng = np.random.default_rng(0)
    shifted = 0.3 + 0.2 * rng.random(500)
    low, high = interval(0.05, shifted, shifted, confidence=0.95, bounds=(0.0, 1.0))
    assert low == 0.0
    assert 0.05 < high < 0.25
    same = np.full(500, 0.5)
    assert interval(0.5, same, same, confidence=0.95, bounds=(0.0, 1.0)) == (0.5, 0.5)


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


def test_intervals_hold_the_point_value_of_logits_beyond_the_precision_of_probabilities() -> None:
    scores, labels, proteins = simulated(500)
    logits = 1e6 * np.log(scores / (1 - scores))
    intervals = bootstrap_intervals(logits, labels, proteins, are_logits=True, resamples=100, seed=0)
    point = pair_metrics(logits, labels, are_logits=True)
    assert point["auroc"] > 0.7
    for name, (low, high) in intervals.items():
        assert low < point[name] < high, name


@pytest.mark.slow
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


def test_same_seed_same_intervals() -> None:
    scores, labels, proteins = simulated(300)
    first = bootstrap_intervals(scores, labels, proteins, resamples=50, seed=3)
    assert bootstrap_intervals(scores, labels, proteins, resamples=50, seed=3) == first
    assert bootstrap_intervals(scores, labels, proteins, resamples=50, seed=4) != first


def test_an_order_changes_no_draw() -> None:
    _, labels, proteins = simulated(300)
    order = np.random.default_rng(0).permutation(300)
    plain = resample(proteins, labels, resamples=5, seed=1)
    ordered = resample(proteins, labels, resamples=5, seed=1, order=order)
    for given, wanted in zip(ordered, plain, strict=True):
        np.testing.assert_array_equal(given.by_protein, wanted.by_protein[order])
        np.testing.assert_array_equal(given.by_pair, wanted.by_pair[order])


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
