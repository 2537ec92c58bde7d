"""Tests of the bootstrap over proteins: pair weights and interval coverage.

Its intervals cover what those of a bootstrap over pairs miss.
"""

from __future__ import annotations

import numpy as np
import pytest

from ppi_train.evaluation.bootstrap import interval, ranking_intervals, resample, shrinkage
from ppi_train.evaluation.weighted_metrics import ScoreGroups, ranking_of_counts


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
    low, high = ranking_intervals(scores, labels, apart, resamples=400, seed=0)["auroc"]
    groups = ScoreGroups.of(scores, labels)
    drawn = [groups.counts(draw.by_pair) for draw in resample(apart, labels, resamples=400, seed=0)]
    ends = np.quantile(ranking_of_counts(np.stack(drawn))["auroc"], (0.025, 0.975))
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
        low, high = ranking_intervals(scores, labels, pairs, resamples=80, seed=seed)["auroc"]
        hits += low <= truth <= high
        apart = np.arange(2 * len(pairs)).reshape(-1, 2)  # as if no protein were shared
        low, high = ranking_intervals(scores, labels, apart, resamples=80, seed=seed)["auroc"]
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
