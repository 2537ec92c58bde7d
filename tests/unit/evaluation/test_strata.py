"""Tests of strata: assignment of pairs, and metrics per stratum."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from ppi_train.evaluation.measure import (
    Stratum,
    degrees_without,
    measure_strata,
    strata_by_degree,
    strata_by_length,
    strata_by_proteins_seen,
    strata_metrics,
)


def rows(strata: list[Stratum]) -> dict[str, list[int]]:
    return {stratum.name: np.flatnonzero(stratum.rows).tolist() for stratum in strata}


def test_pairs_by_proteins_seen_in_training() -> None:
    seen = np.array([2, 0, 1, 2], np.int8)
    assert rows(strata_by_proteins_seen(seen)) == {"c1": [0, 3], "c2": [2], "c3": [1]}


def test_pairs_by_the_length_of_the_longer_protein() -> None:
    assert rows(strata_by_length(np.array([250, 251, 1001, 1000, 9, 500]))) == {
        "length_to_250": [0, 4],
        "length_to_500": [1, 5],
        "length_to_1000": [3],
        "length_over_1000": [2],
    }


def test_thirds_by_degree_keep_equal_products_together() -> None:
    degrees = np.array([[0, 0], [1, 5], [5, 1], [3, 2], [9, 9], [50, 1]])
    assert rows(strata_by_degree(degrees)) == {
        "degree_low": [0],
        "degree_middle": [1, 2, 3],
        "degree_high": [4, 5],
    }
    same = rows(strata_by_degree(np.ones((5, 2))))
    assert same == {"degree_low": [], "degree_middle": [0, 1, 2, 3, 4], "degree_high": []}


def test_a_pair_is_not_part_of_its_own_degree() -> None:
    #   0 - 1, 1 - 2, 2 - 2 interact; 0 - 2 does not
    pairs, labels = np.array([[0, 1], [1, 2], [2, 2], [0, 2]]), np.array([1, 1, 1, 0])
    assert degrees_without(pairs, labels).tolist() == [[0, 1], [1, 1], [1, 1], [1, 2]]


def test_each_stratum_has_the_metrics_of_its_pairs() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(400) < 0.3).astype(np.int8)
    scores, pairs = rng.normal(size=400) + labels, rng.integers(0, 80, (400, 2))
    seen = rng.integers(0, 2, 400)  # none of C1
    labels[(seen == 1) & (np.arange(400) > 200)] = 0
    strata = strata_by_proteins_seen(seen)
    got = {
        stratum.name: stratum
        for stratum in measure_strata(strata, scores, labels, pairs, resamples=50, seed=0)
    }
    assert list(got) == ["c2", "c3"]
    for name, count in (("c2", 1), ("c3", 0)):
        stratum, chosen = got[name], seen == count
        assert (stratum.pairs, stratum.positives) == (chosen.sum(), labels[chosen].sum())
        assert stratum.auroc == pytest.approx(metrics.roc_auc_score(labels[chosen], scores[chosen]))
        assert stratum.auprc == pytest.approx(metrics.average_precision_score(labels[chosen], scores[chosen]))
        assert 0 < stratum.auroc_low < stratum.auroc < stratum.auroc_high < 1
        assert 0 < stratum.auprc_low < stratum.auprc < stratum.auprc_high < 1
    logged = strata_metrics(got.values())
    assert logged["auroc_c3"] == got["c3"].auroc
    assert logged["pairs_c2"] == got["c2"].pairs


def test_a_stratum_of_one_class_is_counted_and_not_ranked() -> None:
    seen, labels = np.array([0, 0, 2, 2]), np.array([0, 1, 1, 1], np.int8)
    pairs = np.array([[0, 1], [1, 2], [2, 3], [3, 0]])
    measured = measure_strata(
        strata_by_proteins_seen(seen), np.arange(4.0), labels, pairs, resamples=20, seed=0
    )
    first, second = measured
    assert (first.name, first.pairs, first.positives) == ("c1", 2, 2)
    assert all(map(math.isnan, (first.auroc, first.auroc_low, first.auroc_high, first.auprc)))
    assert second.auroc == 1.0
    assert strata_metrics(measured) == {"pairs_c1": 2, "pairs_c3": 2, "auroc_c3": 1.0, "auprc_c3": 1.0}
    without = measure_strata(
        strata_by_proteins_seen(seen), np.arange(4.0), labels, pairs, resamples=0, seed=0
    )
    assert without[1].auroc == 1.0
    assert math.isnan(without[1].auroc_low)


@pytest.mark.parametrize("value", [0.0, 0.4])
def test_equal_scores_in_a_stratum_are_no_better_than_chance(
    value: float, recwarn: pytest.WarningsRecorder
) -> None:
    labels = np.array([0, 1, 0, 1], np.int8)
    (stratum,) = measure_strata(
        strata_by_proteins_seen(np.zeros(4, int)),
        np.full(4, value),
        labels,
        np.arange(8).reshape(4, 2),
        resamples=20,
        seed=0,
    )
    assert (stratum.auroc, stratum.auroc_low, stratum.auroc_high) == (0.5, 0.5, 0.5)
    assert not recwarn.list
