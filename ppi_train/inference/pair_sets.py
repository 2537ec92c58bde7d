"""Sets of pairs of numbered proteins, which a scan looks up by the million."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np


class PairSet:
    """Unordered pairs among the proteins of a prediction.

    Args:
        matrix: A sparse array (proteins, proteins) of bool, symmetric.
    """

    def __init__(self, matrix: Any) -> None:
        self._matrix = matrix.tocsr()
        self._matrix.sum_duplicates()

    @classmethod
    def of_identities(cls, identities: np.ndarray, pairs: np.ndarray) -> PairSet:
        """The pairs of proteins whose identities are paired.

        Several proteins may have one identity, as copies of a sequence do.

        Args:
            identities: (proteins,) int64, the identity of each protein.
            pairs: (m, 2) identities; those that no protein has are left out.
        """
        from scipy.sparse import csr_array  # a quarter of a second to import

        count = 1 + int(max(identities.max(initial=-1), pairs.max(initial=-1)))
        a, b = np.concatenate([pairs, pairs[:, ::-1]]).T
        linked = csr_array((np.ones(len(a), np.bool_), (a, b)), shape=(count, count))
        proteins = np.arange(len(identities))
        ones = np.ones(len(proteins), np.bool_)
        of_protein = csr_array((ones, (proteins, identities)), shape=(len(proteins), count))
        return cls(of_protein @ linked @ of_protein.T)

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> PairSet:
        """The set whose `arrays` these are."""
        from scipy.sparse import csr_array

        indices, indptr = arrays["indices"], arrays["indptr"]
        count = len(indptr) - 1
        return cls(csr_array((np.ones(len(indices), np.bool_), indices, indptr), shape=(count, count)))

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The rows of the matrix, in compressed form."""
        return {"indptr": self._matrix.indptr, "indices": self._matrix.indices}

    def __or__(self, other: PairSet) -> PairSet:
        return PairSet(self._matrix + other._matrix)

    def contains(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Whether each pair is in the set, (m,) bool, of the numbers (m,) and (m,)."""
        return np.asarray(self._matrix[a, b], np.bool_)

    def cells(self, rows: slice, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places of the pairs in a block: row and column from its corner, (c,) each.

        Args:
            rows: The proteins of the rows.
            columns: (m,) the proteins of the columns.
        """
        found = self._matrix[rows][:, columns].tocoo()
        return found.row, found.col

    @cached_property
    def digest(self) -> str:
        """sha256 of the pairs."""
        found = sha256(self._matrix.indptr.astype("<i8").tobytes())
        found.update(self._matrix.indices.astype("<i8").tobytes())
        return found.hexdigest()
