"""Sampling of negative pairs, degree-matched or uniform.

Known negatives hardly exist, so they are drawn. If they are drawn uniformly over proteins, a model can
score well by learning which proteins have many partners; if they are drawn from the ends of the positives,
it cannot. Both ways are here, since published test sets use either.
"""

from __future__ import annotations

import numpy as np

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
