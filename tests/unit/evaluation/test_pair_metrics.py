"""Tests of the pair metrics against sklearn, and of refused inputs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics

from ppi_train.errors import DataError
from ppi_train.evaluation.pair_metrics import (
    adaptive_calibration_error,
    expected_calibration_error,
    pair_metrics,
    probability_metrics,
    ranking_metrics,
    reliability_bins,
    sigmoid,
)
from ppi_train.evaluation.ranking import Ranking

SCORES = np.array([0.1, 0.5, 0.4, 0.9])
LABELS = np.array([0, 0, 1, 1], dtype=np.int8)


def simulated(pairs: int = 500, seed: int = 0) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(pairs) < 0.4).astype(np.int8)
    return rng.normal(size=pairs) + labels, labels


def test_all_metrics_agree_with_sklearn() -> None:
    logits, labels = simulated()
    got = pair_metrics(logits, labels, are_logits=True)
    called = logits >= 0
    assert list(got) == [
        "auroc", "auprc", "auprc_1to100", "precision_at_recall_10", "precision_at_recall_50",
        "recall_at_fpr_1", "accuracy", "f1", "mcc", "brier", "log_loss", "ece", "ece_adaptive",
    ]  # fmt: skip
    expected = {
        "auroc": metrics.roc_auc_score(labels, logits),
        "auprc": metrics.average_precision_score(labels, logits),
        "auprc_1to100": metrics.average_precision_score(
            labels, logits, sample_weight=np.where(labels == 1, 0.01 / labels.mean(), 1 / (1 - labels.mean()))
        ),
        "accuracy": metrics.accuracy_score(labels, called),
        "f1": metrics.f1_score(labels, called),
        "mcc": metrics.matthews_corrcoef(labels, called),
        "brier": metrics.brier_score_loss(labels, sigmoid(logits)),
        "log_loss": metrics.log_loss(labels, sigmoid(logits)),
    }
    assert {name: got[name] for name in expected} == pytest.approx(expected, rel=1e-12)


def test_auprc_of_a_set_that_is_1_to_100_is_the_same_at_1_to_100() -> None:
    labels = (np.arange(1010) % 101 == 0).astype(np.int8)
    scores = (np.random.default_rng(0).normal(size=1010) + labels).round(1)
    got = pair_metrics(scores, labels, are_logits=True)
    assert got["auprc_1to100"] == pytest.approx(got["auprc"], rel=1e-12)


def test_ranking_metrics_are_those_of_all_metrics() -> None:
    logits, labels = simulated()
    everything = pair_metrics(sigmoid(logits), labels)
    assert ranking_metrics(logits, labels) == pytest.approx(
        {name: everything[name] for name in ("auroc", "auprc")}, abs=1e-12
    )


def test_hand_made_values() -> None:
    got = pair_metrics(SCORES, LABELS)  # 0.5 is called interacting: one of each kind of answer
    assert got["auroc"] == 0.75
    assert got["auprc"] == pytest.approx((1 + 2 / 3) / 2)
    assert (got["accuracy"], got["f1"], got["mcc"]) == (0.5, 0.5, 0.0)
    assert got["brier"] == pytest.approx((0.01 + 0.25 + 0.36 + 0.01) / 4)
    assert got["ece"] == pytest.approx((0.1 + 0.5 + 0.6 + 0.1) / 4)
    assert got["ece_adaptive"] == pytest.approx(got["ece"])  # four pairs, each in a bin of its own
    assert got["log_loss"] == pytest.approx(-np.log([0.9, 0.5, 0.4, 0.9]).mean())
    # By falling score 1 0 1 0: half of the positives are found by the first call, without a false one.
    assert (got["precision_at_recall_10"], got["precision_at_recall_50"]) == (1.0, 1.0)
    assert got["recall_at_fpr_1"] == 0.5


def test_float32_scores_and_boolean_labels_are_taken() -> None:
    got = pair_metrics(SCORES.astype(np.float32), LABELS.astype(bool))
    assert got == pytest.approx(pair_metrics(SCORES, LABELS), abs=1e-6)


def test_logits_have_the_calibration_of_their_probabilities() -> None:
    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.normal(scale=3, size=500), np.linspace(40, 60, 200)])  # of probability 1
    labels = (rng.random(700) < sigmoid(logits)).astype(np.int8)
    by_logit, plain = pair_metrics(logits, labels, are_logits=True), pair_metrics(sigmoid(logits), labels)
    for name in ("ece", "ece_adaptive", "brier", "log_loss", "accuracy"):
        assert by_logit[name] == plain[name], name


def test_saturated_logits_keep_their_order() -> None:
    logits = np.array([800.0, 900.0, -900.0, 1000.0])  # a sigmoid gives 1, 1, 0, 1
    assert pair_metrics(logits, LABELS, are_logits=True)["auroc"] == 0.5
    assert sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist() == [0.0, 0.5, 1.0]


def test_no_pair_called_gives_zeros_without_warning(recwarn: pytest.WarningsRecorder) -> None:
    got = pair_metrics(SCORES / 10, LABELS)
    assert (got["f1"], got["mcc"]) == (0.0, 0.0)
    assert not recwarn.list


def test_calibration_error_is_small_for_calibrated_and_large_for_shifted_scores() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random(50_000) * 0.8
    labels = (rng.random(50_000) < probabilities).astype(np.int8)
    assert expected_calibration_error(probabilities, labels) < 0.01
    assert expected_calibration_error(probabilities + 0.2, labels) == pytest.approx(0.2, abs=0.01)


def test_adaptive_bins_hold_as_many_pairs_each() -> None:
    rng = np.random.default_rng(0)
    probabilities = np.sort(rng.beta(0.3, 8, 15 * 40))  # most are close to 0
    labels = (rng.random(600) < probabilities).astype(np.int8)
    bins = np.arange(600).reshape(15, 40)
    gaps = [abs(probabilities[members].mean() - labels[members].mean()) for members in bins]
    assert adaptive_calibration_error(Ranking.of(probabilities, labels)) == pytest.approx(
        np.mean(gaps), abs=1e-12
    )
    mixed = rng.permutation(600)
    assert adaptive_calibration_error(Ranking.of(probabilities[mixed], labels[mixed])) == pytest.approx(
        np.mean(gaps)
    )


def test_equal_scores_are_measured_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    got = pair_metrics(np.zeros(4), LABELS, are_logits=True)
    assert (got["auroc"], got["auprc"], got["recall_at_fpr_1"]) == (0.5, 0.5, 0.0)
    assert got["auprc_1to100"] == pytest.approx(1 / 101)
    assert not recwarn.list


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_what_needs_no_other(label: int, recwarn: pytest.WarningsRecorder) -> None:
    got = probability_metrics(np.array([0.2, 0.8]), np.full(2, label))
    assert got == pytest.approx(
        {
            "accuracy": 0.5,
            "brier": 0.34,
            "log_loss": -np.log([0.2, 0.8]).mean(),
            "ece": 0.5,
            "ece_adaptive": 0.5,
        }
    )
    assert not recwarn.list


def test_bins_are_closed_on_the_right_and_empty_ones_left_out() -> None:
    edge = np.linspace(0, 1, 16)[3]
    bins = reliability_bins(np.array([0.0, edge, 1.0, 1.0]), np.array([0, 1, 0, 1]))
    np.testing.assert_allclose(bins.lower, [0, 2 / 15, 14 / 15])
    np.testing.assert_allclose(bins.upper, [1 / 15, 3 / 15, 1])
    assert bins.pairs.tolist() == [1, 1, 2]
    assert bins.frequency.tolist() == [0, 1, 0.5]
    np.testing.assert_allclose(bins.confidence, [0, edge, 1])


@pytest.mark.parametrize("function", [pair_metrics, ranking_metrics])
@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        (SCORES, np.ones(4), ["one class only", "4 interacting and 0 non-interacting", "to do"]),
        (SCORES, np.zeros(4), ["one class only", "0 interacting and 4 non-interacting"]),
        (SCORES[:0], LABELS[:0], ["one class only", "0 interacting and 0 non-interacting"]),
        (np.array([0.1, np.nan, 0.2, np.nan]), LABELS, ["not finite", "2 of 4", "row 1", "got: nan"]),
        (np.array([0.1, 0.2, 0.2, np.inf]), LABELS, ["not finite", "row 3", "got: inf", "diverged"]),
        (SCORES[:3], LABELS, ["do not match", "(3,)", "(4,)"]),
        (SCORES[:, None], LABELS[:, None], ["do not match", "(4, 1)"]),
        (SCORES, np.array([0, 1, 2, 1]), ["neither 0 nor 1", "row 2 of 4", "got: 2"]),
    ],
)
def test_what_has_no_metric_is_refused(
    function: object, scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int8], words: list[str]
) -> None:
    assert callable(function)
    with pytest.raises(DataError) as caught:
        function(scores, labels)
    assert all(word in str(caught.value) for word in words), caught.value


def test_logits_are_not_taken_for_probabilities() -> None:
    with pytest.raises(DataError, match="not probabilities") as caught:
        pair_metrics(np.array([-0.5, 0.1, 1.5, 0.2]), LABELS)
    assert "2 of 4 scores, first at row 0" in str(caught.value)
    assert "sigmoid" in str(caught.value)


def test_importing_the_metrics_does_not_import_sklearn() -> None:
    code = (
        "import sys, ppi_train.evaluation.pair_metrics, ppi_train.evaluation.bootstrap; "
        "sys.exit('sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
