"""Tests of the trivial baselines."""

from __future__ import annotations

import numpy as np
import pytest

from ppi_train.evaluation import baselines
from ppi_train.evaluation.baselines import Neighbours, degree_scores, nearest_scores
from ppi_train.evaluation.joint_pairs import JointPairs

# Proteins 0 to 3 are in training; 4 to 7 are not.
SMALL = JointPairs(
    proteins=8,
    train=np.array([[0, 1], [0, 2], [1, 3], [3, 3]]),
    train_labels=np.array([1, 1, 0, 1]),
    test=np.array([[0, 1], [1, 2], [0, 4], [4, 5], [6, 7]]),
    test_labels=np.array([1, 0, 1, 0, 0]),
)


def test_degrees_count_positive_training_pairs_only() -> None:
    partners = [2, 1, 1, 2, 0, 0, 0, 0]  # protein 3 with itself counts on both ends
    wanted = [np.log((1 + partners[a]) * (1 + partners[b])) for a, b in SMALL.test.tolist()]
    assert degree_scores(SMALL) == pytest.approx(wanted)


@pytest.mark.parametrize("looked_up", [20, 1000])
def test_nearest_scores_are_the_sum_over_all_pairs_of_neighbours(
    looked_up: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "_LOOKED_UP", looked_up)
    rng = np.random.default_rng(0)
    train = np.unique(np.sort(rng.integers(0, 20, (60, 2)), axis=1), axis=0)
    labels = rng.integers(0, 2, len(train))
    test = np.sort(rng.integers(10, 40, (50, 2)), axis=1)
    pairs = JointPairs(
        proteins=40, train=train, train_labels=labels, test=test, test_labels=rng.integers(0, 2, 50)
    )
    similar = {(query, int(target)) for query in range(10, 40) for target in rng.integers(0, 20, 3)}
    identity = {pair: float(rng.random()) for pair in sorted(similar)}
    query, target = np.array(sorted(similar)).T
    found = nearest_scores(
        pairs, Neighbours(query=query, target=target, identity=np.array(list(identity.values())))
    )
    label_of = {tuple(pair): int(label) for pair, label in zip(train.tolist(), labels, strict=True)}
    for score, (a, b) in zip(found, test.tolist(), strict=True):
        evidence = total = 0.0
        for x in range(20):
            for y in range(20):
                label = label_of.get((min(x, y), max(x, y)))
                if label is not None:
                    weight = identity.get((a, x), 0.0) * identity.get((b, y), 0.0)
                    evidence += weight * (2 * label - 1)
                    total += weight
        assert score == pytest.approx(evidence / (1 + total))


def test_a_pair_without_similar_training_pairs_scores_nothing() -> None:
    itself = np.arange(4)
    found = nearest_scores(SMALL, Neighbours(query=itself, target=itself, identity=np.ones(4)))
    assert found.tolist() == [0.5, 0.0, 0.0, 0.0, 0.0]
