"""Tests of temperature scaling and selective precision.

A known scale is found again, also from degenerate inputs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import minimize_scalar

from ppi_train.evaluation.pair_metrics import pair_metrics, sigmoid
from ppi_train.evaluation.uncertainty import HIGHEST, LOWEST, fitted_temperature, precision_by_kept

Scored = tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]


def calibrated(pairs: int = 20_000, seed: int = 0) -> Scored:
    """Logits whose sigmoid is the probability by which the labels were drawn."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=pairs) - 1
    return logits, (rng.random(pairs) < sigmoid(logits)).astype(np.int8)


@pytest.mark.parametrize("stretch", [0.3, 1.0, 4.0])
def test_it_finds_what_the_logits_were_stretched_by(stretch: float) -> None:
    logits, labels = calibrated()
    temperature = fitted_temperature(stretch * logits, labels)
    assert temperature == pytest.approx(stretch, rel=0.05)
    before = pair_metrics(stretch * logits, labels, are_logits=True)
    after = pair_metrics(stretch * logits / temperature, labels, are_logits=True)
    assert after["auroc"] == before["auroc"]
    assert after["log_loss"] <= before["log_loss"]
    assert after["ece_adaptive"] < 0.015


def test_no_other_temperature_has_a_lower_log_loss() -> None:
    logits, labels = calibrated(500, seed=1)
    logits = (3 * logits).astype(np.float32)  # as models give them

    def loss(temperature: float) -> float:
        return float(np.mean(np.logaddexp(0, -(2.0 * labels - 1) * logits / temperature)))

    best = minimize_scalar(loss, bounds=(LOWEST, HIGHEST), method="bounded", options={"xatol": 1e-9})
    found = fitted_temperature(logits, labels)
    assert found == pytest.approx(best.x, rel=1e-4)
    assert loss(found) <= best.fun + 1e-12


@pytest.mark.parametrize(
    ("logits", "labels", "expected"),
    [
        ([-3.0, 1.0, 2.0], [1, 1, 1], 1.0),
        ([-3.0, 1.0, 2.0], [0, 0, 0], 1.0),
        ([0.7, 0.7, 0.7], [0, 1, 1], 1.0),
        ([], [], 1.0),
        ([-3.0, -1.0, 2.0], [0, 0, 1], LOWEST),  # all are right: the surer the better
        ([-3.0, -1.0, 2.0], [1, 1, 0], HIGHEST),  # all are wrong: the less sure the better
        ([-900.0, 1000.0, 800.0, -700.0], [0, 1, 0, 1], HIGHEST),
    ],
)
def test_where_nothing_can_be_found(
    logits: list[float], labels: list[int], expected: float, recwarn: pytest.WarningsRecorder
) -> None:
    assert fitted_temperature(np.array(logits), np.array(labels)) == expected
    assert not recwarn.list


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


def test_of_equally_sure_pairs_the_order_has_no_influence() -> None:
    rng = np.random.default_rng(2)
    labels = (rng.random(400) < 0.5).astype(np.int8)
    probabilities = rng.random(400)
    uncertainty = rng.integers(0, 5, 400).astype(float)
    kept = precision_by_kept(probabilities, labels, uncertainty)
    for _ in range(3):
        order = rng.permutation(400)
        again = precision_by_kept(probabilities[order], labels[order], uncertainty[order])
        np.testing.assert_allclose(again.precision, kept.precision, rtol=1e-12)
    surest = probabilities >= 0.5
    alike = precision_by_kept(probabilities, labels, np.zeros(400))
    np.testing.assert_allclose(alike.precision, labels[surest].mean())
