"""Splits of an interaction network into train, validation and test.

Each side gets drawn negatives. What a score on the test set means depends on what the split separates.
`random` separates only the pairs; `c3` the proteins; `clustered` also similar proteins. `bfs`, `dfs` and
`random_walk` separate a connected piece of the network, as PRING does, so that the test set is a network
by itself.

Known negatives hardly exist, so they are drawn. If they are drawn uniformly over proteins, a model can
score well by learning which proteins have many partners; if they are drawn from the ends of the positives,
it cannot. Both ways are here, since published test sets use either.

Legend of shapes: n edges, p proteins.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ppi_train.data.pairs import PairTable, pairs_from_ids
from ppi_train.errors import DataError

logger = logging.getLogger(__name__)

MAX_ROUNDS = 200

SIDES = ("train", "validation", "test")
METHODS = ("random", "c3", "clustered", "bfs", "dfs", "random_walk")
# As in PRING's graph_split.py: not a hub, whose neighbours fill the side, and not a dead end.
ROOT_DEGREE = 5


def degree_matched_negatives(
    positives: np.ndarray, *, forbidden: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws negative pairs from the multiset of the positives' ends.

    Args:
        positives: (n, 2) integers, the proteins of the positive pairs.
        forbidden: (m, 2) integers in the same numbering, the other known pairs; the order within a
            pair is free.
        count: How many pairs to draw.
        rng: The source of randomness.

    Returns:
        (count, 2) int32, each row in ascending order, in the order in which they were drawn. No pair is
        a known pair, a protein with itself, or repeated.

    Raises:
        DataError: there are fewer such pairs, or they are too rare to be found in `MAX_ROUNDS` rounds.
    """
    ends = positives.reshape(-1).astype(np.int64)
    return _draw(ends, positives, forbidden, count, rng)


def uniform_negatives(
    positives: np.ndarray, *, forbidden: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws negative pairs uniformly from the proteins of the positives.

    Every pair is equally likely. A protein with many partners is then as rare among the negatives as one
    with few, so that the number of partners reveals the positives. Arguments, result and errors are those
    of `degree_matched_negatives`.
    """
    ends = np.unique(positives).astype(np.int64)
    return _draw(ends, positives, forbidden, count, rng)


NEGATIVES = {"degree_matched": degree_matched_negatives, "uniform": uniform_negatives}


def _draw(
    ends: np.ndarray, positives: np.ndarray, forbidden: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws both ends of each pair from `ends`, which may repeat proteins."""
    known = np.concatenate([positives.reshape(-1, 2), forbidden.reshape(-1, 2)]).astype(np.int64)
    if not count:
        return np.empty((0, 2), np.int32)
    base = int(known.max()) + 1 if known.size else 1
    taken = np.unique(_keys(known, base))
    drawn = np.empty(0, np.int64)
    for _ in range(MAX_ROUNDS if ends.size else 0):
        wanted = count - len(drawn)
        candidates = rng.choice(ends, size=(wanted + wanted // 4 + 64, 2))
        candidates = candidates[candidates[:, 0] != candidates[:, 1]]
        keys = _keys(candidates, base)
        keys = keys[~np.isin(keys, taken)]
        _, first = np.unique(keys, return_index=True)
        fresh = keys[np.sort(first)][:wanted]
        drawn = np.concatenate([drawn, fresh])
        if len(drawn) == count:
            return np.stack([drawn // base, drawn % base], axis=1).astype(np.int32)
        taken = np.union1d(taken, fresh)
    raise DataError(
        "too few negative pairs could be drawn",
        got=f"{len(drawn):,} after {MAX_ROUNDS} rounds",
        expected=f"{count:,} pairs of {len(np.unique(ends)):,} proteins that are not known pairs",
        remedy="ask for fewer negatives, or give more proteins: the known pairs nearly fill the network",
    )


def _keys(pairs: np.ndarray, base: int) -> np.ndarray:
    """One int64 for each unordered pair."""
    keys: np.ndarray = pairs.min(axis=1) * base + pairs.max(axis=1)
    return keys


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """How a network is split.

    `test_fraction` is a share of the edges for `random`, of the proteins for all other methods.
    The same holds for `val_fraction`, except with `bfs`, `dfs` and `random_walk`, where it is, as in
    PRING, a share of the edges that are left for training, so that validation shares proteins with train.
    `negative_ratio` is the number of negatives per positive.
    """

    method: str
    val_fraction: float
    test_fraction: float
    negatives: str
    negative_ratio: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class DrawnSplit:
    """The result of a split.

    `tables` has the labelled pairs by side; `dropped` counts the edges between two sides.
    """

    tables: Mapping[str, PairTable]
    dropped: int


def draw_split(edges: PairTable, plan: SplitPlan, clusters: np.ndarray | None = None) -> DrawnSplit:
    """Divides edges among the sides and draws negatives for each.

    The negatives of a side are pairs of its own proteins. The same edges, plan and clusters give the same
    split. No negative is an edge of any side, a dropped edge, a protein with itself, or repeated within a
    side or on another side.

    Args:
        edges: The positive pairs; labels are ignored, and no protein interacts with itself.
        plan: Method, fractions, negatives and seed.
        clusters: (p,) integers for `clustered`: proteins with the same number stay on one side.

    Raises:
        DataError: a side would be left without edges, or there are not enough negatives.
    """
    rng = np.random.default_rng([plan.seed, 0])
    sides = _divide(edges.index, len(edges.proteins), plan, clusters, rng)
    for number, name in enumerate(SIDES):
        if not (sides == number).any():
            raise DataError(
                f"the split leaves no edge for {name}",
                where=edges.source,
                got=f"{len(edges):,} edges of {len(edges.proteins):,} proteins, method={plan.method}, "
                f"val_fraction={plan.val_fraction}, test_fraction={plan.test_fraction}",
                remedy="give more edges, a larger fraction, or method=random, which drops none",
            )
    # A generator of its own, so that another kind of negatives does not change the positives.
    rng = np.random.default_rng([plan.seed, 1])
    known = edges.index
    tables: dict[str, PairTable] = {}
    for number, name in enumerate(SIDES):
        positives = edges.index[sides == number]
        count = round(plan.negative_ratio * len(positives))
        negatives = NEGATIVES[plan.negatives](positives, forbidden=known, count=count, rng=rng)
        known = np.concatenate([known, negatives])
        tables[name] = labelled_pairs(edges.proteins, positives, negatives, rng, f"{edges.source}, {name}")
    return DrawnSplit(tables=tables, dropped=int((sides < 0).sum()))


def labelled_pairs(
    proteins: Sequence[str],
    positives: np.ndarray,
    negatives: np.ndarray,
    rng: np.random.Generator,
    source: str,
) -> PairTable:
    """Combines positives and negatives into one table in random order.

    Args:
        proteins: The accessions.
        positives: (n, 2) positions in `proteins`.
        negatives: (m, 2) positions in `proteins`.
        rng: The source of randomness.
        source: Names the table in messages.
    """
    labels = np.repeat(np.array([1, 0], np.int8), [len(positives), len(negatives)])
    order = rng.permutation(len(labels))
    pairs = np.concatenate([positives, negatives])[order]
    names = np.array(proteins, dtype=object)
    return pairs_from_ids(list(names[pairs[:, 0]]), list(names[pairs[:, 1]]), labels[order], source)


def _divide(
    edges: np.ndarray, proteins: int, plan: SplitPlan, clusters: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    """The side of each edge, (n,) positions in `SIDES`.

    It is -1 for an edge between two sides.
    """
    fractions = (plan.val_fraction, plan.test_fraction)
    if plan.method == "random":
        return _shuffled_sides(len(edges), fractions, rng)
    if plan.method in _WALKS:
        return _walked_sides(edges, proteins, plan, rng)
    if plan.method == "c3":
        clusters = np.arange(proteins)
    assert clusters is not None, "clustered: the caller has the sequences"
    of_protein = group_sides(clusters, fractions, rng)
    return _common_side(edges, of_protein)


def _common_side(edges: np.ndarray, of_protein: np.ndarray) -> np.ndarray:
    ends = of_protein[edges]
    return np.where(ends[:, 0] == ends[:, 1], ends[:, 0], -1)


def _shuffled_sides(size: int, fractions: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    validation, test = (round(fraction * size) for fraction in fractions)
    sides = np.zeros(size, np.int64)
    order = rng.permutation(size)
    sides[order[:test]] = SIDES.index("test")
    sides[order[test : test + validation]] = SIDES.index("validation")
    return sides


def group_sides(groups: np.ndarray, fractions: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Assigns whole groups of proteins to sides at random.

    Groups go in random order to test or else validation, where there is still room. Those that fit into
    neither go to training, so that a large group never makes a side larger than requested.

    Args:
        groups: (p,) integers.
        fractions: Shares of the proteins for validation and for test.
        rng: The source of randomness.

    Returns:
        (p,) positions in `SIDES`.
    """
    _, of_protein, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    room = {
        SIDES.index("test"): round(fractions[1] * len(groups)),
        SIDES.index("validation"): round(fractions[0] * len(groups)),
    }
    side_of = np.zeros(len(sizes), np.int64)
    for group in rng.permutation(len(sizes)):
        for side, left in room.items():
            if sizes[group] <= left:
                side_of[group] = side
                room[side] = left - int(sizes[group])
                break
    sides: np.ndarray = side_of[of_protein]
    return sides


def _walked_sides(edges: np.ndarray, proteins: int, plan: SplitPlan, rng: np.random.Generator) -> np.ndarray:
    visited = walk(edges, proteins, plan.method, size=int(plan.test_fraction * proteins), rng=rng)
    sides = _common_side(edges, np.where(visited, SIDES.index("test"), SIDES.index("train")))
    training = np.flatnonzero(sides == SIDES.index("train"))
    chosen = rng.permutation(training)[: round(plan.val_fraction * len(training))]
    sides[chosen] = SIDES.index("validation")
    return sides


def walk(edges: np.ndarray, proteins: int, method: str, *, size: int, rng: np.random.Generator) -> np.ndarray:
    """Visits `size` proteins from a random root of degree 5.

    This follows PRING's `graph_split.py` (Zheng et al. 2025, PRING, arXiv:2507.05101). If the connected
    component of the root is smaller, all of it is visited, with a warning.

    Args:
        edges: (n, 2) integers below `proteins`, distinct pairs of two proteins.
        proteins: How many there are.
        method: `bfs`; `dfs`, which takes the last neighbour first; or `random_walk`, which steps to a
            random unvisited neighbour or, if there is none, jumps to a random visited protein that has one.
        size: How many to visit.
        rng: The source of randomness.

    Returns:
        (p,) bool, whether each was visited.

    Raises:
        DataError: no protein has degree 5.
    """
    neighbours = _neighbours(edges, proteins)
    degrees = np.array([len(partners) for partners in neighbours])
    order = rng.permutation(proteins)
    roots = order[degrees[order] == ROOT_DEGREE]
    if not len(roots):
        raise DataError(
            f"no protein has {ROOT_DEGREE} partners, where {method} would start",
            got=f"{proteins:,} proteins of {degrees.min(initial=0)} to {degrees.max(initial=0)} partners",
            remedy="give more edges, or method=c3",
        )
    visited = np.zeros(proteins, bool)
    steps = _WALKS[method](neighbours, int(roots[0]), visited, rng)
    for _, protein in zip(range(size), steps, strict=False):
        visited[protein] = True
    if visited.sum() < size:
        logger.warning(
            "%s: the root's part of the network has %s proteins, not the %s wanted; try another seed",
            method, f"{visited.sum():,}", f"{size:,}",
        )  # fmt: skip
    return visited


def _neighbours(edges: np.ndarray, proteins: int) -> list[np.ndarray]:
    """The partners of each protein in ascending order.

    This is also the order of their accessions.
    """
    both = np.concatenate([edges, edges[:, ::-1]]).astype(np.int64)
    both = both[np.lexsort((both[:, 1], both[:, 0]))]
    bounds = np.searchsorted(both[:, 0], np.arange(1, proteins))
    return np.split(both[:, 1], bounds)


# A walk yields proteins that are not visited yet; the caller marks each before it asks for the next.
_Walk = Callable[[list[np.ndarray], int, np.ndarray, np.random.Generator], Iterator[int]]


def _search(take_next: Callable[[deque[int]], int]) -> _Walk:
    def steps(
        neighbours: list[np.ndarray], root: int, visited: np.ndarray, _: np.random.Generator
    ) -> Iterator[int]:
        waiting = deque([root])
        while waiting:
            protein = take_next(waiting)
            if not visited[protein]:
                yield protein
                found = neighbours[protein]
                waiting.extend(found[~visited[found]].tolist())

    return steps


def _random_walk(
    neighbours: list[np.ndarray], root: int, visited: np.ndarray, rng: np.random.Generator
) -> Iterator[int]:
    unvisited = np.array([len(partners) for partners in neighbours])
    current = root
    while True:
        yield current
        unvisited[neighbours[current]] -= 1
        if not unvisited[current]:
            ways_out = np.flatnonzero(visited & (unvisited > 0))
            if not len(ways_out):
                return
            current = int(rng.choice(ways_out))
        ahead = neighbours[current]
        current = int(rng.choice(ahead[~visited[ahead]]))


_WALKS: Mapping[str, _Walk] = {
    "bfs": _search(deque.popleft),
    "dfs": _search(deque.pop),
    "random_walk": _random_walk,
}
