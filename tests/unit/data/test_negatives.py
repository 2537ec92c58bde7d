"""Tests of drawn negatives: degrees, excluded pairs, and reproducibility."""

from __future__ import annotations

import numpy as np
import pytest

from ppi_train.data.negatives import degree_matched_negatives, uniform_negatives
from ppi_train.errors import DataError


def _random_positives(rng: np.random.Generator, proteins: int, count: int) -> np.ndarray:
    weights = 1 / np.arange(1, proteins + 1)
    pairs = rng.choice(proteins, size=(count, 2), p=weights / weights.sum())
    return np.unique(np.sort(pairs, axis=1), axis=0)


def test_no_known_pair_no_self_pair_no_pair_twice() -> None:
    rng = np.random.default_rng(0)
    positives = _random_positives(rng, 200, 2_000)
    forbidden = _random_positives(rng, 250, 2_000)[:, ::-1]
    drawn = degree_matched_negatives(positives, forbidden=forbidden, count=2_000, rng=rng)
    found = {tuple(row) for row in drawn.tolist()}
    known = {tuple(sorted(row)) for row in [*positives.tolist(), *forbidden.tolist()]}
    assert drawn.shape == (2_000, 2)
    assert len(found) == 2_000
    assert not found & known
    assert (drawn[:, 0] < drawn[:, 1]).all()


def test_degrees_follow_those_of_the_positives() -> None:
    rng = np.random.default_rng(0)
    positives = _random_positives(rng, 2_000, 5_000)
    drawn = degree_matched_negatives(positives, forbidden=positives, count=len(positives), rng=rng)
    wanted, got = (np.bincount(pairs.ravel(), minlength=2_000) for pairs in (positives, drawn))
    assert np.corrcoef(wanted, got)[0, 1] > 0.9
    assert not got[wanted == 0].any()


def test_the_same_seed_draws_the_same() -> None:
    positives = _random_positives(np.random.default_rng(0), 100, 300)
    empty = np.empty((0, 2), np.int32)
    first, again, other = (
        degree_matched_negatives(positives, forbidden=empty, count=50, rng=np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_every_pair_that_exists_can_be_drawn_and_no_more() -> None:
    positives = np.array([[0, 1], [2, 3]])
    empty = np.empty((0, 2), np.int32)
    rng = np.random.default_rng(0)
    assert len(degree_matched_negatives(positives, forbidden=empty, count=4, rng=rng)) == 4
    with pytest.raises(DataError, match="too few negative pairs could be drawn") as caught:
        degree_matched_negatives(positives, forbidden=empty, count=5, rng=rng)
    assert "got: 4 after" in str(caught.value)
    assert "5 pairs of 4 proteins" in str(caught.value)
    with pytest.raises(DataError):
        degree_matched_negatives(empty, forbidden=empty, count=1, rng=rng)
    assert len(degree_matched_negatives(empty, forbidden=empty, count=0, rng=rng)) == 0


def test_uniform_negatives_do_not_follow_the_degrees() -> None:
    rng = np.random.default_rng(0)
    positives = _random_positives(rng, 2_000, 5_000)
    drawn = uniform_negatives(positives, forbidden=positives, count=len(positives), rng=rng)
    wanted, got = (np.bincount(pairs.ravel(), minlength=2_000) for pairs in (positives, drawn))
    there = wanted > 0
    assert abs(np.corrcoef(wanted[there], got[there])[0, 1]) < 0.15
    assert not got[~there].any()
    assert len(np.unique(drawn, axis=0)) == len(positives)
    assert not {tuple(row) for row in drawn.tolist()} & {tuple(row) for row in positives.tolist()}
