"""Tests of complex and essential-protein metrics of a network.

They are compared with hand calculation, plain sets and numerical integration.
"""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import gaussian_kde

from ppi_train.errors import DataError
from ppi_train.evaluation.network import Network, network_from_pairs
from ppi_train.evaluation.network.function import (
    complex_metrics,
    distribution_overlap,
    essential_metrics,
    network_centrality,
    top_shares,
)
from tests.support.networkx_oracle import plain_centrality

pytestmark = pytest.mark.filterwarnings("error")


def predicted(*pairs: str) -> Network:
    names = "ABCDEFGH"
    ends = [(names.index(pair[0]), names.index(pair[1])) for pair in pairs]
    return network_from_pairs(tuple(names), np.array(ends, np.int64).reshape(-1, 2))


def known(*pairs: str) -> list[tuple[str, str]]:
    return [(pair[0], pair[1]) for pair in pairs]


def test_means_over_the_complexes() -> None:
    complexes = {"triangle": known("AB", "BC", "AC", "CA"), "two": known("DE", "FG"), "loop": known("HH")}
    found = complex_metrics(predicted("AB", "CB", "DF", "DE", "CD"), complexes)
    # CD joins two complexes and counts in neither. DF is predicted within `two` and not known.
    assert found["complex_recall"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found["complex_precision"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    # `two` is not connected in truth; of the others the prediction connects both, `loop` being one protein.
    assert found["complex_connectivity"] == 1.0


def test_connectivity_needs_every_protein() -> None:
    complexes = {"path": known("AB", "BC", "CD"), "pair": known("EF")}
    assert complex_metrics(predicted("AB", "CD", "EF"), complexes)["complex_connectivity"] == 0.5
    # Connected by other edges than the known ones.
    assert complex_metrics(predicted("AC", "AD", "AB", "EF"), complexes)["complex_connectivity"] == 1.0
    assert "complex_connectivity" not in complex_metrics(predicted("AB"), {"two": known("AB", "CD")})


def test_an_empty_prediction_has_values() -> None:
    assert set(complex_metrics(predicted(), {"one": known("AB", "BC")}).values()) == {0.0}


def test_bad_complexes() -> None:
    with pytest.raises(DataError, match="there are no complexes"):
        complex_metrics(predicted("AB"), {})
    with pytest.raises(DataError, match="a complex has no interaction"):
        complex_metrics(predicted("AB"), {"none": []})
    with pytest.raises(DataError, match="1 protein is not in the network") as caught:
        complex_metrics(predicted("AB"), {"odd": known("AX")})
    assert "complex odd" in str(caught.value)


NAMES = tuple(f"P{number:03d}" for number in range(200))


def from_graph(graph: nx.Graph) -> Network:
    return network_from_pairs(NAMES, np.array(list(graph.edges), np.int64).reshape(-1, 2))


@pytest.mark.parametrize(("density", "loops"), [(0.02, 0), (0.1, 0), (0.1, 40)])
def test_centrality_equals_plain_sets(density: float, loops: int) -> None:
    graph = nx.gnp_random_graph(200, density, seed=1)
    graph.add_edges_from((node, node) for node in range(loops))
    expected = plain_centrality(graph)
    assert network_centrality(from_graph(graph)) == pytest.approx([expected[node] for node in range(200)])


def test_proteins_in_a_dense_part_come_first() -> None:
    graph = nx.gnp_random_graph(200, 0.02, seed=2)
    graph.add_edges_from((a, b) for a in range(30) for b in range(a))
    found = essential_metrics(from_graph(graph), NAMES[:30], NAMES[30:], truth=from_graph(graph), top=30)
    assert found["essential_precision_at_30"] == 1.0
    assert found["essential_top_agreement_at_30"] == 1.0
    assert found["essential_overlap"] < 0.1


def test_the_order_of_the_lists_decides_nothing() -> None:
    empty = network_from_pairs(NAMES, np.empty((0, 2), np.int64))
    found = essential_metrics(empty, NAMES[:120], NAMES[120:], truth=empty)
    assert found == {
        "essential_precision_at_100": pytest.approx(120 / 200),
        "essential_top_agreement_at_100": pytest.approx(100 / 200),
        "essential_overlap": 1.0,
    }


def test_ties_share_the_last_places() -> None:
    values = np.array([3.0, 1.0, 2.0, 1.0 + 1e-15, 0.0])
    assert top_shares(values, 3) == pytest.approx([1, 0.5, 1, 0.5, 0])
    assert top_shares(values, 5) == pytest.approx(np.ones(5))


def test_the_overlap_is_the_area_under_both() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, 300), rng.normal(1, 2, 200)
    densities = gaussian_kde(first), gaussian_kde(second)
    low, high = max(first.min(), second.min()), min(first.max(), second.max())
    area, _ = quad(lambda x: min(density(x)[0] for density in densities), low, high, limit=200, epsabs=1e-7)
    assert distribution_overlap(first, second) == pytest.approx(area, abs=1e-6)
    assert distribution_overlap(second, first) == distribution_overlap(first, second)


def test_the_overlap_of_what_has_no_density() -> None:
    spread = np.array([0.0, 1.0, 2.0])
    assert distribution_overlap(np.zeros(3), np.zeros(5)) == 1.0
    assert distribution_overlap(np.zeros(3), np.ones(3)) == 0.0
    assert distribution_overlap(np.ones(3), spread) == 0.0
    assert distribution_overlap(spread, spread + 10) == 0.0


def test_bad_input() -> None:
    network = from_graph(nx.gnp_random_graph(200, 0.05, seed=1))
    with pytest.raises(DataError, match="too few essential") as caught:
        essential_metrics(network, NAMES[:40], NAMES[40:80])
    assert "100 in all" in str(caught.value)
    with pytest.raises(DataError, match="too few essential"):
        essential_metrics(network, NAMES[:1], NAMES[1:])
    with pytest.raises(DataError, match="listed twice") as caught:
        essential_metrics(network, NAMES[:100], NAMES[99:])
    assert "P099" in str(caught.value)
    with pytest.raises(DataError, match="not in the network"):
        essential_metrics(network, [*NAMES[:60], "Q1"], NAMES[60:])
