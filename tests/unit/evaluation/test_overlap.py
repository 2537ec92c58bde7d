"""Tests of the overlap of test and training set, and of baselines."""

from __future__ import annotations

import numpy as np

from ppi_train.evaluation.joint_pairs import JointPairs
from ppi_train.evaluation.overlap import (
    audit_text,
    identity_measures,
    overlap_measures,
    proteins_seen,
    shared_pairs,
)

# Proteins 0 to 3 are in training; 4 to 7 are not.
SMALL = JointPairs(
    proteins=8,
    train=np.array([[0, 1], [0, 2], [1, 3], [3, 3]]),
    train_labels=np.array([1, 1, 0, 1]),
    test=np.array([[0, 1], [1, 2], [0, 4], [4, 5], [6, 7]]),
    test_labels=np.array([1, 0, 1, 0, 0]),
)


def test_classes_and_shared_pairs_of_a_small_case() -> None:
    assert proteins_seen(SMALL).tolist() == [2, 2, 1, 0, 0]
    assert shared_pairs(SMALL).tolist() == [True, False, False, False, False]
    measures = overlap_measures(SMALL)
    counts = {name: measures[name] for name in ("shared_pairs", "c1_pairs", "c2_pairs", "c3_pairs")}
    assert counts == {"shared_pairs": 1, "c1_pairs": 2, "c2_pairs": 1, "c3_pairs": 2}
    assert measures["c3_pairs_share"] == 0.4
    assert (measures["shared_proteins"], measures["test_proteins"]) == (3, 7)
    assert measures["train_proteins"] == 4


def test_identity_shares_count_what_is_above() -> None:
    measures = identity_measures(np.array([0.0, 0.2, 0.4, 0.41, 1.0]))
    assert measures == {
        "identity_above_30_share": 0.6,
        "identity_above_40_share": 0.4,
        "identity_above_90_share": 0.2,
        "similar_share": 0.8,
    }


def test_the_table_shows_counts_shares_and_baselines() -> None:
    measures = overlap_measures(SMALL) | {"degree_auroc": 0.75, "degree_auprc": 0.5}
    shown = audit_text(measures, train="train.tsv", test="test.tsv")
    assert "test.tsv against train.tsv" in shown
    assert any("no protein in training" in line and "40.0%" in line for line in shown.splitlines())
    assert any("degree in training" in line and "0.7500" in line for line in shown.splitlines())
    assert "identity" not in shown
