"""Time of PRING's Arabidopsis metrics against plain networkx, and their differences.

    nice -n 10 python benchmarks/network_metrics.py --mirror FOLDER [--plain]

Without `--plain` networkx, which takes minutes, is left out. The prediction is the true network with
noise, at twice its density, since models call too many edges.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from ppi_train.data.benchmarks import benchmark, fetch
from ppi_train.data.pairs import read_pairs
from ppi_train.data.protein_sets import NodeSets, published_node_sets, read_node_sets
from ppi_train.evaluation.network import Network, network_from_pairs
from ppi_train.evaluation.network.topology import TrueSample, network_metrics, sampling_noise

ROOT = Path(__file__).parents[1]
TURNS = 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mirror", required=True, help="a folder with the files of the catalogue")
    parser.add_argument("--plain", action="store_true", help="measure networkx as well")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        true, node_sets = load(Path(folder), given.mirror)
    pairs = np.argwhere(np.triu(np.ones((len(true.proteins),) * 2)))
    scores = made_scores(true, pairs)
    threshold = float(np.sort(scores)[-2 * true.edges])
    seconds, ours = timed(lambda: network_from_pairs(true.proteins, pairs, scores, threshold=threshold))
    made = f"{len(pairs):,} scores to a network of {ours.edges:,} edges"
    print(f"{made}, {true.edges:,} in truth: {seconds:.3f} s")
    print(f"\nSeconds of CPU, which what else the machine does hardly touches; best of {TURNS} turns.\n")
    print("| node sets | truth | prediction | noise, for ratios | networkx | times faster | difference |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    total = np.zeros(2)
    for kind, sets in node_sets.items():
        of_truth, sample = timed(partial(TrueSample.of, true, sets))
        of_prediction, found = timed(partial(network_metrics, ours, sample))
        of_noise, _ = timed(partial(sampling_noise, sample, kind, seed=0))
        row = f"| {kind} | {of_truth:.2f} | {of_prediction:.2f} | {of_noise:.2f} |"
        if given.plain:
            slow, apart = against_plain(ours, true, sets, found.overall)
            row += f" {slow:.1f} | {slow / (of_truth + of_prediction):.1f} | {apart:.0e} |"
            total += slow, of_truth + of_prediction
        print(row, flush=True)
    if given.plain:
        print(f"| all | | {total[1]:.2f} | | {total[0]:.1f} | {total[0] / total[1]:.1f} | |")
    started = time.perf_counter()
    for kind, sets in node_sets.items():
        sample = TrueSample.of(true, sets)
        network_metrics(ours, sample, sampling_noise(sample, kind, seed=0))
    print(f"\nBy the clock, all three with their ratios: {time.perf_counter() - started:.1f} s")


def load(folder: Path, mirror: str) -> tuple[Network, dict[str, NodeSets]]:
    """The true network of the test proteins, and its node sets by kind."""
    file = benchmark("pring_arath").files["test_pairs"]
    tested = read_pairs(fetch(file, data_dir=folder, mirror=mirror))
    true = network_from_pairs(tested.proteins, tested.index[tested.labels == 1])
    files = published_node_sets("pring_arath", data_dir=folder, mirror=mirror)
    return true, {kind: read_node_sets(path, known=true.proteins) for kind, path in files.items()}


def made_scores(true: Network, pairs: np.ndarray) -> np.ndarray:
    """Noise, part of it a protein's own as with real models, and more where there is an edge."""
    rng = np.random.default_rng(0)
    own = rng.normal(scale=0.5, size=len(true.proteins))
    edges = true.adjacency.toarray()[pairs[:, 0], pairs[:, 1]]
    scores: np.ndarray = rng.normal(size=len(pairs)) + own[pairs].sum(axis=1) + 2 * edges
    return scores


def timed(what: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of CPU of the best turn, and the result."""
    best, result = float("inf"), None
    for _ in range(TURNS):
        started = time.process_time()
        result = what()
        best = min(best, time.process_time() - started)
    return best, result


def against_plain(
    ours: Network, true: Network, sets: NodeSets, found: dict[str, float]
) -> tuple[float, float]:
    """Seconds of CPU of networkx, and the largest difference of a metric."""
    sys.path.insert(0, str(ROOT))
    from tests.support.networkx_oracle import plain_network_metrics

    graphs = as_networkx(ours), as_networkx(true)
    started = time.process_time()
    expected = plain_network_metrics(*graphs, sets)
    return time.process_time() - started, max(abs(found[name] - expected[name]) for name in expected)


def as_networkx(network: Network) -> nx.Graph:
    graph = nx.Graph()
    table = network.adjacency.tocoo()
    for a, b in zip(table.row.tolist(), table.col.tolist(), strict=True):
        graph.add_edge(network.proteins[a], network.proteins[b])
    return graph


if __name__ == "__main__":
    main()
