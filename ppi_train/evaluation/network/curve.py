"""Graph similarity and relative density over all thresholds.

One pass over the node sets counts the edges of every threshold, since a pair is an edge up to the highest
threshold that its logit reaches.

Legend of shapes: s node sets, g thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ppi_train.evaluation.network.topology import (
    Floats,
    TrueSample,
    graph_similarity,
    induced,
    relative_density,
)

_POINTS = 40  # far below 127, so that a level fits in a byte


@dataclass(frozen=True, kw_only=True)
class ThresholdCurve:
    """Metrics of the networks called at several thresholds.

    Attributes:
        thresholds: (g,) logits, ascending.
        edges: (g,) called in the whole network.
        by_kind: By kind of node sets, `graph_similarity` and `relative_density` (g,); the density is infinite
            where a node set has predicted edges and no true ones.
        everything: The same if every pair is called: what a model without any knowledge can reach.
    """

    thresholds: Floats
    edges: npt.NDArray[np.int64]
    by_kind: Mapping[str, Mapping[str, Floats]]
    everything: Mapping[str, Mapping[str, float]]

    def best(self, kind: str) -> dict[str, float]:
        """The metrics, and the `threshold`, where the graph similarity of a kind is highest.

        Chosen with the true network: what no rule can exceed on these scores, and no result.
        """
        found = self.by_kind[kind]
        place = int(np.argmax(found["graph_similarity"]))
        return {name: float(values[place]) for name, values in found.items()} | {
            "threshold": float(self.thresholds[place])
        }


def threshold_curve(
    pairs: npt.NDArray[Any],
    logits: npt.NDArray[Any],
    samples: Mapping[str, TrueSample],
    *,
    marked: Sequence[float] = (),
) -> ThresholdCurve:
    """Measures the networks that the scores give at about 40 thresholds.

    The thresholds call numbers of pairs that rise by equal ratios, from a tenth of the true edges to all
    given pairs.

    Args:
        pairs: (m, 2) numbers of proteins, each pair once.
        logits: (m,) of these; of pairs that are left out it is only known that they are lower.
        samples: The true network on the node sets of each kind; at least one.
        marked: Further thresholds, at which pairs are called.
    """
    truth = next(iter(samples.values())).network
    size = len(truth.proteins)
    values = np.asarray(logits, np.float64)
    thresholds = _thresholds(values, truth.edges, marked)
    reached = np.searchsorted(thresholds, values, side="right")  # so many thresholds call the pair
    levels = _levels(pairs, reached, size)
    return ThresholdCurve(
        thresholds=thresholds,
        edges=_at_or_above(np.bincount(reached, minlength=len(thresholds) + 1)),
        by_kind={kind: _over_thresholds(levels, sample, len(thresholds)) for kind, sample in samples.items()},
        everything={kind: _of_every_pair(sample) for kind, sample in samples.items()},
    )


def _of_every_pair(sample: TrueSample) -> dict[str, float]:
    """The metrics if every pair is called; a protein with itself only if the truth has such an edge."""
    similarity, density = [], []
    for size, sets in sample.sets.items():
        truth = sample.profiles[size]
        n = np.array([len(nodes) for nodes in sets], np.float64)
        loops = n if sample.network.loops else np.zeros_like(n)
        cells = n * (n - 1) + loops
        similarity.append(graph_similarity(cells, truth.cells, truth.cells))
        density.append(relative_density((cells + loops)[:, None] / 2, truth)[:, 0])
    return {
        "graph_similarity": float(np.concatenate(similarity).mean()),
        "relative_density": float(np.concatenate(density).mean()),
    }


def _levels(pairs: npt.NDArray[Any], reached: npt.NDArray[Any], size: int) -> sparse.csr_array:
    """How many thresholds call each pair, symmetric (N, N), in a byte for each kept pair."""
    both = np.concatenate([pairs, pairs[pairs[:, 0] != pairs[:, 1]][:, ::-1]])
    values = np.concatenate([reached, reached[pairs[:, 0] != pairs[:, 1]]]).astype(np.int8)
    return sparse.coo_array((values, tuple(both.T)), shape=(size, size)).tocsr()


def _thresholds(logits: Floats, true_edges: int, marked: Sequence[float]) -> Floats:
    if not len(logits):
        return np.unique(np.array([*marked, 0.0]))
    descending = np.sort(logits)[::-1]
    counts = np.geomspace(max(1.0, min(true_edges / 10, len(logits))), len(logits), _POINTS)
    return np.unique(np.append(descending[counts.astype(np.int64) - 1], np.array(marked)))


def _at_or_above(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """From counts (..., g + 1) of pairs that reach 0 to g thresholds, how many reach each (..., g)."""
    found: npt.NDArray[Any] = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1][..., 1:]
    return found


def _over_thresholds(levels: sparse.csr_array, sample: TrueSample, count: int) -> dict[str, Floats]:
    """The metrics (g,) of one kind, means over its node sets."""
    similarity, density = [], []
    true_levels = levels.multiply(sample.network.adjacency).tocsr()
    for size, sets in sample.sets.items():
        truth = sample.profiles[size]
        cells, common, loops = (np.zeros((len(sets), count)) for _ in range(3))
        for rows, within in induced(levels, sets):
            cells[rows] = _reaching(within.reshape(len(rows), -1), count)
            loops[rows] = _reaching(np.diagonal(within, axis1=1, axis2=2), count)
        for rows, within in induced(true_levels, sets):
            common[rows] = _reaching(within.reshape(len(rows), -1), count)
        similarity.append(graph_similarity(cells, truth.cells[:, None], common))
        density.append(relative_density((cells + loops) / 2, truth))
    return {
        "graph_similarity": np.concatenate(similarity).mean(axis=0),
        "relative_density": np.concatenate(density).mean(axis=0),
    }


def _reaching(cells: npt.NDArray[Any], count: int) -> Floats:
    """How many cells of each row (s, c) reach each threshold, (s, g)."""
    codes = cells.astype(np.int64) + (np.arange(len(cells)) * (count + 1))[:, None]
    counted = np.bincount(codes.ravel(), minlength=len(cells) * (count + 1))
    return _at_or_above(counted.reshape(len(cells), count + 1)).astype(np.float64)
