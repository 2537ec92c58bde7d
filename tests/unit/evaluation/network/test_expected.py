"""Tests of the number of edges to call, on simulated networks whose density is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from ppi_train.evaluation.network import Network, network_from_pairs, sample_node_sets
from ppi_train.evaluation.network.expected import (
    LogitCounts,
    asked_pairs,
    count_threshold,
    walk_densities,
)

pytestmark = pytest.mark.filterwarnings("error")

# Two classes of scores, normal with unit variance at this distance: an AUROC of .76. By Bayes' rule the logit
# that is calibrated on as many pairs of either class is linear in the score.
DISTANCE = 1.0
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """A network of groups within which proteins interact, with scores of all of its pairs."""

    network: Network
    pairs: npt.NDArray[np.int64]
    logits: Floats


def simulated(proteins: int, groups: int, within: float, seed: int) -> Simulated:
    """`within` is the share of the pairs of a group that interact; between groups a hundredth of it does."""
    rng = np.random.default_rng(seed)
    group = rng.integers(groups, size=proteins)
    pairs = np.argwhere(np.triu(np.ones((proteins, proteins), bool), 1))
    same = group[pairs[:, 0]] == group[pairs[:, 1]]
    labels = rng.random(len(pairs)) < np.where(same, within, within / 100)
    scores = rng.normal(loc=np.where(labels, DISTANCE, 0.0))
    names = tuple(f"P{number:04d}" for number in range(proteins))
    return Simulated(
        network=network_from_pairs(names, pairs[labels]),
        pairs=pairs,
        logits=DISTANCE * scores - DISTANCE**2 / 2,
    )


@pytest.mark.parametrize(("proteins", "groups", "within"), [(700, 30, 0.3), (1200, 60, 0.2), (400, 8, 0.6)])
def test_calibrated_scores_alone_tell_the_number_of_edges(proteins: int, groups: int, within: float) -> None:
    """The scores are calibrated on balanced pairs, and the network has any size and density."""
    made = simulated(proteins, groups, within, seed=0)
    counts = LogitCounts.of(made.logits)
    density = counts.estimated_density(prevalence=0.5)
    assert density == pytest.approx(made.network.density, rel=0.2)
    # There the expected edges are as many as the called ones, and about as many as the true ones.
    target = density * counts.pairs
    assert counts.expected_edges(0.5, density) == pytest.approx(target, rel=1e-3)
    threshold = count_threshold(made.logits, target)
    assert np.count_nonzero(made.logits >= threshold) == pytest.approx(made.network.edges, rel=0.2)


def test_an_estimate_does_not_depend_on_the_balance_of_the_calibration() -> None:
    made = simulated(500, 20, 0.4, seed=1)
    even = LogitCounts.of(made.logits).estimated_density(0.5)
    rare = LogitCounts.of(made.logits + np.log(1 / 10)).estimated_density(1 / 11)
    assert rare == pytest.approx(even, rel=0.05)


def test_scores_that_move_spoil_the_estimate_and_not_the_stated_density() -> None:
    made = simulated(700, 30, 0.3, seed=0)
    moved = made.logits + 0.3
    true = made.network.density
    assert LogitCounts.of(moved).estimated_density(0.5) > 5 * true
    assert LogitCounts.of(made.logits - 2).estimated_density(0.5) == 0
    assert LogitCounts.of(made.logits + 9).estimated_density(0.5) == 1
    threshold = count_threshold(moved, true * len(moved))
    assert np.count_nonzero(moved >= threshold) == made.network.edges


def test_node_sets_are_called_as_densely_as_the_training_network_is() -> None:
    """Twice as many proteins and groups halve the density, but a walk sees as much of it as before."""
    training, test = simulated(500, 20, 0.5, seed=2), simulated(1000, 40, 0.5, seed=3)
    assert test.network.density < 0.6 * training.network.density
    sizes = {20: 30, 60: 30}
    sets = {
        kind: {
            size: [test.network.numbers(nodes, "set") for nodes in drawn]
            for size, drawn in sample_node_sets(test.network, kind, sizes, seed=0).items()
        }
        for kind in ("bfs", "random_walk")
    }
    densities = walk_densities(training.network, {kind: list(sizes) for kind in (*sets, "own")}, seed=0)
    assert set(densities) == set(sets)
    weights, target = asked_pairs(1000, sets, densities)
    assert target == 4 * 30
    # The lower the better: a model whose scores say nothing at all.
    noise = np.random.default_rng(0).normal(size=len(test.pairs))
    for logits in (test.logits + 5, noise):
        of_pairs = weights[tuple(test.pairs.T)]
        called = test.pairs[logits >= count_threshold(logits, target, of_pairs)]
        predicted = network_from_pairs(test.network.proteins, called)
        ratios = [
            predicted.induced(nodes).edges / max(1, test.network.induced(nodes).edges)
            for by_size in sets.values()
            for drawn in by_size.values()
            for nodes in drawn
        ]
        assert 0.7 < np.mean(ratios) < 1.4


def test_without_node_sets_of_a_known_walk_there_is_nothing_to_weigh() -> None:
    weights, target = asked_pairs(5, {"own": {2: [np.array([0, 1])]}}, {})
    assert (weights.shape, weights.nnz, target) == ((5, 5), 0, 0)


def test_a_threshold_is_one_of_the_scores_and_the_higher_of_two() -> None:
    logits = np.array([3.0, 1.0, 2.0, 2.0])
    assert count_threshold(logits, 1) == 3.0
    assert count_threshold(logits, 2) == 3.0  # one or three are called
    assert count_threshold(logits, 100) == 1.0
    assert count_threshold(logits, 0) > 3.0
    assert count_threshold(logits, 1.0, np.array([0.1, 5.0, 0.5, 0.4])) == 2.0


def test_counts_tell_how_low_a_logit_must_be() -> None:
    logits = np.array([-40.0, -1.0, 0.5, 2.0])
    counts = LogitCounts.of(logits)
    for enough, lowest in ((1, 2.0), (2, 0.5), (3, -1.0)):
        assert lowest - 1 / 64 <= counts.logit_of(enough) <= lowest
    assert counts.logit_of(4) == counts.logit_of(9) == -np.inf
