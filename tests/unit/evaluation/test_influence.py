"""Tests of intervals from influences: derivatives, variances that are known, and agreement with resamples."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pytest

from ppi_train.evaluation import influence
from ppi_train.evaluation.bootstrap import ranking_estimates
from ppi_train.evaluation.influence import Influence, deviations, has_enough_pairs
from ppi_train.evaluation.paired import PairedDifference, paired_differences
from ppi_train.evaluation.weighted_metrics import WeightedRanking

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]
Pairs = npt.NDArray[np.int64]


def two_models(pairs: int, proteins: int, seed: int = 0) -> tuple[Floats, Floats, Labels, Pairs]:
    """Scores of two models that err on the same proteins and pairs, labels and pairs."""
    rng = np.random.default_rng(seed)
    ends = rng.integers(proteins, size=(pairs, 2))
    labels = (rng.random(pairs) < 0.4).astype(np.int8)
    shared = rng.normal(scale=0.5, size=proteins)[ends].sum(axis=1) + rng.normal(size=pairs)
    ours, theirs = (
        gain * labels
        + shared
        + rng.normal(scale=0.2, size=proteins)[ends].sum(axis=1)
        + rng.normal(scale=0.5, size=pairs)
        for gain in (1.3, 1.0)
    )
    return ours, theirs, labels, ends


@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_an_influence_is_the_derivative_by_the_weight_of_a_pair(decimals: int | None) -> None:
    scores, _, labels, _ = two_models(80, 20)
    scores = scores if decimals is None else scores.round(decimals)
    found, ranking = Influence.of(scores, labels), WeightedRanking(scores, labels)
    weight, step = 10**6, 10**3
    plain = np.full(80, weight)
    assert found.points == pytest.approx(ranking(plain))
    for pair in range(80):
        more, less = plain.copy(), plain.copy()
        more[ranking.order == pair] += step
        less[ranking.order == pair] -= step
        higher, lower = ranking(more), ranking(less)
        for name, of_pairs in found.of_pairs.items():
            slope = (higher[name] - lower[name]) / (2 * step / weight)
            assert slope == pytest.approx(of_pairs[pair], abs=1e-6), (name, pair)


def test_the_variance_is_the_sum_over_all_two_pairs_with_a_common_protein() -> None:
    rng = np.random.default_rng(0)
    pairs = np.unique(np.sort(rng.integers(60, size=(400, 2)), axis=1), axis=0)
    own = rng.normal(scale=0.5, size=60)[pairs].sum(axis=1)
    moves = own + rng.normal(size=len(pairs))
    moves -= moves.mean()
    shared = (pairs[:, None, :, None] == pairs[None, :, None, :]).any(axis=(2, 3))
    assert (pairs[:, 0] == pairs[:, 1]).sum() > 3
    (drawn,) = deviations([moves], pairs, resamples=20_000, seed=0)
    assert drawn.var() == pytest.approx(moves @ shared @ moves, rel=0.05)
    assert drawn.mean() == pytest.approx(0, abs=0.05 * drawn.std())


def test_where_no_two_pairs_share_a_protein_it_is_the_variance_of_delong() -> None:
    scores, _, labels, _ = two_models(10_000, 5000)
    apart = np.arange(20_000).reshape(-1, 2)
    positive, negative = scores[labels == 1], scores[labels == 0]
    above = np.searchsorted(np.sort(negative), positive) / negative.size
    below = 1 - np.searchsorted(np.sort(positive), negative) / positive.size
    error = np.sqrt(above.var() / positive.size + below.var() / negative.size)
    _, low, high = ranking_estimates(scores, labels, apart, resamples=4000, seed=0)["auroc"]
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.05)


def by_both(
    ours: Floats, theirs: Floats, labels: Labels, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, PairedDifference], dict[str, PairedDifference]]:
    """The differences by influence, and by resamples of pairs."""
    assert has_enough_pairs(labels, pairs)
    added = paired_differences(ours, theirs, labels, pairs, resamples=2000, seed=0)
    monkeypatch.setattr(influence, "LEAST_OF_CLASS", len(labels))
    return added, paired_differences(ours, theirs, labels, pairs, resamples=600, seed=0)


@pytest.mark.parametrize("decimals", [None, 0])
def test_differences_are_those_of_resampled_pairs(
    decimals: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs, labels, pairs = two_models(12_000, 800)
    if decimals is not None:
        ours, theirs = ours.round(decimals), theirs.round(decimals)
    added, resampled = by_both(ours, theirs, labels, pairs, monkeypatch)
    for name, wanted in resampled.items():
        got, width = added[name], wanted.high - wanted.low
        assert (got.candidate, got.holder) == pytest.approx((wanted.candidate, wanted.holder), abs=1e-12)
        assert got.high - got.low == pytest.approx(width, rel=0.2)
        assert (got.low, got.high) == pytest.approx((wanted.low, wanted.high), abs=width / 8)


def test_the_gain_over_a_baseline_with_few_scores_is_that_of_resampled_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, _, labels, pairs = two_models(12_000, 800)
    degrees = np.bincount(pairs[labels == 1].ravel(), minlength=800)
    for baseline in (np.zeros(len(labels)), np.log1p(degrees)[pairs].sum(axis=1)):
        with monkeypatch.context() as patched:
            added, resampled = by_both(ours, baseline, labels, pairs, patched)
        for name, wanted in resampled.items():
            width = wanted.high - wanted.low
            ends = (wanted.low, wanted.high)
            assert (added[name].low, added[name].high) == pytest.approx(ends, abs=width / 8), name


def test_intervals_of_a_difference_cover_the_known_one() -> None:
    # Scores of variance v, a distance d apart, have an AUROC of Phi(d / sqrt(2 v)).
    below, spread = NormalDist().cdf, (2 * (1 + 0.25 + 2 * (0.25 + 0.04))) ** 0.5
    truth = below(1.3 / spread) - below(1 / spread)
    hits = 0
    for seed in range(80):
        found = paired_differences(*two_models(11_000, 1000, seed), resamples=300, confidence=0.9, seed=seed)[
            "auroc"
        ]
        hits += found.low <= truth <= found.high
    assert 0.82 <= hits / 80 <= 0.98


def test_the_same_seed_gives_the_same_interval_and_equal_rankings_differ_by_nothing() -> None:
    ours, theirs, labels, pairs = two_models(11_000, 800)
    first = paired_differences(ours, theirs, labels, pairs, resamples=100, seed=3)
    assert paired_differences(ours, theirs, labels, pairs, resamples=100, seed=3) == first
    assert paired_differences(ours, theirs, labels, pairs, resamples=100, seed=4) != first
    for same in paired_differences(ours, 2 * ours, labels, pairs, resamples=100, seed=3).values():
        assert (same.difference, same.low, same.high) == (0.0, 0.0, 0.0)


def test_few_pairs_of_a_class_or_few_proteins_are_resampled() -> None:
    _, _, labels, pairs = two_models(20_000, 800)
    assert has_enough_pairs(labels, pairs)
    assert not has_enough_pairs((np.arange(20_000) < 4000).astype(np.int8), pairs)
    assert not has_enough_pairs(labels, pairs % 500)
    hubs = np.where(np.arange(20_000)[:, None] % 4 == 0, pairs % 10, pairs)
    assert not has_enough_pairs(labels, hubs)
