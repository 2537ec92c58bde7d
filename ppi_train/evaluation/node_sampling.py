"""Draws sets of proteins that hang together in a network, as PRING's node sets were drawn.

From a random protein: breadth-first or depth-first, neighbours in the order of their accessions, or a
walk to a random unvisited neighbour, which goes on from a random visited protein that still has one
when it is stuck. A set is smaller than asked for where the component of its first protein is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

import numpy as np

from ppi_train.evaluation.network import Network

_Neighbours = list[list[int]]  # of each protein, ascending by accession


def sample_node_sets(
    network: Network, kind: str, counts: Mapping[int, int], *, seed: int
) -> dict[int, list[tuple[str, ...]]]:
    """Draws node sets.

    Args:
        network: Where to walk.
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
        found[size] = [tuple(sorted(network.proteins[one] for one in nodes)) for nodes in drawn]
    return found


def _neighbours(network: Network) -> _Neighbours:
    table, proteins = network.adjacency, network.proteins
    rows = [table.indices[table.indptr[one] : table.indptr[one + 1]].tolist() for one in range(len(proteins))]
    return [sorted(row, key=proteins.__getitem__) for row in rows]


def _search(neighbours: _Neighbours, size: int, rng: np.random.Generator, *, depth_first: bool) -> set[int]:
    visited: set[int] = set()
    waiting = deque([int(rng.integers(len(neighbours)))])
    while waiting and len(visited) < size:
        current = waiting.pop() if depth_first else waiting.popleft()
        if current not in visited:
            visited.add(current)
            waiting.extend(one for one in neighbours[current] if one not in visited)
    return visited


def _breadth_first(neighbours: _Neighbours, size: int, rng: np.random.Generator) -> set[int]:
    return _search(neighbours, size, rng, depth_first=False)


def _depth_first(neighbours: _Neighbours, size: int, rng: np.random.Generator) -> set[int]:
    return _search(neighbours, size, rng, depth_first=True)


def _random_walk(neighbours: _Neighbours, size: int, rng: np.random.Generator) -> set[int]:
    current = int(rng.integers(len(neighbours)))
    visited = {current}
    while len(visited) < size:
        ahead = [one for one in neighbours[current] if one not in visited]
        if ahead:
            current = ahead[rng.integers(len(ahead))]
            visited.add(current)
            continue
        ways_out = [one for one in sorted(visited) if any(two not in visited for two in neighbours[one])]
        if not ways_out:
            break
        current = ways_out[rng.integers(len(ways_out))]
    return visited


KINDS: dict[str, Callable[[_Neighbours, int, np.random.Generator], set[int]]] = {
    "bfs": _breadth_first,
    "dfs": _depth_first,
    "random_walk": _random_walk,
}
