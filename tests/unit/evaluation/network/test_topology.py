"""Tests of network metrics against networkx, also on degenerate graphs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from ppi_train.data.benchmarks import benchmark, fetch
from ppi_train.data.pairs import read_pairs
from ppi_train.data.protein_sets import published_node_sets, read_node_sets
from ppi_train.errors import DataError
from ppi_train.evaluation.network import KINDS, Network, network_from_pairs, sample_node_sets
from ppi_train.evaluation.network.topology import (
    MMDS,
    NetworkMetrics,
    NodeSets,
    TrueSample,
    network_metrics,
    sampling_noise,
)
from tests.support.networkx_oracle import plain_mmd, plain_network_metrics

Edges = Sequence[tuple[int, int]]

pytestmark = pytest.mark.filterwarnings("error")


def named(count: int) -> tuple[str, ...]:
    return tuple(f"P{number:04d}" for number in range(count))


def network(count: int, edges: Edges) -> Network:
    return network_from_pairs(named(count), np.array(edges, np.int64).reshape(-1, 2))


def random_network(count: int, density: float, seed: int, *, loops: float = 0.0) -> Network:
    rng = np.random.default_rng(seed)
    pairs = np.argwhere(np.triu(rng.random((count, count)) < density, 1))
    own = np.flatnonzero(rng.random(count) < loops)
    return network_from_pairs(named(count), np.concatenate([pairs, np.stack([own, own], axis=1)]))


def as_networkx(network: Network, *, isolated: bool = True) -> nx.Graph:
    graph = nx.Graph()
    if isolated:
        graph.add_nodes_from(network.proteins)
    table = network.adjacency.tocoo()
    ends = zip(table.row.tolist(), table.col.tolist(), strict=True)
    graph.add_edges_from((network.proteins[a], network.proteins[b]) for a, b in ends)
    return graph


def random_sets(count: int, sizes: Sequence[int], each: int, seed: int) -> NodeSets:
    rng = np.random.default_rng(seed)
    names = np.array(named(count))
    return {size: [rng.choice(names, size, replace=False).tolist() for _ in range(each)] for size in sizes}


def compared(ours: Network, true: Network, sets: NodeSets) -> NetworkMetrics:
    return network_metrics(ours, TrueSample.of(true, sets))


@pytest.mark.parametrize(
    ("densities", "loops"),
    [((0.1, 0.1), 0.0), ((0.5, 0.05), 0.3), ((0.01, 0.01), 0.1), ((0.0, 0.1), 0.0), ((1.0, 0.2), 1.0)],
)
def test_it_equals_plain_networkx_on_random_graphs(densities: tuple[float, float], loops: float) -> None:
    ours, true = (random_network(70, density, 1 + at, loops=loops) for at, density in enumerate(densities))
    sets = random_sets(70, (2, 5, 20, 41), 8, seed=3)
    found = compared(ours, true, sets).overall
    expected = plain_network_metrics(as_networkx(ours, isolated=False), as_networkx(true), sets)
    assert found == pytest.approx(expected, abs=1e-9, rel=1e-9)


def test_sets_of_one_key_may_differ_in_size() -> None:
    ours, true = random_network(40, 0.3, 1), random_network(40, 0.2, 2)
    sets = {30: [*random_sets(40, (30,), 3, 4)[30], *random_sets(40, (7,), 3, 5)[7], ["P0003"]]}
    expected = plain_network_metrics(as_networkx(ours), as_networkx(true), sets)
    assert compared(ours, true, sets).overall == pytest.approx(expected, abs=1e-9, rel=1e-9)


def test_bipartite_subgraphs_have_their_eigenvalue_of_two() -> None:
    ours = network(40, [(node, node + 1) for node in range(0, 40, 2)])  # 20 edges apart: eigenvalues 0 and 2
    true = network(40, [(node, node + 1) for node in range(39)])  # a path
    sets: NodeSets = {40: [list(named(40))], 10: [list(named(40))[:10]]}
    expected = plain_network_metrics(as_networkx(ours), as_networkx(true), sets)
    assert compared(ours, true, sets).overall == pytest.approx(expected, abs=1e-9, rel=1e-9)


def test_the_same_network_is_not_away_from_itself() -> None:
    true = random_network(50, 0.1, 1, loops=0.2)
    found = compared(true, true, random_sets(50, (10, 20), 5, 1)).overall
    assert found["graph_similarity"] == found["relative_density"] == 1.0
    assert all(abs(found[name]) < 1e-12 for name in MMDS)


def test_a_small_case_by_hand() -> None:
    true = network(4, [(0, 1), (1, 2), (0, 2), (3, 3)])  # a triangle, and a loop
    ours = network(4, [(0, 1), (1, 0), (1, 2), (3, 3), (3, 3)])  # what comes twice is one edge
    assert (ours.edges, ours.loops, true.edges) == (3, 1, 4)
    assert true.density == 4 / 6
    found = compared(ours, true, {4: [named(4)], 3: [named(3), named(3)]})
    # Sum of A 7, of A' 5, different in the two cells of the missing edge; without the loop 6 and 4.
    assert found.by_size[4]["graph_similarity"] == pytest.approx(1 - 2 / 12)
    assert found.by_size[3]["graph_similarity"] == pytest.approx(1 - 2 / 10)
    assert found.overall["graph_similarity"] == pytest.approx((1 - 2 / 12 + 2 * (1 - 2 / 10)) / 3)
    assert found.overall["relative_density"] == pytest.approx((3 / 4 + 2 * 2 / 3) / 3)
    # Clustering: all three nodes of the triangle 1, all of the path 0, so that the variation is 1.
    share = 3 / (3 + 1e-6)
    assert found.by_size[3]["clustering_mmd"] == pytest.approx(2 - 2 * math.exp(-(share**2) / 2))
    # The MMDs weigh the sizes alike, however many sets each has.
    mean = (found.by_size[3]["degree_mmd"] + found.by_size[4]["degree_mmd"]) / 2
    assert found.overall["degree_mmd"] == pytest.approx(mean)


def test_networks_without_edges_have_values() -> None:
    empty, true = network(30, []), random_network(30, 0.3, 1)
    sets = random_sets(30, (5, 10), 4, 1)
    sample, without = TrueSample.of(true, sets), TrueSample.of(empty, sets)
    noise = sampling_noise(sample, "bfs", draws=1, seed=0)
    nothing = network_metrics(empty, sample, noise).overall
    assert nothing["graph_similarity"] == 0.0
    assert nothing["relative_density"] == 0.0
    assert all(math.isfinite(value) for value in nothing.values())
    assert nothing["degree_mmd"] > 0
    silent = sampling_noise(without, "dfs", draws=1, seed=0)
    # Drawn sets are single proteins here; the 1e-6 in the histograms' sums tells them from larger ones.
    assert max(value for at in silent.values() for value in at.values()) < 1e-11
    both = network_metrics(empty, without, silent).overall
    assert set(both.values()) == {1.0, 0.0}
    assert both["degree_mmd_ratio"] == 1.0  # 0/0
    only_predicted = network_metrics(true, without, silent).overall
    assert only_predicted["relative_density"] == only_predicted["degree_mmd_ratio"] == math.inf


def test_the_ratio_is_to_a_second_sample_of_the_true_network() -> None:
    true, other = random_network(80, 0.08, 1), random_network(80, 0.08, 7)
    sets = sample_node_sets(true, "bfs", {10: 20, 30: 15}, seed=0)
    sample = TrueSample.of(true, sets)
    noise = sampling_noise(sample, "bfs", draws=3, seed=1)
    found, bare = network_metrics(other, sample, noise), network_metrics(other, sample)
    graph = as_networkx(true)
    seconds = [
        sample_node_sets(true, "bfs", {10: 20, 30: 15}, seed=seed)
        for seed in np.random.SeedSequence(1).generate_state(3).tolist()
    ]
    for name in MMDS:
        for size in sets:
            first = [graph.subgraph(nodes) for nodes in sets[size]]
            drawn = [
                plain_mmd(name, first, [graph.subgraph(nodes) for nodes in second[size]])
                for second in seconds
            ]
            assert noise[size][name] == pytest.approx(np.mean(drawn), rel=1e-9)
            ratio = bare.by_size[size][name] / noise[size][name]
            assert found.by_size[size][f"{name}_ratio"] == pytest.approx(ratio)
        mean = (noise[10][name] + noise[30][name]) / 2
        assert found.overall[f"{name}_ratio"] == pytest.approx(bare.overall[name] / mean)
    assert not any(name.endswith("_ratio") for name in bare.overall)


def test_what_is_wrong_with_node_sets_is_said() -> None:
    true = random_network(20, 0.3, 1)
    with pytest.raises(DataError, match="2 proteins are not in the network") as caught:
        compared(true, true, {2: [["P0001", "P0002"], ["P0001", "Q1"], ["Q2", "Q1"]]})
    assert "Q1, Q2" in str(caught.value)
    with pytest.raises(DataError, match="empty or has a protein twice") as caught:
        compared(true, true, {2: [["P0001", "P0002"], ["P0001", "P0001"]]})
    assert "node set 2 of size 2" in str(caught.value)
    with pytest.raises(DataError, match="empty or has a protein twice"):
        compared(true, true, {2: [[]]})
    with pytest.raises(DataError, match="there are no node sets"):
        compared(true, true, {2: []})


def test_scores_make_edges_from_the_threshold_on() -> None:
    pairs = np.array([[0, 1], [1, 2], [2, 3]])
    made = network_from_pairs(named(4), pairs, np.array([0.5, 0.49, 0.9]))
    assert (made.edges, made.adjacency[0, 1], made.adjacency[1, 2]) == (2, 1.0, 0.0)
    assert network_from_pairs(named(4), pairs, np.array([0.5, 0.49, 0.9]), threshold=0.95).edges == 0


@pytest.mark.parametrize("kind", list(KINDS))
def test_drawn_node_sets_hang_together(kind: str) -> None:
    ring = [(node, (node + 1) % 60) for node in range(60)]
    true = network(60, [*ring, *np.random.default_rng(0).integers(0, 60, (60, 2)).tolist()])
    sets = sample_node_sets(true, kind, {5: 6, 25: 6}, seed=1)
    graph = as_networkx(true)
    for size, group in sets.items():
        assert len(group) == 6
        for nodes in group:
            assert len(nodes) == len(set(nodes)) == size
            assert nx.is_connected(graph.subgraph(nodes))
    assert sample_node_sets(true, kind, {5: 6, 25: 6}, seed=1) == sets
    assert sample_node_sets(true, kind, {5: 6, 25: 6}, seed=2) != sets


def test_searches_differ_and_end_with_the_component() -> None:
    places = [(row * 10 + column, row, column) for row in range(10) for column in range(10)]
    across = [(place, place + 1) for place, _, column in places if column < 9]
    grid = network(100, [*across, *((place, place + 10) for place, row, _ in places if row < 9)])
    depth = {}
    for kind in ("bfs", "dfs"):
        sets = sample_node_sets(grid, kind, {30: 10}, seed=0)[30]
        depth[kind] = np.mean([nx.diameter(as_networkx(grid).subgraph(nodes)) for nodes in sets])
    assert depth["dfs"] > depth["bfs"]
    apart = network(6, [(0, 1), (2, 3), (4, 5)])
    assert {len(nodes) for kind in KINDS for nodes in sample_node_sets(apart, kind, {5: 50}, seed=0)[5]} == {
        2
    }


def test_arabidopsis(mirror: str, tmp_path: Path) -> None:
    file = benchmark("pring_arath").files["test_pairs"]
    tested = read_pairs(fetch(file, data_dir=tmp_path, mirror=mirror))
    files = published_node_sets("pring_arath", data_dir=tmp_path, mirror=mirror)
    assert list(files) == list(KINDS)
    assert tested.labels is not None
    true = network_from_pairs(tested.proteins, tested.index[tested.labels == 1])
    assert (len(true.proteins), true.edges, true.loops) == (1000, 7186, 213)
    pairs = np.argwhere(np.triu(np.ones((1000, 1000))))
    noise = np.random.default_rng(0).normal(size=(1000, 1000)) + 3 * true.adjacency.toarray()
    ours = network_from_pairs(tested.proteins, pairs, noise[pairs[:, 0], pairs[:, 1]], threshold=2.2)
    graphs = as_networkx(ours, isolated=False), as_networkx(true)
    another = {"bfs": "dfs", "dfs": "bfs", "random_walk": "dfs"}
    for kind in KINDS:
        sets = read_node_sets(files[kind], known=tested.proteins)
        subset = {size: sets[size][:3] for size in (20, 100, 180)}
        found, expected = compared(ours, true, subset).overall, plain_network_metrics(*graphs, subset)
        assert found == pytest.approx(expected, abs=1e-9, rel=1e-9)
        # The published sets are like a second draw by the same walk; another walk's are not.
        few = {size: sets[size] for size in (80, 140)}
        sample = TrueSample.of(true, few)
        same, other = (sampling_noise(sample, chosen, draws=1, seed=0) for chosen in (kind, another[kind]))
        assert all(other[size]["degree_mmd"] > 4 * same[size]["degree_mmd"] for size in few)
