"""Tests of the differences of two models, against a plain loop over sklearn's metrics."""

from __future__ import annotations

import tracemalloc
from dataclasses import asdict
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics

from ppi_train.errors import DataError
from ppi_train.evaluation.bootstrap import resample
from ppi_train.evaluation.paired import paired_differences

Floats = npt.NDArray[np.float64]
Two = tuple[Floats, Floats, npt.NDArray[np.int8], npt.NDArray[np.integer]]


def two_models(pairs: int, seed: int = 0, *, gain: float = 0.0, decimals: int | None = None) -> Two:
    """Logits of two models that share most of their noise, labels, and proteins, four pairs each.

    `gain` sets how much better the first is.
    """
    rng = np.random.default_rng(seed)
    labels = (rng.random(pairs) < 0.4).astype(np.int8)
    shared = rng.normal(size=pairs)
    ours = (1 + gain) * labels + shared + rng.normal(scale=0.3, size=pairs)
    theirs = labels + shared + rng.normal(scale=0.3, size=pairs)
    if decimals is not None:
        ours, theirs = ours.round(decimals), theirs.round(decimals)
    return ours, theirs, labels, rng.integers(0, max(2, pairs // 2), (pairs, 2))


@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_it_equals_a_plain_loop_with_the_same_draws(decimals: int | None) -> None:
    ours, theirs, labels, proteins = two_models(150, gain=0.3, decimals=decimals)
    got = paired_differences(ours, theirs, labels, proteins, resamples=60, confidence=0.9, seed=5)
    draws = list(resample(proteins, labels, resamples=60, seed=5))
    sklearn = {"auprc": metrics.average_precision_score, "auroc": metrics.roc_auc_score}
    assert list(got) == list(sklearn)
    for name, metric in sklearn.items():
        point = (metric(labels, ours), metric(labels, theirs))
        by_protein, by_pair = (
            np.array([
                metric(labels, ours, sample_weight=weight) - metric(labels, theirs, sample_weight=weight)
                for weight in kind
            ])
            for kind in zip(*draws, strict=True)
        )  # fmt: skip
        ends = np.quantile(by_protein, (0.05, 0.95)) - np.median(by_protein)
        variance = max(by_protein.var() - 2 * by_pair.var(), by_pair.var())
        low, high = point[0] - point[1] + np.sqrt(variance / by_protein.var()) * ends
        expected = {
            "candidate": point[0],
            "holder": point[1],
            "difference": point[0] - point[1],
            "low": low,
            "high": high,
        }
        assert asdict(got[name]) == pytest.approx(expected, rel=0, abs=1e-12)
        assert (got[name].candidate, got[name].holder) == pytest.approx(point, rel=1e-12)


def test_identical_scores_differ_by_nothing_and_so_do_scores_of_the_same_order() -> None:
    ours, _, labels, proteins = two_models(300)
    for same in (ours.copy(), 1 / (1 + np.exp(-ours))):
        for result in paired_differences(ours, same, labels, proteins, resamples=50, seed=0).values():
            assert (result.difference, result.low, result.high) == (0.0, 0.0, 0.0)


def test_exchanging_the_models_turns_the_sign() -> None:
    ours, theirs, labels, proteins = two_models(300, gain=0.5)
    there = paired_differences(ours, theirs, labels, proteins, resamples=50, seed=0)
    back = paired_differences(theirs, ours, labels, proteins, resamples=50, seed=0)
    for name, result in there.items():
        assert (result.difference, result.low, result.high) == pytest.approx(
            (-back[name].difference, -back[name].high, -back[name].low), rel=0, abs=1e-15
        )


def test_the_interval_covers_a_known_difference_about_as_often_as_it_says() -> None:
    # Normal distributions a distance d apart with variance 1.09 have an AUROC of Phi(d / sqrt(2.18)).
    below = NormalDist().cdf
    truth = below(1.5 / 2.18**0.5) - below(1 / 2.18**0.5)
    hits = 0
    for seed in range(80):
        ours, theirs, labels, proteins = two_models(400, seed=seed, gain=0.5)
        result = paired_differences(ours, theirs, labels, proteins, resamples=150, confidence=0.9, seed=seed)[
            "auroc"
        ]
        hits += result.low <= truth <= result.high
    assert 0.80 <= hits / 80 <= 0.98


def test_pairing_narrows_the_interval() -> None:
    ours, theirs, labels, proteins = two_models(2000)
    paired = paired_differences(ours, theirs, labels, proteins, resamples=100, seed=0)["auroc"]
    # another order of the pairs within each class: the same metrics, but nothing shared
    unpaired = theirs.copy()
    rng = np.random.default_rng(1)
    for label in (0, 1):
        unpaired[labels == label] = rng.permutation(theirs[labels == label])
    apart = paired_differences(ours, unpaired, labels, proteins, resamples=100, seed=0)["auroc"]
    assert apart.difference == pytest.approx(paired.difference, abs=1e-12)
    assert paired.high - paired.low < 0.5 * (apart.high - apart.low)


def test_same_seed_same_bits() -> None:
    ours, theirs, labels, proteins = two_models(300)
    first = paired_differences(ours, theirs, labels, proteins, resamples=50, seed=3)
    assert paired_differences(ours, theirs, labels, proteins, resamples=50, seed=3) == first
    assert paired_differences(ours, theirs, labels, proteins, resamples=50, seed=4) != first


def test_a_handful_of_pairs_is_drawn_again_until_both_classes_are_there() -> None:
    labels, proteins = np.array([0, 1, 0], dtype=np.int8), np.array([[0, 1], [1, 2], [3, 4]])
    ours, theirs = np.array([0.1, 0.9, 0.2]), np.array([0.9, 0.1, 0.2])
    got = paired_differences(ours, theirs, labels, proteins, resamples=100, seed=0)
    assert (got["auroc"].difference, got["auroc"].low, got["auroc"].high) == (1.0, 1.0, 1.0)


def test_memory_of_paired_differences_does_not_grow_with_the_resamples() -> None:
    ours, theirs, labels, proteins = two_models(20_000)
    peaks = []
    for resamples in (5, 40):
        tracemalloc.start()
        paired_differences(ours, theirs, labels, proteins, resamples=resamples, seed=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1_000_000


def test_what_cannot_be_compared_is_refused() -> None:
    ours, theirs, labels, proteins = two_models(20)
    with pytest.raises(DataError, match="one class only"):
        paired_differences(ours, theirs, np.ones(20, dtype=np.int8), proteins, seed=0)
    with pytest.raises(DataError, match="do not match"):
        paired_differences(ours, theirs[:-1], labels, proteins, seed=0)
    with pytest.raises(DataError, match="do not match"):
        paired_differences(ours[:-1], theirs, labels, proteins, seed=0)
    with pytest.raises(DataError, match="not finite"):
        paired_differences(ours, np.full(20, np.nan), labels, proteins, seed=0)
