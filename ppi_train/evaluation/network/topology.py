"""Topology of a predicted network, compared with the true one.

The metrics of PRING (Zheng et al. 2025, arXiv:2507.05101, and its `topology_task/eval.py`): both networks
are induced on each of many sampled node sets, and the subgraphs compared one to one (similarity, density) or
as two samples of graphs (MMD). The MMD is that of GRAN (Liao et al. 2019, arXiv:1910.00760): a Gaussian
kernel of the total variation between histograms.

An MMD has no scale of its own, so the paper reports its ratio to the MMD of two samples of the test network.
Here that is the MMD, with the true edges in both, of the published node sets and a second draw of as many
sets of the same sizes by the same walk: a ratio of 1 says that the predicted network is as far from the true
one as that is from itself. PRING did not publish its second sample, and one draw of 50 sets puts the MMD at
up to twice that of another: `sampling_noise` takes the mean of several. The ratios can be compared between
models that are measured here, and only roughly with the paper's.

All node sets of a size are processed at once, as a stack of dense matrices: a subgraph of a few hundred nodes
is cheap for BLAS and LAPACK and expensive for a loop in Python. The network itself stays sparse. A self loop
counts as in networkx, which PRING measures with: once in a sum of the adjacency matrix and in the Laplacian,
as one edge, twice in a node's degree, and not at all in its clustering.

Legend of shapes: s node sets, n nodes in each, N proteins of the network, b bins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from threadpoolctl import ThreadpoolController

from ppi_train.errors import DataError
from ppi_train.evaluation.network import Network, sample_node_sets

Floats = npt.NDArray[np.float64]
Matrices = npt.NDArray[np.float32]  # of 0 and 1; products and sums of rows count up to 2^24 nodes exactly
Numbers = npt.NDArray[np.int64]

CLUSTERING_EDGES = np.linspace(0.0, 1.0, 101)
SPECTRUM_EDGES = np.linspace(-1e-5, 2.0, 201)
_CELLS_AT_ONCE = 1 << 19  # 2 to 4 MiB in each of a few stacks

NodeSets = Mapping[int, Sequence[Sequence[str]]]
Noise = Mapping[int, Mapping[str, float]]

PAIRED = ("graph_similarity", "relative_density")
MMDS = ("degree_mmd", "clustering_mmd", "spectral_mmd")
_HISTOGRAMS = {"degree_mmd": "degrees", "clustering_mmd": "clustering", "spectral_mmd": "spectrum"}
_NOTHING = 1e-10  # an MMD below is 0 except for rounding and the 1e-6 in the histograms' sums


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

    Each stack holds node sets of equal size. The values of the matrix are kept, so that it may hold other
    numbers below 2^24 than 1.

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
    matrices[row[inside], column[inside]] = lines.data[inside]
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


@dataclass(frozen=True, kw_only=True)
class NetworkMetrics:
    """The metrics of one kind of node sets.

    Attributes:
        overall: By name. `graph_similarity` and `relative_density` are means over all node sets;
            `degree_mmd`, `clustering_mmd` and `spectral_mmd` means over the sizes; each `..._mmd_ratio`,
            present if the noise was given, is that mean over the same mean of the noise.
        by_size: The same names for each size of node sets alone.
    """

    overall: dict[str, float]
    by_size: dict[int, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class TrueSample:
    """The true network on sampled node sets, measured once for all predictions.

    Attributes:
        network: The true network.
        sets: The numbers of each node set's proteins, by size.
        profiles: Measures of the true subgraphs, by size.
    """

    network: Network
    sets: dict[int, list[Numbers]]
    profiles: dict[int, Profile]

    @classmethod
    def of(cls, network: Network, node_sets: NodeSets) -> TrueSample:
        """Measures the true subgraphs.

        500 sets of up to 200 proteins take half a second.

        Args:
            network: The true network.
            node_sets: Sets of accessions by size.

        Raises:
            DataError: there are no node sets, one is empty, has a protein twice, or some proteins are not in
                the network.
        """
        sets = _numbered(network, node_sets)
        profiles = {size: profile(network, chosen) for size, chosen in sets.items()}
        return cls(network=network, sets=sets, profiles=profiles)


def network_metrics(predicted: Network, truth: TrueSample, noise: Noise | None = None) -> NetworkMetrics:
    """Compares two networks on sampled node sets.

    500 sets of up to 200 proteins take half a second. No value is NaN. `relative_density` is infinite if a
    node set has predicted edges and no true ones, and a ratio if the noise is 0 and the prediction's MMD is
    not; 0/0 is 1.

    Args:
        predicted: The network that a model calls, over the same list of proteins as the true one.
        truth: The true network on the node sets.
        noise: The result of `sampling_noise` for this truth; None for no ratios.
    """
    assert predicted.proteins == truth.network.proteins, "two networks over different lists of proteins"
    common = predicted.adjacency.multiply(truth.network.adjacency).tocsr()
    paired: dict[int, dict[str, Floats]] = {}
    mmds: dict[int, dict[str, float]] = {}
    for size, chosen in truth.sets.items():
        ours, true = profile(predicted, chosen), truth.profiles[size]
        paired[size] = {
            "graph_similarity": graph_similarity(ours.cells, true.cells, induced_cells(common, chosen)),
            "relative_density": relative_density(ours.edges[:, None], true)[:, 0],
        }
        mmds[size] = _mmds(ours, true)

    def over(sizes: Sequence[int]) -> dict[str, float]:
        units = [noise[size] for size in sizes] if noise else []
        return _summary([paired[size] for size in sizes], [mmds[size] for size in sizes], units)

    return NetworkMetrics(overall=over(list(paired)), by_size={size: over([size]) for size in paired})


def sampling_noise(truth: TrueSample, kind: str, *, draws: int = 5, seed: int) -> dict[int, dict[str, float]]:
    """The MMDs between two samples of the true network.

    Takes two to three seconds for 500 sets of up to 200 proteins.

    Args:
        truth: The true network on the node sets, the first sample.
        kind: How these were drawn: `bfs`, `dfs` or `random_walk`. The second sample is drawn the same way.
        draws: How many second samples are drawn; the MMDs are means over them.
        seed: The same seed gives the same values.

    Returns:
        `degree_mmd`, `clustering_mmd` and `spectral_mmd` for each size.
    """
    network, counts = truth.network, {size: len(chosen) for size, chosen in truth.sets.items()}
    found: dict[int, list[dict[str, float]]] = {size: [] for size in counts}
    for child in np.random.SeedSequence(seed).generate_state(draws).tolist():
        second = _numbered(network, sample_node_sets(network, kind, counts, seed=child))
        for size, chosen in second.items():
            found[size].append(_mmds(profile(network, chosen), truth.profiles[size]))
    return {
        size: {name: float(np.mean([draw[name] for draw in values])) for name in MMDS}
        for size, values in found.items()
    }


def _numbered(network: Network, node_sets: NodeSets) -> dict[int, list[Numbers]]:
    """The node sets as numbers of proteins."""
    if not any(node_sets.values()):
        raise DataError("there are no node sets", expected="sets of proteins by size")
    for size, sets in node_sets.items():
        for row, proteins in enumerate(sets, start=1):
            if not proteins or len(set(proteins)) != len(proteins):
                raise DataError(
                    "a node set is empty or has a protein twice",
                    where=f"node set {row} of size {size}",
                    got=f"{len(proteins)} proteins, {len(set(proteins))} of them distinct",
                    expected="at least one protein, each once",
                )
    # All at once, so that a message names every unknown protein and not those of the first set only.
    network.numbers(
        [protein for sets in node_sets.values() for nodes in sets for protein in nodes], "node sets"
    )
    filled = {size: sets for size, sets in node_sets.items() if sets}
    return {size: [network.numbers(nodes, "node sets") for nodes in sets] for size, sets in filled.items()}


def graph_similarity(predicted: Floats, truth: Floats, common: Floats) -> Floats:
    """The similarity of predicted and true subgraphs.

    1 - sum|A' - A| / (sum A' + sum A), which is 1 if neither subgraph has an edge.

    Args:
        predicted: Sums of the predicted adjacency matrices, of any shape.
        truth: Those of the true ones.
        common: Those of the edges that both have.
    """
    both = predicted + truth
    different = both - 2 * common
    return 1 - np.divide(different, both, out=np.zeros_like(both), where=both > 0)


def relative_density(predicted: Floats, truth: Profile) -> Floats:
    """Predicted over true density of each node set, (s, k).

    Infinite without a true edge, or 1 for 0/0. A node set of one protein has no pairs, and the density 0.

    Args:
        predicted: (s, k) predicted edges in the node sets, by k predictions.
        truth: The true subgraphs.
    """
    pairs = truth.degrees.sum(axis=1, keepdims=True) > 1
    edges = np.where(pairs, predicted, 0.0)
    expected = np.broadcast_to(np.where(pairs, truth.edges[:, None], 0.0), edges.shape)
    without = np.where(edges > 0, np.inf, 1.0)
    ratio: Floats = np.divide(edges, expected, out=without, where=expected > 0)
    return ratio


def mmd(first: Floats, second: Floats) -> float:
    """The squared maximum mean discrepancy of histograms (s, b) and (t, c).

    The biased estimate, as in PRING: the kernel of each histogram with itself counts, so that two samples of
    a few dozen graphs of one kind are not quite 0 apart.
    """
    bins = max(first.shape[1], second.shape[1])
    x, y = (_normalised(np.pad(sample, ((0, 0), (0, bins - sample.shape[1])))) for sample in (first, second))
    return _mean_kernel(x, x) + _mean_kernel(y, y) - 2 * _mean_kernel(x, y)


def _normalised(histograms: Floats) -> Floats:
    normalised: Floats = histograms / (histograms.sum(axis=1, keepdims=True) + 1e-6)
    return normalised


def _mean_kernel(x: Floats, y: Floats) -> float:
    """Mean Gaussian kernel between the rows of x and of y.

    The kernel is exp(-TV^2 / 2), where the total variation TV is half the L1 distance.
    """
    from scipy.spatial.distance import cdist  # a sixth of a second to import, wherever there is a report

    variation = cdist(x, y, "cityblock") / 2
    return float(np.mean(np.exp(-variation * variation / 2)))


def _mmds(first: Profile, second: Profile) -> dict[str, float]:
    return {name: mmd(getattr(first, field), getattr(second, field)) for name, field in _HISTOGRAMS.items()}


def _summary(
    paired: Sequence[Mapping[str, Floats]],
    mmds: Sequence[Mapping[str, float]],
    units: Sequence[Mapping[str, float]],
) -> dict[str, float]:
    """The metrics over the given sizes.

    `units`, the noise at each size, may be empty.
    """
    found = {name: float(np.mean(np.concatenate([values[name] for values in paired]))) for name in PAIRED}
    for name in MMDS:
        found[name] = float(np.mean([values[name] for values in mmds]))
    if units:
        for name in MMDS:
            found[f"{name}_ratio"] = _ratio(found[name], float(np.mean([values[name] for values in units])))
    return found


def _ratio(value: float, unit: float) -> float:
    if abs(unit) < _NOTHING:
        return 1.0 if abs(value) < _NOTHING else math.inf
    return value / unit
