"""Splits of an interaction network into train, validation and test.

Each side gets drawn negatives. What a score on the test set means depends on what the split separates.
`random` separates only the pairs; `c3` the proteins; `clustered` also similar proteins. `bfs`, `dfs` and
`random_walk` separate a connected piece of the network, as PRING does, so that the test set is a network
by itself. `time` puts into test what was found last, as a model will be used: proteins may be shared.

Legend of shapes: n edges, p proteins.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ppi_train.data.negatives import labelled_pairs, negatives_like
from ppi_train.data.pairs import PairTable
from ppi_train.errors import DataError

logger = logging.getLogger(__name__)

SIDES = ("train", "validation", "test")
METHODS = ("random", "c3", "clustered", "bfs", "dfs", "random_walk", "time")
GIVEN = "given"
"""In place of a kind of negatives: those that the pairs' labels say."""
# As in PRING's graph_split.py: not a hub, whose neighbours fill the side, and not a dead end.
ROOT_DEGREE = 5


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """How a network is split.

    `test_fraction` is a share of the edges for `random` and `time`, of the proteins for all other methods.
    The same holds for `val_fraction`, except with `bfs`, `dfs` and `random_walk`, where it is, as in
    PRING, a share of the edges that are left for training, so that validation shares proteins with train.
    `negatives` is one of `NEGATIVES`, or `GIVEN`; `negative_ratio` is their number per positive.
    """

    method: str
    val_fraction: float
    test_fraction: float
    negatives: str
    negative_ratio: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class SplitHelp:
    """What is known of the edges and proteins of a network; each may be left out.

    Attributes:
        clusters: (p,) integers, required by `clustered`: proteins with the same number stay on one side.
        years: (n,) integers, required by `time`: when each edge was published, 0 if unknown.
        organisms: (p,) integers; negatives are drawn between the organisms that positives are between.
        known: (m, 2) proteins, further pairs that are never drawn as negatives.
    """

    clusters: np.ndarray | None = None
    years: np.ndarray | None = None
    organisms: np.ndarray | None = None
    known: np.ndarray | None = None


_NO_HELP = SplitHelp()


@dataclass(frozen=True, kw_only=True)
class DrawnSplit:
    """The result of a split.

    `tables` has the labelled pairs by side; `dropped` counts the edges on no side: those between two, or
    without a year. `years` has the first and last year of each side, for `time`.
    """

    tables: Mapping[str, PairTable]
    dropped: int
    years: Mapping[str, tuple[int, int]]


def draw_split(edges: PairTable, plan: SplitPlan, known_of: SplitHelp = _NO_HELP) -> DrawnSplit:
    """Divides edges among the sides and draws negatives for each.

    The negatives of a side are pairs of its own proteins. The same arguments give the same split. No
    negative is an edge of any side, a dropped edge, a protein with itself, or repeated on any side.

    Args:
        edges: The positive pairs; no protein interacts with itself. Labels are ignored, unless the negatives
            are `GIVEN`: the pairs of both labels are then divided alike.
        plan: Method, fractions, negatives and seed.
        known_of: What else is known of these edges and their proteins.

    Raises:
        DataError: a side would be left without edges, or there are not enough negatives.
    """
    rng = np.random.default_rng([plan.seed, 0])
    sides = _divide(edges, plan, known_of, rng)
    for number, name in enumerate(SIDES):
        if not (sides == number).any():
            other = "" if plan.method == "random" else ", or the method random, which drops none"
            raise DataError(
                f"the split leaves no edge for {name}",
                where=edges.source,
                got=f"{len(edges):,} edges of {len(edges.proteins):,} proteins, split by {plan.method}, "
                f"val_fraction={plan.val_fraction}, test_fraction={plan.test_fraction}",
                remedy=f"give more edges or a larger fraction{other}",
            )
    return DrawnSplit(
        tables=_tables(edges, sides, plan, known_of),
        dropped=int((sides < 0).sum()),
        years=_spans(sides, known_of.years) if plan.method == "time" else {},
    )


def _tables(
    edges: PairTable, sides: np.ndarray, plan: SplitPlan, known_of: SplitHelp
) -> dict[str, PairTable]:
    """The labelled pairs of each side, in random order unless the negatives are given."""
    if plan.negatives == GIVEN:
        return {name: edges.select(sides == number) for number, name in enumerate(SIDES)}
    # A generator of its own, so that another kind of negatives does not change the positives.
    rng = np.random.default_rng([plan.seed, 1])
    known = edges.index if known_of.known is None else np.concatenate([edges.index, known_of.known])
    tables: dict[str, PairTable] = {}
    for number, name in enumerate(SIDES):
        positives = edges.index[sides == number]
        count = round(plan.negative_ratio * len(positives))
        try:
            negatives = negatives_like(
                plan.negatives, positives, forbidden=known, count=count, rng=rng, organisms=known_of.organisms
            )
        except DataError as error:
            raise error.at(f"{edges.source}, {name}") from error
        known = np.concatenate([known, negatives])
        tables[name] = labelled_pairs(edges.proteins, positives, negatives, rng, f"{edges.source}, {name}")
    return tables


def _divide(edges: PairTable, plan: SplitPlan, known_of: SplitHelp, rng: np.random.Generator) -> np.ndarray:
    """The side of each edge, (n,) positions in `SIDES`.

    It is -1 for an edge between two sides, or without a year.
    """
    fractions = (plan.val_fraction, plan.test_fraction)
    if plan.method == "random":
        return _shuffled_sides(len(edges), fractions, rng)
    if plan.method == "time":
        return _dated_sides(edges, known_of.years, fractions)
    if plan.method in _WALKS:
        return _walked_sides(edges.index, len(edges.proteins), plan, rng)
    clusters = np.arange(len(edges.proteins)) if plan.method == "c3" else known_of.clusters
    assert clusters is not None, "clustered: the caller has the sequences"
    of_protein = group_sides(clusters, fractions, rng)
    return _common_side(edges.index, of_protein)


def _dated_sides(edges: PairTable, years: np.ndarray | None, fractions: tuple[float, float]) -> np.ndarray:
    """Sides of whole years, the last ones for test, those before for validation.

    Raises:
        DataError: fewer than three years are known.
    """
    known = np.zeros(0, np.int64) if years is None else years[years > 0].astype(np.int64)
    found, counts = np.unique(known, return_counts=True)
    if years is None or len(found) < 3:
        raise DataError(
            "the network cannot be split by time",
            where=edges.source,
            got=f"{len(known):,} of {len(edges):,} edges with a year of publication, {len(found)} years",
            expected="edges of three years or more, as PSI-MITAB and BioGRID have them",
            remedy="give the network in such a layout, or another method, such as c3",
        )
    # The share of edges from each year on; each side has one year at least.
    later = np.cumsum(counts[::-1])[::-1] / counts.sum()
    test = 2 + int(np.argmin(abs(later[2:] - fractions[1])))
    validation = 1 + int(np.argmin(abs(later[1:test] - sum(fractions))))
    sides = np.searchsorted(found[[validation, test]], years, side="right")
    return np.where(years > 0, sides, -1)


def _spans(sides: np.ndarray, years: np.ndarray | None) -> dict[str, tuple[int, int]]:
    assert years is not None, "sides were made of years"
    of_side = {name: years[sides == number] for number, name in enumerate(SIDES)}
    return {name: (int(own.min()), int(own.max())) for name, own in of_side.items()}


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
            remedy="give more edges, or another method, such as c3",
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
