"""How many edges to call in a network whose edges are not known.

Two rules can be made of calibrated probabilities, and they fail in different ways.

*By the scores* (`estimated_density`). A model is calibrated on validation pairs of which a share v
interacts. Where a share d does, its odds are multiplied by d (1 - v) / (v (1 - d)) (Saerens, Latinne &
Decaestecker 2002). The sum of these probabilities over all N pairs is the number of edges expected at d. For
one d between 0 and 1 it equals d N, the edges of a network of that density: there expected and called edges
agree, and it is the maximum of the likelihood of the scores, to which the iteration of Saerens et al.
converges. If the pairs of either class score as in validation, the estimate converges to the true density,
with a deviation of 1 / sqrt(N var r), where r is the likelihood ratio of a pair that does not interact. It
fails where scores move: the mean of r is then 1 + e instead of 1, and the estimate is off by about e / var
r. For an AUROC of .7, var r is about .7, so that e = .02 adds .03 to a density that is .01: the rule needs a
model that ranks well, and proteins like those of validation. Another species is not like that.

*By a stated density* (`count_threshold`). As many pairs are called, the highest first, as a network of the
stated density has edges. Only the order of the scores counts, so that no shift of the scores matters; the
number is right exactly if the density is. What transfers between networks is not the density of the whole:
it falls with the number of proteins, and rises with how well they are studied. Node sets of the same size
that are drawn by the same walk are more alike. By breadth-first search, sets of 20 to 200 proteins have a
density of .20 to .10 in Bernett's training network and of .37 to .09 in PRING's Arabidopsis, by random walks
.18 to .08 and .31 to .11, by depth-first search .14 to .03 and .22 to .03; the whole networks have .009 and
.014, and all known interactions of Arabidopsis .002. `walk_densities` measures the training network in this
way.

A weak ranking spreads the called edges over the whole network, so that the sets drawn along true edges,
which are dense, get too few if the whole gets the right number. The number is therefore matched where it is
measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ppi_train.evaluation.base_rate import shifted
from ppi_train.evaluation.network import KINDS, Network, sample_node_sets
from ppi_train.evaluation.network.topology import Floats, Numbers, induced_cells
from ppi_train.evaluation.pair_metrics import sigmoid

_STEPS = 64  # bins of a logit of 1: a probability moves by less than half a per cent of itself
_REACH = 32  # logits beyond are counted as this: their probabilities are 0 or 1 in every sum
_WALKS = 50  # sets of a size drawn from the training network, as PRING draws from a test network


@dataclass(frozen=True)
class LogitCounts:
    """How many pairs have each logit, in bins of 1/64; `counts` (4096,)."""

    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, logits: npt.NDArray[Any]) -> LogitCounts:
        """Counts logits of any shape."""
        bins = np.floor(np.asarray(logits).ravel() * _STEPS).astype(np.int64) + _REACH * _STEPS
        return cls(np.bincount(np.clip(bins, 0, 2 * _REACH * _STEPS - 1), minlength=2 * _REACH * _STEPS))

    def __add__(self, other: LogitCounts) -> LogitCounts:
        return LogitCounts(self.counts + other.counts)

    @property
    def pairs(self) -> int:
        return int(self.counts.sum())

    def logit_of(self, count: int) -> float:
        """A logit at or above which at least so many pairs lie, or all; none lower than needed by 1/64."""
        above = np.cumsum(self.counts[::-1])[::-1]
        enough = np.flatnonzero(above >= count)
        # The lowest bin has all that is below it as well.
        return (int(enough[-1]) / _STEPS - _REACH) if len(enough) and enough[-1] else -np.inf

    @property
    def probabilities(self) -> Floats:
        """The probability in the middle of each bin."""
        return sigmoid((np.arange(len(self.counts)) + 0.5) / _STEPS - _REACH)

    def expected_edges(self, prevalence: float, density: float) -> float:
        """The sum of the probabilities at a density.

        Args:
            prevalence: Share of interacting pairs where the logits were calibrated, between 0 and 1.
            density: The share of the counted pairs that is taken to interact, between 0 and 1.
        """
        return float(self.counts @ shifted(self.probabilities, prevalence, density))

    def estimated_density(self, prevalence: float) -> float:
        """The density at which expected edges and edges of that density are the same number.

        0 or 1 if the scores are lower or higher than those of any network. The module says when to trust it.

        Args:
            prevalence: As for `expected_edges`.
        """
        middle = self.probabilities
        # Of a pair that interacts over one that does not.
        ratio = middle / (1 - middle) * ((1 - prevalence) / prevalence)

        def slope(density: float) -> float:
            """The derivative of the log likelihood, which falls with the density."""
            return float(self.counts @ ((ratio - 1) / (1 + density * (ratio - 1))))

        low, high = 0.0, 1.0
        if slope(low) <= 0:
            return 0.0
        if slope(high) >= 0:
            return 1.0
        while high - low > 1e-9:
            centre = (low + high) / 2
            low, high = (centre, high) if slope(centre) > 0 else (low, centre)
        return (low + high) / 2


def walk_densities(network: Network, sizes: Mapping[str, Sequence[int]], *, seed: int) -> WalkDensities:
    """The mean density of sets that walks draw from a network.

    Args:
        network: The training network.
        sizes: Sizes of sets by walk: `bfs`, `dfs` or `random_walk`; other kinds are left out.
        seed: The same seed gives the same densities.

    Returns:
        By walk and size: true edges over pairs of distinct proteins, mean over 50 sets.
    """
    within = network.induced(np.flatnonzero(np.diff(network.adjacency.indptr)))
    found: dict[str, dict[int, float]] = {}
    for kind in KINDS.keys() & sizes.keys():
        drawn = sample_node_sets(within, kind, dict.fromkeys(sizes[kind], _WALKS), seed=seed)
        found[kind] = {size: _mean_density(within, sets) for size, sets in drawn.items()}
    return found


WalkDensities = Mapping[str, Mapping[int, float]]


def _mean_density(network: Network, sets: Sequence[Sequence[str]]) -> float:
    numbers = [network.numbers(nodes, "node sets") for nodes in sets]
    n = np.array([len(nodes) for nodes in numbers])
    shares = induced_cells(network.adjacency, numbers) / np.maximum(n * (n - 1), 1)
    return float(shares.mean())


def asked_pairs(
    proteins: int, sets: Mapping[str, Mapping[int, Sequence[Numbers]]], densities: WalkDensities
) -> tuple[sparse.csr_array, int]:
    """The pairs within node sets, weighted by what share of a set's expected edges each is.

    Args:
        proteins: How many the network has, N.
        sets: Numbers of the proteins of each set, by walk and size.
        densities: The expected density, by walk and size; sets without one are left out.

    Returns:
        The weights (N, N), upper triangle without diagonal, and the number of sets: with it as its target,
        `count_threshold` calls as many edges as expected, as a mean over the sets.
    """
    expected = [
        (nodes, density * len(nodes) * (len(nodes) - 1) / 2)
        for kind, by_size in densities.items()
        for size, density in by_size.items()
        for nodes in sets.get(kind, {}).get(size, ())
    ]
    chosen = [(nodes, edges) for nodes, edges in expected if edges > 0]
    rows = np.repeat(np.arange(len(chosen)), [len(nodes) for nodes, _ in chosen])
    columns = np.concatenate([nodes for nodes, _ in chosen]) if chosen else np.empty(0, np.int64)
    members = sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(chosen), proteins)).tocsr()
    shares = sparse.diags_array([1 / edges for _, edges in chosen]) if chosen else sparse.eye_array(0)
    return sparse.triu(members.T @ shares @ members, k=1, format="csr"), len(chosen)


def count_threshold(
    logits: npt.NDArray[Any], target: float, weights: npt.NDArray[np.float64] | None = None
) -> float:
    """The logit at or above which pairs of a total weight nearest to the target lie.

    Args:
        logits: (n,) at least one.
        target: Pairs to call; more than there are calls all.
        weights: (n,) of the pairs; None: each counts 1.

    Returns:
        One of the logits, or just above the highest where calling nothing comes nearest. Of two equally near
        the higher one.
    """
    values = np.asarray(logits, np.float64)
    distinct, group = np.unique(values, return_inverse=True)
    share = np.bincount(group, weights)
    called = np.append(np.cumsum(share[::-1])[::-1], 0.0)
    thresholds = np.append(distinct, np.nextafter(distinct[-1], np.inf))
    distance = np.abs(called - target)
    return float(thresholds[np.flatnonzero(distance <= distance.min() * (1 + 1e-12))[-1]])
