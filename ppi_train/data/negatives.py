"""Negative pairs, drawn from the proteins of known interactions.

Known negatives hardly exist, so they are drawn. If they are drawn uniformly over proteins, a model can
score well by learning which proteins have many partners; if they are drawn from the ends of the positives,
it cannot. Both ways are here, since published test sets use either.

Where the positives are between two organisms, as those of a host and a virus are, negatives are too: a model
could otherwise score well by telling the organisms apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppi_train.data.pair_keys import among, distinct
from ppi_train.data.pairs import PairTable, pairs_from_ids
from ppi_train.errors import DataError

MAX_ROUNDS = 200


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
    return _draw((ends, ends), positives, forbidden, count, rng)


def uniform_negatives(
    positives: np.ndarray, *, forbidden: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws negative pairs uniformly from the proteins of the positives.

    Every pair is equally likely. A protein with many partners is then as rare among the negatives as one
    with few, so that the number of partners reveals the positives. Arguments, result and errors are those
    of `degree_matched_negatives`.
    """
    ends = distinct(positives).astype(np.int64)
    return _draw((ends, ends), positives, forbidden, count, rng)


NEGATIVES = {"degree_matched": degree_matched_negatives, "uniform": uniform_negatives}


def negatives_like(
    kind: str,
    positives: np.ndarray,
    *,
    forbidden: np.ndarray,
    count: int,
    rng: np.random.Generator,
    organisms: np.ndarray | None = None,
) -> np.ndarray:
    """Draws negatives of one of `NEGATIVES`, between the organisms that the positives are between.

    Args:
        kind: `degree_matched` or `uniform`.
        positives, forbidden, count, rng: As in `degree_matched_negatives`.
        organisms: (p,) integers, the organism of each protein; None: all are of one.

    Returns:
        (count, 2) int32, as `degree_matched_negatives` gives them. Of the pairs of two organisms, or within
        one, there is the same share as of the positives.

    Raises:
        DataError: there are fewer such pairs.
    """
    if organisms is None or len(np.unique(organisms[positives])) < 2:
        return NEGATIVES[kind](positives, forbidden=forbidden, count=count, rng=rng)
    of_ends = organisms[positives]
    ordered = np.where(of_ends[:, :1] <= of_ends[:, 1:], positives, positives[:, ::-1])
    kinds, kind_of, sizes = np.unique(
        np.sort(of_ends, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    shares = np.diff(np.round(np.cumsum(sizes) * count / len(positives)).astype(int), prepend=0)
    drawn = []
    for number, (between, share) in enumerate(zip(kinds, shares.tolist(), strict=True)):
        own = ordered[kind_of.reshape(-1) == number].astype(np.int64)
        ends = (own.reshape(-1),) * 2 if between[0] == between[1] else (own[:, 0], own[:, 1])
        if kind == "uniform":
            ends = (distinct(ends[0]), distinct(ends[1]))
        drawn.append(_draw(ends, positives, forbidden, share, rng))
    return np.concatenate(drawn)


def _draw(
    ends: tuple[np.ndarray, np.ndarray],
    positives: np.ndarray,
    forbidden: np.ndarray,
    count: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draws the first and second end of each pair from `ends`, which may repeat proteins."""
    known = np.concatenate([positives.reshape(-1, 2), forbidden.reshape(-1, 2)]).astype(np.int64)
    if not count:
        return np.empty((0, 2), np.int32)
    base = int(known.max()) + 1 if known.size else 1
    taken = distinct(_keys(known, base))
    drawn = np.empty(0, np.int64)
    for _ in range(MAX_ROUNDS if ends[0].size else 0):
        wanted = count - len(drawn)
        candidates = _candidates(ends, wanted + wanted // 4 + 64, rng)
        candidates = candidates[candidates[:, 0] != candidates[:, 1]]
        keys = _keys(candidates, base)
        keys = keys[~among(keys, taken)]
        _, first = np.unique(keys, return_index=True)
        fresh = keys[np.sort(first)][:wanted]
        drawn = np.concatenate([drawn, fresh])
        if len(drawn) == count:
            return np.stack([drawn // base, drawn % base], axis=1).astype(np.int32)
        taken = distinct(np.concatenate([taken, fresh]))
    proteins = len(distinct(np.concatenate(ends)))
    raise DataError(
        "too few negative pairs could be drawn",
        got=f"{len(drawn):,} after {MAX_ROUNDS} rounds",
        expected=f"{count:,} pairs of {proteins:,} proteins that are not known pairs",
        remedy="ask for fewer negatives, or give more proteins: the known pairs nearly fill the network",
    )


def _candidates(ends: tuple[np.ndarray, np.ndarray], size: int, rng: np.random.Generator) -> np.ndarray:
    if ends[0] is ends[1]:
        return rng.choice(ends[0], size=(size, 2))
    return np.stack([rng.choice(side, size=size) for side in ends], axis=1)


def _keys(pairs: np.ndarray, base: int) -> np.ndarray:
    """One int64 for each unordered pair."""
    keys: np.ndarray = pairs.min(axis=1) * base + pairs.max(axis=1)
    return keys


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
