"""Tests of the expected precision at another share of interacting pairs, by simulation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ppi_train.evaluation.base_rate import (
    expected_metrics,
    expected_right,
    expected_text,
    shifted,
)

# Two classes of scores, normal with unit variance: the calibrated probability follows from Bayes' rule.
DISTANCE = 2.0
Drawn = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]


def drawn(pairs: int, share: float, seed: int) -> Drawn:
    """Scores and labels of pairs of which a share interacts."""
    rng = np.random.default_rng(seed)
    labels = rng.random(pairs) < share
    return rng.normal(loc=np.where(labels, DISTANCE, 0.0)), labels


def bayes(scores: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float64]:
    """Probability that a pair of a score interacts, where a share of the pairs does."""
    likelihood_ratio = np.exp(DISTANCE * scores - DISTANCE**2 / 2)
    return likelihood_ratio * share / (likelihood_ratio * share + 1 - share)


@pytest.mark.parametrize(
    ("prevalence", "base_rate"), [(0.5, 1 / 101), (0.5, 1 / 1001), (0.1, 1 / 101), (0.2, 0.6)]
)
def test_probabilities_are_those_of_bayes_rule_at_the_other_share(
    prevalence: float, base_rate: float
) -> None:
    scores, _ = drawn(1000, 0.5, seed=0)
    found = shifted(bayes(scores, prevalence), prevalence, base_rate)
    np.testing.assert_allclose(found, bayes(scores, base_rate), rtol=1e-9)


@pytest.mark.parametrize("ratio", [100, 1000])
def test_the_expected_number_is_what_a_simulated_network_has(ratio: int) -> None:
    """The model is calibrated at 1:1 and scores a large, sparse network."""
    share, tops = 1 / (ratio + 1), (100, 1000)
    right = np.zeros(len(tops))
    expected = np.zeros(len(tops))
    networks = 20
    for seed in range(networks):
        scores, labels = drawn(500_000, share, seed)
        best = np.argsort(-scores)
        right += [labels[best[:top]].sum() for top in tops]
        expected += [found.right for found in expected_right(bayes(scores, 0.5), 0.5, share, tops)]
    # Four standard errors of a sum of independent pairs.
    slack = 4 * np.sqrt(expected * (1 - expected / (networks * np.array(tops))))
    assert np.all(np.abs(right - expected) < slack), f"{right} right, {expected} expected"
    assert np.all(expected < 0.95 * networks * np.array(tops)), "too easy to tell anything"


def test_at_its_own_share_nothing_changes() -> None:
    probabilities = np.array([0.0, 0.2, 0.9, 1.0])
    np.testing.assert_allclose(shifted(probabilities, 0.3, 0.3), probabilities)
    found = expected_right(probabilities, 0.5, 0.5, (1, 2, 4, 5))
    assert [expected.top for expected in found] == [1, 2, 4]
    assert [expected.right for expected in found] == pytest.approx([1.0, 1.9, 2.1])
    assert found[1].precision == pytest.approx(0.95)


def test_numbers_above_that_of_the_pairs_are_left_out() -> None:
    assert expected_metrics([0.5] * 99, 0.5) == {}
    assert expected_text([0.5] * 99, 0.5) is None
    found = expected_metrics([0.5] * 100, 0.5)
    assert found == pytest.approx(
        {"expected/precision_at_100_1to100": 1 / 101, "expected/precision_at_100_1to1000": 1 / 1001}
    )


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_that_is_none(share: float) -> None:
    with pytest.raises(ValueError, match=r"prevalence is .*, not between 0 and 1"):
        shifted([0.5], share, 0.5)
