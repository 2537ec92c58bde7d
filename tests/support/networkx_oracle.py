"""Reference implementation of PRING's network metrics in plain networkx.

It loops over one subgraph at a time, which is slow and easy to check.

Written from the definitions alone; it shares no code with what it checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import networkx as nx
import numpy as np
from scipy.linalg import eigvalsh

Histogram = np.ndarray


def plain_network_metrics(
    predicted: nx.Graph, truth: nx.Graph, node_sets: Mapping[int, Sequence[Sequence[str]]]
) -> dict[str, float]:
    """The final values. Nodes that the predicted graph lacks are added to it."""
    predicted.add_nodes_from(truth.nodes)
    similarity, density = [], []
    by_size: dict[str, list[float]] = {name: [] for name in HISTOGRAMS}
    for sets in node_sets.values():
        ours = [predicted.subgraph(nodes) for nodes in sets]
        true = [truth.subgraph(nodes) for nodes in sets]
        for predicted_part, true_part in zip(ours, true, strict=True):
            similarity.append(_similarity(predicted_part, true_part))
            density.append(_relative_density(predicted_part, true_part))
        for name in HISTOGRAMS:
            by_size[name].append(plain_mmd(name, ours, true))
    means = {name: float(np.mean(values)) for name, values in by_size.items()}
    return {
        "graph_similarity": float(np.mean(similarity)),
        "relative_density": float(np.mean(density)),
        **means,
    }


def plain_mmd(name: str, first: Sequence[nx.Graph], second: Sequence[nx.Graph]) -> float:
    """One of the three MMDs between two samples of graphs."""
    x, y = ([HISTOGRAMS[name](graph) for graph in sample] for sample in (first, second))
    x, y = ([histogram / (histogram.sum() + 1e-6) for histogram in sample] for sample in (x, y))
    return _mean_kernel(x, x) + _mean_kernel(y, y) - 2 * _mean_kernel(x, y)


def _similarity(predicted: nx.Graph, truth: nx.Graph) -> float:
    nodes = sorted(truth.nodes)
    ours, true = (nx.to_numpy_array(graph, nodelist=nodes) for graph in (predicted, truth))
    total = ours.sum() + true.sum()
    return 1.0 if total == 0 else float(1 - np.abs(ours - true).sum() / total)


def _relative_density(predicted: nx.Graph, truth: nx.Graph) -> float:
    ours, true = nx.density(predicted), nx.density(truth)
    if true == 0:
        return 1.0 if ours == 0 else math.inf
    return float(ours / true)


def _degrees(graph: nx.Graph) -> Histogram:
    return np.array(nx.degree_histogram(graph), np.float64)


def _clustering(graph: nx.Graph) -> Histogram:
    return np.histogram(list(nx.clustering(graph).values()), bins=100, range=(0.0, 1.0))[0]


def _spectrum(graph: nx.Graph) -> Histogram:
    eigenvalues = eigvalsh(nx.normalized_laplacian_matrix(graph).toarray())
    # No eigenvalue is above 2: rounding must not push one out of the histogram.
    return np.histogram(np.minimum(eigenvalues, 2.0), bins=200, range=(-1e-5, 2.0))[0]


HISTOGRAMS: dict[str, Callable[[nx.Graph], Histogram]] = {
    "degree_mmd": _degrees,
    "clustering_mmd": _clustering,
    "spectral_mmd": _spectrum,
}


def _kernel(x: Histogram, y: Histogram) -> float:
    size = max(len(x), len(y))
    x, y = (np.concatenate([histogram, np.zeros(size - len(histogram))]) for histogram in (x, y))
    variation = np.abs(x - y).sum() / 2
    return math.exp(-variation * variation / 2)


def _mean_kernel(first: list[Histogram], second: list[Histogram]) -> float:
    return sum(_kernel(x, y) for x in first for y in second) / (len(first) * len(second))


def plain_centrality(graph: nx.Graph) -> dict[int, float]:
    """The network centrality of every node, from sets of neighbours."""
    neighbours = {node: set(graph.neighbors(node)) for node in graph}
    found = dict.fromkeys(neighbours, 0.0)
    for node, around in neighbours.items():
        for other in around:
            limit = min(len(around) - 1, len(neighbours[other]) - 1)
            if limit > 0:
                found[node] += len(around & neighbours[other]) / limit
    return found
