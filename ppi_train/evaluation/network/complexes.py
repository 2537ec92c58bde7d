"""PRING's pathway task: how well a predicted network recovers protein complexes.

A complex (arXiv:2507.05101) is a set of proteins and the known interactions among them (T). Its prediction
(P) is the set of predicted edges between its proteins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from ppi_train.errors import DataError
from ppi_train.evaluation.network.graph import Network, network_from_pairs


def complex_metrics(
    predicted: Network, complexes: Mapping[str, Sequence[tuple[str, str]]]
) -> dict[str, float]:
    """Compares the predicted edges of each complex with the known ones.

    Args:
        predicted: The network that a model calls, on at least the proteins of the complexes.
        complexes: The known interactions by complex. A pair that occurs twice, in either order, counts
            once; a protein with itself is a pair as well.

    Returns:
        `complex_recall`, the mean of |P and T| / |T|; `complex_precision`, the mean of |P and T| / |P|,
        0 where P is empty; both over all complexes. `complex_connectivity`, the share of the truly connected
        complexes that the prediction connects as well; left out if no complex is connected.

    Raises:
        DataError: there are no complexes, one has no interaction, or a protein is not in the network.
    """
    if not complexes:
        raise DataError("there are no complexes to compare with", expected="at least one")
    recall, precision, connected = [], [], []
    for name, known in complexes.items():
        if not known:
            raise DataError(
                "a complex has no interaction", where=f"complex {name}", expected="at least one pair"
            )
        truth = _network(known)
        places = predicted.numbers(truth.proteins, f"complex {name}")
        ours = predicted.adjacency[places][:, places]
        both = _pairs(ours.multiply(truth.adjacency).tocsr())
        recall.append(both / truth.edges)
        precision.append(both / _pairs(ours) if ours.nnz else 0.0)
        if _is_connected(truth.adjacency):
            connected.append(_is_connected(ours))
    found = {"complex_recall": float(np.mean(recall)), "complex_precision": float(np.mean(precision))}
    return found | ({"complex_connectivity": float(np.mean(connected))} if connected else {})


def _network(pairs: Sequence[tuple[str, str]]) -> Network:
    proteins = sorted({protein for pair in pairs for protein in pair})
    number = {protein: place for place, protein in enumerate(proteins)}
    return network_from_pairs(proteins, np.array([[number[a], number[b]] for a, b in pairs]))


def _pairs(adjacency: sparse.csr_array) -> int:
    return int(adjacency.nnz + np.count_nonzero(adjacency.diagonal())) // 2


def _is_connected(adjacency: sparse.csr_array) -> bool:
    return int(connected_components(adjacency, directed=False)[0]) == 1
