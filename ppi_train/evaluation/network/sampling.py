"""Samples of connected proteins from a network, as PRING draws them.

From a random protein: breadth-first or depth-first, neighbours in the order of their accessions, or a
walk to a random unvisited neighbour; a walk that is stuck continues from a random visited protein that
still has an unvisited neighbour. A set is smaller than asked for if the component of its first protein is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

import numpy as np

from ppi_train.evaluation.network.graph import Network

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


def _breadth_first(neighbours: _Neighbours, size: int, rng: np.random.Generator) -> set[int]:
    return _search(neighbours, size, rng, depth_first=False)


def _depth_first(neighbours: _Neighbours, size: int, rng: np.random.Generator) -> set[int]:
    return _search(neighbours, size, rng, depth_first=True)


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
    "bfs": _breadth_first,
    "dfs": _depth_first,
    "random_walk": _random_walk,
}
