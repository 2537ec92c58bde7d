"""Scores of test pairs by training pairs alone, without any biology.

Legend of shapes: t training pairs, m test pairs, p proteins of both, n similarities.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ppi_train.evaluation.joint_pairs import Integers, JointPairs

Floats = npt.NDArray[np.float64]

# Neighbours of second proteins that are looked up at once.
_LOOKED_UP = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The training proteins that test proteins are most similar to, themselves included.

    `query` and `target` (n,) are numbers of a test and of a training protein; `identity` (n,) is 0 to 1.
    """

    query: Integers
    target: Integers
    identity: Floats


def degree_scores(pairs: JointPairs) -> Floats:
    """Scores test pairs, (m,), by the training degrees of their proteins.

    The score is log((d1 + 1) (d2 + 1)); the degree d of a protein counts its positive training pairs.
    """
    positives = pairs.train[pairs.train_labels == 1]
    degrees = np.log1p(np.bincount(positives.ravel(), minlength=pairs.proteins))
    scores: Floats = degrees[pairs.test[:, 0]] + degrees[pairs.test[:, 1]]
    return scores


def nearest_scores(pairs: JointPairs, neighbours: Neighbours) -> Floats:
    """Scores test pairs, (m,), by the labels of similar training pairs.

    Each training pair between a protein similar to the first and a protein similar to the second counts +1
    or -1, by its label, times the product of both identities; the sum is divided by 1 plus the sum of the
    weights, so that little evidence gives a score near 0. Scores are from -1 to 1; 0 without any evidence.
    """
    from scipy.sparse import coo_array  # a quarter of a second to import

    shape = (pairs.proteins, pairs.proteins)
    similar = coo_array((neighbours.identity, (neighbours.query, neighbours.target)), shape=shape).tocsr()
    a, b = np.concatenate([pairs.train, pairs.train[:, ::-1]]).T
    signs = np.tile(2.0 * pairs.train_labels - 1.0, 2)
    # A pair of a protein with itself now occurs twice, and must count once.
    weights = np.where(a == b, 0.5, 1.0)
    evidence, total = (
        coo_array((values, (a, b)), shape=shape).tocsr() for values in (signs * weights, weights)
    )
    scores = np.empty(len(pairs.test))
    for rows in _parts(pairs.test, np.diff(similar.indptr)):
        first, second = pairs.test[rows].T
        proteins, place = np.unique(first, return_inverse=True, return_counts=True)[:2]
        near = similar[second]
        of_pair = np.repeat(np.arange(len(rows)), np.diff(near.indptr))
        # what is near the first protein is added up once for each protein, not for each of its pairs
        supports, found = (
            np.bincount(
                of_pair,
                _elements(similar[proteins] @ values, place[of_pair], near.indices) * near.data,
                minlength=len(rows),
            )
            for values in (evidence, total)
        )
        scores[rows] = supports / (1.0 + found)
    return scores


def _parts(test: Integers, neighbours: Integers) -> Iterator[npt.NDArray[np.intp]]:
    """Rows of test pairs (m, 2), those of one first protein together, in parts of bounded work."""
    order = np.argsort(test[:, 0], kind="stable")
    work = np.cumsum(1 + neighbours[test[order, 1]])
    ends = np.searchsorted(work, np.arange(_LOOKED_UP, work[-1], _LOOKED_UP))
    yield from np.split(order, ends)


def _elements(matrix: Any, rows: Integers, columns: Integers) -> Floats:
    """Elements (k,) of a sparse matrix, 0 where it has none."""
    matrix.sort_indices()
    width = matrix.shape[1]
    stored = np.repeat(np.arange(matrix.shape[0]) * width, np.diff(matrix.indptr)) + matrix.indices
    wanted = rows * width + columns
    if not len(stored):
        return np.zeros(len(wanted))
    place = np.minimum(np.searchsorted(stored, wanted), len(stored) - 1)
    found: Floats = np.where(stored[place] == wanted, matrix.data[place], 0.0)
    return found
