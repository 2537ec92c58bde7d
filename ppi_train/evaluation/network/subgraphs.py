"""Histograms that describe the subgraphs a network induces on node sets.

All node sets of a size are processed at once, as a stack of dense matrices: a subgraph of a few hundred nodes
is cheap for BLAS and LAPACK and expensive for a loop in Python. The network itself stays sparse.

A self loop counts as in networkx, which PRING measures with: once in a sum of the adjacency matrix and
in the Laplacian, as one edge, twice in a node's degree, and not at all in its clustering.

Legend of shapes: s node sets, n nodes in each, N proteins of the network, b bins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from threadpoolctl import ThreadpoolController

from ppi_train.evaluation.network.graph import Network

Floats = npt.NDArray[np.float64]
Matrices = npt.NDArray[np.float32]  # of 0 and 1; products and sums of rows count up to 2^24 nodes exactly
Numbers = npt.NDArray[np.int64]

CLUSTERING_EDGES = np.linspace(0.0, 1.0, 101)
SPECTRUM_EDGES = np.linspace(-1e-5, 2.0, 201)
_CELLS_AT_ONCE = 1 << 19  # 2 to 4 MiB in each of a few stacks


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The subgraphs of one network on s node sets.

    Attributes:
        cells: (s,) sums of the adjacency matrices: 2 for an edge, 1 for a self loop.
        edges: (s,) numbers of edges.
        degrees: (s, b) how many nodes have each degree, from 0.
        clustering: (s, 100) how many nodes have each local clustering coefficient, on [0, 1].
        spectrum: (s, 200) histogram of the eigenvalues of the normalised Laplacian on [-1e-5, 2].
    """

    cells: Floats
    edges: Floats
    degrees: Floats
    clustering: Floats
    spectrum: Floats


def profile(network: Network, sets: Sequence[Numbers]) -> Profile:
    """Measures the subgraph of each node set.

    A node set holds (n,) numbers of distinct proteins; n may differ between sets.
    """
    # Several threads gain nothing on matrices this small, and wait for each other on a busy machine,
    # which then takes ten times the processor time.
    with _blas().limit(limits=1, user_api="blas"):
        return _profile(network, sets)


@cache
def _blas() -> ThreadpoolController:
    """The linear algebra libraries of this process.

    Cached, since searching for them takes milliseconds.
    """
    return ThreadpoolController()


def _profile(network: Network, sets: Sequence[Numbers]) -> Profile:
    largest = max(len(node_set) for node_set in sets)
    cells, edges = np.zeros(len(sets)), np.zeros(len(sets))
    degrees = np.zeros((len(sets), largest + 2))
    clustering = np.zeros((len(sets), len(CLUSTERING_EDGES) - 1))
    spectrum = np.zeros((len(sets), len(SPECTRUM_EDGES) - 1))
    for rows, matrices in induced(network.adjacency, sets):
        loops = np.diagonal(matrices, axis1=1, axis2=2)
        sums = matrices.sum(axis=2).astype(np.float64)
        cells[rows] = sums.sum(axis=1)
        edges[rows] = (cells[rows] + loops.sum(axis=1)) / 2
        degrees[rows] = _counted((sums + loops).astype(np.int64), largest + 2)
        spectrum[rows] = _binned(laplacian_eigenvalues(matrices), SPECTRUM_EDGES)
        clustering[rows] = _binned(local_clustering(matrices), CLUSTERING_EDGES)
    return Profile(cells=cells, edges=edges, degrees=degrees, clustering=clustering, spectrum=spectrum)


def induced_cells(adjacency: sparse.csr_array, sets: Sequence[Numbers]) -> Floats:
    """The sum of the adjacency matrix that each node set induces, (s,)."""
    rows = np.repeat(np.arange(len(sets)), [len(node_set) for node_set in sets])
    within = sparse.coo_array(
        (np.ones(len(rows)), (rows, np.concatenate(sets))), shape=(len(sets), adjacency.shape[0])
    ).tocsr()
    cells: Floats = (within @ adjacency).multiply(within).sum(axis=1)
    return cells


def induced(adjacency: sparse.csr_array, sets: Sequence[Numbers]) -> Iterator[tuple[Numbers, Matrices]]:
    """Stacks of the induced adjacency matrices, in bounded memory.

    Each stack holds node sets of equal size.

    Yields:
        Which sets, (k,), and their adjacency matrices, (k, n, n).
    """
    sizes = np.array([len(node_set) for node_set in sets])
    for size in np.unique(sizes).tolist():
        rows = np.flatnonzero(sizes == size)
        at_once = max(1, _CELLS_AT_ONCE // max(size * size, adjacency.shape[0]))
        for start in range(0, len(rows), at_once):
            chosen = rows[start : start + at_once]
            yield chosen, _dense(adjacency, np.stack([sets[row] for row in chosen]))


def _dense(adjacency: sparse.csr_array, sets: Numbers) -> Matrices:
    """The dense adjacency matrices (s, n, n) of node sets (s, n)."""
    count, size = sets.shape
    place = np.full((count, adjacency.shape[0]), -1, np.int32)  # of each protein in each set
    np.put_along_axis(place, sets, np.arange(size, dtype=np.int32)[None, :], axis=1)
    lines = adjacency[sets.ravel()]
    row = np.repeat(np.arange(count * size), np.diff(lines.indptr))
    column = place[row // size, lines.indices]
    inside = column >= 0
    matrices = np.zeros((count * size, size), np.float32)
    matrices[row[inside], column[inside]] = 1.0
    return matrices.reshape(count, size, size)


def local_clustering(matrices: Matrices) -> Floats:
    """The local clustering coefficient of each node, (s, n).

    The share of a node's pairs of neighbours that are neighbours of each other (Watts & Strogatz 1998); 0 for
    a node with fewer than two neighbours. Self loops do not count.

    Args:
        matrices: (s, n, n) adjacency; not altered.
    """
    simple = matrices.copy()
    np.einsum("sii->si", simple)[:] = 0.0
    degree = simple.sum(axis=2).astype(np.float64)
    paths = simple @ simple
    paths *= simple
    twice_triangles = paths.sum(axis=2, dtype=np.float64)
    pairs = degree * (degree - 1)  # ordered
    shares: Floats = np.divide(twice_triangles, pairs, out=np.zeros_like(pairs), where=pairs > 0)
    return shares


def laplacian_eigenvalues(matrices: Matrices) -> Floats:
    """The eigenvalues of the normalised Laplacian, ascending, (s, n).

    The matrix is D^-1/2 (D - A) D^-1/2, its eigenvalues lie between 0 and 2. As in
    `networkx.normalized_laplacian_matrix`, D^-1/2 is 0 for an isolated node, so that its eigenvalue is 0. A
    bipartite component has the eigenvalue 2, the end of the histogram: values above it by rounding are set
    to 2, since otherwise the linear algebra library would decide whether they are counted.

    Args:
        matrices: (s, n, n) adjacency; not altered.
    """
    degree = matrices.sum(axis=2).astype(np.float64)
    scale = np.divide(1.0, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    laplacian = matrices * -scale[:, :, None]
    laplacian *= scale[:, None, :]
    np.einsum("sii->si", laplacian)[:] += degree > 0
    return np.clip(np.linalg.eigvalsh(laplacian), 0.0, 2.0)


def _binned(values: Floats, edges: Floats) -> Floats:
    """Histograms (s, b) of the rows of values (s, n).

    The last bin is closed, as in `np.histogram`.
    """
    bins = len(edges) - 1
    return _counted(np.minimum(np.searchsorted(edges, values, side="right") - 1, bins - 1), bins)


def _counted(places: npt.NDArray[Any], bins: int) -> Floats:
    """Counts (s, b) of each bin in rows of places (s, n)."""
    count = len(places)
    codes = places + np.arange(count)[:, None] * bins
    return np.bincount(codes.ravel(), minlength=count * bins).reshape(count, bins).astype(np.float64)
