"""Tests of the threshold that matches a network density."""

from __future__ import annotations

import numpy as np
import pytest

from ppi_train.errors import DataError
from ppi_train.evaluation.network import density_threshold


def test_on_the_network_itself_it_calls_as_many_edges_as_there_are() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(5000) < 0.02).astype(np.int8)
    scores = rng.normal(size=5000) + 2 * labels
    threshold = density_threshold(scores, labels, float(labels.mean()))
    assert np.count_nonzero(scores >= threshold) == pytest.approx(labels.sum(), abs=1)


def test_drawn_validation_pairs_count_as_the_network_has_them() -> None:
    rng = np.random.default_rng(1)

    def pairs(count: int, share: float) -> tuple[np.ndarray, np.ndarray]:
        labels = (rng.random(count) < share).astype(np.int8)
        return rng.normal(size=count) + 2 * labels, labels

    threshold = density_threshold(*pairs(40_000, 0.5), density=0.01)
    scores, _ = pairs(400_000, 0.01)
    assert np.mean(scores >= threshold) == pytest.approx(0.01, rel=0.1)


def test_the_nearest_share_and_of_two_the_fewer_edges() -> None:
    scores, labels = np.array([0.1, 0.2, 0.2, 0.9]), np.array([0, 1, 0, 1])
    # At half, all four count the same: shares 1/4 at 0.9, 3/4 at 0.2, both a quarter away.
    assert density_threshold(scores, labels, 0.5) == 0.9
    assert density_threshold(scores, labels, 1.0) == 0.2  # calls both positives, which are all that count
    assert np.count_nonzero(scores >= density_threshold(scores, labels, 0.0)) == 0


def test_scores_that_are_all_equal_call_all_or_nothing() -> None:
    scores, labels = np.full(10, 0.7), np.arange(10) % 2
    assert not (scores >= density_threshold(scores, labels, 0.4)).any()
    assert (scores >= density_threshold(scores, labels, 0.6)).all()


def test_bad_input() -> None:
    with pytest.raises(DataError, match="not a share of the pairs"):
        density_threshold(np.array([0.1, 0.2]), np.array([0, 1]), 1.5)
    with pytest.raises(DataError, match="one class only"):
        density_threshold(np.array([0.1, 0.2]), np.array([1, 1]), 0.5)
    with pytest.raises(DataError, match="not finite"):
        density_threshold(np.array([0.1, np.nan]), np.array([0, 1]), 0.5)
