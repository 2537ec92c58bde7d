"""Tests of the ranking of pairs against scikit-learn and counts by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics

from ppi_train.evaluation.ranking import Ranking


@pytest.fixture(params=[(2, 3), (50, 0), (50, 1), (3000, 2), (3000, 9)])
def pairs(request: pytest.FixtureRequest) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]:
    """Scores, with more or fewer ties, and labels."""
    n, digits = request.param
    draw = np.random.default_rng(n + digits)
    labels = np.append([0, 1], draw.integers(2, size=n - 2)).astype(np.int8)
    return (draw.normal(size=n) + labels).round(digits), labels


def test_areas_are_those_of_sklearn(pairs: tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]) -> None:
    scores, labels = pairs
    ranking = Ranking.of(scores, labels)
    assert ranking.auroc() == pytest.approx(metrics.roc_auc_score(labels, scores), rel=1e-12)
    expected = metrics.average_precision_score(labels, scores)
    assert ranking.average_precision() == pytest.approx(expected, rel=1e-12)


def test_curves_are_those_of_sklearn(pairs: tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]) -> None:
    scores, labels = pairs
    ranking = Ranking.of(scores, labels)
    expected = metrics.precision_recall_curve(labels, scores, drop_intermediate=True)[:2]
    for got, values in zip(ranking.precision_recall_curve(), expected, strict=True):
        np.testing.assert_allclose(got, values, rtol=1e-12)
    false, true = ranking.roc_curve()
    all_false, all_true, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    # The points that are left out lie on straight strokes of the curve.
    assert set(zip(false, true, strict=True)) <= set(zip(all_false, all_true, strict=True))
    assert metrics.auc(false, true) == pytest.approx(metrics.auc(all_false, all_true), rel=1e-12)
    slopes = np.diff(true)[:-1] * np.diff(false)[1:] - np.diff(true)[1:] * np.diff(false)[:-1]
    assert (np.abs(slopes) > 1e-15).all()


def test_points_are_those_of_sklearn(pairs: tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]) -> None:
    scores, labels = pairs
    ranking = Ranking.of(scores, labels)
    precision, recall, _ = metrics.precision_recall_curve(labels, scores)
    false, true, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    for rate in (1e-3, 0.1, 1 / 3, 0.5, 1.0):
        assert ranking.precision_at_recall(rate) == precision[recall >= rate][-1]
        assert ranking.recall_at_false_rate(rate) == true[false <= rate][-1]


def test_points_on_a_curve_are_those_of_a_count_by_hand() -> None:
    labels = np.array([1, 0, 1] + [1, 0] * 50 + [0] * 150)  # from the highest score down: 52 of 253
    scores = -np.arange(labels.size, dtype=np.float64)
    assert Ranking.of(scores, labels).precision_at_recall(2 / 52) == 2 / 3
    assert Ranking.of(scores, labels).precision_at_recall(0.5) == 26 / 50
    assert Ranking.of(scores, labels).precision_at_recall(1.0) == 52 / 102
    assert Ranking.of(scores, labels).recall_at_false_rate(0.01) == 4 / 52  # two of 201 negatives
    tied = np.where(np.arange(labels.size) < 3, 1.0, scores)
    assert Ranking.of(tied, labels).precision_at_recall(1 / 52) == 2 / 3
    assert Ranking.of(tied, labels).recall_at_false_rate(0.001) == 0.0
