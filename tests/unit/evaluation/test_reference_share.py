"""Tests of the share of single proteins that is taken off logits."""

from __future__ import annotations

import numpy as np
import pytest

from ppi_train.evaluation.pair_metrics import sigmoid
from ppi_train.evaluation.reference_share import fitted_share


def made(count: int, noise: float, hubs: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, what they say of single proteins, and labels.

    Labels follow from a signal of each pair and, by `hubs`, from the single proteins; logits are the signal
    and `noise` times what is said of single proteins.
    """
    rng = np.random.default_rng(seed)
    signal, singles = rng.normal(size=(2, count))
    labels = rng.random(count) < sigmoid(signal + hubs * singles)
    return signal + noise * singles, singles * noise, labels.astype(np.int8)


@pytest.mark.parametrize(("hubs", "share"), [(0.0, 1.0), (0.25, 0.5), (0.5, 0.0), (1.0, 0.0)])
def test_what_is_noise_is_taken_off(hubs: float, share: float) -> None:
    assert fitted_share(*made(100_000, 0.5, hubs)) == pytest.approx(share, abs=0.06)


def test_few_pairs_decide_little() -> None:
    shares = [fitted_share(*made(40, 0.5, 0.0, seed)) for seed in range(200)]
    assert np.mean(shares) < 0.3
    assert all(0 <= share <= 1 for share in shares)


def test_classes_that_are_apart_have_a_finite_answer() -> None:
    labels = np.repeat([0, 1], 50)
    assert 0 <= fitted_share(labels * 10.0, np.arange(100.0), labels) <= 1


@pytest.mark.parametrize(
    ("logits", "labels"),
    [([0.0, 0.0], [0, 1]), ([1.0, 2.0], [1, 1]), ([], []), ([2.0, 1.0], [0, 1]), ([np.nan, 1.0], [0, 1])],
    ids=["equal", "one class", "none", "the wrong way round", "diverged"],
)
def test_nothing_is_taken_off_where_nothing_can_be_fitted(logits: list[float], labels: list[int]) -> None:
    assert fitted_share(np.array(logits), np.ones(len(logits)), np.array(labels)) == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_a_training_that_diverges_gets_no_warnings_of_numpy(wrong: float, place: int) -> None:
    given = made(50, 0.5, 0.0)
    given[place][7] = wrong
    assert fitted_share(*given) == 0
