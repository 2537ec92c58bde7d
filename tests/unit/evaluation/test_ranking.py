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


@pytest.mark.parametrize("base_rate", [1e-6, 1 / 101, 0.3, 0.9])
def test_average_precision_at_a_base_rate_is_that_of_weighted_pairs(
    pairs: tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]], base_rate: float
) -> None:
    scores, labels = pairs
    weights = np.where(labels == 1, base_rate / labels.mean(), (1 - base_rate) / (1 - labels.mean()))
    expected = metrics.average_precision_score(labels, scores, sample_weight=weights)
    assert Ranking.of(scores, labels).average_precision_at(base_rate) == pytest.approx(expected, rel=1e-12)


def test_average_precision_at_its_own_base_rate_is_average_precision(
    pairs: tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]],
) -> None:
    scores, labels = pairs
    ranking = Ranking.of(scores, labels)
    expected = ranking.average_precision()
    assert ranking.average_precision_at(float(labels.mean())) == pytest.approx(expected, rel=1e-12)


def test_average_precision_at_a_base_rate_is_that_of_more_negatives_of_the_same_scores() -> None:
    scores, labels = np.array([0.9, 0.8, 0.8, 0.4, 0.3]), np.array([1, 1, 0, 1, 0], np.int8)
    times = np.where(labels == 1, 2, 300)  # 6 interacting and 600 other pairs
    repeated = Ranking.of(np.repeat(scores, times), np.repeat(labels, times))
    assert Ranking.of(scores, labels).average_precision_at(1 / 101) == pytest.approx(
        repeated.average_precision(), rel=1e-12
    )
    by_hand = (1 + 4 / (4 + 300) + 6 / (6 + 300)) / 3
    assert repeated.average_precision() == pytest.approx(by_hand, rel=1e-12)


def test_few_negatives_flatter_at_a_base_rate() -> None:
    draw = np.random.default_rng(0)
    labels = (np.arange(200_000) % 2).astype(np.int8)
    scores = draw.normal(size=200_000) + labels
    truth = Ranking.of(scores, labels).average_precision_at(1 / 101)
    parts = zip(np.split(scores, 100), np.split(labels, 100), strict=True)
    found = [Ranking.of(*part).average_precision_at(1 / 101) for part in parts]
    assert 1.1 * truth < np.mean(found) < 1.6 * truth


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
