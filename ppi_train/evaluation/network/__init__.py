"""Protein interaction networks over a fixed list of proteins.

Every protein of the list is a node, whether or not it has an edge: two networks over the same list have
the same nodes, so that a predicted network also has the nodes without a predicted edge.

At 0.5 a model that was trained on as many negatives as positives calls far too many edges in a network
where one pair in a hundred interacts. `density_threshold` chooses the threshold on validation pairs, so that
the test network's metrics stay a test.

`sample_node_sets` samples connected sets of proteins, as PRING does. From a random protein: breadth-first or
depth-first, neighbours in the order of their accessions, or a walk to a random unvisited neighbour; a walk
that is stuck continues from a random visited protein that still has an unvisited neighbour. A set is smaller
than asked for if the component of its first protein is.

Legend of shapes: n proteins, m pairs, g distinct scores.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ppi_train.errors import DataError, first_ten
from ppi_train.evaluation.pair_metrics import THRESHOLD, Floats, checked_scores


@dataclass(frozen=True, kw_only=True)
class Network:
    """An undirected network without weights.

    Attributes:
        proteins: n distinct accessions; a protein's position among them is its number.
        adjacency: (n, n) CSR of float64, symmetric; 1 for each edge, on the diagonal for a self loop.
    """

    proteins: tuple[str, ...]
    adjacency: sparse.csr_array

    @cached_property
    def places(self) -> dict[str, int]:
        """The number of each protein."""
        return {protein: place for place, protein in enumerate(self.proteins)}

    @property
    def loops(self) -> int:
        """How many proteins interact with themselves."""
        return int(self.adjacency.diagonal().sum())

    @property
    def edges(self) -> int:
        """The number of edges; a self loop is an edge."""
        return (int(self.adjacency.nnz) + self.loops) // 2

    @property
    def density(self) -> float:
        """Edges, self loops included, over the number of pairs of distinct proteins."""
        n = len(self.proteins)
        return 2 * self.edges / (n * (n - 1)) if n > 1 else 0.0

    def induced(self, numbers: npt.NDArray[np.int64]) -> Network:
        """The network among the proteins of the given numbers (m,), in that order."""
        return Network(
            proteins=tuple(self.proteins[number] for number in numbers),
            adjacency=self.adjacency[numbers][:, numbers],
        )

    def numbers(self, proteins: Sequence[str], where: object) -> npt.NDArray[np.int64]:
        """The numbers of the given proteins, in their order.

        `where` is named in the error.

        Raises:
            DataError: the network does not have all of them; the message names those that it lacks.
        """
        unknown = [protein for protein in dict.fromkeys(proteins) if protein not in self.places]
        if unknown:
            which = "1 protein is" if len(unknown) == 1 else f"{len(unknown):,} proteins are"
            raise DataError(
                f"{which} not in the network",
                where=where,
                got=first_ten(unknown),
                expected=f"proteins among the {len(self.proteins):,} whose pairs were scored",
                remedy="score the pairs of these proteins too, or leave them out here",
            )
        return np.array([self.places[protein] for protein in proteins], np.int64)


def network_from_pairs(
    proteins: Sequence[str],
    pairs: npt.NDArray[Any],
    scores: npt.NDArray[Any] | None = None,
    *,
    threshold: float = THRESHOLD,
) -> Network:
    """Makes the network of the pairs that are called to interact.

    Args:
        proteins: n distinct accessions, all nodes.
        pairs: (m, 2) numbers of proteins. A pair that occurs twice, in either order, is one edge; a
            protein with itself is a self loop.
        scores: (m,) one per pair; None if all pairs are edges.
        threshold: A pair is an edge at this score or above.
    """
    assert len(set(proteins)) == len(proteins), "a protein is listed twice"
    ends = np.asarray(pairs, np.int64).reshape(-1, 2)
    if scores is not None:
        assert len(scores) == len(ends), f"{len(scores)} scores for {len(ends)} pairs"
        ends = ends[np.asarray(scores) >= threshold]
    rows, columns = np.concatenate([ends, ends[:, ::-1]]).T
    size = len(proteins)
    found = sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size)).tocsr()
    found.data[:] = 1.0  # duplicates were summed
    return Network(proteins=tuple(proteins), adjacency=found)


def density_threshold(scores: npt.NDArray[Any], labels: npt.NDArray[Any], density: float) -> float:
    """Finds the threshold that calls pairs at the given density.

    The share of called pairs is as near as possible to the density. Of two thresholds equally near, the
    higher is taken. Validation pairs are sampled, with far more positives than a network has: each class
    counts here with the weight that it has in a network of that density. So the share called at t is density
    * recall(t) + (1 - density) * false positive rate(t).

    Args:
        scores: (n,) probabilities, or logits, of the validation pairs.
        labels: (n,) 0 or 1.
        density: The share of a network's pairs that interact, between 0 and 1.

    Returns:
        A threshold; a pair is called at a score of it or above. It is one of the scores, or just above
        the highest where calling nothing comes nearest.

    Raises:
        DataError: the density is not a share, shapes differ, one class only, or a score is not finite.
    """
    if not 0 <= density <= 1:
        raise DataError(
            "the density to match is not a share of the pairs",
            got=density,
            expected="a number between 0 and 1",
        )
    values, truth = checked_scores(scores, labels)
    positives = int(np.count_nonzero(truth))
    weights = np.where(truth == 1, density / positives, (1 - density) / (truth.size - positives))
    distinct, group = np.unique(values, return_inverse=True)
    share = np.bincount(group, weights)  # of the pairs with exactly this score, (g,)
    called: Floats = np.append(np.cumsum(share[::-1])[::-1], 0.0)  # at this score or above; then nothing
    thresholds = np.append(distinct, np.nextafter(distinct[-1], np.inf))
    distance = np.abs(called - density)
    return float(thresholds[np.flatnonzero(distance <= distance.min() + 1e-12)[-1]])


_Neighbours = list[list[int]]  # of each protein, ascending by accession


def sample_node_sets(
    network: Network, kind: str, counts: Mapping[int, int], *, seed: int
) -> dict[int, list[tuple[str, ...]]]:
    """Draws node sets of the given sizes.

    Args:
        network: The network to sample from.
        kind: `bfs`, `dfs` or `random_walk`.
        counts: How many sets, by the number of proteins in them.
        seed: The same seed gives the same sets.

    Returns:
        The sets by size; accessions in ascending order.
    """
    assert len(network.proteins) > 0, "a network without proteins"
    draw, rng = KINDS[kind], np.random.default_rng(seed)
    neighbours = _neighbours(network)
    found = {}
    for size, count in counts.items():
        drawn = [draw(neighbours, size, rng) for _ in range(count)]
        found[size] = [tuple(sorted(network.proteins[node] for node in nodes)) for nodes in drawn]
    return found


def _neighbours(network: Network) -> _Neighbours:
    table, proteins = network.adjacency, network.proteins
    rows = [
        table.indices[table.indptr[node] : table.indptr[node + 1]].tolist() for node in range(len(proteins))
    ]
    return [sorted(row, key=proteins.__getitem__) for row in rows]


def _search(neighbours: _Neighbours, size: int, rng: np.random.Generator, *, depth_first: bool) -> set[int]:
    visited: set[int] = set()
    waiting = deque([int(rng.integers(len(neighbours)))])
    while waiting and len(visited) < size:
        current = waiting.pop() if depth_first else waiting.popleft()
        if current not in visited:
            visited.add(current)
            waiting.extend(neighbour for neighbour in neighbours[current] if neighbour not in visited)
    return visited


def _random_walk(neighbours: _Neighbours, size: int, rng: np.random.Generator) -> set[int]:
    current = int(rng.integers(len(neighbours)))
    visited = {current}
    while len(visited) < size:
        ahead = [neighbour for neighbour in neighbours[current] if neighbour not in visited]
        if ahead:
            current = ahead[rng.integers(len(ahead))]
            visited.add(current)
            continue
        ways_out = [
            node
            for node in sorted(visited)
            if any(neighbour not in visited for neighbour in neighbours[node])
        ]
        if not ways_out:
            break
        current = ways_out[rng.integers(len(ways_out))]
    return visited


KINDS: dict[str, Callable[[_Neighbours, int, np.random.Generator], set[int]]] = {
    "bfs": partial(_search, depth_first=False),
    "dfs": partial(_search, depth_first=True),
    "random_walk": _random_walk,
}
