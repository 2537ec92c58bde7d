"""Tests of precision against the fraction of pairs kept."""

from __future__ import annotations

import numpy as np
import pytest

from ppi_train.evaluation.uncertainty import precision_by_kept


def test_precision_is_that_of_the_surest_pairs() -> None:
    labels = np.tile(np.array([1, 1, 0, 0, 1], dtype=np.int8), 4)
    probabilities = np.tile(np.array([0.9, 0.2, 0.8, 0.1, 0.7]), 4)
    uncertainty = np.arange(20.0)
    kept = precision_by_kept(probabilities, labels, uncertainty)
    assert len(kept.fractions) == 20
    for fraction in (0.05, 0.25, 0.6, 1.0):
        top = slice(0, round(20 * fraction))
        called = probabilities[top] >= 0.5
        assert kept.at(fraction) == pytest.approx(labels[top][called].mean())


def test_sure_and_right_pairs_come_first() -> None:
    rng = np.random.default_rng(0)
    uncertainty = rng.random(2000)
    labels = (rng.random(2000) < 0.5).astype(np.int8)
    wrong = rng.random(2000) < 0.5 * uncertainty
    probabilities = np.where(wrong, 1 - labels, labels) * 0.8 + 0.1
    kept = precision_by_kept(probabilities, labels, uncertainty)
    assert kept.at(0.1) > 0.95 > kept.at(0.5) > kept.at(1.0) > 0.7


def test_no_pair_called_interacting_has_no_precision() -> None:
    labels = np.array([1, 0] * 10, dtype=np.int8)
    kept = precision_by_kept(np.full(20, 0.2), labels, np.arange(20.0))
    assert np.isnan(kept.precision).all()
